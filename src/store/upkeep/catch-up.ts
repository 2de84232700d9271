import { firstUuidAt } from '../../domain/event-id.js';
import type { Database, Queryable } from '../database.js';
import { lockUsers } from '../ingest/ingest-reads.js';
import { plainArray } from '../parameters.js';

/**
 * What migrations have left to do for rows that were there before them, in steps of a few rows. Each task has a row in
 * `catch_ups`, which says up to which row of its table it is done, and which is deleted at the end.
 */

interface Place {
  readonly projectId: string;
  readonly id: string;
}

const keysOf = (rows: readonly Place[]): string[] => [
  plainArray(rows.map(({ projectId }) => projectId)),
  plainArray(rows.map(({ id }) => id)),
];

const LOCK = `SELECT s.project_id AS "projectId", s.id, s.started_at AS "startedAt", s.last_activity_at AS "lastActivityAt"
  FROM unnest($1::uuid[], $2::uuid[]) k (project_id, id) JOIN sessions s ON s.project_id = k.project_id AND s.id = k.id
  FOR NO KEY UPDATE OF s`;

/**
 * Locks sessions, in the given order, as far as nobody else holds them. If the first is held, waits for it alone: who holds one
 * session and waits for another could wait in a ring with ingest.
 */
async function lockFirst(tx: Queryable, sessions: readonly Place[]) {
  const lock = (some: readonly Place[], how: string) =>
    tx.query<Place & { startedAt: Date; lastActivityAt: Date }>({
      name: 'catchUp.lockSessions',
      text: LOCK + how,
      values: keysOf(some),
    });
  const free = new Map((await lock(sessions, ' SKIP LOCKED')).map((row) => [row.id, row]));
  const held = sessions.findIndex(({ id }) => !free.has(id));
  if (held === 0) return { done: sessions[0]!, rows: await lock(sessions.slice(0, 1), '') };
  const first = held < 0 ? sessions : sessions.slice(0, held);
  return { done: first.at(-1)!, rows: first.map(({ id }) => free.get(id)!) };
}

/** Locks what is next, does the work for it, and answers the last row that is done. */
type Step = (tx: Queryable, next: readonly Place[]) => Promise<Place>;

/** Does the next `limit` rows of `table` in the order of (project, id). Answers whether there are more. */
function catchUp(
  database: Database,
  task: string,
  table: 'sessions' | 'users',
  limit: number,
  step: Step,
): Promise<boolean> {
  return database.transaction(async (tx) => {
    const [place] = await tx.query<Place>({
      name: 'catchUp.place',
      text: `SELECT project_id AS "projectId", id FROM catch_ups WHERE task = $1 FOR UPDATE SKIP LOCKED`,
      values: [task],
    });
    if (!place) return false;
    const next = await tx.query<Place>({
      name: 'catchUp.next',
      text: `SELECT project_id AS "projectId", id FROM ${table} WHERE (project_id, id) > ($1, $2)
             ORDER BY project_id, id LIMIT $3`,
      values: [place.projectId, place.id, limit],
    });
    if (next.length === 0) {
      await tx.query({ name: 'catchUp.done', text: 'DELETE FROM catch_ups WHERE task = $1', values: [task] });
      return false;
    }
    const { projectId, id } = await step(tx, next);
    await tx.query({
      name: 'catchUp.move',
      text: 'UPDATE catch_ups SET project_id = $2, id = $3 WHERE task = $1',
      values: [task, projectId, id],
    });
    return true;
  });
}

const BESIDE = `FROM events e WHERE e.project_id = k.project_id AND e.session_id = k.id AND e.source IS NOT NULL
  AND e.id >= k.first_id AND e.id < k.end_id ORDER BY e.id`;

/**
 * Gives the next `limit` sessions the sources of their first and latest stored events that name one. Answers whether there
 * are more. The sessions are locked before their events are read, because one that goes on gets its latest source at any
 * moment. (By index: 0.1 ms for each session. One without any source is read whole.)
 */
export const catchUpSources = (database: Database, limit: number): Promise<boolean> =>
  catchUp(database, 'session sources', 'sessions', limit, async (tx, next) => {
    const { done, rows } = await lockFirst(tx, next);
    await tx.query({
      name: 'catchUp.sources',
      text: `UPDATE sessions s SET entry_event_id = f.entry_id, entry_source = f.entry_source,
                    exit_event_id = f.exit_id, exit_source = f.exit_source
             FROM (
               SELECT k.project_id, k.id, entry.id AS entry_id, entry.source AS entry_source, exit.id AS exit_id, exit.source AS exit_source
               FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[]) k (project_id, id, first_id, end_id)
               CROSS JOIN LATERAL (SELECT e.id, e.source ${BESIDE} LIMIT 1) entry
               CROSS JOIN LATERAL (SELECT e.id, e.source ${BESIDE} DESC LIMIT 1) exit
             ) f
             WHERE s.project_id = f.project_id AND s.id = f.id`,
      values: [
        ...keysOf(rows),
        plainArray(rows.map(({ startedAt }) => firstUuidAt(startedAt))),
        plainArray(rows.map(({ lastActivityAt }) => firstUuidAt(lastActivityAt.getTime() + 1))),
      ],
    });
    return done;
  });

/**
 * Writes when the next `limit` users were seen (store/seen), from their sessions. Answers whether there are more. The users
 * are locked in the order in which all lock them, so that no session of theirs begins or ends meanwhile.
 */
export const catchUpSeen = (database: Database, limit: number): Promise<boolean> =>
  catchUp(database, 'users seen', 'users', limit, async (tx, next) => {
    await lockUsers(
      tx,
      next.map(({ projectId, id }) => ({ projectId, userId: id })),
    );
    await tx.query({
      name: 'catchUp.seen',
      text: `UPDATE users u SET
               first_seen_at = least(u.first_seen_at, coalesce(f.first, u.status_since, u.name_at, now())),
               last_seen_at = greatest(u.last_seen_at, f.last,
                 CASE WHEN f.first IS NULL THEN coalesce(u.status_since, u.name_at, now()) END)
             FROM unnest($1::uuid[], $2::uuid[]) k (project_id, id)
             CROSS JOIN LATERAL (
               SELECT min(s.started_at) AS first, max(s.ended_at) AS last FROM sessions s
               WHERE s.project_id = k.project_id AND s.user_id = k.id
             ) f
             WHERE u.project_id = k.project_id AND u.id = k.id`,
      values: keysOf(next),
    });
    return next.at(-1)!;
  });
