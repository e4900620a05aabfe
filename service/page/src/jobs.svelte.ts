// The list of jobs, kept up to date: loaded page by page, then looked at again where something may have changed.
import { get, pages, Problem } from "./api";
import type { Job, Page, State } from "./types";
import { isEnded } from "./types";

const PAGE = 200;
const MOST = 20_000; // as many as are worth scrolling through; the filter finds the others
const ACTIVE = "state=running&state=queued&state=paused&limit=500";
const ASTRAY = 20; // jobs that left the active ones, looked up one by one at each turn

export interface Filter {
  name: string;
  states: State[];
  owner: string;
}

export class JobList {
  items: Job[] = $state.raw([]);
  loading = $state(true);
  #known = new Map<string, Job>();
  #query = "";
  #loading = new AbortController();

  /** Empties the list, and loads the jobs that a filter lets through. Throws Problem. */
  async load(filter: Filter): Promise<void> {
    this.#loading.abort();
    const { signal } = (this.#loading = new AbortController());
    this.#query = queryOf(filter);
    this.loading = true;
    let isFirst = true;
    try {
      for await (const page of pages<Job>(`/v1/jobs?limit=${PAGE}${this.#query}`, MOST, signal)) {
        if (isFirst) this.#known.clear();
        isFirst = false;
        this.#take(page);
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      if (!signal.aborted) this.loading = false;
    }
  }

  /** Looks at the newest jobs and at those that have not ended. Throws Problem. */
  async refresh(signal: AbortSignal): Promise<void> {
    const query = this.#query;
    const [newest, active] = await Promise.all([
      get<Page<Job>>(`/v1/jobs?limit=50${query}`, signal),
      get<Page<Job>>(`/v1/jobs?${ACTIVE}`, signal),
    ]);
    if (query !== this.#query) return; // the filter has changed meanwhile
    const found = [...newest.items, ...active.items.filter((job) => this.#known.has(job.id))];
    const seen = new Set(found.map((job) => job.id));
    const astray = this.items.filter((job) => !isEnded(job.state) && !seen.has(job.id)).slice(0, ASTRAY);
    this.#take([...found, ...(await Promise.all(astray.map((job) => this.#again(job, signal)))).flat()]);
  }

  async #again(job: Job, signal: AbortSignal): Promise<Job[]> {
    try {
      return [await get<Job>(`/v1/jobs/${job.id}`, signal)];
    } catch (error) {
      if (!(error instanceof Problem && error.status === 404)) throw error;
      this.#known.delete(job.id);
      return [];
    }
  }

  #take(jobs: Job[]): void {
    for (const job of jobs) this.#known.set(job.id, job);
    this.items = [...this.#known.values()];
  }
}

function queryOf(filter: Filter): string {
  const states = filter.states.map((state) => `&state=${state}`).join("");
  const texts = { name: filter.name, owner: filter.owner };
  const others = Object.entries(texts).map(([name, text]) => (text ? `&${name}=${encodeURIComponent(text)}` : ""));
  return states + others.join("");
}
