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

/** The time now, rounded down to a multiple of `step`, in milliseconds. The component is drawn again when it changes. */
export const useNow = (step = 1_000): number => useSyncExternalStore(watch, () => Math.floor(Date.now() / step) * step);
