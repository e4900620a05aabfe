// How an image is drawn that a model sees: what its darkest pixel is.
import type { Json, JsonObject } from "./types";

const USUAL = 255;

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
