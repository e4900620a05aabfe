import { expect, test } from "vitest";

import { DESCENDS_AT_FIRST, sorted, type SortKey } from "./ordering";
import type { Job } from "./types";

const job = (id: string, name: string, state: string, loss: number | null, fraction: number): Job =>
  ({ id, name, state, owner: null, metrics: { train_loss: loss }, progress: { fraction } }) as unknown as Job;
const jobs = [job("1", "b", "succeeded", 0.5, 1), job("2", "C", "running", 0.1, 0.3), job("3", "a", "queued", null, 0)];
const atFirst = (key: SortKey): string[] => sorted(jobs, key, DESCENDS_AT_FIRST.has(key)).map(({ id }) => id);

test("a column is at first sorted by what one looks for in it", () => {
  expect(atFirst("name")).toEqual(["3", "1", "2"]);
  expect(atFirst("state")).toEqual(["2", "3", "1"]);
  expect(atFirst("loss")).toEqual(["2", "1", "3"]);
  expect(atFirst("progress")).toEqual(["1", "2", "3"]);
  expect(atFirst("created")).toEqual(["3", "2", "1"]);
});

test("what has no value comes last, either way", () => {
  expect(sorted(jobs, "loss", true).map(({ id }) => id)).toEqual(["1", "2", "3"]);
});
