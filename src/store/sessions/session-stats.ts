import type { Reach } from '../../domain/access.js';
import type { SessionFilter } from '../../domain/filters.js';
import type { Database } from '../database.js';
import { Prisma } from '../generated/prisma/client.js';
import { intervalsOf, pointsOf, type SeriesRange } from '../intervals.js';
import { sessionConditions } from './session-filter.js';
import { findSearched } from './session-search.js';
import { WITH_USERS } from './sessions.js';

const { sql, raw } = Prisma;

/** Totals of the sessions that match. Durations are in seconds. */
export interface SessionTotals {
  readonly sessions: number;
  readonly users: number;
  readonly averageDuration: number | null;
  readonly medianDuration: number | null;
  readonly p95Duration: number | null;
  readonly sessionsWithErrors: number;
  /** When the first of these sessions started. Null: there are none. */
  readonly earliest: Date | null;
}

export interface SessionStatsPoint {
  /** Start of the interval. */
  readonly at: Date;
  readonly sessions: number;
  readonly users: number;
  readonly averageDuration: number | null;
}

/** Of a session, in seconds. */
export const DURATION = raw('extract(epoch FROM s.last_activity_at - s.started_at)::float8');

/** The totals of the sessions that match. */
export async function readTotals(
  database: Database,
  reach: Reach,
  filter: SessionFilter | null,
): Promise<SessionTotals> {
  const found = await findSearched(database, reach, filter);
  const query = sql`
    SELECT count(*)::integer AS sessions, count(DISTINCT user_id)::integer AS users, avg(duration) AS "averageDuration",
           percentile_cont(0.5) WITHIN GROUP (ORDER BY duration) AS "medianDuration",
           percentile_cont(0.95) WITHIN GROUP (ORDER BY duration) AS "p95Duration",
           (count(*) FILTER (WHERE error_count > 0))::integer AS "sessionsWithErrors", min(started_at) AS earliest
    FROM (SELECT s.user_id, s.error_count, s.started_at, ${DURATION} AS duration
          FROM ${WITH_USERS} WHERE ${sessionConditions(reach, filter, found)}) m`;
  const [row] = await database.query<SessionTotals>({ name: 'stats.totals', text: query.text, values: query.values });
  return row!;
}

/**
 * One point for every interval that overlaps the range, also for intervals without sessions. A session counts in the
 * interval in which it started. Grouping by user first lets Postgres count users without sorting all sessions.
 */
export async function readSeries(
  database: Database,
  reach: Reach,
  filter: SessionFilter | null,
  range: SeriesRange,
): Promise<SessionStatsPoint[]> {
  const intervals = intervalsOf(range);
  const asked = { ...filter, startedAt: { from: range.from, to: range.to } };
  const found = await findSearched(database, reach, asked);
  const query = sql`
    SELECT place, sum(sessions)::integer AS sessions, count(user_id)::integer AS users,
           sum(duration) / sum(sessions)::float8 AS "averageDuration"
    FROM (
      SELECT ${intervals.placeOf('s.started_at')} AS place, s.user_id, count(*) AS sessions, sum(${DURATION}) AS duration
      FROM ${WITH_USERS} WHERE ${sessionConditions(reach, asked, found)} GROUP BY 1, 2
    ) m GROUP BY place`;
  const rows = await database.query<Omit<SessionStatsPoint, 'at'> & { place: number }>({
    name: 'stats.series',
    text: query.text,
    values: query.values,
  });
  return pointsOf<Omit<SessionStatsPoint, 'at'>>(intervals, rows, { sessions: 0, users: 0, averageDuration: null });
}
