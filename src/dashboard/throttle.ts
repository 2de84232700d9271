import { useEffect, useEffectEvent, useRef } from 'react';

/**
 * Returns a function that requests a call of `action`. The call follows after a tenth of `interval` or later, at most once in
 * each `interval`, and not before `rest` has passed since the last one. Requests before that call are joined into it.
 * Milliseconds.
 */
export function useThrottled(action: () => void, interval: number, rest: () => number = () => 0): () => void {
  const run = useEffectEvent(action);
  const pause = useEffectEvent(rest);
  const ask = useRef<(() => void) | null>(null);
  useEffect(() => {
    let timer: number | undefined;
    let last = 0;
    ask.current = () => {
      if (timer !== undefined) return;
      const wait = Math.max(interval / 10, last + Math.max(interval, pause()) - Date.now());
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
