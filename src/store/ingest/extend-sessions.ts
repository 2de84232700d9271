import { NAME_CONFIRMED } from '../../domain/identity.js';
import { MOST_ON_DEVICE } from '../../domain/session.js';
import { SESSION_LETTERS } from '../change-rows.js';
import type { Queryable } from '../database.js';
import {
  eventArrays,
  EVENT_COUNT,
  EVENT_NAMES,
  eventParameters,
  EVENT_VALUES,
  type EventWrite,
} from '../sessions/event-columns.js';
import { onlineUntil } from '../presence/online-until.js';
import { staysTold } from '../presence/told-online.js';
import { column, instant, plainArray, textArray, WRITERS } from '../parameters.js';

/** Bits of `says`: what an event tells about its session (rule 22). SAID computes the same bits of a session's row. */
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

/** The changes of a batch to one open session, if the batch only extends it. Times in milliseconds. */
export interface Extension {
  readonly projectId: string;
  /** The user of the events; null: they name a device alone, and the session may be anybody's (rule 3). */
  readonly userId: string | null;
  /** The session that these events went to last. */
  readonly sessionId: string;
  readonly firstAt: number;
  readonly lastAt: number;
  readonly events: number;
  readonly errors: number;
  /** The latest heartbeat of the batch, and the one before it; null: there is none. */
  readonly beatAt: number | null;
  readonly beatBefore: number | null;
  /** What the session must already hold: types of events, SAYS, and keys of its data. */
  readonly types: readonly string[];
  readonly says: number;
  readonly dataKeys: readonly string[];
  /** The name that the events give the user, and when; null: none. */
  readonly name: string | null;
  readonly nameAt: number;
  /** The ids of the first and the latest event that name a source, and the source of the latest; null: none does. */
  readonly entryId: string | null;
  readonly exitId: string | null;
  readonly exitSource: string | null;
}

/** An event of one of those. `extension`: the index of its Extension, whose session it belongs to. */
export interface ExtensionEvent extends Omit<EventWrite, 'sessionId'> {
  readonly extension: number;
}

/** A client's own id of one of those events or heartbeats, which must be remembered (rule 25). */
export interface ExtensionId {
  readonly extension: number;
  readonly eventKey: string;
  /** Null: the id of a heartbeat, which is not stored. */
  readonly eventId: string | null;
}

/** Days, YYYY-MM-DD: those on which ids are remembered, and the first and last day on which a known id makes a repeat. */
export interface IdDays {
  readonly remembered: readonly string[];
  readonly since: string;
  readonly until: string;
}

const { plain, text } = WRITERS;
const orNull = (texts: readonly string[]): string | null => (texts.length === 0 ? null : textArray(texts));

const ONLINE_UNTIL = onlineUntil('k', '$2', 'greatest(s.last_activity_at, k.last_at)');
/** The session is the user's. */
const IS_USERS = 's.user_id = k.user_id';
/**
 * Or, for events of a device alone, the only open session of the device, if the plan would choose it (rule 3): it is one of
 * those that began last, none of these was heard as late and may still hold the events, and none begins between them.
 */
const ON_ITS_DEVICE = 'sessions o WHERE o.project_id = s.project_id AND o.device_id = s.device_id AND o.key IS NULL';
const IS_DEVICES = `CASE WHEN k.user_id IS NOT NULL THEN ${IS_USERS} ELSE NOT EXISTS (
        SELECT FROM sessions o WHERE o.project_id = s.project_id AND coalesce(o.device_id, '') = coalesce(s.device_id, '')
          AND o.key IS NULL AND o.ended_at IS NULL AND o.id <> s.id)
      AND NOT EXISTS (SELECT FROM ${ON_ITS_DEVICE} AND o.started_at > k.first_at AND o.started_at <= k.last_at)
      AND (SELECT bool_or(o.id = s.id) AND bool_and(o.id = s.id OR o.last_activity_at < s.last_activity_at
             OR o.last_activity_at < k.first_at - interval '1 second' * greatest(k.inactivity_timeout, k.presence_timeout))
           FROM (SELECT o.id, o.last_activity_at FROM ${ON_ITS_DEVICE} AND o.started_at <= k.first_at
                 ORDER BY o.started_at DESC LIMIT ${MOST_ON_DEVICE}) o) END`;
