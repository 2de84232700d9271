import type { Reach } from '../../domain/access.js';
import { MOST_ERASURES } from '../../domain/presence.js';
import type { Queryable } from '../database.js';

/**
 * SQL for the event (`id`) or the `source` of a session's entry or exit without the events that are `chosen`. They are still
 * to be seen by the statement that deletes them. Sessions of the user are deleted too, so they keep what they have.
 */
const without = (end: 'entry' | 'exit', what: 'id' | 'source'): string =>
  `CASE WHEN s.user_id IS DISTINCT FROM $2 AND s.${end}_event_id = ANY (g.ids) THEN (
                 SELECT e.${what} FROM events e WHERE e.project_id = s.project_id AND e.session_id = s.id
                   AND e.source IS NOT NULL AND e.id NOT IN (SELECT id FROM chosen)
                 ORDER BY e.id ${end === 'entry' ? 'ASC' : 'DESC'} LIMIT 1
               ) ELSE s.${end}_${what === 'id' ? 'event_id' : 'source'} END`;

/**
 * Deletes up to `limit` events of a user: those that name the user, and those in the user's sessions. If an event was
 * in a session of another user, that session's counts are reduced (rule 23), and its entry and exit source are found anew
 * if they were of such an event. Waiting descriptions of these events are deleted too. Returns the number of deleted events,
 * and the sessions of others that have changed.
 */
export async function eraseEvents(
  tx: Queryable,
  { projectId }: Reach,
  userId: string,
  limit: number,
): Promise<{ count: number; sessions: readonly string[] }> {
  const [row] = await tx.query<{ count: number; sessions: readonly string[] }>({
    name: 'erase.events',
    text: `WITH chosen AS (
             (SELECT e.id FROM events e WHERE e.project_id = $1 AND e.user_id = $2 LIMIT $3)
             UNION
             (SELECT e.id FROM sessions s JOIN events e ON e.project_id = s.project_id AND e.session_id = s.id
              WHERE s.project_id = $1 AND s.user_id = $2 LIMIT $3)
           ), gone AS (
             DELETE FROM events e USING chosen c WHERE e.project_id = $1 AND e.id = c.id
             RETURNING e.id, e.session_id, e.type, e.reference_id
           ), described AS (
             DELETE FROM user_descriptions d USING gone g WHERE d.project_id = $1 AND d.reference_id = g.reference_id
           ), counted AS (
             UPDATE sessions s SET
               event_count = s.event_count - g.events, error_count = s.error_count - g.errors,
               ended_event_count = s.ended_event_count - g.events,
               entry_event_id = ${without('entry', 'id')}, entry_source = ${without('entry', 'source')},
               exit_event_id = ${without('exit', 'id')}, exit_source = ${without('exit', 'source')}
             FROM (
               SELECT session_id, array_agg(id) AS ids, count(*)::integer AS events, count(*) FILTER (WHERE type = 'error')::integer AS errors
               FROM gone WHERE session_id IS NOT NULL GROUP BY session_id
             ) g
             WHERE s.project_id = $1 AND s.id = g.session_id
             RETURNING s.id, s.user_id
           )
           SELECT (SELECT count(*)::integer FROM gone) AS count,
                  (SELECT coalesce(json_agg(id), '[]') FROM counted WHERE user_id IS DISTINCT FROM $2) AS sessions`,
    values: [projectId, userId, limit],
  });
  return row!;
}

/**
 * Locks the user, the user's devices, and the user's live sessions, against ingest and closers until the transaction ends.
 * Returns null if the user does not exist. The sessions need a lock of their own, because a session that goes on is changed
 * without its user's lock (extend-sessions). The devices are locked before the sessions and by their bytes, as ingest locks
 * them (lock-order): an erasure deletes those that are left without a session.
 */
