import { useSyncExternalStore } from 'react';

const listeners = new Set<() => void>();
let timer: number | undefined;

function watch(listener: () => void): () => void {
  listeners.add(listener);
  timer ??= window.setInterval(() => {
    for (const one of listeners) one();
  }, 1_000);
  return () => {
    listeners.delete(listener);
    if (listeners.size > 0) return;
    window.clearInterval(timer);
    timer = undefined;
  };
}

/** Now, in milliseconds, to the last whole `step`: whoever shows it is drawn anew only when that changes. */
export const useNow = (step = 1_000): number => useSyncExternalStore(watch, () => Math.floor(Date.now() / step) * step);
