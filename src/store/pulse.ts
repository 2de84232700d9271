import type { Queryable } from './database.js';

/** An outage is a gap of more than this many milliseconds between two beats. No presenceTimeout may be shorter. */
export const GAP = 2_000;

/**
 * An outage of at least so many milliseconds is kept in `long_outages`: the feed does not count it (kept-changes.ts). Shorter
 * ones, such as those of restarts, are within what the feed keeps longer anyway (KEPT_LONGER).
 */
export const LONG_OUTAGE = 600_000;

/**
 * Moves the service's pulse on if it is at least `age` milliseconds old. If there is a gap in the pulse, the same
 * statement notes an outage, so nobody can see one without the other. Servers that call at the same time wait for the
 * first of them, and then find nothing left to do. Returns how long the service was away, in milliseconds, if this beat
 * ended an outage (0 if Postgres' clock was turned back); otherwise null.
 *
 * `at`: null means Postgres' own clock, which all servers share. If that clock was turned back, this counts as an
 * outage too, because nobody knows how long the service was away. Long outages that lie in the future then are forgotten.
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
           ), long AS (
             INSERT INTO long_outages (away_from, back_at)
             SELECT beat_at, at FROM last WHERE at >= beat_at + $4 * interval '1 ms' ON CONFLICT DO NOTHING
           ), future AS (
             DELETE FROM long_outages l USING last WHERE last.at < last.beat_at AND l.back_at > last.at
           )
           SELECT CASE WHEN at < beat_at THEN 0 ELSE extract(epoch FROM at - beat_at) * 1000 END::float8 AS away FROM last WHERE there IS NOT TRUE`,
    values: [at, age, GAP, LONG_OUTAGE],
  });
  return rows[0]?.away ?? null;
}
