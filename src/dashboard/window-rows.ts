import { useEffect, useEffectEvent, useState, type RefObject } from 'react';

/** Rows drawn above and below those in sight. */
const SPARE = 12;
/** The end is near when so many rows are left below those in sight. */
const NEAR = 40;

/**
 * Which rows of a long list are in sight (and a few more), as the window is scrolled. All rows are equally
 * high, so that nothing is ever measured and nothing jumps.
 */
export function useWindowRows(
  list: RefObject<HTMLElement | null>,
  count: number,
  height: number,
  onNearEnd: () => void,
): [number, number] {
  const [[first, last], setRange] = useState<[number, number]>([0, 40]);
  const nearEnd = useEffectEvent(onNearEnd);
  useEffect(() => {
    function look(): void {
      const top = list.current?.getBoundingClientRect().top ?? 0;
      const from = Math.max(0, Math.floor(-top / height) - SPARE);
      const to = Math.ceil((window.innerHeight - top) / height) + SPARE;
      setRange(([a, b]) => (a === from && b === to ? [a, b] : [from, to]));
      if (to + NEAR > count) nearEnd();
    }
    look();
    window.addEventListener('scroll', look, { passive: true });
    window.addEventListener('resize', look);
    return () => {
      window.removeEventListener('scroll', look);
      window.removeEventListener('resize', look);
    };
  }, [list, count, height]);
  return [Math.min(first, count), Math.min(last, count)];
}
