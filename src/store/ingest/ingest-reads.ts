import { firstUuidAt } from '../../domain/event-id.js';
import type { SettingsNow } from '../../domain/online.js';
import type { SessionSettings } from '../../domain/project.js';
import {
  MOST_ON_DEVICE,
  type SessionAttributes,
  type SessionEndReason,
  type StoredPart,
  type WorkingSession,
} from '../../domain/session.js';
import type { Queryable } from '../database.js';
import { outageAt } from '../presence/online-until.js';
import { TOLD_ONLINE } from '../presence/told-online.js';
import type { DeviceKey, UserKey } from '../lock-order.js';
import { OWN_NUMBER } from '../overtaken.js';
import { column, instant, plainArray, textArray, timestamp, WRITERS } from '../parameters.js';

/**
 * The reads of an ingest batch. Each is one statement for all projects of the batch: every row that is asked for, and every
 * row that is answered, has its project.
 *
 * Locks are taken in one order: users by (project, id), then devices by (project, id), then named sessions by (project,
 * key), then identity sessions by (project, id). So batches, closers and erasures cannot wait for each other in a ring.
 */

export interface LockedUser extends UserKey {
  readonly identity: string;
  readonly name: string | null;
  readonly nameAt: Date | null;
  /**
   * The times of the user's `sessionend` events on each device, in order; milliseconds (rule 18). The empty text stands for
   * no device.
   */
  readonly ends: ReadonlyMap<string, readonly number[]>;
  readonly online: boolean;
  /** See store/seen. */
  readonly firstSeenAt: Date | null;
  readonly lastSeenAt: Date | null;
  /**
   * Whether no change of the user's presence was told before this transaction: the user may be newer than an erasure
   * (overtaken.ts).
   */
  readonly isYoung: boolean;
}

/** The settings of the batch's projects as they are now, and the last outage; by project id. */
export async function readSettings(
  tx: Queryable,
  projectIds: readonly string[],
  now: Date,
): Promise<Map<string, SettingsNow>> {
  const rows = await tx.query<SessionSettings & { id: string; awayFrom: Date | null; backAt: Date | null }>({
    name: 'ingest.settings',
    prepared: true,
    text: `SELECT id, inactivity_timeout AS "inactivityTimeout", presence_timeout AS "presenceTimeout",
                  session_start AS "sessionStart", retention_days AS "retentionDays",
                  o.away_from AS "awayFrom", o.back_at AS "backAt"
           FROM projects CROSS JOIN ${outageAt('$2::timestamptz')} o WHERE id = ANY($1::uuid[])`,
    values: [projectIds, now],
  });
  return new Map(
    rows.map(({ awayFrom, backAt, ...row }) => {
      const outage = backAt && { awayFrom: awayFrom && awayFrom.getTime(), backAt: backAt.getTime() };
      return [row.id, { ...row, outage }];
    }),
  );
}

/** A user whom a batch concerns, and when the first of its events that name the user happened (milliseconds). */
export interface MentionedUser extends UserKey {
  readonly identity: string;
  /** Null: no event names the user, who is known from a session. */
  readonly firstAt: number | null;
}

/** Adds the users that do not exist yet. `users` must be in the order of their locks. */
export async function addUsers(tx: Queryable, users: readonly MentionedUser[]): Promise<void> {
  await tx.query({
    name: 'ingest.addUsers',
    prepared: true,
    text: `INSERT INTO users (project_id, id, identity, first_seen_at)
           SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[]) ON CONFLICT DO NOTHING`,
    values: [
      plainArray(users.map((user) => user.projectId)),
      plainArray(users.map((user) => user.userId)),
      textArray(users.map((user) => user.identity)),
      plainArray(users.map(({ firstAt }) => (firstAt === null ? null : timestamp(firstAt)))),
    ],
  });
}

/**
 * Locks users, in the given order, until the transaction ends. A transaction that starts or ends a session of a user, or
 * changes the user's presence, holds this lock.
 */
