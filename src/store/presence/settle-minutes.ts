import type { Reach } from '../../domain/access.js';
import { firstUuidAt } from '../../domain/event-id.js';
import type { Queryable } from '../database.js';
import { CAME_OR_LEFT } from './presence-change.js';

/**
 * Settles minutes: makes their rows in presence_minutes from the changes of presence, once. A settled minute gets no further
 * change: first the minutes are asked for (asked_until), and from then on each statement that makes a change puts it after
 * them (presence-change). When every transaction has ended that began before that, nobody can add one to them.
 */

/** Settling and erasure exclude each other: each would miss what the other has not committed. */
const LOCK = `pg_advisory_xact_lock(hashtext('footsteps.presence_minutes'))`;

export interface Settling {
  readonly settledUntil: Date | null;
  readonly askedUntil: Date | null;
}

/** How far settling is. */
export async function readSettling(database: Queryable): Promise<Settling> {
  const [row] = await database.query<Settling>({
    name: 'minutes.settling',
    text: 'SELECT settled_until AS "settledUntil", asked_until AS "askedUntil" FROM presence_settling WHERE id',
  });
  return row!;
}

/**
 * Asks for the minutes before `until`, a full minute: no change is put before it any more. If no minute was settled yet,
 * settling begins with the minute of the first change.
 */
export async function askForMinutes(database: Queryable, until: Date): Promise<void> {
  await database.query({
    name: 'minutes.ask',
    text: `UPDATE presence_settling SET asked_until = greatest(asked_until, $1),
             settled_until = coalesce(settled_until, (
               SELECT least($1::timestamptz, date_trunc('minute', min(c.at), 'UTC')) FROM projects p CROSS JOIN LATERAL (
                 SELECT at FROM presence_changes c WHERE c.project_id = p.id ORDER BY c.id LIMIT 1) c
             ), $1)
           WHERE id`,
    values: [until],
  });
}

/**
 * The transactions that may still add a change to minutes that were asked for before this call are those before the answer
 * (xid8): a transaction's own id, which no transaction that began earlier to write can have passed. (The end of a snapshot would
 * not do: it is after the last transaction that has ended, and others may be under way beyond it.)
 */
export async function transactionHorizon(database: Queryable): Promise<string> {
  const [row] = await database.query<{ horizon: string }>({
    name: 'minutes.horizon',
    text: 'SELECT pg_current_xact_id()::text AS horizon',
  });
  return row!.horizon;
}

/** The rows of minutes, from the changes of presence that `which` selects; whole minutes. */
const minutesOf = (which: string): string => `
  SELECT project_id, minute, sum(net)::integer AS net, greatest(max(level), CASE WHEN min(at) > minute THEN 0 END)::integer AS peak,
         CASE WHEN min(at) > minute AND max(level) <= 0 THEN 0
              ELSE (extract(epoch FROM (array_agg(at ORDER BY level DESC, at))[1] - minute) * 1000)::integer END AS peak_after,
         sum(level * (extract(epoch FROM until - at) * 1000)::bigint)::bigint AS area
  FROM (
    SELECT project_id, minute, at, net, sum(net) OVER of_minute AS level,
           lead(at, 1, minute + interval '1 minute') OVER of_minute AS until
    FROM (
      SELECT c.project_id, date_trunc('minute', c.at, 'UTC') AS minute, c.at,
             sum(CASE WHEN c.online_sessions > 0 THEN 1 ELSE -1 END) AS net
      FROM ${which} AND ${CAME_OR_LEFT} GROUP BY c.project_id, c.at
    ) instants
    WINDOW of_minute AS (PARTITION BY project_id, minute ORDER BY at)
  ) levels GROUP BY project_id, minute`;

/**
 * Settles the minutes of all projects from `from`, up to where settling is, to `until`, if all transactions before `horizon`
 * have ended. Answers whether they are settled. A project without changes costs a look at its index: 5 µs.
 */
