import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { TimeInterval } from '../../src/domain/filters.js';
import { intervalStarts, isTimeZone } from '../../src/domain/intervals.js';
import { nameIn } from '../support/local-time.js';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const starts = (interval: TimeInterval, timeZone: string, from: string, to: string): string[] =>
  intervalStarts(interval, timeZone, Date.parse(from), Date.parse(to)).map((at) =>
    new Date(at).toISOString().replace(':00.000Z', 'Z'),
  );

describe('days begin at the midnight of their time zone', () => {
  const cases: [string, string, string, string, string[]][] = [
    [
      'Los Angeles',
      'America/Los_Angeles',
      '2026-07-01T12:00Z',
      '2026-07-02T08:00Z',
      ['2026-07-01T07:00Z', '2026-07-02T07:00Z'],
    ],
    ['Kolkata', 'Asia/Kolkata', '2026-07-01T12:00Z', '2026-07-02T12:00Z', ['2026-06-30T18:30Z', '2026-07-01T18:30Z']],
    [
      'a day of 23 hours',
      'America/Los_Angeles',
      '2026-03-08T08:00Z',
      '2026-03-09T08:00Z',
      ['2026-03-08T08:00Z', '2026-03-09T07:00Z'],
    ],
    [
      'a day of 25 hours',
      'America/Los_Angeles',
      '2026-11-01T07:00Z',
      '2026-11-02T09:00Z',
      ['2026-11-01T07:00Z', '2026-11-02T08:00Z'],
    ],
    [
      'a midnight that clocks skip (to 01:00)',
      'Africa/Cairo',
      '2026-04-23T12:00Z',
      '2026-04-25T12:00Z',
      ['2026-04-22T22:00Z', '2026-04-23T22:00Z', '2026-04-24T21:00Z'],
    ],
    [
      'a midnight that comes twice: the first one',
      'America/Havana',
      '2026-10-31T12:00Z',
      '2026-11-02T12:00Z',
      ['2026-10-31T04:00Z', '2026-11-01T04:00Z', '2026-11-02T05:00Z'],
    ],
    [
      'clocks that go back over midnight',
      'America/St_Johns',
      '2010-11-07T02:45Z',
      '2010-11-08T12:00Z',
      ['2010-11-07T02:30Z', '2010-11-08T03:30Z'],
    ],
    [
      'a day that a zone left out',
      'Pacific/Apia',
      '2011-12-29T12:00Z',
      '2011-12-31T12:00Z',
      ['2011-12-29T10:00Z', '2011-12-30T10:00Z', '2011-12-31T10:00Z'],
    ],
  ];
  test.each(cases)('%s', (_name, timeZone, from, to, expected) => {
    expect(starts('DAY', timeZone, from, to)).toEqual(expected);
  });
});

describe('hours', () => {
  test('that clocks skip are left out, those that come twice are two', () => {
    expect(starts('HOUR', 'Europe/Berlin', '2026-03-29T00:30Z', '2026-03-29T02:30Z')).toEqual([
      '2026-03-29T00:00Z',
      '2026-03-29T01:00Z',
      '2026-03-29T02:00Z',
    ]);
    expect(starts('HOUR', 'Europe/Berlin', '2026-10-25T00:00Z', '2026-10-25T03:00Z')).toHaveLength(3);
  });

  test('begin at the full hour of zones that are a part of an hour off', () => {
    expect(starts('HOUR', 'Asia/Kolkata', '2026-07-01T12:00Z', '2026-07-01T13:00Z')).toEqual([
      '2026-07-01T11:30Z',
      '2026-07-01T12:30Z',
    ]);
  });

  test('begin too where clocks change by half an hour', () => {
    // At 15:30Z (02:00) clocks go to 02:30; at 15:00Z (02:00) they go back to 01:30.
    expect(starts('HOUR', 'Australia/Lord_Howe', '2026-10-03T15:00Z', '2026-10-03T17:00Z')).toEqual([
      '2026-10-03T14:30Z',
      '2026-10-03T15:30Z',
      '2026-10-03T16:00Z',
    ]);
    expect(starts('HOUR', 'Australia/Lord_Howe', '2026-04-04T14:00Z', '2026-04-04T16:00Z')).toEqual([
      '2026-04-04T14:00Z',
      '2026-04-04T15:00Z',
      '2026-04-04T15:30Z',
    ]);
  });
});

test('weeks begin on Monday, months on the first', () => {
  expect(starts('WEEK', 'America/New_York', '2026-11-01T12:00Z', '2026-11-03T00:00Z')).toEqual([
    '2026-10-26T04:00Z',
    '2026-11-02T05:00Z',
  ]);
  expect(starts('MONTH', 'Asia/Tokyo', '2025-12-31T14:59Z', '2026-02-01T00:00Z')).toEqual([
    '2025-11-30T15:00Z',
    '2025-12-31T15:00Z',
    '2026-01-31T15:00Z',
  ]);
  expect(starts('MONTH', 'UTC', '0001-01-01T00:00Z', '0001-02-02T00:00Z')).toEqual([
    '0001-01-01T00:00Z',
    '0001-02-01T00:00Z',
  ]);
});

const zone = fc.constantFrom(...Intl.supportedValuesOf('timeZone'), 'UTC');
const QUARTER = 15 * MINUTE;
/** The most intervals of a range, and how long one is at least. */
const RANGES = {
  HOUR: { most: 60, length: HOUR },
  DAY: { most: 40, length: DAY },
  WEEK: { most: 8, length: 7 * DAY },
  MONTH: { most: 2, length: 28 * DAY },
} as const;
const range = fc.constantFrom('HOUR', 'DAY', 'WEEK', 'MONTH').chain((interval) =>
  fc.record({
    zone,
    interval: fc.constant(interval),
    // Since 2017, all clocks change at a quarter of an hour.
    from: fc.integer({ min: Date.UTC(2017, 0), max: Date.UTC(2037, 0) }),
    length: fc.integer({ min: 1, max: RANGES[interval].most * RANGES[interval].length }),
  }),
);

test('in every zone: an interval begins where the local calendar or clock shows a new one, and only there', () => {
  fc.assert(
    fc.property(range, ({ zone: timeZone, interval, from, length }) => {
      const name = nameIn(timeZone, interval);
      let first = Math.floor(from / QUARTER) * QUARTER;
      while (name(first) === name(first - QUARTER)) first -= QUARTER;
      const expected = [first];
      for (let at = first + QUARTER; at < from + length; at += QUARTER) {
        if (name(at) === name(at - QUARTER)) continue;
        if (at <= from) expected.length = 0;
        expected.push(at);
      }
      expect(intervalStarts(interval, timeZone, from, from + length)).toEqual(expected);
    }),
    { numRuns: 300 },
  );
});

test('only names of the IANA database are time zones', () => {
  for (const name of ['UTC', 'Europe/Berlin', 'america/los_angeles', 'Asia/Kolkata', 'America/Argentina/Buenos_Aires'])
    expect(isTimeZone(name)).toBe(true);
  for (const text of [
    '',
    'Mars/Phobos',
    '+02:00',
    'GMT+5',
    '<+02>-02',
    `Europe/${'x'.repeat(60)}`,
    'x'.repeat(1_000_000),
  ])
    expect(isTimeZone(text)).toBe(false);
});
