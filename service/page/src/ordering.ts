// Jobs in the order that somebody wants to see them in.
import type { ListedJob } from "./types";

export type SortKey = "created" | "name" | "state" | "progress" | "loss" | "owner";

/** What is mostly looked for in a column stands first when it is sorted: the newest, what is furthest; else A, or the least. */
export const DESCENDS_AT_FIRST: ReadonlySet<SortKey> = new Set(["created", "progress"]);

const STATES = ["running", "paused", "queued", "failed", "succeeded", "cancelled"];

/** What a job is measured by: the validation loss where there is one. */
export function lossOf(job: Pick<ListedJob, "metrics">): number | null {
  return job.metrics.validation_loss ?? job.metrics.train_loss ?? null;
}

const VALUES: Record<SortKey, (job: ListedJob) => string | number | null> = {
  created: (job) => job.id, // a ULID, which sorts by time
  name: (job) => job.name.toLowerCase(),
  state: (job) => STATES.indexOf(job.state),
  progress: (job) => job.progress.fraction,
  loss: lossOf,
  owner: (job) => job.owner?.toLowerCase() ?? null,
};

/** A new array, sorted; what has no value comes last, either way. Equal ones are newest first. */
export function sorted(jobs: readonly ListedJob[], key: SortKey, descending: boolean): ListedJob[] {
  const value = VALUES[key];
  const sign = descending ? -1 : 1;
  return jobs
    .map((job) => ({ job, by: value(job) }))
    .sort((a, b) => compare(a.by, b.by, sign) || (a.job.id < b.job.id ? 1 : -1))
    .map(({ job }) => job);
}

function compare(a: string | number | null, b: string | number | null, sign: number): number {
  if (a === null || b === null) return Number(a === null) - Number(b === null);
  return a < b ? -sign : a > b ? sign : 0;
}