export async function settleMinutes(
  tx: Queryable,
  { from, until, horizon }: { from: Date; until: Date; horizon: string },
): Promise<boolean> {
  await tx.query({ name: 'minutes.lock', text: `SELECT ${LOCK}` });
  // One statement: what it sees is exactly what its own snapshot says. If it inserts nothing twice, nobody else has been here.
  const [row] = await tx.query<{ settled: number }>({
    name: 'minutes.settle',
    text: `WITH free AS MATERIALIZED (
             SELECT FROM presence_settling
             WHERE id AND settled_until = $1 AND pg_snapshot_xmin(pg_current_snapshot())::text::bigint >= $5::bigint
           ), made AS (
             INSERT INTO presence_minutes (project_id, minute, net, peak, peak_after, area)
             SELECT m.project_id, m.minute, m.net, m.peak, m.peak_after, m.area
             FROM free CROSS JOIN projects p CROSS JOIN LATERAL (
               ${minutesOf('presence_changes c WHERE c.project_id = p.id AND c.id >= $3::uuid AND c.id < $4::uuid')}
             ) m
           ), moved AS (
             UPDATE presence_settling SET settled_until = $2 FROM free WHERE id RETURNING 1
           )
           SELECT count(*)::integer AS settled FROM moved`,
    values: [from, until, firstUuidAt(from), firstUuidAt(until), horizon],
  });
  return row!.settled === 1;
}

/**
 * Deletes the oldest changes of a user's presence, at most `limit`, and makes the minutes anew that they were in. Spells go as a
 * whole where one is short enough, so that the numbers before them stay right until the next call. Returns the number of
 * deleted changes.
 */
export async function eraseChanges(
  tx: Queryable,
  { projectId }: Reach,
  userId: string,
  limit: number,
): Promise<number> {
  await tx.query({ name: 'erase.minutesLock', text: `SELECT ${LOCK}` });
  const [gone] = await tx.query<{ count: number; minutes: Date[] }>({
    name: 'erase.presence',
    text: `WITH oldest AS (
             SELECT c.id, c.online_sessions FROM presence_changes c
             WHERE c.project_id = $1 AND c.user_id = $2 ORDER BY c.id LIMIT $3
           ), last AS (
             SELECT id FROM oldest ORDER BY online_sessions = 0 DESC, id DESC LIMIT 1
           ), gone AS (
             DELETE FROM presence_changes c USING last
             WHERE c.project_id = $1 AND c.user_id = $2 AND c.id <= last.id
             RETURNING date_trunc('minute', c.at, 'UTC') AS minute, ${CAME_OR_LEFT} AS counted
           )
           SELECT count(*)::integer AS count,
                  coalesce(array_agg(DISTINCT minute) FILTER (
                    WHERE counted AND minute < (SELECT settled_until FROM presence_settling WHERE id)), '{}') AS minutes
           FROM gone`,
    values: [projectId, userId, limit],
  });
  const { count, minutes } = gone!;
  if (minutes.length === 0) return count;
  const which = `unnest($2::timestamptz[], $3::uuid[], $4::uuid[]) k (minute, first, next)
    JOIN presence_changes c ON c.project_id = $1 AND c.id >= k.first AND c.id < k.next WHERE true`;
  await tx.query({
    name: 'erase.minutes',
    text: 'DELETE FROM presence_minutes WHERE project_id = $1 AND minute = ANY($2::timestamptz[])',
    values: [projectId, minutes],
  });
  await tx.query({
    name: 'erase.minutesAnew',
    text: `INSERT INTO presence_minutes (project_id, minute, net, peak, peak_after, area) ${minutesOf(which)}`,
    values: [
      projectId,
      minutes,
      minutes.map((minute) => firstUuidAt(minute)),
      minutes.map((minute) => firstUuidAt(minute.getTime() + MINUTE)),
    ],
  });
  return count;
}

/** Milliseconds. */
export const MINUTE = 60_000;
