import { expect, test } from "vitest";

import { measuresOf, sendable } from "./specs";
import type { Job, Spec } from "./types";

const spec = (dataset: string): Spec => ({ dataset, target: "y", features: [], task: "regression", layers: [] });
const datasets = [
  { id: "ds_new", name: "wine" },
  { id: "ds_old", name: "wine" },
];
const sent = (dataset: string, dataset_id: string, known = datasets): unknown => sendable({ spec: spec(dataset), dataset_id }, known).dataset;

test("a job is sent again with the very data that it had", () => {
  expect(sent("wine", "ds_old")).toBe("ds_old");
  expect(sent("ds_old", "ds_old")).toBe("ds_old");
  expect(sent("wine", "ds_gone", [])).toBe("ds_gone");
});

test("data that are the newest of their name are sent by it", () => {
  expect(sent("wine", "ds_new")).toBe("wine");
});

test("what a job will tell has its place before it is told, and once it has ended only what it told", () => {
  const job = (state: string, task: string, validation: object | null, outputs: number): Job =>
    ({ state, spec: { task, validation }, outputs, metrics: { train_loss: 1, validation_loss: null, samples_per_s: 5 } }) as unknown as Job;
  expect(measuresOf(job("running", "regression", null, 1))).toEqual(["train_loss"]);
  const losses = ["train_loss", "validation_loss"];
  expect(measuresOf(job("queued", "regression", {}, 1))).toEqual([...losses, "validation_rmse", "validation_mae", "validation_r2"]);
  expect(measuresOf(job("paused", "classification", {}, 1))).toEqual([...losses, "validation_accuracy", "validation_auc"]);
  expect(measuresOf(job("running", "classification", {}, 3))).toEqual([...losses, "validation_accuracy"]);
  expect(measuresOf(job("cancelled", "classification", {}, 3))).toEqual(["train_loss"]);
});
