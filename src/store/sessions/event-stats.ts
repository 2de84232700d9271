import type { Reach } from '../../domain/access.js';
import type { EventFilter } from '../../domain/filters.js';
import type { Database } from '../database.js';
import { Prisma } from '../generated/prisma/client.js';
import { intervalsOf, pointsOf, type SeriesRange } from '../intervals.js';
import { eventConditions } from './event-filter.js';
import { readSearched } from './event-search.js';

const { sql } = Prisma;

export interface EventTotals {
  readonly total: number;
  /** Different users that these events name. */
  readonly users: number;
  /** When the first of these events happened. Null: there are none. */
  readonly earliest: Date | null;
}

export interface EventStatsPoint {
  /** Start of the interval. */
  readonly at: Date;
  readonly events: number;
  readonly users: number;
}

/**
 * The totals of the events that match. Grouping by user first lets Postgres count users without sorting all events.
 * Errors: UNAVAILABLE when a search takes too long.
 */
export async function readEventTotals(
  database: Database,
  reach: Reach,
  filter: EventFilter | null,
): Promise<EventTotals> {
  const { text, values } = sql`
    SELECT coalesce(sum(events), 0)::integer AS total, count(user_id)::integer AS users, min(earliest) AS earliest
    FROM (
      SELECT e.user_id, count(*) AS events, min(e.occurred_at) AS earliest
      FROM events e WHERE ${eventConditions(reach, filter)} GROUP BY 1
    ) m`;
  const [row] = await readSearched<EventTotals>(database, filter, { name: 'eventStats.totals', text, values });
  return row!;
}

/**
 * One point for every interval that overlaps the range, also for intervals without events. Errors: UNAVAILABLE when a
 * search takes too long.
 */
export async function readEventSeries(
  database: Database,
  reach: Reach,
  filter: EventFilter | null,
  range: SeriesRange,
): Promise<EventStatsPoint[]> {
  const intervals = intervalsOf(range);
  const asked = { ...filter, occurredAt: { from: range.from, to: range.to } };
  const { text, values } = sql`
    SELECT place, sum(events)::integer AS events, count(user_id)::integer AS users
    FROM (
      SELECT ${intervals.placeOf('e.occurred_at')} AS place, e.user_id, count(*) AS events
      FROM events e WHERE ${eventConditions(reach, asked)} GROUP BY 1, 2
    ) m GROUP BY place`;
  const rows = await readSearched<Omit<EventStatsPoint, 'at'> & { place: number }>(database, filter, {
    name: 'eventStats.series',
    text,
    values,
  });
  return pointsOf<Omit<EventStatsPoint, 'at'>>(intervals, rows, { events: 0, users: 0 });
}
