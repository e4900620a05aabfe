// What changes with time: a clock for "4 min ago", and polling and streams that rest while nobody looks.

export const clock = $state({ now: Date.now() });
setInterval(() => (clock.now = Date.now()), 1000);

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

/**
 * Has `begin` open something now, and again whenever the page becomes visible; what it returns closes that while the page
 * is hidden. A browser opens only six connections to a service over HTTP/1.1, for all of its tabs together: streams that
 * hidden tabs keep would leave none to those in sight. Returns what ends it.
 */
export function whileVisible(begin: () => () => void): () => void {
  let close: (() => void) | null = null;

  function turn(): void {
    if (!document.hidden) close ??= begin();
    else end();
  }

  function end(): void {
    close?.();
    close = null;
  }

  document.addEventListener("visibilitychange", turn);
  turn();
  return () => {
    document.removeEventListener("visibilitychange", turn);
    end();
  };
}
