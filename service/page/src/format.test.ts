import { expect, test } from "vitest";

import { ago, bytes, duration, measured, metricName, ordinal, placeInQueue, plain, shortCount, ticks, timeAfter } from "./format";
import { joined, nearest, spread } from "./chart/series";
import { sorted } from "./ordering";
import type { Job } from "./types";
import { kindOf, nameOf } from "./upload";

test("measured values have four digits, and powers of ten at the edges", () => {
  expect([0, 0.30664, 12.3456, 141_000, 2.86e-9, 3e8, null, NaN].map(measured)).toEqual(
    ["0.000", "0.3066", "12.35", "141,000", "2.86·10⁻⁹", "3.00·10⁸", "–", "–"],
  );
});

test("durations have two units at most", () => {
  expect([0.04, 12.4, 59.7, 200, 3600, 7500, 273_600].map(duration)).toEqual(
    ["0.0 s", "12 s", "1 min", "3 min 20 s", "1 h", "2 h 5 min", "3 d 4 h"],
  );
});

test("sizes and counts are short", () => {
  expect([999, 1000, 3_551_168, 999_950_000, 2e12].map(bytes)).toEqual(["999 B", "1 kB", "3.55 MB", "1 GB", "2 TB"]);
  expect([999, 1000, 5_300_000].map(shortCount)).toEqual(["999", "1 k", "5.3 M"]);
  expect([17, 0.1, 1 / 3].map(plain)).toEqual(["17", "0.1", "0.333333"]);
});

test("times are told from now", () => {
  const now = Date.parse("2026-11-24T12:00:00Z");
  expect(["2026-11-24T11:59:50Z", "2026-11-24T11:56:00Z", "2026-11-24T09:00:00Z", "2026-11-20T09:00:00Z"].map((time) => ago(time, now))).toEqual(
    ["just now", "4 min ago", "3 h ago", "Nov 20, 2026"],
  );
});

test("a time is told with its day where that is another one", () => {
  const at = (day: number): string => new Date(2026, 10, day, 10, 0, 5).toISOString();
  expect([timeAfter(null, at(27)), timeAfter(at(27), at(27)), timeAfter(at(27), at(28))]).toEqual(["27 Nov 10:00:05", "10:00:05", "28 Nov 10:00:05"]);
});

test("a place in the queue is told with the time of the start, and its date where that is not soon", () => {
  expect([1, 2, 3, 4, 11, 12, 21, 113, 1002].map(ordinal)).toEqual(["1st", "2nd", "3rd", "4th", "11th", "12th", "21st", "113th", "1,002nd"]);
  const at = (hours: number): string => new Date(2026, 10, 27, 9 + hours, 5).toISOString();
  const now = Date.parse(at(0));
  expect(placeInQueue({ position: 3, estimated_start_at: at(5) }, now)).toBe("3rd in the queue, starts about 14:05");
  expect(placeInQueue({ position: 3, estimated_start_at: at(29) }, now)).toBe("3rd in the queue, starts about 28 Nov 2026, 14:05");
  expect(placeInQueue({ position: 1, estimated_start_at: null }, now)).toBe("1st in the queue");
});

test("metrics have names that people know", () => {
  expect(["train_loss", "validation_auc", "validation_r2"].map(metricName)).toEqual(["training loss", "validation AUC", "validation R²"]);
});

test("curves of different steps share one axis", () => {
  const { x, ys } = joined([{ x: [1, 3], y: [10, 30] }, { x: [2, 3], y: [2, null] }]);
  expect(x).toEqual([1, 2, 3]);
  expect(ys).toEqual([[10, null, 30], [null, 2, null]]);
});

test("a value is read where there is one", () => {
  expect([nearest([1, null, null, 4], 2), nearest([null, null, 3], 0), nearest([null], 0)]).toEqual([0, 2, -1]);
  expect(spread(100_000, 3)).toEqual([0, 50_000, 99_999]);
});

test("jobs without a value come last either way", () => {
  const job = (id: string, loss: number | null): Job => ({ id, metrics: { train_loss: loss }, labels: {} }) as unknown as Job;
  const jobs = [job("a", 2), job("b", null), job("c", 1)];
  expect(sorted(jobs, "loss", true).map(({ id }) => id)).toEqual(["a", "c", "b"]);
  expect(sorted(jobs, "loss", false).map(({ id }) => id)).toEqual(["c", "a", "b"]);
  expect(sorted(jobs, "created", true).map(({ id }) => id)).toEqual(["c", "b", "a"]);
});

test("files are known by their names", () => {
  expect(kindOf("adult.CSV.gz")).toEqual({ mediaType: "text/csv", gzip: true });
  expect(kindOf("picture.png")).toBeNull();
  expect([nameOf("adult-train.csv.gz"), nameOf(".csv")]).toEqual(["adult-train", "data"]);
});

test("the ticks of an axis have one unit", () => {
  expect(ticks([0, 500, 1000, 1500])).toEqual(["0", "500", "1,000", "1,500"]);
  expect(ticks([0, 5000, 10_000])).toEqual(["0", "5 k", "10 k"]);
  expect(ticks([0, 500_000, null, 20_000_000])).toEqual(["0", "0.5 M", "", "20 M"]);
  expect(ticks([0, 0.00025, 0.0005, 0.001])).toEqual(["0", "2.5e-4", "5e-4", "1e-3"]);
  expect(ticks([0.00099, 0.000995, 0.001])).toEqual(["9.9e-4", "9.95e-4", "1e-3"]);
  expect(ticks([1_000_001, 1_000_002, null])).toEqual(["1000.001 k", "1000.002 k", ""]);
  expect(ticks([1.000001, 1.0000015, 1.000002])).toEqual(["1.000001", "1.0000015", "1.000002"]);
  expect(ticks([0.1 + 0.2, 0.4])).toEqual(["0.3", "0.4"]);
  expect(ticks([0.0001, null, 0.01, 1, 100])).toEqual(["1e-4", "", "1e-2", "1e0", "1e2"]);
});
