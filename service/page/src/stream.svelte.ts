// One job as it happens: the job itself, and all its events from the first on, by the service's event stream.
import { get } from "./api";
import { poll, whileVisible } from "./live.svelte";
import type { Job, Metric, Move, Page, Progress, WorkersChange } from "./types";
import { isEnded } from "./types";

const LOOK_EVERY_S = 2;
const SHOW_EVERY_MS = 120;
const AGAIN_MS = 3000;
const POINTS = 1000;

export class JobStream {
  job: Job | null = $state.raw(null);
  metrics: Metric[] = $state.raw([]);
  moves: Move[] = $state.raw([]);
  workers: WorkersChange[] = $state.raw([]);
  trouble: unknown = $state(null);

  readonly #id: string;
  #source: EventSource | null = null;
  #showing: ReturnType<typeof setTimeout> | undefined;
  #connecting: ReturnType<typeof setTimeout> | undefined;
  readonly #told = { metrics: [] as Metric[], moves: [] as Move[], workers: [] as WorkersChange[] };
  #asked = 0; // how many times for the job
  #answered = 0; // which of these times was answered last
  #last = 0; // the number of the newest event that was told
  #progress: (Progress & { metrics: Job["metrics"] }) | null = null;
  #hasEnded = false;
  #sketchedTo = 0; // the step as far as there are thinned metrics to show until the stream is there

  constructor(id: string) {
    this.#id = id;
  }

  /** Follows the job until the returned function is called. */
  open(): () => void {
    void this.#sketch();
    const stop = poll((signal) => this.look(signal), LOOK_EVERY_S, (error) => (this.trouble = error));
    const close = whileVisible((over) => {
      if (this.#hasEnded) over();
      else this.#listen(over);
      return () => {
        clearTimeout(this.#connecting);
        this.#source?.close();
      };
    });
    return () => {
      stop();
      close();
      clearTimeout(this.#showing);
    };
  }

  /** Asks for the job again, unless it can no longer change. Throws Problem. */
  async look(signal?: AbortSignal): Promise<void> {
    if (this.job && isEnded(this.job.state)) return;
    const number = ++this.#asked;
    const job = await get<Job>(`/v1/jobs/${this.#id}`, signal);
    if (number > this.#answered) this.#put(job, number);
  }

  /** Takes the answer to a move that somebody asked for: what was asked before it came may be older, whenever it comes. */
  take(job: Job): void {
    this.#put(job, ++this.#asked);
  }

  #put(job: Job, number: number): void {
    this.#answered = number;
    if (!this.job || !isEnded(this.job.state)) this.job = job; // else it has been told already, and stays so
  }

  /** Shows thinned metrics at once: a stream that begins with the first of 100,000 takes seconds to the last. */
  async #sketch(): Promise<void> {
    const address = `/v1/jobs/${this.#id}/metrics?points=${POINTS}`;
    const thinned = await get<Page<Metric>>(address).catch(() => null); // the stream tells all of them anyway
    if (!thinned?.items.length || this.metrics.length) return;
    this.metrics = thinned.items;
    this.#sketchedTo = thinned.items.at(-1)!.step;
  }

  #listen(over: () => void): void {
    const source = (this.#source = new EventSource(`/v1/jobs/${this.#id}/events?after=${this.#last}`));
    const on = <T>(kind: string, take: (data: T) => void): void => {
      source.addEventListener(kind, (event) => {
        const { data, lastEventId } = event as MessageEvent<string>;
        if (Number(lastEventId) <= this.#last) return; // of a connection that the browser opened again by itself
        this.#last = Number(lastEventId);
        take(JSON.parse(data));
        this.#showSoon();
      });
    };
    on<Metric>("metrics", (metric) => this.#told.metrics.push(metric));
    on<WorkersChange>("workers", (change) => this.#told.workers.push(change));
    on<Progress & { metrics: Job["metrics"] }>("progress", (progress) => (this.#progress = progress));
    on<Omit<Move, "when" | "why"> & { at: string; reason: string }>("state", (told) => {
      const { from, to, attempt, workers } = told;
      this.#told.moves.push({ from, to, when: told.at, why: told.reason, attempt, workers });
      if (isEnded(to)) {
        this.#hasEnded = true;
        over();
      }
    });
    source.onerror = () => {
      if (source.readyState !== EventSource.CLOSED) return; // the browser connects again by itself, and misses nothing
      if (!this.#hasEnded) this.#connecting = setTimeout(() => this.#listen(over), AGAIN_MS);
    };
  }

  #showSoon(): void {
    this.#showing ??= setTimeout(() => this.#show(), SHOW_EVERY_MS);
  }

  #show(): void {
    this.#showing = undefined;
    const { metrics, moves, workers } = this.#told;
    const isThere = (metrics.at(-1)?.step ?? 0) >= this.#sketchedTo;
    if (isThere && metrics.length && this.metrics.at(-1) !== metrics.at(-1)) this.metrics = [...metrics];
    if (workers.length !== this.workers.length) this.workers = [...workers];
    const progress = this.#progress;
    if (this.job && !isEnded(this.job.state) && progress && progress.step >= this.job.progress.step) {
      const { metrics: latest, ...where } = progress;
      this.job = { ...this.job, progress: where, metrics: latest };
    }
    if (moves.length !== this.moves.length) {
      this.moves = [...moves];
      this.look().catch((error: unknown) => (this.trouble = error));
    }
  }
}
