import { randomUUID } from 'node:crypto';
import type { ProjectCaller } from '../../src/domain/access.js';
import type { IncomingEvent, IngestOutcome } from '../../src/domain/event.js';
import { userIdOf } from '../../src/domain/identity.js';
import { DEFAULT_SETTINGS, type ProjectSettings } from '../../src/domain/project.js';
import type { Sender } from '../../src/domain/sender.js';
import type { PresenceEdge } from '../../src/domain/presence.js';
import type { Observation } from '../../src/observation.js';
import type { Bus } from '../../src/services/bus.js';
import { createCloser, type Closer } from '../../src/services/ingest/closer.js';
import { createIngest, type Ingest } from '../../src/services/ingest/ingest.js';
import { presenceChannel, readEdges } from '../../src/services/messages.js';
import type { PrismaDatabase } from '../../src/store/database.js';
import type { TestDatabase } from './database.js';

/** A sender without address and user agent. */
export const SENDER: Sender = { ipAddress: null, userAgent: null };

/** A bus that records its messages, in order. */
export interface RecordingBus extends Bus {
  readonly said: { channel: string; message: string }[];
}

export function createRecordingBus(): RecordingBus {
  const said: { channel: string; message: string }[] = [];
  return {
    said,
    connected: true,
    async publish(channel, message) {
      said.push({ channel, message });
    },
    async subscribe() {
      return { close: async () => {} };
    },
    async close() {},
  };
}

/** A session as the tests compare it. Times are seconds since the stage's start. */
export interface SeenSession {
  id: string;
  key: string | null;
  device: string | null;
  start: number;
  last: number;
  end: number | null;
  reason: string | null;
  events: number;
  errors: number;
}

/**
 * A project on the test's database, with services and a clock that moves only when the test sets it. Tests of the rules
 * run on it. Times are seconds since `epoch`.
 */
export interface Stage {
  readonly projectId: string;
  readonly caller: ProjectCaller;
  readonly bus: RecordingBus;
  readonly database: PrismaDatabase;
  readonly ingest: Ingest;
  readonly closer: Closer;
  readonly observations: Observation[];
  /** Sets the clock. */
  at(seconds: number): void;
  /** The instant so many seconds after the stage's start. */
  time(seconds: number): Date;
  now(): Date;
  /** One request; `t` is occurredAt in seconds. */
  send(...events: StageEvent[]): Promise<IngestOutcome[]>;
  beat(
    target: { identity?: string; sessionKey?: string; deviceId?: string },
    close?: boolean,
  ): Promise<{ acknowledged: boolean; sessionId: string | null }>;
  close(): Promise<number>;
  sessions(identity?: string): Promise<SeenSession[]>;
  /** The edges; not the messages that sessions took the place of others. */
  edges(): PresenceEdge[];
}

export type StageEvent = Omit<IncomingEvent, 'user' | 'occurredAt'> & { user?: string; t?: number; name?: string };

export function toIncoming(event: StageEvent, time: (seconds: number) => Date): IncomingEvent {
  const { user, t, name, ...rest } = event;
  return {
    ...rest,
    ...(user === undefined ? {} : { user: { identity: user, ...(name ? { name } : {}) } }),
    ...(t === undefined ? {} : { occurredAt: time(t) }),
  };
}

const pools = new WeakMap<TestDatabase, { database: PrismaDatabase; observations: Observation[] }>();

/** One pool for all stages of a test file. Its observations go to the latest stage. */
function sharedPool(db: TestDatabase, observations: Observation[]): PrismaDatabase {
  const known = pools.get(db);
  if (known) {
    known.observations = observations;
    return known.database;
  }
  const shared = { database: db.open((observation) => shared.observations.push(observation)), observations };
  pools.set(db, shared);
  return shared.database;
}

export async function createStage(
  db: TestDatabase,
  settings: Partial<ProjectSettings> = {},
  caller: Partial<ProjectCaller> = {},
  more: Partial<Parameters<typeof createIngest>[0]> = {},
): Promise<Stage> {
  const observations: Observation[] = [];
  const database = sharedPool(db, observations);
  const projectId = randomUUID();
  // The closer looks at every project, so sessions that earlier stages left open are made not live.
  await database.query({ name: 'test.retire', text: 'UPDATE sessions SET live = false, due_at = NULL WHERE live' });
  const all = { ...DEFAULT_SETTINGS, ...settings };
  await database.query({
    name: 'test.project',
    text: `INSERT INTO projects (id, name, inactivity_timeout, presence_timeout, session_start, retention_days, store_ip_address, created_at)
           VALUES ($1, 'Stage', $2, $3, $4::session_start_policy, $5, $6, now())`,
    values: [
      projectId,
      all.inactivityTimeout,
      all.presenceTimeout,
      all.sessionStart,
      all.retentionDays,
      all.storeIpAddress,
    ],
  });
  const epoch = Date.UTC(2026, 9, 5, 12);
  const time = (seconds: number): Date => new Date(epoch + Math.round(seconds * 1000));
  let current = time(0);
  const clock = { now: () => current };
  const bus = createRecordingBus();
  const observe = (observation: Observation) => void observations.push(observation);
  const ingest = createIngest({ database, bus, clock, observe, ...more });
  const closer = createCloser({ database, bus, clock, observe, interval: 1_000 });
  const who: ProjectCaller = {
    kind: 'project',
    reach: { projectId, userIds: caller.identities?.map((identity) => userIdOf(projectId, identity)) ?? null },
    identities: null,
    scopes: new Set(['INGEST', 'READ', 'PRESENCE', 'MANAGE']),
    keyId: randomUUID(),
    expiresAt: null,
    settings: {
      storeIpAddress: all.storeIpAddress,
      bots: all.bots,
      allowedOrigins: all.allowedOrigins,
      rateLimit: all.rateLimit,
    },
    clientSettingsVersion: 0,
    ...caller,
  };
  const seconds = (date: Date | null): number | null => (date ? (date.getTime() - epoch) / 1000 : null);
  return {
    projectId,
    caller: who,
    bus,
    database,
    ingest,
    closer,
    observations,
    at(value) {
      current = time(value);
    },
    time,
    now: () => current,
    send: (...events) =>
      ingest.ingestEvents(
        who,
        events.map((event) => toIncoming(event, time)),
        SENDER,
      ),
    beat: (target, close = false) => ingest.recordHeartbeat(who, { ...target, close }, SENDER),
    async close() {
      const { closed } = await closer.runOnce(current);
      return closed;
    },
    async sessions(identity) {
      const rows = await database.query<{
        id: string;
        key: string | null;
        device_id: string | null;
        started_at: Date;
        last_activity_at: Date;
        ended_at: Date | null;
        end_reason: string | null;
        event_count: number;
        error_count: number;
      }>({
        name: 'test.sessions',
        text: `SELECT * FROM sessions WHERE project_id = $1 AND ($2::uuid IS NULL OR user_id = $2) ORDER BY started_at, last_activity_at, key, id`,
        values: [projectId, identity === undefined ? null : userIdOf(projectId, identity)],
      });
      return rows.map((row) => ({
        id: row.id,
        key: row.key,
        device: row.device_id,
        start: seconds(row.started_at)!,
        last: seconds(row.last_activity_at)!,
        end: seconds(row.ended_at),
        reason: row.end_reason,
        events: row.event_count,
        errors: row.error_count,
      }));
    },
    edges: () =>
      bus.said
        .filter(({ channel }) => channel === presenceChannel(projectId))
        .flatMap(({ message }) => readEdges(message)!)
        .filter(({ devicesTransaction }) => devicesTransaction === undefined),
  };
}
