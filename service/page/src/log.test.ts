import { expect, test } from "vitest";

import { asText, blocks, chosen, pieces, type Level, type LogLine } from "./log";

const line = (seq: number, level: Level, message: string): LogLine => ({ seq, at: "2026-11-27T10:00:00.000000Z", level, source: "coordinator", message, attempt: 1 });
const LINES = [line(1, "info", "queued: Submitted."), line(4, "warning", "Worker 1 was lost"), line(9, "error", "failed: diverged")];

test("lines are chosen by their level and by words in any case", () => {
  const seqs = (least: Level, words: string): number[] => chosen(LINES, least, words).map(({ seq }) => seq);
  expect(seqs("info", "")).toEqual([1, 4, 9]);
  expect(seqs("warning", "")).toEqual([4, 9]);
  expect(seqs("error", "")).toEqual([9]);
  expect(seqs("info", " WORKER ")).toEqual([4]);
  expect(seqs("error", "worker")).toEqual([]);
});

test("what was looked for is every second piece", () => {
  expect(pieces("a Lost worker is lost", "lost")).toEqual(["a ", "Lost", " worker is ", "lost", ""]);
  expect(pieces("nothing", "lost")).toEqual(["nothing"]);
  expect(pieces("all", "")).toEqual(["all"]);
  expect(pieces("İİ lost", "lost"), "lower case is longer there").toEqual(["İİ lost"]);
});

test("blocks hold all, and only the last one grows", () => {
  expect(blocks([1, 2, 3, 4, 5], 2)).toEqual([[1, 2], [3, 4], [5]]);
  expect(blocks([], 2)).toEqual([]);
});

test("a log is saved as a line each", () => {
  expect(asText(LINES.slice(1, 2))).toBe("2026-11-27T10:00:00.000000Z WARNING attempt 1 coordinator: Worker 1 was lost\n");
});
