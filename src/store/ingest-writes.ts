import { firstUuidAt } from '../domain/event-id.js';
import type { Liveness } from '../domain/online.js';
import { isOpen, type WorkingSession } from '../domain/session.js';
import { toStorableJson } from '../domain/well-formed.js';
import type { Queryable } from './database.js';
import { eventArrays, EVENT_NAMES, eventParameters, EVENT_VALUES, type EventWrite } from './event-columns.js';
import type { UserKey } from './ingest-reads.js';
import { plainArray, textArray, timestamp } from './parameters.js';

/**
 * What an ingest batch writes: a fixed number of set-based statements, however many rows. Each takes
 * columns as arrays; every row carries its project.
 */

/** A session and what its row says of presence. */
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

/** Columns that say which session it is. */
const IDENTITY: readonly SessionColumn[] = [
  ['project_id', 'uuid', ({ session }) => session.projectId],
  ['id', 'uuid', ({ session }) => session.id],
];
/** Columns that move with events and heartbeats. */
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
];
/** Columns that are found once and stay (rule 22). */
const DESCRIBING: readonly SessionColumn[] = [
  ['event_types', 'text', ({ session }) => textArray(session.eventTypes)],
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
  ['data', 'jsonb', ({ session }) => toStorableJson(session.data) ?? '{}'],
];

/** How an unnested value becomes its column: enums and text[] travel as text. */
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

const updateSessions = (changed: readonly SessionColumn[]): string => {
  const all = [...IDENTITY, ...changed];
  return `
    UPDATE sessions s SET ${changed.map(([name]) => `${name} = ${cast(name)}`).join(', ')}
    FROM unnest(${parameters(types(all))}) w (${names(all)})
    WHERE s.project_id = w.project_id AND s.id = w.id`;
};
const MOVE_SESSIONS = updateSessions(MOVING);
const DESCRIBE_SESSIONS = updateSessions(DESCRIBING);

/** A key that another server named in the meantime is a unique violation (23505): the batch is planned anew. */
export async function insertSessions(tx: Queryable, writes: readonly SessionWrite[]): Promise<void> {
  await tx.query({
    name: 'ingest.insertSessions',
    prepared: true,
    text: INSERT_SESSIONS,
    values: values(INSERTED, writes),
  });
}

/** Writes what moved. Where no indexed column changes its value the update is heap-only. */
export async function moveSessions(tx: Queryable, writes: readonly SessionWrite[]): Promise<void> {
  await tx.query({
    name: 'ingest.moveSessions',
    prepared: true,
    text: MOVE_SESSIONS,
    values: values([...IDENTITY, ...MOVING], writes),
  });
}

/** Writes what the sessions have found out about their clients. */
export async function describeSessions(tx: Queryable, writes: readonly SessionWrite[]): Promise<void> {
  await tx.query({
    name: 'ingest.describeSessions',
    prepared: true,
    text: DESCRIBE_SESSIONS,
    values: values([...IDENTITY, ...DESCRIBING], writes),
  });
}

/** Stored events of the session `source`, from `from` up to `to` (milliseconds; null: all that follow), that are `target`'s now. */
export interface EventMove {
  readonly projectId: string;
  readonly source: string;
  readonly from: number;
  readonly to: number | null;
  readonly target: string;
}

const LAST_ID = 'ffffffff-ffff-ffff-ffff-ffffffffffff';

/** Moves stored events to other sessions (rules 12 and 27). An event's id is made from its time, so that times are ranges of ids. */
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

/** A session that has become part of another, of the same user (rule 27). */
export interface SessionMerge extends UserKey {
  readonly from: string;
  readonly to: string;
}

/** The merged sessions are gone; what became of them is kept, so that their ids go on answering. */
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

/** Remembers the clients' own ids (rule 25). An id that another server stored in the meantime is a unique violation. */
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
  /** The latest name (rule 24) and when it was sent; null: as before. */
  readonly name: string | null;
  readonly nameAt: number | null;
  /** JSON text; null: as before. */
  readonly data: string | null;
  /** When the user sent `sessionend` events, in order; null: as before. */
  readonly ends: readonly number[] | null;
}

/** Writes what a batch has learned of its users. The users must be locked. */
export async function updateUsers(tx: Queryable, writes: readonly UserWrite[]): Promise<void> {
  await tx.query({
    name: 'ingest.updateUsers',
    prepared: true,
    text: `UPDATE users u SET name = coalesce(w.name, u.name), name_at = coalesce(w.name_at, u.name_at),
                  data = coalesce(w.data, u.data), ends = coalesce(w.ends::timestamptz[], u.ends)
           FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[], $5::jsonb[], $6::text[])
             w (project_id, id, name, name_at, data, ends)
           WHERE u.project_id = w.project_id AND u.id = w.id`,
    values: [
      writes.map((row) => row.projectId),
      writes.map((row) => row.userId),
      writes.map((row) => row.name),
      writes.map((row) => orNull(row.nameAt)),
      writes.map((row) => row.data),
      writes.map(({ ends }) => ends && plainArray(ends.map(timestamp))),
    ],
  });
}
