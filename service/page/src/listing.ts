// Which jobs a list has in it, and which of them to look at again.
import type { Job, ListedJob, State } from "./types";
import { isEnded } from "./types";

const ASTRAY = 20; // looked up one by one at each turn

export interface Filter {
  name: string;
  states: State[];
  owner: string;
  label: string; // `key=value`, or a key alone
}

/** The filter as parameters of a request, each with its `&`. */
export function queryOf(filter: Filter): string {
  const states = filter.states.map((state) => `&state=${state}`).join("");
  const texts = { name: filter.name, owner: filter.owner, label: filter.label };
  const others = Object.entries(texts).map(([name, text]) => (text ? `&${name}=${encodeURIComponent(text)}` : ""));
  return states + others.join("");
}

/** Whether a filter still lets a job through that the service found by it: its name, owner and labels stay, the state does not. */
export function admits(filter: Filter, job: ListedJob): boolean {
  return !filter.states.length || filter.states.includes(job.state);
}

/**
 * The known jobs to look up: those that had not ended and are no longer among the live ones. Those that ran come first, as
 * they have moved for certain; a queue may only be longer than what was asked for. Of each, who was told longest ago.
 */
export function astray(known: Iterable<ListedJob>, seen: ReadonlySet<string>): ListedJob[] {
  const lost = [...known].filter((job) => !isEnded(job.state) && !seen.has(job.id));
  const queued = lost.filter((job) => job.state === "queued");
  return [...lost.filter((job) => job.state !== "queued"), ...queued].slice(0, ASTRAY);
}

/** The known jobs that are deleted: ended ones that the newest of those that the filter lets through should have among them. */
export function deleted(known: Iterable<ListedJob>, filter: Filter, newest: { id: string }[], isAll: boolean): ListedJob[] {
  const there = new Set(newest.map((job) => job.id));
  const oldest = newest.at(-1)?.id ?? "";
  return [...known].filter((job) => isEnded(job.state) && admits(filter, job) && !there.has(job.id) && (isAll || job.id > oldest)); // ULIDs sort by time
}

/** A job without what no list shows: a spec may name thousands of features. */
export function listed(job: Job): ListedJob {
  return { ...job, spec: { dataset: job.spec.dataset, target: job.spec.target } };
}
