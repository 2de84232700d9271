import type { PresenceEdge } from '../domain/presence.js';
import type { Queryable } from './database.js';
import type { UserKey } from './ingest-reads.js';
import { countsAt } from './online-until.js';

/** A user whose status may have changed, and by which session. */
export interface PresenceSuspect extends UserKey {
  readonly sessionId: string | null;
  /** The latest activity the caller knows of; milliseconds since the epoch. */
  readonly lastSeenAt: number;
}

interface Flip {
  projectId: string;
  userId: string;
  identity: string;
  name: string | null;
  online: boolean;
  version: string;
  previous: string;
  sessions: number;
  lastSeenAt: Date;
  sessionId: string | null;
  transaction: string;
}

/**
 * Compares each user's published status with their sessions, as this transaction has left them, and flips
 * it where they differ (rules 28 and 29): each row answered is an edge, to be published after the commit.
 * The users must be locked. A version is the millisecond of its flip or more, so that it grows even
 * for a user who was erased and came back.
 */
export async function flipPresence(
  tx: Queryable,
  suspects: readonly PresenceSuspect[],
  now: Date,
): Promise<{ projectId: string; edge: PresenceEdge }[]> {
  if (suspects.length === 0) return [];
  const rows = await tx.query<Flip>({
    name: 'presence.flip',
    prepared: true,
    text: `UPDATE users u
           SET online = x.sessions > 0, status_since = $5,
               presence_version = greatest(u.presence_version + 1, $6::bigint),
               presence_transaction = pg_current_xact_id()::text::bigint
           FROM (
             SELECT k.project_id, k.id, k.session_id, o.presence_version AS previous, n.sessions,
                    greatest(k.last_seen_at, n.last_activity_at) AS last_seen_at
             FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::timestamptz[]) k (project_id, id, session_id, last_seen_at)
             CROSS JOIN LATERAL (
               SELECT presence_version FROM users o WHERE o.project_id = k.project_id AND o.id = k.id OFFSET 0
             ) o
             CROSS JOIN LATERAL (
               SELECT count(*)::integer AS sessions, max(s.last_activity_at) AS last_activity_at
               FROM sessions s
               WHERE s.project_id = k.project_id AND s.user_id = k.id AND s.live AND ${countsAt('$5')}
             ) n
           ) x
           WHERE u.project_id = x.project_id AND u.id = x.id AND u.online <> (x.sessions > 0)
           RETURNING u.project_id AS "projectId", u.id AS "userId", u.identity, u.name, u.online,
                     u.presence_version AS version, x.previous, x.sessions, x.last_seen_at AS "lastSeenAt",
                     x.session_id AS "sessionId", u.presence_transaction AS transaction`,
    values: [
      suspects.map((suspect) => suspect.projectId),
      suspects.map((suspect) => suspect.userId),
      suspects.map((suspect) => suspect.sessionId),
      suspects.map((suspect) => new Date(suspect.lastSeenAt).toISOString()),
      now,
      now.getTime(),
    ],
  });
  return rows.map((row) => ({
    projectId: row.projectId,
    edge: {
      userId: row.userId,
      presence: {
        identity: row.identity,
        name: row.name,
        status: row.online ? ('ONLINE' as const) : ('OFFLINE' as const),
        since: now,
        lastSeenAt: row.lastSeenAt,
        onlineSessions: row.sessions,
      },
      version: Number(row.version),
      previous: row.previous === '0' ? null : Number(row.previous),
      transaction: row.transaction,
      sessionId: row.sessionId,
    },
  }));
}
