// What is asked of the service while somebody types: once they rest, and no longer once they type on.

/** Calls `ask` after a rest, and `failed` with what it throws. Returns what stops both, for an effect to return. */
export function onceTypingRests(
  restMs: number,
  ask: (signal: AbortSignal) => Promise<void>,
  failed: (error: unknown) => void,
): () => void {
  const ending = new AbortController();
  const timer = setTimeout(() => {
    ask(ending.signal).catch((error: unknown) => {
      if (!ending.signal.aborted) failed(error);
    });
  }, restMs);
  return () => {
    clearTimeout(timer);
    ending.abort();
  };
}
