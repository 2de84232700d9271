import type { Reach } from '../../domain/access.js';
import type { Queryable } from '../database.js';
import { closesAt, onlineUntil } from '../presence/online-until.js';
import { isOutOfStep } from '../presence/told-online.js';
import { plainArray } from '../parameters.js';

/** A project whose open sessions must be brought up to date with its timeouts, and when these have changed. */
export interface StaleProject {
  readonly projectId: string;
  readonly changedAt: Date;
}

/**
 * Takes the project that has waited longest, or that of `reach` if one is given. It does so by setting the time (`until`)
 * after which another server may take the project. Null if no project waits.
 */
export async function takeStaleProject(
  database: Queryable,
  reach: Reach | null,
  now: Date,
  until: Date,
): Promise<StaleProject | null> {
  const rows = await database.query<StaleProject>({
    name: 'timeouts.take',
    text: `UPDATE projects p SET reckon_at = $2
           FROM (
             SELECT id FROM projects
             WHERE reckon_at <= $1 AND ($3::uuid IS NULL OR id = $3)
             ORDER BY reckon_at LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
           ) first
           WHERE p.id = first.id
           RETURNING p.id AS "projectId", p.timeouts_changed_at AS "changedAt"`,
    values: [now, until, reach?.projectId ?? null],
  });
  return rows[0] ?? null;
}

/**
 * Gives back a project that was taken until `until`. It is to be gone through at `again`; null: no more. Answers false, and
 * changes nothing, if another server has taken the project since, or if its timeouts have changed again.
 */
export async function giveProjectBack(
  database: Queryable,
  { projectId }: Pick<Reach, 'projectId'>,
  until: Date,
  again: Date | null,
): Promise<boolean> {
  const rows = await database.query({
    name: 'timeouts.giveBack',
    text: 'UPDATE projects SET reckon_at = $3 WHERE id = $1 AND reckon_at = $2 RETURNING 1',
    values: [projectId, until, again],
  });
  return rows.length > 0;
}

/** An open session: its place in the order of starts, and whether its row still follows old timeouts (`stale`). */
export interface OpenSession {
  readonly projectId: string;
  readonly id: string;
  readonly userId: string | null;
  readonly startedAt: Date;
  readonly stale: boolean;
}

/**
 * The project's open sessions after a place, in the order of their starts: a range of the index sessions_open. A session is
 * stale if the closer would check it too late, or if it counts as online again. If a longer timeout only lengthens the time
 * of a session that still counts as online, the closer writes that when it checks the session.
 */
export function readOpenSessions(
  database: Queryable,
  { projectId }: Pick<Reach, 'projectId'>,
  after: Pick<OpenSession, 'id' | 'startedAt'> | null,
  limit: number,
  now: Date,
): Promise<OpenSession[]> {
  return database.query<OpenSession>({
    name: 'timeouts.openSessions',
    text: `SELECT s.project_id AS "projectId", s.id, s.user_id AS "userId", s.started_at AS "startedAt",
                  ${isOutOfStep('$5', 'o.online_until', closesAt('p', 'o.online_until'))} AS stale
           FROM (
             SELECT * FROM sessions
             WHERE project_id = $1 AND ended_at IS NULL AND (started_at, id) > ($2::timestamptz, $3::uuid)
             ORDER BY started_at, id LIMIT $4
           ) s
           JOIN projects p ON p.id = s.project_id
           CROSS JOIN LATERAL (SELECT ${onlineUntil('p', '$5')} AS online_until) o
           ORDER BY s.started_at, s.id`,
    values: [
      projectId,
      after?.startedAt ?? '-infinity',
      after?.id ?? '00000000-0000-0000-0000-000000000000',
      limit,
      now,
    ],
  });
}

/**
 * Locks open sessions in the order in which ingest locks them: named sessions by their keys, then identity sessions by
 * their ids. The users must be locked. Answers the sessions that are still open, with their users.
 */
export function lockOpenSessions(
  tx: Queryable,
  { projectId }: Pick<Reach, 'projectId'>,
  ids: readonly string[],
): Promise<Pick<OpenSession, 'projectId' | 'id' | 'userId'>[]> {
  return tx.query({
    name: 'timeouts.lockSessions',
    text: `SELECT s.project_id AS "projectId", s.id, s.user_id AS "userId"
           FROM unnest($2::uuid[]) k (id) JOIN sessions s ON s.project_id = $1 AND s.id = k.id
           WHERE s.ended_at IS NULL
           ORDER BY s.key IS NULL, s.key, CASE WHEN s.key IS NULL THEN s.id ELSE s.user_id END FOR NO KEY UPDATE OF s`,
    values: [projectId, plainArray(ids)],
  });
}
