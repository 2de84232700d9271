import { useEffect, useEffectEvent, useState, type KeyboardEvent, type RefObject } from 'react';

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

/** How many rows each key goes on. */
const STEPS: Record<string, number> = {
  ArrowDown: 1,
  ArrowUp: -1,
  PageDown: 10,
  PageUp: -10,
};

/** The keys of a list of `count` rows of the same height, in pixels: they move the focus to the link of another row. */
export function stepRows(event: KeyboardEvent<HTMLElement>, count: number, height: number): void {
  const step = STEPS[event.key];
  const row = (event.target as HTMLElement).closest<HTMLElement>('[data-index]');
  if (step === undefined || !row) return;
  event.preventDefault();
  const list = event.currentTarget;
  const next = Math.max(0, Math.min(count - 1, Number(row.dataset['index']) + step));
  const focus = (): boolean => {
    const link = list.querySelector<HTMLElement>(`[data-index="${next}"] .row-link`);
    link?.focus({ preventScroll: true });
    return link !== null;
  };
  const top = list.getBoundingClientRect().top + next * height;
  const room = window.innerHeight - 2 * height;
  if (top < 3 * height) window.scrollBy(0, top - 3 * height);
  else if (top > room) window.scrollBy(0, top - room);
  // A row out of sight must be drawn before it can take the focus.
  if (!focus()) window.requestAnimationFrame(() => window.requestAnimationFrame(focus));
}