export async function lockUsers(tx: Queryable, users: readonly UserKey[]): Promise<LockedUser[]> {
  const rows = await tx.query<Omit<LockedUser, 'ends'> & { ends: Date[]; endDevices: string[] }>({
    name: 'ingest.lockUsers',
    prepared: true,
    text: `SELECT u.project_id AS "projectId", u.id AS "userId", u.identity, u.name, u.name_at AS "nameAt",
                  u.ends, u.end_devices AS "endDevices", u.online_sessions > 0 AS online,
                  u.first_seen_at AS "firstSeenAt", u.last_seen_at AS "lastSeenAt",
                  coalesce(greatest(u.presence_transaction, u.devices_transaction) > ${OWN_NUMBER}, true) AS "isYoung"
           FROM unnest($1::uuid[], $2::uuid[]) k (project_id, id)
           CROSS JOIN LATERAL (
             SELECT * FROM users u WHERE u.project_id = k.project_id AND u.id = k.id OFFSET 0 FOR NO KEY UPDATE) u`,
    values: [plainArray(users.map((user) => user.projectId)), plainArray(users.map((user) => user.userId))],
  });
  return rows.map(({ endDevices, ...row }) => {
    const ends = new Map<string, number[]>();
    // Ends that were written before devices existed have none.
    for (const [at, end] of row.ends.entries()) {
      const device = endDevices[at] ?? '';
      const known = ends.get(device);
      if (known) known.push(end.getTime());
      else ends.set(device, [end.getTime()]);
    }
    return { ...row, ends };
  });
}

/** Adds the devices that do not exist yet. `devices` must be in the order of their locks. */
export async function addDevices(tx: Queryable, devices: readonly DeviceKey[]): Promise<void> {
  await tx.query({
    name: 'ingest.addDevices',
    prepared: true,
    text: `INSERT INTO devices (project_id, id) SELECT * FROM unnest($1::uuid[], $2::text[]) ON CONFLICT DO NOTHING`,
    values: [
      plainArray(devices.map((device) => device.projectId)),
      textArray(devices.map((device) => device.deviceId)),
    ],
  });
}

/**
 * Locks devices, in the given order, until the transaction ends. A transaction that starts or ends an identity session on a
 * device, or gives one to a user, holds this lock: a session of nobody and one of a user must not begin at once. `ends`: the
 * times of the device's own `sessionend` events, in order; milliseconds.
 */
export async function lockDevices(
  tx: Queryable,
  devices: readonly DeviceKey[],
): Promise<(DeviceKey & { readonly ends: readonly number[] })[]> {
  const rows = await tx.query<DeviceKey & { ends: Date[] }>({
    name: 'ingest.lockDevices',
    prepared: true,
    text: `SELECT d.project_id AS "projectId", d.id AS "deviceId", d.ends
           FROM unnest($1::uuid[], $2::text[]) k (project_id, id)
           CROSS JOIN LATERAL (
             SELECT * FROM devices d WHERE d.project_id = k.project_id AND d.id = k.id OFFSET 0 FOR NO KEY UPDATE) d`,
    values: [
      plainArray(devices.map((device) => device.projectId)),
      textArray(devices.map((device) => device.deviceId)),
    ],
  });
  return rows.map((row) => ({ ...row, ends: row.ends.map((end) => end.getTime()) }));
}

const SESSION_COLUMNS = `
  s.project_id AS "projectId", s.id, s.key, s.namesake, s.user_id AS "userId", s.device_id AS "deviceId", s.started_at AS "startedAt",
  s.last_activity_at AS "lastActivityAt", s.end_reason AS "endReason", s.closed_by_heartbeat AS "closedByHeartbeat",
  s.explicit_start AS "explicitStart", s.has_heartbeat AS "hasHeartbeat", s.due_at AS "dueAt",
  s.heartbeat_at AS "heartbeatAt", s.heartbeat_before AS "heartbeatBefore",
  coalesce(${TOLD_ONLINE}, false) AS "toldOnline",
  s.event_count AS "eventCount", s.error_count AS "errorCount",
  s.entry_event_id AS "entryEventId", s.exit_event_id AS "exitEventId", s.version,
  s.browser_name AS "browserName", s.browser_version AS "browserVersion", s.os_name AS "osName",
  s.os_version AS "osVersion", s.device, s.ip_address AS "ipAddress",
  s.is_bot AS "isBot", s.country, s.region, s.city`;

