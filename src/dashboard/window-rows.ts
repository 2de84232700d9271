import { useEffect, useEffectEvent, useState, type RefObject } from 'react';

/** How many rows are drawn above, and below, the rows in sight. */
const SPARE = 12;
/** `onNearEnd` is called when fewer rows than this are left below the drawn rows. */
const NEAR = 40;

/**
 * The first row of a long list to draw, and the one after the last, while the window is scrolled. All rows have the
 * same height in pixels, so no row is measured and the list does not jump.
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
