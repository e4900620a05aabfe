// Streams on few connections: a browser opens six to a service over HTTP/1.1, for all of its windows together, so that more
// windows than that would leave none for requests. Where there are more streams than places, they take turns.

const PLACES = ["stream 1", "stream 2", "stream 3", "stream 4"];
const TURN_MS = 3000; // at least, once somebody waits
const LOOK_MS = 500;

/** Opens a stream, which calls `over` once it has told everything. Returns what closes it. */
export type Begin = (over: () => void) => () => void;

/** Has a stream open until it is over or the signal ends it, with pauses while others have their turn. */
export async function inTurns(begin: Begin, signal: AbortSignal): Promise<void> {
  let isOver = false;

  function turn(place: string | null): Promise<void> {
    return new Promise((resolve) => {
      if (signal.aborted) return resolve();
      const since = Date.now();
      const timer = setInterval(async () => {
        if (place && Date.now() - since >= TURN_MS && (await isWaitedFor(place))) end();
      }, LOOK_MS);
      const close = begin(() => {
        isOver = true;
        queueMicrotask(end); // it may be over at once
      });
      signal.addEventListener("abort", end, { once: true });

      let hasEnded = false;
      function end(): void {
        if (hasEnded) return; // and the next turn may have begun
        hasEnded = true;
        clearInterval(timer);
        signal.removeEventListener("abort", end);
        close();
        resolve();
      }
    });
  }

  while (!isOver && !signal.aborted) {
    if (!areFew()) return turn(null);
    const place = await freest();
    await navigator.locks.request(place, { signal }, () => turn(place)).catch(() => turn(null)); // refused, or ended while it waited
  }
}

/** Whether connections are few. A page that came over plain HTTP from another machine has no locks to take turns by. */
function areFew(): boolean {
  const [page] = performance.getEntriesByType("navigation") as PerformanceNavigationTiming[];
  return "locks" in navigator && page?.nextHopProtocol === "http/1.1";
}

/** The place that fewest have or wait for; of several, any: windows that open together ask before any of them has one. */
async function freest(): Promise<string> {
  const { held = [], pending = [] } = await navigator.locks.query();
  const users = PLACES.map((place) => [...held, ...pending].filter(({ name }) => name === place).length);
  const free = PLACES.filter((_, at) => users[at] === Math.min(...users));
  return free[Math.floor(Math.random() * free.length)]!;
}

async function isWaitedFor(place: string): Promise<boolean> {
  const { pending = [] } = await navigator.locks.query();
  return pending.some(({ name }) => name === place);
}
