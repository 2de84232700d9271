import type { Reach } from '../domain/access.js';
import type { SessionFilter } from '../domain/filters.js';
import type { Database } from './database.js';
import { Prisma } from './generated/prisma/client.js';
import { sessionConditions } from './session-filter.js';
import { findSearched } from './session-search.js';

const { sql, raw } = Prisma;

export type TimeInterval = 'MINUTE' | 'HOUR' | 'DAY' | 'WEEK' | 'MONTH';

/** Durations in seconds. */
export interface SessionTotals {
  readonly sessions: number;
  readonly users: number;
  readonly averageDuration: number | null;
  readonly medianDuration: number | null;
  readonly p95Duration: number | null;
  readonly sessionsWithErrors: number;
  /** When the first of them started; null where there is none. */
  readonly earliest: Date | null;
}

export interface SessionStatsPoint {
  /** Start of the interval, in UTC; weeks start on Monday. */
  readonly at: Date;
  readonly sessions: number;
  readonly users: number;
  readonly averageDuration: number | null;
}

const FROM = raw('sessions s LEFT JOIN users u ON u.project_id = s.project_id AND u.id = s.user_id');
const DURATION = raw('extract(epoch FROM s.last_activity_at - s.started_at)::float8');

/** The sessions that match, added up. */
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
          FROM ${FROM} WHERE ${sessionConditions(reach, filter, found)}) m`;
  const [row] = await database.query<SessionTotals>({ name: 'stats.totals', text: query.text, values: query.values });
  return row!;
}

/** One point for every interval that meets [from, to), the empty ones too, by the time sessions started. */
export async function readSeries(
  database: Database,
  reach: Reach,
  filter: SessionFilter | null,
  interval: TimeInterval,
  from: Date,
  to: Date,
): Promise<SessionStatsPoint[]> {
  const unit = interval.toLowerCase();
  const step = raw(`interval '1 ${unit}'`);
  const found = await findSearched(database, reach, filter);
  const query = sql`
    SELECT g.at AT TIME ZONE 'UTC' AS at, coalesce(m.sessions, 0) AS sessions, coalesce(m.users, 0) AS users,
           m.average AS "averageDuration"
    FROM generate_series(date_trunc(${unit}, ${from}::timestamptz AT TIME ZONE 'UTC'),
                         (${to}::timestamptz - interval '1 millisecond') AT TIME ZONE 'UTC', ${step}) g (at)
    LEFT JOIN (
      SELECT date_trunc(${unit}, s.started_at AT TIME ZONE 'UTC') AS at, count(*)::integer AS sessions,
             count(DISTINCT s.user_id)::integer AS users, avg(${DURATION}) AS average
      FROM ${FROM} WHERE ${sessionConditions(reach, filter, found)} AND s.started_at >= ${from}::timestamptz AND s.started_at < ${to}::timestamptz
      GROUP BY 1
    ) m ON m.at = g.at
    ORDER BY g.at`;
  return database.query<SessionStatsPoint>({ name: 'stats.series', text: query.text, values: query.values });
}
