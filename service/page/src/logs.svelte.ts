// The log of one job as it grows, by the service's event stream.
import { whileVisible } from "./live.svelte";
import type { LogLine } from "./log";

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
    this.#address = `/v1/jobs/${id}/logs/stream`;
  }

  /** Follows the log until the returned function is called. */
  open(): () => void {
    const close = whileVisible((over) => {
      if (this.#hasToldAll) over();
      else this.#listen(over);
      return () => {
        clearTimeout(this.#connecting);
        this.#source?.close();
      };
    });
    return () => {
      close();
      clearTimeout(this.#showing);
    };
  }

  #listen(over: () => void): void {
    const source = (this.#source = new EventSource(`${this.#address}?after=${this.#told.at(-1)?.seq ?? 0}`));
    source.onopen = () => {
      this.isAway = false;
      this.#showSoon();
    };
    source.addEventListener("log", (event) => {
      const line = JSON.parse((event as MessageEvent<string>).data) as LogLine;
      if (line.seq <= (this.#told.at(-1)?.seq ?? 0)) return; // of a connection that the browser opened again by itself
      this.#told.push(line);
      this.#showSoon();
    });
    source.onerror = () => {
      this.#showSoon();
      if (this.hasEnded()) {
        this.#hasToldAll = true;
        over();
      } else if (source.readyState === EventSource.CLOSED) {
        this.isAway = true;
        this.#connecting = setTimeout(() => this.#listen(over), AGAIN_MS);
      }
    };
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
