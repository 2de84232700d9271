import { useSyncExternalStore } from 'react';

const KEY = 'footsteps.zone';
const listeners = new Set<() => void>();

/** The browser's own zone, e.g. Europe/Berlin. */
export const BROWSER_ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;

/** The zones that can be chosen. */
export const ZONES: readonly string[] = [...new Set(['UTC', ...Intl.supportedValuesOf('timeZone')])];

function readZone(): string {
  const kept = localStorage.getItem(KEY);
  return kept && ZONES.includes(kept) ? kept : BROWSER_ZONE;
}

let current = readZone();

/** The zone in which all times of the page are shown and counted: the chosen one, else the browser's. */
export const zoneNow = (): string => current;

/** Chooses a zone, and stores the choice in this browser. The browser's own zone removes the choice. */
export function chooseZone(zone: string): void {
  if (zone === BROWSER_ZONE) localStorage.removeItem(KEY);
  else localStorage.setItem(KEY, zone);
  current = zone;
  for (const listener of listeners) listener();
}

/** The zone of the page. React draws the component again when it changes. */
export const useZone = (): string =>
  useSyncExternalStore((listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, zoneNow);

const DAY = 86_400_000;
const formats = new Map<string, Intl.DateTimeFormat>();

/** One for each zone that was chosen while the page is open: making one is slow. */
function partsFormat(timeZone: string): Intl.DateTimeFormat {
  const known = formats.get(timeZone);
  if (known) return known;
  const made = new Intl.DateTimeFormat('en-u-ca-gregory', {
    timeZone,
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    second: 'numeric',
  });
  formats.set(timeZone, made);
  return made;
}

/** Year, month, day, hour, minute and second of an instant in the zone. */
function partsAt(at: number): number[] {
  const parts = partsFormat(zoneNow()).formatToParts(at);
  return ['year', 'month', 'day', 'hour', 'minute', 'second'].map((name) =>
    Number(parts.find(({ type }) => type === name)?.value),
  );
}

/** How far the zone's clock is before UTC at an instant. Milliseconds. */
function offsetAt(at: number): number {
  const [year, month, day, hour, minute, second] = partsAt(at) as [number, number, number, number, number, number];
  return Date.UTC(year, month - 1, day, hour, minute, second) - Math.floor(at / 1_000) * 1_000;
}

/**
 * The instant at which the zone's clock shows what a clock of UTC shows at `shown`. A time that the clock shows twice is the
 * first; one that it leaps over is as long after the leap. Milliseconds.
 */
function instantOf(shown: number): number {
  const early = shown - offsetAt(shown - DAY);
  if (early + offsetAt(early) === shown) return early;
  const late = shown - offsetAt(shown + DAY);
  return late + offsetAt(late) === shown ? late : early;
}

/** The midnight in the zone that began the day so many days before `at`. Milliseconds. */
export function midnight(at: number, daysBefore: number): number {
  const [year, month, day] = partsAt(at) as [number, number, number];
  return instantOf(Date.UTC(year, month - 1, day - daysBefore));
}

/** The value of a `datetime-local` input: 2026-01-31T09:30 in the zone. `at` is in milliseconds. */
export function localInput(at: number): string {
  return new Date(at + offsetAt(at)).toISOString().slice(0, 16);
}

/** The instant of the value of a `datetime-local` input, in milliseconds; NaN if it has none. */
export function instantIn(value: string): number {
  const shown = Date.parse(`${value}Z`);
  return Number.isNaN(shown) ? Number.NaN : instantOf(shown);
}
