// What is worth doing only for what stays in sight: rows that fly by while somebody scrolls ask for nothing.
const RESTS_MS = 80;

let scrolledAt = -Infinity;

/** Notices what scrolls in the window, or in anything on it; returns what ends that. */
export function noticeScrolling(): () => void {
  const notice = (): void => void (scrolledAt = performance.now());
  addEventListener("scroll", notice, { capture: true, passive: true });
  return () => removeEventListener("scroll", notice, { capture: true });
}

/** Calls `act` once nothing has scrolled for a moment; returns what has it not be called any more. */
export function onceAtRest(act: () => void): () => void {
  let timer = setTimeout(look, RESTS_MS);
  function look(): void {
    const left = scrolledAt + RESTS_MS - performance.now();
    if (left > 0) timer = setTimeout(look, left);
    else act();
  }
  return () => clearTimeout(timer);
}
