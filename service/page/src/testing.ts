// Stand-ins for what only a browser has.

/** Tells what the test has it tell, as the browser's own would what the service sends. */
export class Source extends EventTarget {
  static all: Source[] = [];
  readyState = 1;
  onopen: (() => void) | null = null;
  onerror: (() => void) | null = null;

  constructor(readonly url: string) {
    super();
    Source.all.push(this);
  }

  tell(kind: string, id: number, data: object): void {
    this.dispatchEvent(new MessageEvent(kind, { data: JSON.stringify(data), lastEventId: String(id) }));
  }

  /** The service answers. */
  answer(): void {
    this.onopen?.();
  }

  /** The connection ends, or none came about; the browser connects again by itself. */
  end(): void {
    this.readyState = 0;
    this.onerror?.();
  }

  /** The service refuses it; the browser gives up. */
  breakOff(): void {
    this.readyState = 2;
    this.onerror?.();
  }

  close(): void {
    this.readyState = 2;
  }
}
