import { NAME_CONFIRMED } from '../domain/identity.js';
import type { Queryable } from './database.js';
import { eventArrays, EVENT_NAMES, eventParameters, EVENT_VALUES, type EventWrite } from './event-columns.js';
import type { UserKey } from './ingest-reads.js';
import { onlineUntil } from './online-until.js';
import { column, instant, plainArray, textArray, WRITERS } from './parameters.js';

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
  /** Where the user's events went last; null: to be found by the user. */
  readonly sessionId: string | null;
  readonly firstAt: number;
  readonly lastAt: number;
  readonly events: number;
  readonly errors: number;
  /** The latest heartbeat among them, and the one before it; null: there is none. */
  readonly beatAt: number | null;
  readonly beatBefore: number | null;
  /** What the session must have seen or hold already: types of events, SAYS, and keys of its data. */
  readonly types: readonly string[];
  readonly says: number;
  readonly dataKeys: readonly string[];
  /** The name it gives the user, and when; null: none. */
  readonly name: string | null;
  readonly nameAt: number;
}

/** An event of one of those users, `extension` by its place. Its session is the one that goes on. */
export interface ExtensionEvent extends Omit<EventWrite, 'sessionId'> {
  readonly extension: number;
}

const { plain, text } = WRITERS;
const orNull = (texts: readonly string[]): string | null => (texts.length === 0 ? null : textArray(texts));

const ONLINE_UNTIL = onlineUntil('k', '$2', 'greatest(s.last_activity_at, k.last_at)');
const MOVED = `
  WITH projects_of AS MATERIALIZED (
    SELECT array_agg(u.id ORDER BY u.n) AS ids, array_agg(p.inactivity_timeout ORDER BY u.n) AS inactivity_timeouts,
           array_agg(p.presence_timeout ORDER BY u.n) AS presence_timeouts
    FROM unnest($1::uuid[]) WITH ORDINALITY u (id, n) LEFT JOIN projects p ON p.id = u.id
  ), moved AS (
    UPDATE sessions s SET
      last_activity_at = greatest(s.last_activity_at, k.last_at),
      online_until = ${ONLINE_UNTIL},
      event_count = s.event_count + k.events,
      error_count = s.error_count + k.errors,
      heartbeat_at = greatest(s.heartbeat_at, k.beat_at),
      heartbeat_before = CASE WHEN s.heartbeat_at IS NULL OR k.beat_at >= s.heartbeat_at
        THEN greatest(s.heartbeat_at, k.beat_before) ELSE greatest(s.heartbeat_before, k.beat_at) END
    FROM (
      SELECT k.n, k.user_id, coalesce(k.events, 1) AS events, coalesce(k.errors, 0) AS errors, k.types::text[], k.says, k.data_keys::text[], k.name,
             ${instant('k.first_at')} AS first_at, ${instant('coalesce(k.last_at, k.first_at)')} AS last_at, ${instant('k.name_at')} AS name_at,
             ${instant('k.beat_at')} AS beat_at, ${instant('k.beat_before')} AS beat_before,
             p.ids[coalesce(k.project, 1)] AS project_id, p.inactivity_timeouts[coalesce(k.project, 1)] AS inactivity_timeout,
             p.presence_timeouts[coalesce(k.project, 1)] AS presence_timeout, coalesce(k.session_id, o.id) AS session_id, o.id AS found
      FROM unnest($3::integer[], $4::uuid[], $5::uuid[], $6::bigint[], $7::bigint[], $8::integer[], $9::integer[], $10::bigint[],
                  $11::bigint[], $12::text[], $13::integer[], $14::text[], $15::text[], $16::bigint[]) WITH ORDINALITY
             k (project, user_id, session_id, first_at, last_at, events, errors, beat_at, beat_before, types, says, data_keys, name, name_at, n)
      CROSS JOIN projects_of p
      LEFT JOIN LATERAL (
        SELECT id, user_id FROM sessions o
        WHERE k.session_id IS NULL AND (o.project_id, o.user_id) >= (p.ids[coalesce(k.project, 1)], k.user_id)
          AND o.key IS NULL AND o.user_id IS NOT NULL AND o.ended_at IS NULL
        ORDER BY o.project_id, o.user_id LIMIT 1
      ) o ON o.user_id = k.user_id
      OFFSET 0
    ) k
    WHERE s.project_id = k.project_id AND s.id = k.session_id AND CASE WHEN k.events IS NOT NULL THEN
      s.user_id = k.user_id AND s.key IS NULL AND s.ended_at IS NULL
      AND s.started_at <= k.first_at
      AND k.last_at <= s.last_activity_at + interval '1 second' * k.inactivity_timeout
      AND s.live AND s.due_at <= s.online_until AND s.online_until > $2 AND s.due_at <= ${ONLINE_UNTIL}
      AND (s.has_heartbeat OR k.beat_at IS NULL)
      AND (k.types IS NULL OR k.types <@ s.event_types)
      AND (k.says IS NULL OR k.says & ${SAID} = k.says)
      AND (k.data_keys IS NULL OR s.data ?& k.data_keys)
      AND (k.name IS NULL OR EXISTS (
        SELECT 1 FROM users u WHERE u.project_id = k.project_id AND u.id = k.user_id AND u.name = k.name
          AND k.name_at >= u.name_at AND k.name_at < u.name_at + make_interval(secs => ${NAME_CONFIRMED / 1_000})))
    END
    RETURNING k.n, k.found, s.project_id, s.user_id, s.id
  )`;
