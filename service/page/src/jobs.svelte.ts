// The list of jobs, kept up to date: loaded page by page, then looked at again where something may have changed.
import { get, pages, Problem } from "./api";
import { admits, astray, queryOf, type Filter } from "./listing";
import type { Job, Page } from "./types";

const PAGE = 200;
const NEWEST = 50; // a page of the newest ones, looked at again at each turn
const MOST = 20_000; // as many as are worth scrolling through; the filter finds the others
const STARTED = "state=running&state=paused"; // apart, as a long queue would hide the older ones that run
const QUEUED = "state=queued";
const QUEUE_EVERY_MS = 10_000; // as it may be long, and whoever starts is seen among those that run

export class JobList {
  items: Job[] = $state.raw([]);
  loading = $state(true);
  hasMore = $state(false); // than what is here: loading it failed, or it is more than is worth scrolling through
  #known = new Map<string, Job>(); // also live jobs that the filter will only let through later; least lately told first
  #filter: Filter = { name: "", states: [], owner: "", label: "" };
  #loading = new AbortController();
  #loaded = 0; // page by page
  #cursor: string | null | undefined; // where that goes on; null at the end, undefined where nothing is there yet
  #queue = new Set<string>(); // the ids of those that waited when it was looked at last, and are not known to have started
  #queueAt = 0; // when that was

  /** Empties the list, and loads the jobs that a filter lets through. Throws Problem. */
  async load(filter: Filter): Promise<void> {
    this.#loading.abort();
    this.#loading = new AbortController();
    this.#filter = filter;
    [this.#loaded, this.#cursor, this.#queueAt] = [0, undefined, 0];
    this.loading = true;
    await this.#goOn();
  }

  /**
   * Looks at what is new, at the jobs that have not ended, and at those that were among them; then goes on where loading
   * failed. Throws Problem.
   */
  async refresh(signal: AbortSignal): Promise<void> {
    if (this.#cursor !== undefined) await this.#lookAgain(signal);
    if (!this.loading && this.#cursor !== null && this.#loaded < MOST) await this.#goOn();
  }

  async #goOn(): Promise<void> {
    const filter = this.#filter;
    const { signal } = this.#loading;
    try {
      const live = this.#cursor === undefined ? await this.#live(filter, signal) : [];
      while (this.#cursor !== null && this.#loaded < MOST) {
        const from = this.#cursor === undefined ? "" : `&cursor=${encodeURIComponent(this.#cursor)}`;
        const page = await get<Page<Job>>(`/v1/jobs?limit=${PAGE}${queryOf(filter)}${from}`, signal);
        if (signal.aborted) return;
        if (this.#cursor === undefined) this.#known = new Map(live.map((job) => [job.id, job]));
        this.#cursor = page.next_cursor;
        this.#loaded += page.items.length;
        this.#take(page.items);
      }
    } catch (error) {
      if (signal.aborted) return;
      if (this.#cursor === undefined) this.#forget();
      throw error;
    } finally {
      if (!signal.aborted) [this.loading, this.hasMore] = [false, this.#cursor !== null];
    }
  }

  /** What the filter before let through is not what this one does. */
  #forget(): void {
    this.#known = new Map();
    this.items = [];
  }

  async #lookAgain(signal: AbortSignal): Promise<void> {
    const filter = this.#filter;
    const live = await this.#live(filter, signal);
    const found = [...live, ...(await this.#newest(filter, signal))];
    if (filter !== this.#filter) return; // it has changed meanwhile
    const seen = new Set([...this.#queue, ...found.map((job) => job.id)]);
    const looked = await Promise.all(astray(this.#known.values(), seen).map((job) => this.#again(job, signal)));
    if (filter === this.#filter) this.#take([...found, ...looked.flat()]);
  }

  /** The jobs that have not ended, in whatever state: a filter lets them through when they have moved. Not each time those
   * that wait. */
  async #live(filter: Filter, signal: AbortSignal): Promise<Job[]> {
    const query = queryOf({ ...filter, states: [] });
    const ask = async (states: string): Promise<Job[]> => (await get<Page<Job>>(`/v1/jobs?${states}&limit=500${query}`, signal)).items;
    const now = Date.now();
    if (now - this.#queueAt < QUEUE_EVERY_MS) return ask(STARTED);
    const [started, queued] = await Promise.all([ask(STARTED), ask(QUEUED)]);
    if (filter === this.#filter) [this.#queue, this.#queueAt] = [new Set(queued.map((job) => job.id)), now];
    return [...started, ...queued];
  }

  /** The newest jobs, as far back as to one that is known; while the list loads, which gets the others, one page. */
  async #newest(filter: Filter, signal: AbortSignal): Promise<Job[]> {
    const found: Job[] = [];
    for await (const page of pages<Job>(`/v1/jobs?limit=${NEWEST}${queryOf(filter)}`, MOST, signal)) {
      found.push(...page);
      if (this.loading || page.some((job) => this.#known.has(job.id))) break;
    }
    return found;
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
    for (const job of jobs) {
      this.#known.delete(job.id); // so that it comes last
      this.#known.set(job.id, job);
      if (job.state !== "queued") this.#queue.delete(job.id);
    }
    this.items = [...this.#known.values()].filter((job) => admits(this.#filter, job));
  }
}
