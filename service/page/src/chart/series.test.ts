import { expect, test } from "vitest";

import { byActual, closest, strideOf } from "./series";

test("rows stand in the order of what they are, then of what is predicted of them", () => {
  expect(byActual([6, 5, 6, 4], [5.5, 5, 5.2, 7])).toEqual({ x: [4, 5, 6, 6], y: [7, 5, 5.2, 5.5] });
});

test("of points above each other the one under the pointer is read", () => {
  const spots: [number, number][] = [[0, 50], [100, 90], [100, 60], [100, 20], [300, 22]];
  const spot = (index: number): [number, number] | null => spots[index] ?? null;
  expect([85, 58, 22, 0].map((top) => closest(2, 101, top, spot))).toEqual([1, 2, 3, 3]);
  expect(closest(0, 5, 0, spot)).toBe(0);
});

test("a key goes on by a hundredth of the points in sight, and by one where these are few", () => {
  const x = Array.from({ length: 10_000 }, (_, index) => index);
  expect([strideOf(x, -Infinity, Infinity), strideOf(x, 1_000, 2_999), strideOf(x, 5, 60), strideOf([], 0, 1)]).toEqual([100, 20, 1, 1]);
});
