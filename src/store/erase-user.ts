import type { Reach } from '../domain/access.js';
import type { Queryable } from './database.js';

/**
 * Deletes up to `limit` of a user's events: those that name the user, and those of the user's sessions. Where
 * one stood in somebody else's session, that session's counts follow (rule 23). Answers how many are gone.
 */
export async function eraseEvents(tx: Queryable, { projectId }: Reach, userId: string, limit: number): Promise<number> {
  const [row] = await tx.query<{ count: number }>({
    name: 'erase.events',
    text: `WITH chosen AS (
             (SELECT e.id FROM events e WHERE e.project_id = $1 AND e.user_id = $2 LIMIT $3)
             UNION
             (SELECT e.id FROM sessions s JOIN events e ON e.project_id = s.project_id AND e.session_id = s.id
              WHERE s.project_id = $1 AND s.user_id = $2 LIMIT $3)
           ), gone AS (
             DELETE FROM events e USING chosen c WHERE e.project_id = $1 AND e.id = c.id
             RETURNING e.session_id, e.type
           ), counted AS (
             UPDATE sessions s SET
               event_count = s.event_count - g.events, error_count = s.error_count - g.errors,
               ended_event_count = s.ended_event_count - g.events
             FROM (
               SELECT session_id, count(*)::integer AS events, count(*) FILTER (WHERE type = 'error')::integer AS errors
               FROM gone WHERE session_id IS NOT NULL GROUP BY session_id
             ) g
             WHERE s.project_id = $1 AND s.id = g.session_id
           )
           SELECT count(*)::integer AS count FROM gone`,
    values: [projectId, userId, limit],
  });
  return row!.count;
}

/**
 * Locks the user, and the user's open sessions, against ingest and closers until the transaction ends; null where
 * there is none. A session that goes on is changed without its user's lock (extend-sessions).
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
    name: 'erase.lockSessions',
    text: `SELECT FROM sessions WHERE project_id = $1 AND user_id = $2 AND live ORDER BY id FOR UPDATE`,
    values: [projectId, userId],
  });
  return { ...row, version: Number(row.version) };
}

/** Deletes the user and their sessions; the user must be locked. Answers the sessions' number and this transaction's id. */
export async function eraseSessions(
  tx: Queryable,
  { projectId }: Reach,
  userId: string,
): Promise<{ sessions: number; transaction: string }> {
  const [row] = await tx.query<{ sessions: number; transaction: string }>({
    name: 'erase.sessions',
    text: `WITH gone AS (DELETE FROM sessions WHERE project_id = $1 AND user_id = $2 RETURNING 1),
                merged AS (DELETE FROM merged_sessions WHERE project_id = $1 AND user_id = $2),
                nobody AS (DELETE FROM users WHERE project_id = $1 AND id = $2)
           SELECT count(*)::integer AS sessions, pg_current_xact_id()::text AS transaction FROM gone`,
    values: [projectId, userId],
  });
  return row!;
}
