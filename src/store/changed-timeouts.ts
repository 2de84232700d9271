import type { Reach } from '../domain/access.js';
import type { Queryable } from './database.js';
import { onlineUntil } from './online-until.js';
import { plainArray } from './parameters.js';

/** A project whose open sessions are to be brought in step with its timeouts. */
export interface StaleProject {
  readonly projectId: string;
  readonly changedAt: Date;
}

/**
 * Takes the project that has waited longest, or `reach`'s where one is given, by setting the time after which somebody
 * else may take it; null where none waits.
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

/** Gives a project back that was taken until `until`: it is to be gone through at `again`, or no more. Answers false, and does nothing, where somebody else has taken it since, or its timeouts have changed again. */
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

/** An open session: its place in the order of their starts, and whether it rests on other timeouts than the project's. */
export interface OpenSession {
  readonly projectId: string;
  readonly id: string;
  readonly userId: string | null;
  readonly startedAt: Date;
  readonly stale: boolean;
}

/**
 * The project's open sessions after a place, in the order of their starts: a range of the index sessions_open. It is out of
 * step where the closer would look at it too late, or where it counts as online again; what a longer timeout gives to
 * one that still counts, it gets when the closer looks at it.
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
                  CASE WHEN o.online_until > $5 THEN s.due_at > least(s.online_until, o.online_until)
                       ELSE s.due_at > greatest(s.last_activity_at + make_interval(secs => p.inactivity_timeout), o.online_until)
                         OR s.online_until > $5 AND s.due_at <= s.online_until END AS stale
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
 * Locks open sessions, whose users must be locked, in the order in which ingest does: named ones by their keys, then
 * those of identities by their users. Answers those that are open still, and whose they are.
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
           ORDER BY s.key IS NULL, s.key, s.user_id FOR NO KEY UPDATE OF s`,
    values: [projectId, plainArray(ids)],
  });
}