/** The most bytes of data and types that a batch reads of identity sessions, and again of named sessions. */
const MOST_READ = 4_000_000;
/** Rows that were written before kept_bytes existed are measured now. */
const KEPT = `coalesce(s.kept_bytes, octet_length(s.data::text) + octet_length(array_to_string(s.event_types, '')))`;

/**
 * Reads rows of sessions. Data and types are read as far as MOST_READ allows, those of small sessions first: a user who
 * fills up their own sessions keeps out nobody else's. Sessions that are read without them are full (toWorking).
 */
const readSessions = (locked: string): string => `
  SELECT ${SESSION_COLUMNS},
         CASE WHEN s.kept_so_far <= ${MOST_READ} THEN s.event_types END AS "eventTypes",
         CASE WHEN s.kept_so_far <= ${MOST_READ} THEN s.data END AS data
  FROM (SELECT s.*, sum(${KEPT}) OVER (ORDER BY ${KEPT}, s.id ROWS UNBOUNDED PRECEDING) AS kept_so_far FROM ${locked}) s`;

interface SessionRecord extends Omit<SessionAttributes, 'data'> {
  projectId: string;
  id: string;
  key: string | null;
  namesake: number;
  userId: string | null;
  deviceId: string | null;
  startedAt: Date;
  lastActivityAt: Date;
  endReason: SessionEndReason | null;
  closedByHeartbeat: boolean;
  explicitStart: boolean;
  hasHeartbeat: boolean;
  heartbeatAt: Date | null;
  heartbeatBefore: Date | null;
  dueAt: Date | null;
  toldOnline: boolean;
  eventCount: number;
  errorCount: number;
  entryEventId: string | null;
  exitEventId: string | null;
  /** Null if there was too much to read. */
  eventTypes: string[] | null;
  data: Record<string, unknown> | null;
}

const markOf = (eventId: string | null): WorkingSession['entry'] =>
  eventId === null ? null : { eventId, source: null };

function toWorking({ entryEventId: entry, exitEventId: exit, ...row }: SessionRecord): WorkingSession {
  const startedAt = row.startedAt.getTime();
  const { eventCount: events, errorCount: errors, eventTypes } = row;
  return {
    ...row,
    entry: markOf(entry),
    exit: markOf(exit),
    hasOthersMarks: false,
    eventTypes: eventTypes ?? [],
    data: row.data ?? {},
    isFull: eventTypes === null,
    isUnsplittable: false,
    startedAt,
    lastActivityAt: row.lastActivityAt.getTime(),
    heartbeatAt: row.heartbeatAt?.getTime() ?? null,
    heartbeatBefore: row.heartbeatBefore?.getTime() ?? null,
    dueAt: row.dueAt?.getTime() ?? null,
    isNew: false,
    stored: [{ under: row.id, at: startedAt, events, errors, types: [...(eventTypes ?? [])], entry, exit }],
    mergedInto: null,
    moved: false,
    described: false,
    startedBy: null,
    endedBy: null,
  };
}

/** A user, a device, and the time of an event (milliseconds): the sessions near that time are read. */
export interface Moment {
  readonly projectId: string;
  /** Null: the device's sessions that are nobody's. */
  readonly userId: string | null;
  /** Null: the user's sessions without a device. */
  readonly deviceId: string | null;
  readonly at: number;
}

/** Stands for nobody in the indexes of identity sessions. */
const NOBODY = '00000000-0000-0000-0000-000000000000';
const IDENTITY_SESSIONS = `sessions s WHERE s.project_id = k.project_id AND coalesce(s.user_id, '${NOBODY}') = k.user_id
  AND coalesce(s.device_id, '') = k.device_id AND s.key IS NULL`;
