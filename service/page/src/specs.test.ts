import { expect, test } from "vitest";

import { sendable } from "./specs";
import type { Spec } from "./types";

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
