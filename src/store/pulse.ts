import type { Queryable } from './database.js';

/** Milliseconds without a beat that are an outage; the shortest presenceTimeout there may be. */
export const GAP = 2_000;

/**
 * Moves the service's pulse on, where it is `age` milliseconds old or more; a gap in it is noted as an outage by the same
 * statement, so that nobody sees the one without the other. Servers at once wait for the first of them, and find nothing
 * left to do. Answers how long the service had been away, in milliseconds, where this beat ended an outage.
 *
 * `at`: null for Postgres' own clock, which all servers share. Where that was turned back, it is an outage too, since
 * nothing is known of how long.
 */
export async function beat(database: Queryable, age: number, at: Date | null): Promise<number | null> {
  const rows = await database.query<{ away: number | null }>({
    name: 'pulse.beat',
    text: `WITH last AS (
             SELECT p.beat_at, t.at, p.beat_at BETWEEN t.at - $3 * interval '1 ms' AND t.at + $3 * interval '1 ms' AS there
             FROM pulse p CROSS JOIN LATERAL (SELECT coalesce($1::timestamptz(3), clock_timestamp()::timestamptz(3)) AS at) t
             WHERE p.id AND (p.beat_at BETWEEN t.at - $2 * interval '1 ms' AND t.at + $2 * interval '1 ms') IS NOT TRUE
             FOR UPDATE OF p
           ), moved AS (
             UPDATE pulse p SET beat_at = last.at FROM last WHERE p.id
           ), noted AS (
             UPDATE outage o SET away_from = CASE WHEN last.beat_at <= last.at THEN last.beat_at END, back_at = last.at
             FROM last WHERE o.id AND last.there IS NOT TRUE
           )
           SELECT (extract(epoch FROM at - beat_at) * 1000)::float8 AS away FROM last WHERE there IS NOT TRUE`,
    values: [at, age, GAP],
  });
  return rows[0]?.away ?? null;
}
