import { firstUuidAt } from '../../domain/event-id.js';
import type { Liveness } from '../../domain/online.js';
import { isOpen, type WorkingSession } from '../../domain/session.js';
import { toStorableJson } from '../../domain/well-formed.js';
import { keptBytes } from '../../domain/working-session.js';
import type { Queryable } from '../database.js';
import { eventArrays, EVENT_NAMES, eventParameters, EVENT_VALUES, type EventWrite } from '../sessions/event-columns.js';
import type { DeviceKey, UserKey } from '../lock-order.js';
import type { LockedUser } from './ingest-reads.js';
import { plainArray, textArray, timestamp } from '../parameters.js';

/**
 * The writes of an ingest batch: a fixed number of statements, for any number of rows. Each takes its columns as arrays;
 * every row has its project.
 */

/** A session, and the presence columns of its row. */
export interface SessionWrite {
  readonly session: WorkingSession;
  readonly liveness: Liveness;
}

/** `$1::a[], $2::b[] …` */
const parameters = (types: readonly string[]): string => types.map((type, at) => `$${at + 1}::${type}[]`).join(', ');

const orNull = (milliseconds: number | null): string | null => (milliseconds === null ? null : timestamp(milliseconds));
const endedAt = ({ session }: SessionWrite): string | null =>
  isOpen(session) ? null : timestamp(session.lastActivityAt);
const dueAt = ({ liveness }: SessionWrite): string | null => orNull(liveness.dueAt);

type SessionColumn = readonly [
  name: string,
  type: string,
  value: (write: SessionWrite) => string | number | boolean | null,
];

/** Columns that identify the session. */
const IDENTITY: readonly SessionColumn[] = [
  ['project_id', 'uuid', ({ session }) => session.projectId],
  ['id', 'uuid', ({ session }) => session.id],
];
/** Columns that change with events and heartbeats. */
const MOVING: readonly SessionColumn[] = [
  ['user_id', 'uuid', ({ session }) => session.userId],
  ['started_at', 'timestamptz', ({ session }) => timestamp(session.startedAt)],
  ['last_activity_at', 'timestamptz', ({ session }) => timestamp(session.lastActivityAt)],
  ['ended_at', 'timestamptz', endedAt],
  ['end_reason', 'text', ({ session }) => session.endReason],
  ['closed_by_heartbeat', 'boolean', ({ session }) => session.closedByHeartbeat],
  ['explicit_start', 'boolean', ({ session }) => session.explicitStart],
  ['has_heartbeat', 'boolean', ({ session }) => session.hasHeartbeat],
  ['heartbeat_at', 'timestamptz', ({ session }) => orNull(session.heartbeatAt)],
  ['heartbeat_before', 'timestamptz', ({ session }) => orNull(session.heartbeatBefore)],
  ['online_until', 'timestamptz', ({ liveness }) => timestamp(liveness.onlineUntil)],
  ['live', 'boolean', ({ liveness }) => liveness.live],
  ['due_at', 'timestamptz', dueAt],
  ['event_count', 'integer', ({ session }) => session.eventCount],
  ['error_count', 'integer', ({ session }) => session.errorCount],
  ['ended_event_count', 'integer', ({ session }) => (isOpen(session) ? null : session.eventCount)],
  ['entry_event_id', 'uuid', ({ session }) => session.entry?.eventId ?? null],
  ['entry_source', 'text', ({ session }) => session.entry?.source ?? null],
  ['exit_event_id', 'uuid', ({ session }) => session.exit?.eventId ?? null],
  ['exit_source', 'text', ({ session }) => session.exit?.source ?? null],
];
/** Columns that are found once and then stay (rule 22). Null keeps the stored value where it was too large to read. */
const DESCRIBING: readonly SessionColumn[] = [
  ['event_types', 'text', ({ session }) => (session.isFull ? null : textArray(session.eventTypes))],
  ['kept_bytes', 'integer', ({ session }) => (session.isFull ? null : keptBytes(session))],
  ['device_id', 'text', ({ session }) => session.deviceId],
  ['version', 'text', ({ session }) => session.version],
  ['browser_name', 'text', ({ session }) => session.browserName],
  ['browser_version', 'text', ({ session }) => session.browserVersion],
  ['os_name', 'text', ({ session }) => session.osName],
  ['os_version', 'text', ({ session }) => session.osVersion],
  ['device', 'text', ({ session }) => session.device],
  ['ip_address', 'text', ({ session }) => session.ipAddress],
  ['is_bot', 'boolean', ({ session }) => session.isBot],
  ['country', 'text', ({ session }) => session.country],
  ['region', 'text', ({ session }) => session.region],
  ['city', 'text', ({ session }) => session.city],
  ['data', 'jsonb', ({ session }) => (session.isFull ? null : (toStorableJson(session.data) ?? '{}'))],
];
const KEPT = new Set(['event_types', 'kept_bytes', 'data']);
/** A source stays where the event that it is of stays: the plan has not read it. */
const OF_EVENT: Readonly<Record<string, string>> = { entry_source: 'entry_event_id', exit_source: 'exit_event_id' };