const inTime = (direction: 'ASC' | 'DESC'): string =>
  ['s.started_at', `coalesce(s.ended_at, 'infinity'::timestamptz)`, 's.id']
    .map((part) => `${part} ${direction}`)
    .join();

/**
 * The identity sessions of each user and device near the moments: for each moment the last session that starts at or before
 * it and the first one after it; for each user and device the last session of all, which is the open one if one is open. An
 * event at such a moment can change no other session. However many sessions a user has, these are at most two for each
 * moment and one for each user and device, found by the index sessions_near. Mostly all of them are the last session.
 *
 * The locks of the users and devices must be held. The sessions are locked here in the order of their ids, because sessions
 * that only go on are changed without their user's lock (extend-sessions). OFFSET 0 preserves the order: on a table that was
 * not analysed yet, the planner would otherwise join all of the table's sessions. On such a table the planner may also use
 * any index, so the last part asks for a row by all columns of its index. With project and id only, it used sessions_user
 * and read a whole project for each row (50 ms instead of 1 for 100 users).
 */
export async function readIdentitySessions(tx: Queryable, moments: readonly Moment[]): Promise<WorkingSession[]> {
  const rows = await tx.query<SessionRecord>({
    name: 'ingest.identitySessions',
    prepared: true,
    text: readSessions(`(
      SELECT k.project_id, k.user_id, k.device_id, beside.started_at, beside.id
      FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[]) m (project_id, user_id, device_id, at)
      CROSS JOIN LATERAL (
        SELECT m.project_id, coalesce(m.user_id, '${NOBODY}') AS user_id, coalesce(m.device_id, '') AS device_id, ${instant('m.at')} AS at OFFSET 0
      ) k
      CROSS JOIN LATERAL (SELECT s.id, s.started_at FROM ${IDENTITY_SESSIONS} ORDER BY ${inTime('DESC')} LIMIT 1) last
      CROSS JOIN LATERAL (
        SELECT last.started_at, last.id
        UNION ALL
        SELECT * FROM (SELECT s.started_at, s.id FROM ${IDENTITY_SESSIONS} AND last.started_at > k.at AND s.started_at <= k.at
                       ORDER BY ${inTime('DESC')} LIMIT 1) before
        UNION ALL
        SELECT * FROM (SELECT s.started_at, s.id FROM ${IDENTITY_SESSIONS} AND last.started_at > k.at AND s.started_at > k.at
                       ORDER BY ${inTime('ASC')} LIMIT 1) after
      ) beside
      GROUP BY k.project_id, k.user_id, k.device_id, beside.started_at, beside.id
      ORDER BY k.project_id, beside.id
      OFFSET 0
    ) k
    CROSS JOIN LATERAL (
      SELECT * FROM ${IDENTITY_SESSIONS} AND s.started_at = k.started_at AND s.id = k.id OFFSET 0 FOR NO KEY UPDATE
    ) s`),
    values: [
      plainArray(moments.map((moment) => moment.projectId)),
      plainArray(moments.map((moment) => moment.userId)),
      column(moments, (moment) => moment.deviceId, WRITERS.text),
      plainArray(moments.map(({ at }) => at)),
    ],
  });
  return rows.map(toWorking);
}

/** Times of events that name a device alone (milliseconds). */
export interface DeviceMoment extends DeviceKey {
  readonly at: number;
}

/** A user whose session an event of the device alone may belong to at that time (rule 3). */
export interface DeviceOwner extends DeviceMoment {
  readonly userId: string;
  readonly identity: string;
  /** Whether this holds for every later time too. */
  readonly isLatest: boolean;
}

/** How many sessions of a device that begin at one instant are told apart. */
const MOST_AT_ONCE = 3;

const ON_DEVICE = 'sessions s WHERE s.project_id = m.project_id AND s.device_id = m.device_id AND s.key IS NULL';