export async function lockUser(
  tx: Queryable,
  { projectId }: Reach,
  userId: string,
): Promise<{ identity: string; name: string | null; version: number } | null> {
  const [row] = await tx.query<{ identity: string; name: string | null; version: string }>({
    name: 'erase.lockUser',
    text: `SELECT identity, name, presence_version AS version FROM users WHERE project_id = $1 AND id = $2 FOR UPDATE`,
    values: [projectId, userId],
  });
  if (!row) return null;
  await tx.query({
    name: 'erase.lockDevices',
    text: `SELECT FROM devices d WHERE d.project_id = $1
             AND d.id IN (SELECT s.device_id FROM sessions s WHERE s.project_id = $1 AND s.user_id = $2)
           ORDER BY d.id COLLATE "C" FOR UPDATE`,
    values: [projectId, userId],
  });
  await tx.query({
    name: 'erase.lockSessions',
    text: `SELECT FROM sessions WHERE project_id = $1 AND user_id = $2 AND live ORDER BY id FOR UPDATE`,
    values: [projectId, userId],
  });
  return { ...row, version: Number(row.version) };
}

/**
 * Deletes the user, the user's sessions, and the devices that nobody else has used. The user must be locked. `version` is the
 * one with which the erasure is told. Returns the number of sessions and the id of this transaction. The project remembers the
 * transaction, because a read of what changed since a snapshot finds no row of the user, and the version, because the next user of
 * this identity must have a greater one. The ids of merged sessions go too, also of those that were merged while they were
 * nobody's and became the user's later. They are found among the merges of nobody (the index merged_sessions_user), which are
 * as many as late events have filled gaps within the project's retention. Marks of stored sums keep nothing of the user's sessions:
 * they stand for any change.
 */
export async function eraseSessions(
  tx: Queryable,
  { projectId }: Reach,
  userId: string,
  version: number,
): Promise<{ sessions: number; transaction: string }> {
  const [row] = await tx.query<{ sessions: number; transaction: string }>({
    name: 'erase.sessions',
    text: `WITH RECURSIVE merged_before AS (
                  SELECT id FROM merged_sessions WHERE project_id = $1 AND user_id IS NULL AND session_id IN (
                    SELECT id FROM sessions WHERE project_id = $1 AND user_id = $2
                    UNION ALL SELECT id FROM merged_sessions WHERE project_id = $1 AND user_id = $2)
                  UNION
                  SELECT m.id FROM merged_before b JOIN merged_sessions m
                    ON m.project_id = $1 AND m.user_id IS NULL AND m.session_id = b.id
                ),
                gone AS (DELETE FROM sessions WHERE project_id = $1 AND user_id = $2 RETURNING id, started_at, device_id),
                unmarked AS (
                  UPDATE session_sum_marks m SET added = NULL, was = NULL FROM gone g
                  WHERE m.project_id = $1 AND m.block = session_block(g.started_at) AND m.added = g.id
                ),
                devices_gone AS (
                  DELETE FROM devices d USING (SELECT DISTINCT device_id AS id FROM gone WHERE device_id IS NOT NULL) g
                  WHERE d.project_id = $1 AND d.id = g.id AND NOT EXISTS (
                    SELECT FROM sessions s WHERE s.project_id = $1 AND s.device_id = g.id AND s.user_id IS DISTINCT FROM $2::uuid)
                ),
                merged AS (
                  DELETE FROM merged_sessions
                  WHERE project_id = $1 AND (user_id = $2 OR id IN (SELECT id FROM merged_before))
                ),
                nobody AS (DELETE FROM users WHERE project_id = $1 AND id = $2),
                remembered AS (
                  UPDATE projects SET presence_erasures =
                    (presence_erasures || pg_current_xact_id()::text::bigint)[greatest(1, cardinality(presence_erasures) + 2 - $3):],
                    erased_version = greatest(erased_version, $4)
                  WHERE id = $1
                )
           SELECT count(*)::integer AS sessions, pg_current_xact_id()::text AS transaction FROM gone`,
    values: [projectId, userId, MOST_ERASURES, version],
  });
  return row!;
}