/** The SQL that turns an unnested value into its column: enums and text[] travel as text. */
function cast(name: string): string {
  if (name === 'end_reason') return 'w.end_reason::session_end_reason';
  if (name === 'event_types') return 'w.event_types::text[]';
  return `w.${name}`;
}

const names = (columns: readonly SessionColumn[]): string => columns.map(([name]) => name).join(', ');
const types = (columns: readonly SessionColumn[]): string[] => columns.map(([, type]) => type);
const values = (columns: readonly SessionColumn[], writes: readonly SessionWrite[]): string[] =>
  columns.map(([, type, value]) =>
    type === 'text' || type === 'jsonb'
      ? textArray(writes.map(value) as (string | null)[])
      : plainArray(writes.map(value)),
  );

const INSERTED: readonly SessionColumn[] = [
  ...IDENTITY,
  ['key', 'text', ({ session }) => session.key],
  ['namesake', 'integer', ({ session }) => session.namesake],
  ...MOVING,
  ...DESCRIBING,
];
const INSERT_SESSIONS = `
  INSERT INTO sessions (${names(INSERTED)})
  SELECT ${INSERTED.map(([name]) => cast(name)).join(', ')}
  FROM unnest(${parameters(types(INSERTED))}) w (${names(INSERTED)})`;

/** The SQL that makes the new value of a column of the row `s`. */
function changedTo(name: string): string {
  if (KEPT.has(name)) return `coalesce(${cast(name)}, s.${name})`;
  const event = OF_EVENT[name];
  return event ? `CASE WHEN w.${event} = s.${event} THEN s.${name} ELSE w.${name} END` : cast(name);
}

const updateSessions = (changed: readonly SessionColumn[]): string => {
  const all = [...IDENTITY, ...changed];
  return `
    UPDATE sessions s SET ${changed.map(([name]) => `${name} = ${changedTo(name)}`).join(', ')}
    FROM unnest(${parameters(types(all))}) w (${names(all)})
    WHERE s.project_id = w.project_id AND s.id = w.id`;
};
const MOVE_SESSIONS = updateSessions(MOVING);
const DESCRIBE_SESSIONS = updateSessions(DESCRIBING);

/**
 * Stores new sessions. If another server has stored a session of the same key meanwhile, this is a unique violation
 * (23505), and the batch is planned again.
 */
export async function insertSessions(tx: Queryable, writes: readonly SessionWrite[]): Promise<void> {
  await tx.query({
    name: 'ingest.insertSessions',
    prepared: true,
    text: INSERT_SESSIONS,
    values: values(INSERTED, writes),
  });
}

/** Writes the columns that change with events. If no indexed column changes its value, the update is heap-only. */
export async function moveSessions(tx: Queryable, writes: readonly SessionWrite[]): Promise<void> {
  await tx.query({
    name: 'ingest.moveSessions',
    prepared: true,
    text: MOVE_SESSIONS,
    values: values([...IDENTITY, ...MOVING], writes),
  });
}

/** Writes what the sessions have learned about their clients. */
export async function describeSessions(tx: Queryable, writes: readonly SessionWrite[]): Promise<void> {
  await tx.query({
    name: 'ingest.describeSessions',
    prepared: true,
    text: DESCRIBE_SESSIONS,
    values: values([...IDENTITY, ...DESCRIBING], writes),
  });
}

const SOURCE_OF = 'SELECT e.source FROM events e WHERE e.project_id = s.project_id AND e.id';

/**
 * Copies sources that the plan has not read from their events, into sessions that have got the first or latest event of
 * another one (rules 12 and 27).
 */
export async function copySources(tx: Queryable, sessions: readonly WorkingSession[]): Promise<void> {
  await tx.query({
    name: 'ingest.copySources',
    prepared: true,
    text: `UPDATE sessions s SET entry_source = coalesce(s.entry_source, (${SOURCE_OF} = s.entry_event_id)),
                  exit_source = coalesce(s.exit_source, (${SOURCE_OF} = s.exit_event_id))
           FROM unnest($1::uuid[], $2::uuid[]) w (project_id, id)
           WHERE s.project_id = w.project_id AND s.id = w.id`,
    values: [plainArray(sessions.map(({ projectId }) => projectId)), plainArray(sessions.map(({ id }) => id))],
  });
}

