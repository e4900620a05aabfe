// How an image is drawn that a model sees: what its darkest pixel is.
import type { Json, JsonObject } from "./types";

const USUAL = 255;
const MOST_CELLS = 16_384;
const MOST_ASPECT = 4; // of the longer side to the shorter one

/** Whether a feature of that shape is drawn, and not a signal or a table. */
export function isImage(shape: number[] | null): boolean {
  if (shape?.length !== 2) return false;
  const [rows, columns] = [shape[0]!, shape[1]!];
  return rows * columns <= MOST_CELLS && Math.max(rows, columns) <= MOST_ASPECT * Math.min(rows, columns);
}

/** The largest value of a two-dimensional feature in these rows, 255 where they tell none; null where one is negative. */
export function inkOf(rows: JsonObject[], feature: string): number | null {
  let most = 0;
  for (const row of rows) {
    for (const value of ((row[feature] ?? []) as Json[][]).flat()) {
      if (typeof value !== "number") continue;
      if (value < 0) return null;
      most = Math.max(most, value);
    }
  }
  return most || USUAL;
}
