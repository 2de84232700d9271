import type { TimeInterval } from '../domain/filters.js';
import { intervalStarts } from '../domain/intervals.js';
import { Prisma } from './generated/prisma/client.js';

/** What a series is asked for: a range (`to` not included) and its intervals in a time zone (isTimeZone). */
export interface SeriesRange {
  readonly from: Date;
  readonly to: Date;
  readonly interval: TimeInterval;
  readonly timeZone: string;
}

export interface Intervals {
  /** The start of each interval. */
  readonly starts: readonly Date[];
  /** The starts as SQL, an array of timestamps in order. The first is the start of the range. */
  readonly bounds: Prisma.Sql;
  /** SQL: which interval, counted from 1, holds the time of a column. The time must be in the range. 0.1 µs each. */
  readonly placeOf: (column: string) => Prisma.Sql;
}

/** The intervals of a range: in one place for all series, so that all agree what a day is. */
export function intervalsOf({ from, to, interval, timeZone }: SeriesRange): Intervals {
  const starts = intervalStarts(interval, timeZone, from.getTime(), to.getTime()).map((at) => new Date(at));
  const bounds = Prisma.sql`${[from, ...starts.slice(1)].map((at) => at.toISOString())}::timestamptz[]`;
  return { starts, bounds, placeOf: (column) => Prisma.sql`width_bucket(${Prisma.raw(column)}, ${bounds})` };
}

/** One point for each interval: what was found for it (`place` counts from 1) or, where nothing was, `none`. */
export function pointsOf<Point extends object>(
  { starts }: Intervals,
  found: readonly (Point & { readonly place: number })[],
  none: Point,
): (Point & { readonly at: Date })[] {
  const points = starts.map((at) => ({ ...none, at }));
  for (const { place, ...point } of found) Object.assign(points[place - 1]!, point);
  return points;
}