/**
 * Stored events of the session `source`, from the time `from` up to `to` (milliseconds; null: no end), which now belong to
 * `target`.
 */
export interface EventMove {
  readonly projectId: string;
  readonly source: string;
  readonly from: number;
  readonly to: number | null;
  readonly target: string;
}

const LAST_ID = 'ffffffff-ffff-ffff-ffff-ffffffffffff';

/**
 * Moves stored events to other sessions (rules 12 and 27). Event ids are made from times, so a span of time is a range of
 * ids.
 */
export async function moveEvents(tx: Queryable, moves: readonly EventMove[]): Promise<void> {
  await tx.query({
    name: 'ingest.moveEvents',
    prepared: true,
    text: `UPDATE events e SET session_id = m.target
           FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[]) m (project_id, source, first_id, end_id, target)
           WHERE e.project_id = m.project_id AND e.session_id = m.source AND e.id >= m.first_id AND e.id < m.end_id`,
    values: [
      plainArray(moves.map((move) => move.projectId)),
      plainArray(moves.map((move) => move.source)),
      plainArray(moves.map(({ from }) => firstUuidAt(from))),
      plainArray(moves.map(({ to }) => (to === null ? LAST_ID : firstUuidAt(to)))),
      plainArray(moves.map((move) => move.target)),
    ],
  });
}

/** A session `from` that has become part of the session `to` (rule 27). */
export interface SessionMerge {
  readonly projectId: string;
  /** The user of both; null: nobody's. */
  readonly userId: string | null;
  readonly from: string;
  readonly to: string;
}

/** Deletes the merged sessions, and records which session each became part of, so that its id can still be looked up. */
export async function absorbSessions(tx: Queryable, merges: readonly SessionMerge[], now: Date): Promise<void> {
  const columns = [
    plainArray(merges.map((row) => row.projectId)),
    plainArray(merges.map((row) => row.from)),
    plainArray(merges.map((row) => row.to)),
    plainArray(merges.map((row) => row.userId)),
  ];
  await Promise.all([
    tx.query({
      name: 'ingest.deleteSessions',
      prepared: true,
      text: `DELETE FROM sessions s USING unnest($1::uuid[], $2::uuid[]) m (project_id, source)
             WHERE s.project_id = m.project_id AND s.id = m.source`,
      values: columns.slice(0, 2),
    }),
    tx.query({
      name: 'ingest.keepMerges',
      prepared: true,
      text: `INSERT INTO merged_sessions (project_id, id, session_id, user_id, merged_at)
             SELECT *, $5::timestamptz FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[])`,
      values: [...columns, now],
    }),
  ]);
}

const INSERT_EVENTS = `
  INSERT INTO events (project_id, user_id, session_id, ${EVENT_NAMES})
  SELECT e.project_id, e.user_id, e.session_id, ${EVENT_VALUES}
  FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], ${eventParameters(4)}) e (project_id, user_id, session_id, ${EVENT_NAMES})`;

export async function insertEvents(tx: Queryable, writes: readonly EventWrite[]): Promise<void> {
  await tx.query({
    name: 'ingest.insertEvents',
    prepared: true,
    text: INSERT_EVENTS,
    values: [
      plainArray(writes.map(({ event }) => event.projectId)),
      plainArray(writes.map(({ event }) => event.user?.id ?? null)),
      plainArray(writes.map(({ sessionId }) => sessionId)),
      ...eventArrays(writes),
    ],
  });
}

export interface EventKeyWrite {
  readonly projectId: string;
  readonly eventKey: string;
  /** A day, YYYY-MM-DD. */
  readonly receivedOn: string;
  readonly eventId: string | null;
  readonly sessionId: string | null;
}

/**
 * Remembers the clients' own ids (rule 25). If another server has stored an id meanwhile, this is a unique violation
 * (23505).
 */
export async function insertEventKeys(tx: Queryable, writes: readonly EventKeyWrite[]): Promise<void> {
  await tx.query({
    name: 'ingest.insertEventKeys',
    prepared: true,
    text: `INSERT INTO event_keys (project_id, key_hash, received_on, event_id, session_id)
           SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::date[], $4::uuid[], $5::uuid[])
           ORDER BY 1, 2, 3`,
    values: [
      writes.map((row) => row.projectId),
      writes.map((row) => row.eventKey),
      writes.map((row) => row.receivedOn),
      writes.map((row) => row.eventId),
      writes.map((row) => row.sessionId),
    ],
  });
}

