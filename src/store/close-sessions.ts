import type { Queryable } from './database.js';
import type { UserKey } from './ingest-reads.js';
import { onlineUntil } from './online-until.js';
import { plainArray } from './parameters.js';

/** A session the closer must look at. */
export interface DueSession {
  readonly projectId: string;
  readonly id: string;
  readonly userId: string | null;
  readonly dueAt: Date;
}

/**
 * Takes what is due by `now`, of all projects, the longest due first: a scan of the index sessions_due, `limit` rows at
 * most. They are locked until the transaction ends; what somebody else holds is passed over, so that several closers at
 * once, of one server or of many, take different sessions, and none waits.
 */
export function takeDueSessions(tx: Queryable, now: Date, limit: number): Promise<DueSession[]> {
  return tx.query<DueSession>({
    name: 'closer.due',
    prepared: true,
    text: `SELECT project_id AS "projectId", id, user_id AS "userId", due_at AS "dueAt" FROM sessions
           WHERE live AND due_at <= $1 ORDER BY due_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED`,
    values: [now, limit],
  });
}

/** Locks those of the users whom nobody else holds just now; the others' sessions wait for the next look. */
export function lockFreeUsers(tx: Queryable, users: readonly UserKey[]): Promise<UserKey[]> {
  return tx.query<UserKey>({
    name: 'closer.lockUsers',
    prepared: true,
    text: `SELECT u.project_id AS "projectId", u.id AS "userId"
           FROM unnest($1::uuid[], $2::uuid[]) k (project_id, id)
           JOIN users u ON u.project_id = k.project_id AND u.id = k.id
           FOR NO KEY UPDATE OF u SKIP LOCKED`,
    values: [plainArray(users.map((user) => user.projectId)), plainArray(users.map((user) => user.userId))],
  });
}

export interface LookedAt extends Omit<DueSession, 'dueAt'> {
  readonly lastActivityAt: Date;
  /** Closed for inactivity by this look. */
  readonly closed: boolean;
}

/**
 * Looks at sessions (rules 20 and 21) as the project's settings have it now: closes what has been inactive for its
 * timeout, lets go of what was in its closing grace, and sets until when the rest counts as online and when it is due
 * next. What counts as online does not end: after an outage its user has time to speak first. The sessions and their
 * users must be locked.
 */
export function closeSessions(
  tx: Queryable,
  sessions: readonly Pick<DueSession, 'projectId' | 'id'>[],
  now: Date,
): Promise<LookedAt[]> {
  return tx.query<LookedAt>({
    name: 'closer.close',
    prepared: true,
    text: `UPDATE sessions s SET
             ended_at = CASE WHEN l.closes THEN s.last_activity_at ELSE s.ended_at END,
             end_reason = CASE WHEN l.closes THEN 'INACTIVITY' ELSE s.end_reason END,
             ended_event_count = CASE WHEN l.closes THEN s.event_count ELSE s.ended_event_count END,
             online_until = l.online_until,
             live = NOT l.closes AND (l.open OR l.online_until > $3),
             due_at = CASE
               WHEN l.closes THEN NULL
               WHEN l.online_until > $3 THEN l.online_until
               WHEN l.open THEN l.closes_at
             END
           FROM (
             SELECT s.ctid AS place, o.online_until, c.closes_at, s.ended_at IS NULL AS open,
                    s.ended_at IS NULL AND c.closes_at <= $3 AS closes
             FROM unnest($1::uuid[], $2::uuid[]) k (project_id, id)
             JOIN sessions s ON s.project_id = k.project_id AND s.id = k.id
             JOIN projects p ON p.id = s.project_id
             CROSS JOIN LATERAL (SELECT ${onlineUntil('p', '$3')} AS online_until) o
             CROSS JOIN LATERAL (
               SELECT greatest(s.last_activity_at + make_interval(secs => p.inactivity_timeout), o.online_until) AS closes_at
             ) c
           ) l
           WHERE s.ctid = l.place
           RETURNING s.project_id AS "projectId", s.id, s.user_id AS "userId", s.last_activity_at AS "lastActivityAt",
                     l.closes AS closed`,
    values: [
      plainArray(sessions.map((session) => session.projectId)),
      plainArray(sessions.map((session) => session.id)),
      now,
    ],
  });
}
