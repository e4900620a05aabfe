// The file that somebody brings: chosen, sent, and what became of it, whichever view is looked at meanwhile.
import { whileSignedIn } from "./session.svelte";
import type { Dataset } from "./types";
import { kindOf, nameOf, upload, type ReadAs } from "./upload";

export class Sending {
  file: File | null = $state.raw(null);
  readAs: ReadAs = $state({ name: "", delimiter: "", missing: "", header: "", types: "" });
  fraction: number | null = $state(null); // that is sent; null while nothing is
  trouble: unknown = $state(null);
  made: Dataset | null = $state.raw(null); // of the last file
  #ending = new AbortController();

  choose(chosen: File | undefined): void {
    if (!chosen || this.fraction !== null) return;
    this.leave();
    if (!kindOf(chosen.name)) {
      this.trouble = new Error(`${chosen.name} is none of .csv, .csv.gz, .parquet and .npz.`);
      return;
    }
    this.file = chosen;
    this.readAs.name = nameOf(chosen.name);
  }

  /** Chooses no file, after all. */
  leave(): void {
    this.file = this.trouble = this.made = null;
  }

  async start(): Promise<void> {
    if (!this.file || this.fraction !== null) return;
    this.trouble = null;
    this.fraction = 0;
    this.#ending = new AbortController();
    addEventListener("beforeunload", stay);
    try {
      this.made = await upload(this.file, this.readAs, (share) => (this.fraction = share), this.#ending.signal);
      this.file = null;
    } catch (error) {
      this.trouble = error;
    }
    removeEventListener("beforeunload", stay);
    this.fraction = null;
  }

  stop(): void {
    this.#ending.abort();
  }
}

/** Has the browser ask before the page, and what it sends, is gone. */
function stay(event: Event): void {
  event.preventDefault();
}

export const sending = whileSignedIn(() => new Sending());
