import type { PresenceCause, PresenceEdge } from '../../domain/presence.js';
import { tellPresence } from '../change-rows.js';
import type { Queryable } from '../database.js';
import type { UserKey } from '../lock-order.js';
import { Overtaken, OWN_NUMBER } from '../overtaken.js';
import { plainArray } from '../parameters.js';
import { CHANGE_AT, CHANGE_ID, nextPlace } from './presence-change.js';
import { TOLD_ONLINE } from './told-online.js';

/** A user whose presence may be another than what is published: by the sessions that count as online, or by a new name. */
export interface PresenceSuspect extends UserKey {
  /** Which session made it so, and how; null where only the name is new. */
  readonly sessionId: string | null;
  readonly cause: PresenceCause | null;
  /** Whether this transaction has given the user another name. */
  readonly isRenamed: boolean;
  /** The latest activity the caller knows of; milliseconds since the epoch. */
  readonly lastSeenAt: number;
}

/** Of a user `k` without a live session: when the latest of their latest sessions was last active. */
const LATEST_ACTIVITY = `(SELECT max(s.last_activity_at) FROM (
  SELECT last_activity_at FROM sessions s WHERE s.project_id = k.project_id AND s.user_id = k.id ORDER BY s.started_at DESC LIMIT 5
) s)`;

interface Flip {
  projectId: string;
  userId: string;
  identity: string;
  name: string | null;
  version: string;
  previous: string;
  sessions: number;
  since: Date;
  lastSeenAt: Date;
  sessionId: string | null;
  transaction: string;
  changeId: string | null;
  isOvertaken: boolean;
}

/** Whether the latest change of the user `o`, or, if the user is new, an erasure, has a later number than this transaction. */
const IS_OVERTAKEN = `CASE WHEN o.presence_transaction IS NOT NULL
  THEN greatest(o.presence_transaction, o.devices_transaction) > ${OWN_NUMBER}
  ELSE EXISTS (SELECT FROM projects p WHERE p.id = k.project_id AND ${OWN_NUMBER} < ANY (p.presence_erasures)) END`;

/** An edge to publish, and the id of its row in presence_changes; null for an edge that only tells a new name. */
export interface FlippedEdge {
  readonly projectId: string;
  readonly edge: PresenceEdge;
  readonly changeId: string | null;
}

/**
 * Compares what is published of each user with their sessions, as this transaction has left them, and changes
 * it where they differ (rules 28 and 29): each row answered is an edge, to be published after the commit. A new name is an
 * edge too, whether the user is online or not: their row is written anyway. Whoever makes a session count, or count no more,
 * or changes a name, calls it in the same transaction, with the user locked, after writing that; so the number is right in
 * every transaction's eyes. A version is the millisecond of its change or more, and more than any erasure's, so that it
 * grows even for a user who was erased and came back. Each change of the number is kept in presence_changes, with its cause and its session, at the instant
 * that is published, and told in the feed. Throws Overtaken.
 */
