import type { Queryable } from './database.js';
import { toEventColumns, EVENT_COLUMNS, EVENT_TYPES, type EventWrite } from './event-columns.js';
import type { UserKey } from './ingest-reads.js';
import { plainArray, textArray, timestamp } from './parameters.js';

/** Bits of `says`: what an event brings for its session (rule 22), in the order of SAID. */
export const SAYS = {
  version: 1,
  browserName: 2,
  osName: 4,
  device: 8,
  ipAddress: 16,
  country: 32,
  isBot: 64,
} as const;
const SAID = `(CASE WHEN s.version IS NULL THEN 0 ELSE 1 END | CASE WHEN s.browser_name IS NULL THEN 0 ELSE 2 END
  | CASE WHEN s.os_name IS NULL THEN 0 ELSE 4 END | CASE WHEN s.device IS NULL THEN 0 ELSE 8 END
  | CASE WHEN s.ip_address IS NULL THEN 0 ELSE 16 END | CASE WHEN s.country IS NULL THEN 0 ELSE 32 END
  | CASE WHEN s.is_bot THEN 64 ELSE 0 END)`;

/** What a batch does to one user's open session, if it does no more than let it go on. Times in milliseconds. */
export interface Extension extends UserKey {
  readonly firstAt: number;
  readonly lastAt: number;
  readonly events: number;
  readonly errors: number;
  /** Holds heartbeats. */
  readonly beats: boolean;
  readonly types: readonly string[];
  readonly says: number;
  /** Keys of the data it brings for the session. */
  readonly dataKeys: readonly string[];
  /** The name it gives the user, and when; null: none. */
  readonly name: string | null;
  readonly nameAt: number;
}

/** An event of one of those users. Its session is the one that goes on. */
export type ExtensionEvent = Omit<EventWrite, 'sessionId'>;

export interface Extended extends UserKey {
  readonly sessionId: string;
}

/** How long a name needs no confirmation (rule 24). Seconds. */
const NAME_CONFIRMED = 60;

/**
 * Lets open sessions go on, and stores the events that do so, in one statement. A user's session is left
 * alone, and the user's events with it, where anything else would happen: nothing is open, an event lies
 * before the session's start or after its timeout, there is something new to know of client or user, or the
 * user's presence may change. Those are for the plan (commit-batch). Answers whose sessions went on.
 *
 * No user is locked: the update is relative to the row as it is when its turn comes, and its conditions are
 * asked of that row again. A session counts as online, and its user was told of as online, where online_until lies
 * ahead and due_at is no later: a closer or a plan that found otherwise a moment ago has moved due_at beyond.
 *
 * Rows are updated in the order of `extensions`. The first place at or after a user in the index sessions_one_open is
 * that user's or nobody's; asked like this, with OFFSET 0 and the CASE around the conditions, the planner has one way to
 * go, whatever it thinks of a table it has no statistics of (a plan made while the table was empty took 1.2 s for
 * 250 rows).
 */
export async function extendSessions(
  tx: Queryable,
  extensions: readonly Extension[],
  events: readonly ExtensionEvent[],
  now: Date,
): Promise<Extended[]> {
  const columns = toEventColumns(events);
  return tx.query<Extended>({
    name: 'ingest.extend',
    prepared: true,
    text: `WITH moved AS (
             UPDATE sessions s SET
               last_activity_at = greatest(s.last_activity_at, k.last_at),
               online_until = greatest(s.last_activity_at, k.last_at) + make_interval(secs => CASE WHEN s.has_heartbeat
                 THEN least(k.presence_timeout, k.inactivity_timeout) ELSE k.inactivity_timeout END),
               event_count = s.event_count + k.events,
               error_count = s.error_count + k.errors
             FROM (
               SELECT k.*, $26::timestamptz AS now, o.place, p.inactivity_timeout, p.presence_timeout
               FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::timestamptz[], $5::integer[], $6::integer[], $7::boolean[],
                           $8::text[], $9::integer[], $10::text[], $11::text[], $12::timestamptz[])
                      k (project_id, user_id, first_at, last_at, events, errors, beats, types, says, data_keys, name, name_at)
               CROSS JOIN LATERAL (
                 SELECT ctid AS place, user_id FROM sessions o
                 WHERE (o.project_id, o.user_id) >= (k.project_id, k.user_id)
                   AND o.key IS NULL AND o.user_id IS NOT NULL AND o.ended_at IS NULL
                 ORDER BY o.project_id, o.user_id LIMIT 1
               ) o
               JOIN projects p ON p.id = k.project_id
               WHERE o.user_id = k.user_id
               OFFSET 0
             ) k
             WHERE s.ctid = k.place
               AND CASE WHEN k.events IS NOT NULL THEN
                 s.ended_at IS NULL
                 AND s.started_at <= k.first_at
                 AND k.last_at <= s.last_activity_at + make_interval(secs => k.inactivity_timeout)
                 AND s.live AND s.due_at <= s.online_until AND s.online_until > k.now
                 AND (s.has_heartbeat OR NOT k.beats)
                 AND k.types::text[] <@ s.event_types
                 AND k.says & ${SAID} = k.says
                 AND (k.data_keys = '{}' OR s.data ?& k.data_keys::text[])
                 AND (k.name IS NULL OR EXISTS (
                   SELECT 1 FROM users u WHERE u.project_id = k.project_id AND u.id = k.user_id AND u.name = k.name
                     AND k.name_at >= u.name_at AND k.name_at < u.name_at + make_interval(secs => ${NAME_CONFIRMED})))
               END
             RETURNING s.project_id, s.user_id, s.id
           ), stored AS (
             INSERT INTO events (${EVENT_COLUMNS.join(', ')}, session_id)
             SELECT ${EVENT_COLUMNS.map((name) => (name === 'tags' ? 'e.tags::text[]' : `e.${name}`)).join(', ')}, m.id
             FROM unnest(${EVENT_TYPES.map((type, at) => `$${at + 13}::${type}[]`).join(', ')}) e (${EVENT_COLUMNS.join(', ')})
             JOIN moved m ON m.project_id = e.project_id AND m.user_id = e.user_id
           )
           SELECT project_id AS "projectId", user_id AS "userId", id AS "sessionId" FROM moved`,
    values: [
      plainArray(extensions.map((row) => row.projectId)),
      plainArray(extensions.map((row) => row.userId)),
      plainArray(extensions.map((row) => timestamp(row.firstAt))),
      plainArray(extensions.map((row) => timestamp(row.lastAt))),
      plainArray(extensions.map((row) => row.events)),
      plainArray(extensions.map((row) => row.errors)),
      plainArray(extensions.map((row) => row.beats)),
      textArray(extensions.map((row) => textArray(row.types))),
      plainArray(extensions.map((row) => row.says)),
      textArray(extensions.map((row) => textArray(row.dataKeys))),
      textArray(extensions.map((row) => row.name)),
      plainArray(extensions.map((row) => (row.name === null ? null : timestamp(row.nameAt)))),
      ...columns,
      now,
    ],
  });
}