const moved = (isWhose: string, more = ''): string => `
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
      exit_source = CASE WHEN k.exit_id > s.exit_event_id THEN k.exit_source ELSE s.exit_source END,
      exit_event_id = greatest(s.exit_event_id, k.exit_id),
      heartbeat_at = greatest(s.heartbeat_at, k.beat_at),
      heartbeat_before = CASE WHEN s.heartbeat_at IS NULL OR k.beat_at >= s.heartbeat_at
        THEN greatest(s.heartbeat_at, k.beat_before) ELSE greatest(s.heartbeat_before, k.beat_at) END
    FROM (
      SELECT k.n, k.user_id, coalesce(k.events, 1) AS events, coalesce(k.errors, 0) AS errors, k.types::text[], k.says, k.data_keys::text[], k.name,
             ${instant('k.first_at')} AS first_at, ${instant('coalesce(k.last_at, k.first_at)')} AS last_at, ${instant('k.name_at')} AS name_at,
             ${instant('k.beat_at')} AS beat_at, ${instant('k.beat_before')} AS beat_before,
             coalesce(k.entry_id, k.exit_id) AS entry_id, k.exit_id, k.exit_source,
             p.ids[coalesce(k.project, 1)] AS project_id, p.inactivity_timeouts[coalesce(k.project, 1)] AS inactivity_timeout,
             p.presence_timeouts[coalesce(k.project, 1)] AS presence_timeout, k.session_id
      FROM unnest($3::integer[], $4::uuid[], $5::uuid[], $6::bigint[], $7::bigint[], $8::integer[], $9::integer[], $10::bigint[],
                  $11::bigint[], $12::text[], $13::integer[], $14::text[], $15::text[], $16::bigint[], $17::uuid[], $18::uuid[], $19::text[]) WITH ORDINALITY
             k (project, user_id, session_id, first_at, last_at, events, errors, beat_at, beat_before, types, says, data_keys, name, name_at,
                entry_id, exit_id, exit_source, n)
      CROSS JOIN projects_of p
      OFFSET 0
    ) k
    WHERE s.project_id = k.project_id AND s.id = k.session_id AND CASE WHEN k.events IS NOT NULL THEN
      ${isWhose} AND s.key IS NULL AND s.ended_at IS NULL
      AND s.started_at <= k.first_at
      AND k.last_at <= s.last_activity_at + interval '1 second' * k.inactivity_timeout
      AND ${staysTold('$2', ONLINE_UNTIL)}
      AND (s.has_heartbeat OR k.beat_at IS NULL)
      AND (k.entry_id IS NULL OR s.entry_event_id < k.entry_id)
      AND (k.types IS NULL OR k.types <@ s.event_types)
      AND (k.says IS NULL OR k.says & ${SAID} = k.says)
      AND (k.data_keys IS NULL OR s.data ?& k.data_keys)
      AND (k.name IS NULL OR EXISTS (
        SELECT 1 FROM users u WHERE u.project_id = k.project_id AND u.id = k.user_id AND u.name = k.name
          AND k.name_at >= u.name_at AND k.name_at < u.name_at + make_interval(secs => ${NAME_CONFIRMED / 1_000})))
      ${more}
    END
    RETURNING k.n, s.project_id, k.user_id, s.id
  )`;
const FIRST_EVENT = 20;
const STORED = `, stored AS (
    INSERT INTO events (project_id, user_id, session_id, ${EVENT_NAMES})
    SELECT m.project_id, m.user_id, m.id, ${EVENT_VALUES}
    FROM unnest($${FIRST_EVENT}::integer[], ${eventParameters(FIRST_EVENT + 1)}) WITH ORDINALITY e (extension, ${EVENT_NAMES}, n)
    JOIN moved m ON m.n = coalesce(e.extension, e.n)
    RETURNING project_id, id
  )`;
const FIRST_ID = FIRST_EVENT + 1 + EVENT_COUNT;
const IDS = `unnest($${FIRST_ID}::integer[], $${FIRST_ID + 1}::uuid[], $${FIRST_ID + 2}::uuid[]) w (n, key_hash, event_id)`;
/**
 * Leaves out users with an id that is known. If another transaction stores an id meanwhile, the unique violation (23505)
 * undoes the statement.
 */
const NO_REPEAT = `AND k.n <> ALL (ARRAY(
        SELECT w.n FROM unnest($${FIRST_ID + 3}::uuid[], $${FIRST_ID}::integer[], $${FIRST_ID + 1}::uuid[]) w (project_id, n, key_hash)
        JOIN event_keys e ON e.project_id = w.project_id AND e.key_hash = w.key_hash
          AND e.received_on >= $${FIRST_ID + 5} AND e.received_on <= $${FIRST_ID + 6}))`;
const REMEMBERED = `, remembered AS (
    INSERT INTO event_keys (project_id, key_hash, received_on, event_id, session_id)
    SELECT m.project_id, w.key_hash, d.day, w.event_id, m.id
    FROM ${IDS} JOIN moved m ON m.n = w.n CROSS JOIN unnest($${FIRST_ID + 4}::date[]) d (day)
    ORDER BY 1, 2, 3
  )`;
