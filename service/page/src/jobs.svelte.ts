// The list of jobs, kept up to date: loaded page by page, then looked at again where something may have changed.
import { get, pages, Problem } from "./api";
import { admits, astray, deleted, listed, queryOf, type Filter } from "./listing";
import { whileSignedIn } from "./session.svelte";
import { isEnded, type Job, type ListedJob, type Page } from "./types";

const PAGE = 200;
const NEWEST = 50; // a page of the newest ones, looked at again at each turn
const MOST = 20_000; // as many as are worth scrolling through; the filter finds the others
const STARTED = "state=running&state=paused"; // apart, as a long queue would hide the older ones that run
const QUEUED = "state=queued";
const QUEUE_EVERY_MS = 10_000; // as it may be long, and whoever starts is seen among those that run

export class JobList {
  items: ListedJob[] = $state.raw([]);
  chosen: string[] = $state.raw([]); // the ids of jobs that are ticked, to be compared
  scrollY = 0; // where the list was left, in pixels from the top of the page
  loading = $state(true);
  hasMore = $state(false); // than what is here: loading it failed, or it is more than is worth scrolling through
  #known = new Map<string, ListedJob>(); // also live jobs that the filter will only let through later; least lately told first
  #filter: Filter = { name: "", states: [], owner: "", label: "" };
  #loading = new AbortController();
  #cursor: string | null | undefined; // where loading goes on; null at the end, undefined where nothing is there yet
  #isCut = false; // the oldest were left out
  #queue = new Set<string>(); // the ids of those that waited when it was looked at last, and are not known to have started
  #queueAt = 0; // when that was

  /** Empties the list, and loads the jobs that a filter lets through; not if that is what the list was left with. Throws Problem. */
  async load(filter: Filter): Promise<void> {
    if (this.#cursor !== undefined && JSON.stringify(filter) === JSON.stringify(this.#filter)) return;
    this.#loading.abort();
    this.#loading = new AbortController();
    this.#filter = filter;
    [this.#cursor, this.#isCut, this.#queueAt, this.scrollY] = [undefined, false, 0, 0];
    this.loading = true;
    await this.#goOn();
  }

  /**
   * Looks at what is new, at the jobs that have not ended, and at those that were among them; then goes on where loading
   * failed. Throws Problem.
   */
  async refresh(signal: AbortSignal): Promise<void> {
    if (this.#cursor !== undefined) await this.#lookAgain(signal);
    if (!this.loading && this.#cursor !== null && this.#known.size < MOST) await this.#goOn();
  }

  /** Loads no more of it until it is looked at again. */
  close(): void {
    this.#loading.abort();
    this.#loading = new AbortController();
    if (this.#cursor !== undefined) [this.loading, this.hasMore] = [false, this.#cursor !== null || this.#isCut];
  }

  /** Leaves out a job that is deleted. */
  forget(id: string): void {
    this.#known.delete(id);
    this.chosen = this.chosen.filter((each) => each !== id);
    this.#take([]);
  }

  async #goOn(): Promise<void> {
    const filter = this.#filter;
    const { signal } = this.#loading;
    try {
      const live = this.#cursor === undefined ? await this.#live(filter, signal) : [];
      while (this.#cursor !== null && this.#known.size < MOST) {
        const from = this.#cursor === undefined ? "" : `&cursor=${encodeURIComponent(this.#cursor)}`;
        const page = await get<Page<Job>>(`/v1/jobs?limit=${PAGE}${queryOf(filter)}${from}`, signal);
        if (signal.aborted) return;
        if (this.#cursor === undefined) this.#known = new Map(live.map((job) => [job.id, listed(job)]));
        this.#cursor = page.next_cursor;
        this.#take(page.items);
      }
    } catch (error) {
      if (signal.aborted) return;
      if (this.#cursor === undefined) this.#forget();
      throw error;
    } finally {
      if (!signal.aborted) [this.loading, this.hasMore] = [false, this.#cursor !== null || this.#isCut];
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
    const { newest, isAll } = await this.#newest(filter, signal);
    if (filter !== this.#filter) return; // it has changed meanwhile
    for (const job of deleted(this.#known.values(), filter, newest, isAll)) this.#known.delete(job.id);
    const found = [...live, ...newest];
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
  async #newest(filter: Filter, signal: AbortSignal): Promise<{ newest: Job[]; isAll: boolean }> {
    const newest: Job[] = [];
    let isAll = true;
    for await (const page of pages<Job>(`/v1/jobs?limit=${NEWEST}${queryOf(filter)}`, MOST, signal)) {
      newest.push(...page);
      isAll = page.length < NEWEST;
      if (this.loading || page.some((job) => this.#known.has(job.id))) break;
    }
    return { newest, isAll };
  }

  async #again(job: ListedJob, signal: AbortSignal): Promise<Job[]> {
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
      this.#known.set(job.id, listed(job));
      if (job.state !== "queued") this.#queue.delete(job.id);
    }
    if (this.#known.size > MOST) this.#cut();
    this.items = [...this.#known.values()].filter((job) => admits(this.#filter, job));
  }

  /** Leaves out the oldest of those that have ended. */
  #cut(): void {
    const ended = [...this.#known.values()].filter((job) => isEnded(job.state)).map((job) => job.id);
    for (const id of ended.sort().slice(0, this.#known.size - MOST)) this.#known.delete(id);
    [this.#cursor, this.#isCut, this.hasMore] = [null, true, true];
  }
}

/** The list of whoever is signed in, as it was left. */
export const jobList = whileSignedIn(() => new JobList());
