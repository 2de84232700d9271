import { useEffect, useEffectEvent } from 'react';

/** The first and the longest wait before the server is tried again. Milliseconds. */
const FIRST_WAIT = 500;
const LONGEST_WAIT = 4_000;

/** The wait before the next try, after so many that failed: twice the one before, and a quarter more or less. Milliseconds. */
export const waitAfter = (failures: number): number =>
  Math.min(FIRST_WAIT * 2 ** Math.min(failures, 10), LONGEST_WAIT) * (0.75 + Math.random() / 2);

const listeners = new Set<() => void>();

/**
 * Calls `listener` when there is a sign that the server can be reached again: the browser is online, the page is shown, or
 * a stream has opened. Returns the function that ends this.
 */
export function whenReachable(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Tells all who wait that the server may be reachable. */
export function tellReachable(): void {
  listeners.forEach((listener) => listener());
}

window.addEventListener('online', tellReachable);
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) tellReachable();
});

/** While `isLost`, calls `retry` again and again: after short waits, and at once on a sign that the server is back. */
export function useRetry(isLost: boolean, retry: () => void): void {
  const again = useEffectEvent(retry);
  useEffect(() => {
    if (!isLost) return undefined;
    let failures = 0;
    let timer: number | undefined;
    function wait(): void {
      timer = window.setTimeout(() => {
        // A page in the background asks when it is shown.
        if (!document.hidden) again();
        wait();
      }, waitAfter(failures));
      failures += 1;
    }
    wait();
    const end = whenReachable(() => again());
    return () => {
      window.clearTimeout(timer);
      end();
    };
  }, [isLost]);
}