/** The row of the feed for each project (change-rows): the sessions that went on, and the stored events. */
const told = (events: boolean): string => `, told AS (
    INSERT INTO changes (project_id, at, transaction, part, entries, session_ids, session_kinds${events ? ', event_ids' : ''})
    SELECT s.project_id, $2, pg_current_xact_id()::text::bigint, 0, s.count${events ? ' + coalesce(e.count, 0)' : ''}, s.ids,
           repeat('${SESSION_LETTERS.UPDATED}', s.count)${events ? `, coalesce(e.ids, '{}')` : ''}
    FROM (SELECT project_id, count(*)::integer AS count, array_agg(id) AS ids FROM moved GROUP BY project_id) s
    ${events ? 'LEFT JOIN (SELECT project_id, count(*)::integer AS count, array_agg(id) AS ids FROM stored GROUP BY project_id) e USING (project_id)' : ''}
  )`;
const ANSWER = ` SELECT coalesce(json_agg(n), '[]') AS places FROM moved`;

/**
 * Several texts, because the parts cost time even without rows: heartbeats alone need neither events nor their indexes (a
 * tenth of what the statement takes before its first row), and events without ids do not need the ids' part. Most batches
 * have no event of a device alone.
 */
const textsFor = (isWhose: string) => ({
  beats: moved(isWhose) + told(false) + ANSWER,
  events: moved(isWhose) + STORED + told(true) + ANSWER,
  ids: moved(isWhose, NO_REPEAT) + STORED + REMEMBERED + told(true) + ANSWER,
});
const EXTEND = { users: textsFor(IS_USERS), devices: textsFor(IS_DEVICES) };

/**
 * Extends open sessions, stores the events that do so, and writes both into the feed, in one statement. It changes nothing
 * of a user, and stores none of the user's events, if anything else would happen: the session is not open or belongs to
 * another user; the events name no user, and another session of the device is open too or may hold them; an event lies
 * before its start or after its timeout, or is a repeat (rule 25); an event is the first that names a source; there is
 * something new about the client or the user; or the user's presence may change. These events are left to the plan
 * (commit-batch). Answers the indexes of the extensions whose sessions were extended. Throws a unique violation (23505) if
 * another transaction stores one of the ids at the same time.
 *
 * No user is locked. The update is relative to the row as it is when its turn comes, and Postgres checks the conditions
 * again on that row. One of the conditions is that the user is published as online because of the session
 * (presence/told-online).
 *
 * Rows are updated in the order of `extensions`. With OFFSET 0 and the CASE around the conditions, the planner can find a
 * row by its key only, whatever it assumes about a table without statistics. Without the CASE it used another index and
 * read all of its rows (1.3 s for 100 rows of 5,000). Without both it used an index of users' sessions with the user alone.
 * The row is reached by its key and not by its place (ctid), because only a read through an index removes dead versions
 * from the page. Otherwise the next version finds no room on the page and enters every index (25 µs instead of 7). A plan
 * made for an empty table may hash that key. Until the first statistics, seconds later (store/sessions/statistics), such a
 * plan may update the sessions in any order. If transactions then wait for each other in a ring, the events of the one that
 * fails go to the plan.
 */
export async function extendSessions(
  tx: Queryable,
  extensions: readonly Extension[],
  events: readonly ExtensionEvent[],
  ids: readonly ExtensionId[],
  days: IdDays,
  now: Date,
): Promise<ReadonlySet<number>> {
  const projects = new Map<string, number>();
  for (const { projectId } of extensions) if (!projects.has(projectId)) projects.set(projectId, projects.size + 1);
  // Values that are the same for nearly all rows are left out; Postgres fills them in.
  const isOfOneProject = projects.size === 1;
  const isOneEach = events.every(({ extension }, at) => extension === at);
  const texts = extensions.some(({ userId }) => userId === null) ? EXTEND.devices : EXTEND.users;
  const [row] = await tx.query<{ places: number[] }>({
    name: 'ingest.extend',
    prepared: true,
    text: ids.length > 0 ? texts.ids : events.length > 0 ? texts.events : texts.beats,
    values: [
      plainArray([...projects.keys()]),
      now,
      column(extensions, (one) => (isOfOneProject ? null : projects.get(one.projectId)!), plain),
      column(extensions, (one) => one.userId, plain),
      plainArray(extensions.map((one) => one.sessionId)),
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
      column(extensions, (one) => (one.entryId === one.exitId ? null : one.entryId), plain),
      column(extensions, (one) => one.exitId, plain),
      column(extensions, (one) => one.exitSource, text),
      ...(events.length + ids.length > 0
        ? [
            // Places count from 1, as Postgres counts rows.
            isOneEach ? '{}' : column(events, ({ extension }) => extension + 1, plain),
            ...eventArrays(events),
          ]
        : []),
      ...(ids.length > 0
        ? [
            plainArray(ids.map(({ extension }) => extension + 1)),
            plainArray(ids.map(({ eventKey }) => eventKey)),
            plainArray(ids.map(({ eventId }) => eventId)),
            plainArray(ids.map(({ extension }) => extensions[extension]!.projectId)),
            plainArray(days.remembered),
            days.since,
            days.until,
          ]
        : []),
    ],
  });
  return new Set(row!.places.map((place) => place - 1));
}