const STORED = `, stored AS (
    INSERT INTO events (project_id, user_id, session_id, ${EVENT_NAMES})
    SELECT m.project_id, m.user_id, m.id, ${EVENT_VALUES}
    FROM unnest($17::integer[], ${eventParameters(18)}) WITH ORDINALITY e (extension, ${EVENT_NAMES}, n)
    JOIN moved m ON m.n = coalesce(e.extension, e.n)
  )`;
const ANSWER = `
  SELECT coalesce(json_agg(n), '[]') AS places, coalesce(json_agg(found), '[]') AS found FROM moved`;

/** Heartbeats alone are spared the events and their indexes: a tenth of what a statement takes before its first row. */
const EXTEND = { events: MOVED + STORED + ANSWER, none: MOVED + ANSWER };

/**
 * Lets open sessions go on, and stores the events that do so, in one statement. A user's session is left
 * alone, and the user's events with it, where anything else would happen: nothing is open, an event lies
 * before the session's start or after its timeout, there is something new to know of client or user, or the
 * user's presence may change. Those are for the plan (commit-batch). Answers the ids of the sessions that went on, by
 * the places of their extensions.
 *
 * No user is locked: the update is relative to the row as it is when its turn comes, and its conditions are
 * asked of that row again. A session counts as online, and its user was told of as online, where online_until lies
 * ahead and due_at is no later: a closer or a plan that found otherwise a moment ago has moved due_at beyond. That must
 * stay so: where a timeout has just been shortened, and the closer would look too late, it is for the plan.
 *
 * Rows are updated in the order of `extensions`. The first place at or after a user in the index sessions_one_open is
 * that user's or nobody's; asked like this, with OFFSET 0 and the CASE around the conditions, the planner has one way to
 * go, whatever it thinks of a table it has no statistics of (a plan made while the table was empty took 1.2 s for 250
 * rows). The row itself is reached by its key and not by its place (ctid): a look through an index clears the dead
 * versions off the page, and without that the next version finds no room there and enters every index (7 µs became
 * 25). A plan made for an empty table may hash that key, and take the sessions there are by the time of the first
 * statistics, seconds later (store/statistics), in any order: who waits in a ring then is planned instead.
 */
export async function extendSessions(
  tx: Queryable,
  extensions: readonly Extension[],
  events: readonly ExtensionEvent[],
  now: Date,
): Promise<ReadonlyMap<number, string>> {
  const projects = new Map<string, number>();
  for (const { projectId } of extensions) if (!projects.has(projectId)) projects.set(projectId, projects.size + 1);
  // What is the same for nearly all is left out, and filled in by Postgres.
  const isOfOneProject = projects.size === 1;
  const isOneEach = events.every(({ extension }, at) => extension === at);
  const [row] = await tx.query<{ places: number[]; found: (string | null)[] }>({
    name: 'ingest.extend',
    prepared: true,
    text: events.length > 0 ? EXTEND.events : EXTEND.none,
    values: [
      plainArray([...projects.keys()]),
      now,
      column(extensions, (one) => (isOfOneProject ? null : projects.get(one.projectId)!), plain),
      column(extensions, (one) => one.userId, plain),
      column(extensions, (one) => one.sessionId, plain),
      column(extensions, (one) => one.firstAt, plain),
      column(extensions, (one) => (one.lastAt === one.firstAt ? null : one.lastAt), plain),
      column(extensions, (one) => (one.events === 1 ? null : one.events), plain),
      column(extensions, (one) => one.errors || null, plain),
      column(extensions, (one) => one.beatAt, plain),
      column(extensions, (one) => one.beatBefore, plain),
      column(extensions, (one) => orNull(one.types), text),
      column(extensions, (one) => one.says || null, plain),
      column(extensions, (one) => orNull(one.dataKeys), text),
      column(extensions, (one) => one.name, text),
      column(extensions, (one) => (one.name === null ? null : one.nameAt), plain),
      ...(events.length > 0
        ? [
            // Places count from 1, as Postgres counts rows.
            isOneEach ? '{}' : column(events, ({ extension }) => extension + 1, plain),
            ...eventArrays(events),
          ]
        : []),
    ],
  });
  return new Map(row!.places.map((place, at) => [place - 1, row!.found[at] ?? extensions[place - 1]!.sessionId!]));
}