/**
 * The users whose sessions the events of devices alone may belong to: of the MOST_ON_DEVICE sessions that began last by
 * then, those that have been heard since, and those that are over but not closed yet, which the event ends (rule 6); and
 * the next session to begin. All moments after the start of a device's last session are one, so mostly the answer is one
 * short range of the index sessions_device for each device. It is read before anything is locked, because these users must
 * be locked first; and again under the locks.
 */
export function readDeviceOwners(tx: Queryable, moments: readonly DeviceMoment[]): Promise<DeviceOwner[]> {
  return tx.query<DeviceOwner>({
    name: 'ingest.deviceOwners',
    prepared: true,
    text: `SELECT o.project_id AS "projectId", o.device_id AS "deviceId", o.is_latest AS "isLatest",
                  (extract(epoch FROM o.at) * 1000)::float8 AS at, u.id AS "userId", u.identity
           FROM (
             SELECT DISTINCT m.project_id, m.device_id, m.at, m.is_latest, found.user_id FROM (
               SELECT DISTINCT m.project_id, m.device_id, least(m.at, last.started_at) AS at, m.at >= last.started_at AS is_latest
               FROM (
                 SELECT project_id, device_id, ${instant('at')} AS at
                 FROM unnest($1::uuid[], $2::text[], $3::bigint[]) m (project_id, device_id, at)
               ) m
               CROSS JOIN LATERAL (SELECT s.started_at FROM ${ON_DEVICE} ORDER BY s.started_at DESC LIMIT 1) last
             ) m
             CROSS JOIN LATERAL (
               SELECT greatest(inactivity_timeout, presence_timeout) * interval '1 second' AS timeout
               FROM projects WHERE id = m.project_id OFFSET 0
             ) p
             CROSS JOIN LATERAL (
               SELECT b.user_id FROM (
                 SELECT s.user_id, s.last_activity_at, s.ended_at FROM ${ON_DEVICE} AND s.started_at <= m.at
                 ORDER BY s.started_at DESC LIMIT ${MOST_ON_DEVICE}
               ) b WHERE b.last_activity_at >= m.at - p.timeout OR b.ended_at IS NULL
               UNION ALL
               (SELECT s.user_id FROM ${ON_DEVICE} AND s.started_at > m.at ORDER BY s.started_at LIMIT ${MOST_AT_ONCE})
             ) found
             WHERE found.user_id IS NOT NULL
           ) o
           CROSS JOIN LATERAL (SELECT id, identity FROM users WHERE project_id = o.project_id AND id = o.user_id OFFSET 0) u`,
    values: [
      plainArray(moments.map((moment) => moment.projectId)),
      textArray(moments.map((moment) => moment.deviceId)),
      plainArray(moments.map(({ at }) => at)),
    ],
  });
}

/** A session, and the times within it at which it may be split, in order (milliseconds). */
export interface SessionCuts {
  readonly session: WorkingSession;
  readonly times: readonly number[];
}

/**
 * The stored events of sessions, in parts: up to the first of a session's times, from each time to the next, and from the
 * last on. Answers the parts that hold events, in order, by the session's id. It reads all events of the sessions, so it is
 * only called where a late start may split one (rule 12). Types travel as their indexes in the session's own types. Other
 * types are not read, because the session does not keep them. (Postgres has no min() of uuids; their texts have the same
 * order.)
 */
