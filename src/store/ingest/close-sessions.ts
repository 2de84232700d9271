import type { PresenceCause } from '../../domain/presence.js';
import type { Queryable } from '../database.js';
import type { UserKey } from '../lock-order.js';
import { closesAt, onlineUntil } from '../presence/online-until.js';
import { dueAfterLook, TOLD_ONLINE } from '../presence/told-online.js';
import { plainArray } from '../parameters.js';

/** A session that the closer must check. */
export interface DueSession {
  readonly projectId: string;
  readonly id: string;
  readonly userId: string | null;
  readonly dueAt: Date;
}

/**
 * Takes sessions that are due by `now`, of all projects, the longest due first: a scan of the index sessions_due, of at
 * most `limit` rows. The rows are locked until the transaction ends. Rows that another transaction holds are skipped. So
 * closers that run at the same time, on one server or on many, take different sessions, and none waits.
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

/** Locks those of the users that no other transaction holds. The sessions of the others wait for the next run. */
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
  /** Whether this check closed the session for inactivity. */
  readonly closed: boolean;
  /** By what this check turned the session online (HEARD) or offline. Null: it did not. */
  readonly cause: PresenceCause | null;
}

/**
 * Checks sessions (rules 20 and 21) by the project's settings as they are now. It closes sessions that were inactive for
 * the timeout, and ends the closing grace of those whose grace is over. For all others it sets until when they count as
 * online, and when the closer must check them next. A session does not end while it counts as online: after an outage its
 * user gets time to send something first. The sessions and their users must be locked.
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
             due_at = CASE WHEN NOT l.closes THEN ${dueAfterLook('$3', 'l.online_until', 'l.open', 'l.closes_at')} END
           FROM (
             SELECT s.project_id, s.id, o.online_until, c.closes_at, s.ended_at IS NULL AS open,
                    s.live AND ${TOLD_ONLINE} AS told,
                    s.ended_at IS NULL AND c.closes_at <= $3 AS closes
             FROM unnest($1::uuid[], $2::uuid[]) k (project_id, id)
             CROSS JOIN LATERAL (SELECT * FROM sessions s WHERE s.project_id = k.project_id AND s.id = k.id OFFSET 0) s
             CROSS JOIN LATERAL (SELECT * FROM projects p WHERE p.id = s.project_id OFFSET 0) p
             CROSS JOIN LATERAL (SELECT ${onlineUntil('p', '$3')} AS online_until OFFSET 0) o
             CROSS JOIN LATERAL (SELECT ${closesAt('p', 'o.online_until')} AS closes_at) c
             OFFSET 0
           ) l
           WHERE s.project_id = l.project_id AND s.id = l.id
           RETURNING s.project_id AS "projectId", s.id, s.user_id AS "userId", s.last_activity_at AS "lastActivityAt",
                     l.closes AS closed,
                     CASE WHEN l.told = (s.live AND ${TOLD_ONLINE}) THEN NULL WHEN NOT l.told THEN 'HEARD'
                          WHEN l.closes THEN 'CLOSED' WHEN l.open THEN 'LAPSED' ELSE 'ENDED' END AS cause`,
    values: [
      plainArray(sessions.map((session) => session.projectId)),
      plainArray(sessions.map((session) => session.id)),
      now,
    ],
  });
}
