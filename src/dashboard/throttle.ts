import { useEffect, useEffectEvent, useRef } from 'react';

/** Calls `action` soon after it is asked for, and no more often than every `interval` milliseconds. */
export function useThrottled(action: () => void, interval: number): () => void {
  const run = useEffectEvent(action);
  const ask = useRef<(() => void) | null>(null);
  useEffect(() => {
    let timer: number | undefined;
    let last = 0;
    ask.current = () => {
      if (timer !== undefined) return;
      const wait = Math.max(interval / 10, last + interval - Date.now());
      timer = window.setTimeout(() => {
        timer = undefined;
        last = Date.now();
        run();
      }, wait);
    };
    return () => {
      window.clearTimeout(timer);
      ask.current = null;
    };
  }, [interval]);
  return () => ask.current?.();
}
