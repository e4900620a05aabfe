// What changes with time: a clock for "4 min ago", and polling and streams that rest while nobody looks.
import { inTurns, type Begin } from "./turns";

/** The service's time, by its own clock. */
export const clock = $state({ now: Date.now() });
setInterval(tick, 1000);

const DATE_LAGS_MS = 2000; // whole seconds, written anew once a second
let ahead = 0; // milliseconds that the service's clock is ahead of ours, as far as its answers say that they differ

function tick(): void {
  clock.now = Date.now() + ahead;
}

/** Learns how late it is for the service from an answer to a request that was sent at `sentAt`, by our clock. */
export function learnTime(answer: Response, sentAt: number): void {
  const told = Date.parse(answer.headers.get("Date") ?? "");
  if (Number.isNaN(told)) return;
  const learned = Math.max(told - Date.now(), Math.min(told + DATE_LAGS_MS - sentAt, ahead));
  if (learned === ahead) return;
  ahead = learned;
  tick();
}

/**
 * Calls `act` now and then every so many seconds, while the page is visible, and `told` with how that went: null where
 * all is well. Returns what ends it.
 */
export function poll(
  act: (signal: AbortSignal) => Promise<void>,
  everyS: number,
  told: (error: unknown) => void,
): () => void {
  const ending = new AbortController();
  const { signal } = ending;
  let timer: ReturnType<typeof setTimeout> | undefined;

  async function turn(): Promise<void> {
    clearTimeout(timer);
    try {
      if (!document.hidden) await act(signal);
      if (!signal.aborted) told(null);
    } catch (error) {
      if (!signal.aborted) told(error);
    }
    clearTimeout(timer);
    if (!signal.aborted) timer = setTimeout(turn, everyS * 1000);
  }

  const onVisible = (): void => void (document.hidden || turn());
  document.addEventListener("visibilitychange", onVisible);
  void turn();
  return () => {
    ending.abort();
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", onVisible);
  };
}

/** Has a stream open while the page is visible, until it is over. Returns what ends it. */
export function whileVisible(begin: Begin): () => void {
  let ending: AbortController | null = null;

  function turn(): void {
    if (document.hidden) end();
    else if (!ending) void inTurns(begin, (ending = new AbortController()).signal);
  }

  function end(): void {
    ending?.abort();
    ending = null;
  }

  document.addEventListener("visibilitychange", turn);
  turn();
  return () => {
    document.removeEventListener("visibilitychange", turn);
    end();
  };
}
