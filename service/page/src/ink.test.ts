import { expect, test } from "vitest";

import { inkOf, isImage } from "./ink";

test("the ink of an image is the largest value that one has seen", () => {
  expect(inkOf([{ image: [[0, 0.25], [1, 0]] }, { image: [[0, 0], [16, 3]] }, { image: null }], "image")).toBe(16);
  expect([inkOf([], "image"), inkOf([{ image: [[0, 0]] }], "image")]).toEqual([255, 255]);
});

test("what has negative values has no ink", () => {
  expect(inkOf([{ signal: [[0, 1], [2, -0.1]] }], "signal")).toBeNull();
});

test("long signals and what is very large are no images", () => {
  expect([[28, 28], [128, 128], [32, 128], [128, 32]].map(isImage)).toEqual([true, true, true, true]);
  expect([[128, 3], [1, 784], [129, 128], [784], [3, 8, 8], null].map(isImage)).toEqual([false, false, false, false, false, false]);
});
