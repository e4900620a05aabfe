// Small loss curves, asked for once for a job that has ended, and now and then for one that runs.
import { get } from "./api";
import type { ListedJob, Metric, Page } from "./types";

const POINTS = 40;
const MOST = 500; // curves that are remembered

interface Kept {
  step: number;
  metrics: Promise<Metric[]>;
}

const kept = new Map<string, Kept>();

/** A job's metrics, thinned. Throws Problem. */
export function smallCurve(job: Pick<ListedJob, "id" | "progress">): Promise<Metric[]> {
  const known = kept.get(job.id);
  if (known?.step === job.progress.step) return known.metrics;
  const metrics = get<Page<Metric>>(`/v1/jobs/${job.id}/metrics?points=${POINTS}`).then((page) => page.items);
  kept.delete(job.id);
  kept.set(job.id, { step: job.progress.step, metrics });
  metrics.catch(() => kept.delete(job.id)); // asked again next time; whoever asked is told
  for (const oldest of kept.keys()) {
    if (kept.size <= MOST) break;
    kept.delete(oldest);
  }
  return metrics;
}

/** An SVG path over `width` × `height`, from the smallest value at the bottom to the largest at the top. */
export function pathOf(xs: number[], ys: number[], width: number, height: number, low: number, high: number): string {
  const first = xs[0] ?? 0;
  const span = (xs.at(-1) ?? 0) - first || 1;
  const rise = high - low || 1;
  return xs
    .map((x, index) => {
      const left = ((x - first) / span) * width;
      const down = height - ((ys[index]! - low) / rise) * height;
      return `${index ? "L" : "M"}${left.toFixed(1)} ${down.toFixed(1)}`;
    })
    .join("");
}
