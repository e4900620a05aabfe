// The log of one job as it grows, by the service's event stream.
import { get, Problem } from "./api";
import { whileVisible } from "./live.svelte";
import type { LogLine } from "./log";
import type { Page } from "./types";

const SHOW_EVERY_MS = 120;
const AGAIN_MS = 3000;
const MOST = 20_000; // lines that are kept: more than the service has of most jobs

export class LogStream {
  lines: LogLine[] = $state.raw([]);
  hasAnswered = $state(false);
  isAway = $state(false);

  readonly #address: string;
  #told: LogLine[] = [];
  #hasToldAll = false;
  #source: EventSource | null = null;
  #showing: ReturnType<typeof setTimeout> | undefined;
  #connecting: ReturnType<typeof setTimeout> | undefined;

  constructor(id: string, readonly hasEnded: () => boolean) {
    this.#address = `/v1/jobs/${id}/logs`;
  }

  /** Follows the log until the returned function is called. */
  open(): () => void {
    const close = whileVisible((over) => {
      if (this.#hasToldAll) over();
      else this.#listen(over);
      return () => {
        clearTimeout(this.#connecting);
        this.#source?.close();
        this.#source = null;
      };
    });
    return () => {
      close();
      clearTimeout(this.#showing);
    };
  }

  get #last(): number {
    return this.#told.at(-1)?.seq ?? 0;
  }

  #listen(over: () => void): void {
    const source = (this.#source = new EventSource(`${this.#address}/stream?after=${this.#last}`));
    let isOpen = false;
    source.onopen = () => {
      isOpen = true;
      this.isAway = false;
      this.#showSoon();
    };
    source.addEventListener("log", (event) => {
      const line = JSON.parse((event as MessageEvent<string>).data) as LogLine;
      if (line.seq <= this.#last) return; // of a connection that the browser opened again by itself
      this.#told.push(line);
      this.#showSoon();
    });
    source.onerror = () => {
      this.isAway = !isOpen; // else it has ended, perhaps as it has told all
      isOpen = false;
      if (this.hasEnded()) void this.#end(source, over);
      else if (source.readyState === EventSource.CLOSED) this.#listenAgain(over);
    };
  }

  /** Is over once the service says that nothing comes after the last line: what broke off ends as what is whole does. */
  async #end(source: EventSource, over: () => void): Promise<void> {
    source.close();
    const isWhole = await this.#isWhole();
    if (this.#source !== source) return; // nobody looks any more
    if (isWhole) {
      this.#hasToldAll = true;
      this.isAway = false;
      this.#showSoon();
      over();
    } else this.#listenAgain(over);
  }

  async #isWhole(): Promise<boolean> {
    try {
      return !(await get<Page<LogLine>>(`${this.#address}?after=${this.#last}&limit=1`)).items.length;
    } catch (error) {
      return error instanceof Problem && error.status === 404; // the job is deleted: there is no more to come
    }
  }

  #listenAgain(over: () => void): void {
    this.isAway = true;
    this.#connecting = setTimeout(() => this.#listen(over), AGAIN_MS);
  }

  #showSoon(): void {
    this.#showing ??= setTimeout(() => {
      this.#showing = undefined;
      this.hasAnswered = true;
      if (this.#told.length > MOST) this.#told = this.#told.slice(-MOST);
      this.lines = [...this.#told];
    }, SHOW_EVERY_MS);
  }
}