export async function readStoredParts(tx: Queryable, cuts: readonly SessionCuts[]): Promise<Map<string, StoredPart[]>> {
  const each = cuts.flatMap(({ session, times }) => times.map((at) => ({ session, at })));
  const kept = cuts.flatMap(({ session }) =>
    session.eventTypes.map((type, place) => ({ sessionId: session.id, type, place })),
  );
  const rows = await tx.query<{
    sessionId: string;
    at: Date | null;
    events: number;
    errors: number;
    types: number[] | null;
    entry: string | null;
    exit: string | null;
  }>({
    name: 'ingest.storedParts',
    prepared: true,
    text: `SELECT c.session_id AS "sessionId", c.times[p.part] AS at, sum(p.events)::integer AS events,
                  coalesce(sum(p.events) FILTER (WHERE p.type = 'error'), 0)::integer AS errors,
                  json_agg(t.place) FILTER (WHERE t.place IS NOT NULL) AS types, min(p.entry) AS entry, max(p.exit) AS exit
           FROM (
             SELECT project_id, session_id, first_id, end_id, array_agg(DISTINCT ${instant('at')}) AS times
             FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::uuid[], $5::uuid[]) k (project_id, session_id, at, first_id, end_id)
             GROUP BY project_id, session_id, first_id, end_id
           ) c
           CROSS JOIN LATERAL (
             SELECT width_bucket(e.occurred_at, c.times) AS part, e.type, count(*) AS events,
                    min(e.id::text COLLATE "C") FILTER (WHERE e.source IS NOT NULL) AS entry,
                    max(e.id::text COLLATE "C") FILTER (WHERE e.source IS NOT NULL) AS exit
             FROM events e
             WHERE e.project_id = c.project_id AND e.session_id = c.session_id AND e.id >= c.first_id AND e.id < c.end_id
             GROUP BY width_bucket(e.occurred_at, c.times), e.type
           ) p
           LEFT JOIN unnest($6::uuid[], $7::text[], $8::integer[]) t (session_id, type, place)
             ON t.session_id = c.session_id AND t.type = p.type
           GROUP BY c.session_id, c.times, p.part`,
    values: [
      plainArray(each.map(({ session }) => session.projectId)),
      plainArray(each.map(({ session }) => session.id)),
      plainArray(each.map(({ at }) => at)),
      plainArray(each.map(({ session }) => firstUuidAt(session.startedAt))),
      plainArray(each.map(({ session }) => firstUuidAt(session.lastActivityAt + 1))),
      plainArray(kept.map(({ sessionId }) => sessionId)),
      textArray(kept.map(({ type }) => type)),
      plainArray(kept.map(({ place }) => place)),
    ],
  });
  const parts = new Map(cuts.map(({ session }) => [session.id, { session, stored: [] as StoredPart[] }]));
  for (const { sessionId, at, events, errors, types, entry, exit } of rows) {
    const { session, stored } = parts.get(sessionId)!;
    stored.push({
      under: sessionId,
      at: at?.getTime() ?? session.startedAt,
      events,
      errors,
      types: (types ?? []).map((place) => session.eventTypes[place]!),
      entry,
      exit,
    });
  }
  return new Map(
    [...parts].map(([sessionId, { stored }]) => [sessionId, stored.toSorted((a, b) => a.at - b.at)] as const),
  );
}

/** A key that names sessions, and the user whose session is meant; null: any user's session (rule 1). */
export interface SessionKey {
  readonly projectId: string;
  readonly key: string;
  readonly userId: string | null;
}

/** If an event names no user, it may belong to one of the newest sessions of its key. So many of them are read. */
const MOST_NAMESAKES = 10;
const WANTED = 'unnest($1::uuid[], $2::text[], $3::uuid[]) k (project_id, key, user_id)';
const ANYBODYS = `SELECT * FROM sessions s WHERE k.user_id IS NULL AND s.project_id = k.project_id AND s.key = k.key
             ORDER BY s.namesake DESC LIMIT ${MOST_NAMESAKES}`;
const keyValues = (keys: readonly SessionKey[]): unknown[] => [
  keys.map((key) => key.projectId),
  keys.map((key) => key.key),
  keys.map((key) => key.userId),
];

/** The users of the named sessions, read before anything is locked: these users must be locked first. */
export function readSessionOwners(
  tx: Queryable,
  keys: readonly SessionKey[],
): Promise<(UserKey & { identity: string })[]> {
  return tx.query<UserKey & { identity: string }>({
    name: 'ingest.sessionOwners',
    prepared: true,
    text: `SELECT u.project_id AS "projectId", u.id AS "userId", u.identity
           FROM ${WANTED}
           CROSS JOIN LATERAL (
             SELECT * FROM (${ANYBODYS}) anybodys
             UNION ALL
             SELECT * FROM sessions s WHERE s.project_id = k.project_id AND s.key = k.key AND s.user_id = k.user_id
           ) s
           CROSS JOIN LATERAL (SELECT * FROM users u WHERE u.project_id = s.project_id AND u.id = s.user_id OFFSET 0) u`,
    values: keyValues(keys),
  });
}

