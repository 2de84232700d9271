import fc from 'fast-check';
import { beforeAll, describe, expect, test, vi } from 'vitest';

const kept = new Map<string, string>();
let zone: typeof import('../../src/dashboard/zone.js');
beforeAll(async () => {
  vi.stubGlobal('localStorage', {
    getItem: (name: string) => kept.get(name) ?? null,
    setItem: (name: string, value: string) => void kept.set(name, value),
    removeItem: (name: string) => void kept.delete(name),
  });
  zone = await import('../../src/dashboard/zone.js');
});

/** What a clock of the zone shows, by another way than the code under test: 2026-01-31T09:30. */
function shownIn(timeZone: string, at: number): string {
  const text = new Intl.DateTimeFormat('sv-SE', { timeZone, dateStyle: 'short', timeStyle: 'short' }).format(at);
  return text.replace(' ', 'T');
}

const MINUTE = 60_000;
const anyMinute = fc
  .integer({ min: Date.UTC(2020, 0) / MINUTE, max: Date.UTC(2035, 0) / MINUTE })
  .map((minutes) => minutes * MINUTE);
const anyZone = fc.constantFrom(...Intl.supportedValuesOf('timeZone'));

describe('the zone of the page', () => {
  test('an input shows what a clock of the zone shows, and its value means an instant at which the clock shows it', () => {
    fc.assert(
      fc.property(anyZone, anyMinute, (name, at) => {
        zone.chooseZone(name);
        const value = zone.localInput(at);
        expect(value).toBe(shownIn(name, at));
        expect(shownIn(name, zone.instantIn(value))).toBe(value);
      }),
    );
  });

  test('a day begins at its first minute in the zone', () => {
    fc.assert(
      fc.property(anyZone, anyMinute, fc.integer({ min: 0, max: 8 }), (name, at, days) => {
        zone.chooseZone(name);
        const day = (instant: number): string => shownIn(name, instant).slice(0, 10);
        const begin = zone.midnight(at, days);
        expect(begin).toBeLessThanOrEqual(at);
        const wanted = new Date(Date.parse(`${day(at)}T00:00Z`) - days * 86_400_000).toISOString().slice(0, 10);
        expect(day(begin)).toBe(wanted);
        // The minute before is of the day before.
        expect(day(begin - MINUTE) < wanted).toBe(true);
      }),
    );
  });

  test('a time that the clock shows twice is the first; one that it leaps over is as long after the leap', () => {
    zone.chooseZone('Europe/Berlin');
    const iso = (value: string): string => new Date(zone.instantIn(value)).toISOString();
    expect(iso('2026-10-25T02:30')).toBe('2026-10-25T00:30:00.000Z');
    expect(iso('2026-03-29T02:30')).toBe('2026-03-29T01:30:00.000Z');
    expect(zone.instantIn('')).toBeNaN();
    // The clocks of Beirut leap at midnight: that day has no midnight and begins at one.
    zone.chooseZone('Asia/Beirut');
    expect(new Date(zone.midnight(Date.UTC(2026, 2, 29, 12), 0)).toISOString()).toBe('2026-03-28T22:00:00.000Z');
    expect(zone.localInput(zone.midnight(Date.UTC(2026, 2, 29, 12), 0))).toBe('2026-03-29T01:00');
  });

  test('a choice is kept, and the zone of the browser is no choice', () => {
    zone.chooseZone('Asia/Kolkata');
    expect([...kept.values()]).toEqual(['Asia/Kolkata']);
    expect(zone.zoneNow()).toBe('Asia/Kolkata');
    zone.chooseZone(zone.BROWSER_ZONE);
    expect([...kept.values()]).toEqual([]);
  });
});