export interface UserWrite extends UserKey {
  /** The latest name (rule 24) and when it was sent; null: unchanged. */
  readonly name: string | null;
  readonly nameAt: number | null;
  /** JSON text; null: unchanged. */
  readonly data: string | null;
  /** The times of the user's `sessionend` events on each device, as LockedUser has them; null: unchanged. */
  readonly ends: LockedUser['ends'] | null;
  /** Times that are earlier than the stored first_seen_at, or later than last_seen_at (store/seen); null: unchanged. */
  readonly firstSeenAt: number | null;
  readonly lastSeenAt: number | null;
}

/**
 * The most ends that are remembered of a user on all devices: those of four devices, or the latest ends of more. (Of one
 * device at most 16, see domain/session-ends.)
 */
const MOST_ENDS = 64;

/** The ends of all devices, in the order of time, each with its device. */
const endsInOrder = (ends: LockedUser['ends']): { device: string; at: number }[] =>
  [...ends]
    .flatMap(([device, times]) => times.map((at) => ({ device, at })))
    .toSorted((a, b) => a.at - b.at)
    .slice(-MOST_ENDS);

/** Writes what a batch has learned about its users. The users must be locked. */
export async function updateUsers(tx: Queryable, writes: readonly UserWrite[]): Promise<void> {
  const ends = writes.map((row) => row.ends && endsInOrder(row.ends));
  await tx.query({
    name: 'ingest.updateUsers',
    prepared: true,
    text: `UPDATE users u SET name = coalesce(w.name, u.name), name_at = coalesce(w.name_at, u.name_at),
                  data = coalesce(w.data, u.data), ends = coalesce(w.ends::timestamptz[], u.ends),
                  end_devices = coalesce(w.end_devices::text[], u.end_devices),
                  first_seen_at = coalesce(w.first_seen_at, u.first_seen_at), last_seen_at = coalesce(w.last_seen_at, u.last_seen_at)
           FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[], $5::jsonb[], $6::text[], $7::text[],
                       $8::timestamptz[], $9::timestamptz[])
             w (project_id, id, name, name_at, data, ends, end_devices, first_seen_at, last_seen_at)
           WHERE u.project_id = w.project_id AND u.id = w.id`,
    values: [
      writes.map((row) => row.projectId),
      writes.map((row) => row.userId),
      writes.map((row) => row.name),
      writes.map((row) => orNull(row.nameAt)),
      writes.map((row) => row.data),
      ends.map((known) => known && plainArray(known.map(({ at }) => timestamp(at)))),
      ends.map((known) => known && textArray(known.map(({ device }) => device))),
      plainArray(writes.map((row) => orNull(row.firstSeenAt))),
      plainArray(writes.map((row) => orNull(row.lastSeenAt))),
    ],
  });
}

/** A user, and when one of their sessions that have ended was last active. */
export interface SeenUser extends UserKey {
  readonly lastSeenAt: Date;
}

/** Writes when users were last seen, where that is later than what is stored (store/seen). The users must be locked. */
export async function seeUsers(tx: Queryable, seen: readonly SeenUser[]): Promise<void> {
  const latest = new Map<string, SeenUser>();
  for (const one of seen) {
    const key = `${one.projectId} ${one.userId}`;
    if (one.lastSeenAt >= (latest.get(key)?.lastSeenAt ?? one.lastSeenAt)) latest.set(key, one);
  }
  const users = [...latest.values()];
  if (users.length === 0) return;
  await tx.query({
    name: 'ingest.seeUsers',
    prepared: true,
    text: `UPDATE users u SET last_seen_at = w.at
           FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) w (project_id, id, at)
           WHERE u.project_id = w.project_id AND u.id = w.id AND (u.last_seen_at < w.at OR u.last_seen_at IS NULL)`,
    values: [
      plainArray(users.map(({ projectId }) => projectId)),
      plainArray(users.map(({ userId }) => userId)),
      plainArray(users.map(({ lastSeenAt }) => lastSeenAt.toISOString())),
    ],
  });
}

/** The times of the `sessionend` events of a device alone, in order (milliseconds). */
export interface DeviceWrite extends DeviceKey {
  readonly ends: readonly number[];
}

/** Writes the ends of devices. The devices must be locked. */
export async function updateDevices(tx: Queryable, writes: readonly DeviceWrite[]): Promise<void> {
  await tx.query({
    name: 'ingest.updateDevices',
    prepared: true,
    text: `UPDATE devices d SET ends = w.ends::timestamptz[]
           FROM unnest($1::uuid[], $2::text[], $3::text[]) w (project_id, id, ends)
           WHERE d.project_id = w.project_id AND d.id = w.id`,
    values: [
      plainArray(writes.map((row) => row.projectId)),
      textArray(writes.map((row) => row.deviceId)),
      writes.map(({ ends }) => plainArray(ends.map(timestamp))),
    ],
  });
}