/**
 * Locks the sessions that the keys may mean, and reads them: the user's own session, a session without a user, and, if no
 * user is named, the newest sessions of the key. Answers the sessions of each key in the order in which they were made. The
 * users that own them must be locked.
 */
export async function lockNamedSessions(tx: Queryable, keys: readonly SessionKey[]): Promise<WorkingSession[]> {
  const rows = await tx.query<SessionRecord>({
    name: 'ingest.namedSessions',
    prepared: true,
    text: readSessions(`${WANTED}
           CROSS JOIN LATERAL (
             SELECT * FROM (
               SELECT * FROM sessions s WHERE s.project_id = k.project_id AND s.key = k.key AND s.user_id = k.user_id
               OFFSET 0 FOR NO KEY UPDATE) own
             UNION ALL
             SELECT * FROM (
               SELECT * FROM sessions s WHERE k.user_id IS NOT NULL AND s.project_id = k.project_id AND s.key = k.key
                 AND s.namesake = 0 AND s.user_id IS NULL
               OFFSET 0 FOR NO KEY UPDATE) nobodys
             UNION ALL
             SELECT * FROM (${ANYBODYS} FOR NO KEY UPDATE) anybodys
           ) s`),
    values: keyValues(keys),
  });
  // Two events of a key may have found the same session.
  return [...new Map(rows.map((row) => [row.id, row])).values()]
    .map(toWorking)
    .toSorted((a, b) => a.namesake - b.namesake);
}

/** How many sessions each key has named so far: the `namesake` of the next one. Keys that have named none are left out. */
export function countNamesakes(
  tx: Queryable,
  keys: readonly SessionKey[],
): Promise<{ projectId: string; key: string; namesakes: number }[]> {
  return tx.query({
    name: 'ingest.namesakes',
    prepared: true,
    text: `SELECT k.project_id AS "projectId", k.key, s.namesake + 1 AS namesakes
           FROM ${WANTED}
           CROSS JOIN LATERAL (SELECT namesake FROM sessions s WHERE s.project_id = k.project_id AND s.key = k.key
             ORDER BY s.namesake DESC LIMIT 1) s`,
    values: keyValues(keys),
  });
}

export interface KnownEvent {
  readonly projectId: string;
  readonly eventKey: string;
  readonly eventId: string | null;
  readonly sessionId: string | null;
  /** The user that the event names. */
  readonly userId: string | null;
}

/**
 * Those of the clients' own ids that arrived from the day `since` to the day `until` (YYYY-MM-DD). `sessionId` is the
 * session that the event belongs to now.
 */
export function readKnownEvents(
  tx: Queryable,
  keys: readonly { projectId: string; eventKey: string }[],
  since: string,
  until: string,
): Promise<KnownEvent[]> {
  return tx.query<KnownEvent>({
    name: 'ingest.knownEvents',
    prepared: true,
    text: `SELECT k.project_id AS "projectId", k.key_hash AS "eventKey", k.event_id AS "eventId",
                  CASE WHEN k.event_id IS NULL THEN k.session_id ELSE e.session_id END AS "sessionId",
                  e.user_id AS "userId"
           FROM unnest($1::uuid[], $2::uuid[]) w (project_id, key_hash)
           JOIN event_keys k ON k.project_id = w.project_id AND k.key_hash = w.key_hash AND k.received_on >= $3::date AND k.received_on <= $4::date
           LEFT JOIN events e ON e.project_id = k.project_id AND e.id = k.event_id`,
    values: [keys.map((key) => key.projectId), keys.map((key) => key.eventKey), since, until],
  });
}
