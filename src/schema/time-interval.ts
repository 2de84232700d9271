import type { TimeInterval as IntervalShape } from '../domain/filters.js';
import { isTimeZone } from '../domain/intervals.js';
import { AppError } from '../errors.js';
import { builder } from './builder.js';

export const TimeInterval = builder.enumType('TimeInterval', {
  description:
    'The length of the intervals of a series. Intervals begin at full minutes, hours, days and so on of the time zone that the field is asked for. When clocks change, a day has 23 or 25 hours, and an hour that comes twice is two intervals.',
  values: {
    MINUTE: { description: 'A minute.' },
    HOUR: { description: 'An hour.' },
    DAY: { description: 'A day.' },
    WEEK: { description: 'A week; it begins on Monday.' },
    MONTH: { description: 'A calendar month.' },
  },
});

/** The arguments `interval` and `timeZone` of a field that has a series. Resolvers check both, with checkPoints and checkTimeZone. */
export const INTERVAL = 'The length of each interval. A range has at most 1,500 intervals (TOO_MANY_INTERVALS).';
export const TIME_ZONE =
  'Intervals begin at full hours, days and so on of this time zone: an IANA name, e.g. Europe/Berlin. A day begins at midnight or, if clocks skip midnight, when they do.';

const MOST_POINTS = 1_500;
/** The least length, in milliseconds. */
const LENGTHS: Record<IntervalShape, number> = {
  MINUTE: 60_000,
  HOUR: 3_600_000,
  DAY: 86_400_000,
  WEEK: 7 * 86_400_000,
  MONTH: 28 * 86_400_000,
};

/** Throws TOO_MANY_INTERVALS, with the interval that fits. `range` names the argument of the range. */
export function checkPoints(interval: IntervalShape, from: Date, to: Date, range: string): void {
  const points = (length: number): number => (to.getTime() - from.getTime()) / length + 1;
  if (points(LENGTHS[interval]) <= MOST_POINTS) return;
  const fitting = Object.entries(LENGTHS).find(([, length]) => points(length) <= MOST_POINTS);
  const advice = fitting ? `with ${fitting[0]} it fits` : `narrow ${range}`;
  throw new AppError(
    'TOO_MANY_INTERVALS',
    `The range has more than ${MOST_POINTS} intervals of one ${interval}; ${advice}.`,
    { field: 'interval' },
  );
}

/** Throws BAD_USER_INPUT for a text that is no name of the IANA database. */
export function checkTimeZone(timeZone: string): string {
  if (isTimeZone(timeZone)) return timeZone;
  throw new AppError('BAD_USER_INPUT', 'timeZone is not an IANA time zone. Write it like Europe/Berlin.', {
    field: 'timeZone',
  });
}
