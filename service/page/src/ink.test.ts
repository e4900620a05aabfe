import { expect, test } from "vitest";

import { inkOf } from "./ink";

test("the ink of an image is the largest value that one has seen", () => {
  expect(inkOf([{ image: [[0, 0.25], [1, 0]] }, { image: [[0, 0], [16, 3]] }, { image: null }], "image")).toBe(16);
  expect([inkOf([], "image"), inkOf([{ image: [[0, 0]] }], "image")]).toEqual([255, 255]);
});

test("what has negative values has no ink", () => {
  expect(inkOf([{ signal: [[0, 1], [2, -0.1]] }], "signal")).toBeNull();
});
