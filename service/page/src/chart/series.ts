// From a job's metrics to the columns of a chart.
import type { Metric } from "../types";

const NEAR_PX = 12;

export type XAxis = "step" | "epoch" | "time";

export interface Series {
  name: string;
  colour: number;
  values: (number | null)[];
  /** A line, unless it says otherwise. */
  drawn?: "points" | "bars";
  /** A dashed line to hold the others against; it has no values of its own to read. */
  isGuide?: boolean;
}

/** Where each item lies on the axis; epochs are fractional within a long one. */
export function xOf(metrics: Metric[], axis: XAxis, stepsPerEpoch: number): number[] {
  if (axis === "time") return metrics.map((metric) => metric.elapsed_s);
  if (axis === "epoch") return metrics.map((metric) => metric.step / stepsPerEpoch);
  return metrics.map((metric) => metric.step);
}

export function column(metrics: Metric[], name: string): (number | null)[] {
  return metrics.map((metric) => metric[name] ?? null);
}

/** A logarithm has no place for zero and below. */
export function positive(values: (number | null)[]): (number | null)[] {
  return values.map((value) => (value !== null && value > 0 ? value : null));
}

/** The nearest index at or before `index` with a value; else the first after it; -1 where there is none. */
export function nearest(values: (number | null)[], index: number): number {
  for (let at = Math.min(index, values.length - 1); at >= 0; at--) if (values[at] != null) return at;
  for (let at = index + 1; at < values.length; at++) if (values[at] != null) return at;
  return -1;
}

/** Of the points beside that at `index`, the one that is closest to (left, top); `spot` tells where one is, in pixels. */
export function closest(index: number, left: number, top: number, spot: (index: number) => [number, number] | null): number {
  let [found, least] = [index, Infinity];
  for (const step of [-1, 1]) {
    for (let at = step < 0 ? index : index + 1; ; at += step) {
      const point = spot(at);
      if (!point || Math.abs(point[0] - left) > NEAR_PX) break;
      const distance = Math.hypot(point[0] - left, point[1] - top);
      if (distance < least) [found, least] = [at, distance];
    }
  }
  return found;
}

/** So many indexes, evenly spread, first and last among them. */
export function spread(length: number, most: number): number[] {
  if (length <= most) return Array.from({ length }, (_, index) => index);
  return Array.from({ length: most }, (_, index) => Math.round((index * (length - 1)) / (most - 1)));
}

/** So many points a key goes on, of those in ascending order that are in sight: a hundred keys lead past all of these. */
export function strideOf(x: number[], from: number, to: number): number {
  const inSight = x.reduce((sum, each) => sum + Number(each >= from && each <= to), 0);
  return Math.max(1, Math.round(inSight / 100));
}

/** Predicted against actual as the columns of a chart, in the order of the actual values. */
export function byActual(actual: number[], predicted: number[]): { x: number[]; y: number[] } {
  const order = [...actual.keys()].sort((a, b) => actual[a]! - actual[b]! || predicted[a]! - predicted[b]!);
  return { x: order.map((index) => actual[index]!), y: order.map((index) => predicted[index]!) };
}

/** Several curves of different x on one: the union of their x, with null where a curve has no point. */
export function joined(curves: { x: number[]; y: (number | null)[] }[]): { x: number[]; ys: (number | null)[][] } {
  const x = [...new Set(curves.flatMap((curve) => curve.x))].sort((a, b) => a - b);
  const place = new Map(x.map((value, index) => [value, index]));
  const ys = curves.map((curve) => {
    const values = new Array<number | null>(x.length).fill(null);
    curve.x.forEach((value, index) => (values[place.get(value)!] = curve.y[index] ?? null));
    return values;
  });
  return { x, ys };
}