export async function flipPresence(
  tx: Queryable,
  suspects: readonly PresenceSuspect[],
  now: Date,
): Promise<FlippedEdge[]> {
  if (suspects.length === 0) return [];
  const rows = await tx.query<Flip>({
    name: 'presence.flip',
    prepared: true,
    text: `WITH flipped AS (
             UPDATE users u
             SET online_sessions = x.sessions,
                 status_since = CASE WHEN (u.online_sessions > 0) = (x.sessions > 0) THEN u.status_since ELSE ${CHANGE_AT} END,
                 presence_version = greatest(u.presence_version + 1, x.place >> 12, x.after_erasure),
                 presence_transaction = pg_current_xact_id()::text::bigint, devices_transaction = NULL
             FROM (
               SELECT k.project_id, k.id, k.session_id, k.cause, k.is_renamed, o.presence_version AS previous,
                      o.online_sessions AS previous_sessions, o.status_since AS previous_since, ${IS_OVERTAKEN} AS is_overtaken, n.sessions, ${nextPlace('k', '$5')} AS place,
                      CASE WHEN o.presence_version = 0
                        THEN (SELECT p.erased_version + 1 FROM projects p WHERE p.id = k.project_id) END AS after_erasure,
                      greatest(k.last_seen_at, n.last_activity_at,
                        CASE WHEN k.is_renamed AND n.last_activity_at IS NULL THEN ${LATEST_ACTIVITY} END) AS last_seen_at
               FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::timestamptz[], $6::boolean[], $7::presence_cause[])
                 k (project_id, id, session_id, last_seen_at, is_renamed, cause)
               CROSS JOIN LATERAL (
                 SELECT presence_version, online_sessions, status_since, presence_transaction, devices_transaction FROM users o
                 WHERE o.project_id = k.project_id AND o.id = k.id OFFSET 0
               ) o
               CROSS JOIN LATERAL (
                 SELECT (count(*) FILTER (WHERE ${TOLD_ONLINE}))::integer AS sessions, max(s.last_activity_at) AS last_activity_at
                 FROM sessions s WHERE s.project_id = k.project_id AND s.user_id = k.id AND s.live
               ) n
             ) x
             WHERE u.project_id = x.project_id AND u.id = x.id AND (u.online_sessions <> x.sessions OR x.is_renamed)
             RETURNING u.project_id, u.id AS user_id, u.identity, u.name, u.status_since, u.presence_version, x.previous, x.sessions,
                       x.last_seen_at, x.session_id, u.presence_transaction, x.previous_sessions, x.previous_since, x.place, x.cause, x.is_overtaken,
                       CASE WHEN x.sessions <> x.previous_sessions THEN ${CHANGE_ID} END AS change_id
           ), kept AS (
             INSERT INTO presence_changes
               (project_id, id, user_id, session_id, at, previous_since, online_sessions, previous_sessions, cause, transaction)
             SELECT x.project_id, x.change_id, x.user_id, x.session_id, ${CHANGE_AT}, x.previous_since, x.sessions, x.previous_sessions,
                    coalesce(x.cause, CASE WHEN x.sessions > x.previous_sessions THEN 'HEARD' ELSE 'LAPSED' END::presence_cause),
                    x.presence_transaction
             FROM flipped x WHERE x.change_id IS NOT NULL
           ), told AS (
             ${tellPresence('SELECT project_id, change_id FROM flipped', '$5', 'edges')}
           )
           SELECT project_id AS "projectId", user_id AS "userId", identity, name, status_since AS since, presence_version AS version,
                  previous, sessions, last_seen_at AS "lastSeenAt", session_id AS "sessionId", presence_transaction AS transaction,
                  change_id AS "changeId", change_id IS NOT NULL AND is_overtaken AS "isOvertaken"
           FROM flipped`,
    values: [
      suspects.map((suspect) => suspect.projectId),
      suspects.map((suspect) => suspect.userId),
      suspects.map((suspect) => suspect.sessionId),
      suspects.map((suspect) => new Date(suspect.lastSeenAt).toISOString()),
      now.getTime(),
      plainArray(suspects.map((suspect) => suspect.isRenamed)),
      plainArray(suspects.map((suspect) => suspect.cause)),
    ],
  });
  if (rows.some(({ isOvertaken }) => isOvertaken)) throw new Overtaken();
  return rows.map((row) => ({
    projectId: row.projectId,
    edge: {
      userId: row.userId,
      presence: {
        identity: row.identity,
        name: row.name,
        status: row.sessions > 0 ? ('ONLINE' as const) : ('OFFLINE' as const),
        since: row.since,
        lastSeenAt: row.lastSeenAt,
        onlineSessions: row.sessions,
      },
      version: Number(row.version),
      previous: row.previous === '0' ? null : Number(row.previous),
      transaction: row.transaction,
      sessionId: row.sessionId,
    },
    changeId: row.changeId,
  }));
}
