import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createDatabase } from '../../src/adapters/postgres/postgres.js';
import { userIdOf } from '../../src/domain/identity.js';
import type { WorkingSession } from '../../src/domain/session.js';
import { idDays } from '../../src/services/ingest/repeats.js';
import type { Database, Queryable, Statement } from '../../src/store/database.js';
import { closeSessions } from '../../src/store/ingest/close-sessions.js';
import { extendSessions, type Extension } from '../../src/store/ingest/extend-sessions.js';
import { lockUsers, readIdentitySessions } from '../../src/store/ingest/ingest-reads.js';
import { copySources, describeSessions, moveSessions, seeUsers } from '../../src/store/ingest/ingest-writes.js';
import { flipPresence } from '../../src/store/presence/flip-presence.js';
import { noteDevices } from '../../src/store/presence/note-devices.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

/** A young table: 5,000 open sessions of which nobody has taken statistics yet, and what ingest and the closer plan for it. */

const SESSIONS = 5_000;
const projectId = randomUUID();
const now = new Date();
const startedAt = new Date(now.getTime() - 60_000);
const sessions = Array.from({ length: SESSIONS }, (_, at) => ({
  projectId,
  id: randomUUID(),
  userId: userIdOf(projectId, `user ${at}`),
}));
const some = sessions.slice(0, 100);

let db: TestDatabase;
/** With the settings of the pool that ingest and the closer have. */
let database: Database;

beforeAll(async () => {
  db = await createTestDatabase();
  database = createDatabase({ url: db.url, poolSize: 1, observe: () => {}, indexPlans: true });
  const run = (text: string, values: unknown[] = []) => database.query({ name: 'test.fill', text, values });
  await run('ALTER TABLE sessions SET (autovacuum_enabled = off)');
  await run('ALTER TABLE users SET (autovacuum_enabled = off)');
  await run(`INSERT INTO projects (id, name, created_at) VALUES ($1, 'Young', now())`, [projectId]);
  await run(
    `INSERT INTO users (project_id, id, identity, online_sessions)
     SELECT $1, id, 'user ' || n, 1 FROM unnest($2::uuid[]) WITH ORDINALITY u (id, n)`,
    [projectId, sessions.map(({ userId }) => userId)],
  );
  await run(
    `INSERT INTO sessions (project_id, id, user_id, started_at, last_activity_at, online_until, live, due_at,
                           event_count, error_count, event_types, data)
     SELECT $1, id, user_id, $4, $4, $5, true, $5, 1, 0, '{log}', '{}' FROM unnest($2::uuid[], $3::uuid[]) s (id, user_id)`,
    [
      projectId,
      sessions.map(({ id }) => id),
      sessions.map(({ userId }) => userId),
      startedAt,
      new Date(startedAt.getTime() + 300_000),
    ],
  );
});
afterAll(async () => {
  await database.close();
  await db.drop();
});

interface PlanNode {
  'Relation Name'?: string;
  'Actual Rows'?: number;
  'Actual Loops'?: number;
  'Rows Removed by Filter'?: number;
  Plans?: PlanNode[];
}

/** Rows that a plan takes from sessions and users, whether it keeps them or not. */
function rowsRead(node: PlanNode): number {
  const each = (node['Actual Rows'] ?? 0) + (node['Rows Removed by Filter'] ?? 0);
  const own = /^(sessions|users)$/.test(node['Relation Name'] ?? '') ? each * (node['Actual Loops'] ?? 1) : 0;
  return own + (node.Plans ?? []).reduce((sum, one) => sum + rowsRead(one), 0);
}

type Value = string | number | boolean | Date | null | readonly (string | null)[];

/** As the driver would write it. */
function literal(value: Value): string {
  if (value === null) return 'NULL';
  if (value instanceof Date) return pg.escapeLiteral(value.toISOString());
  if (typeof value === 'object') return pg.escapeLiteral(`{${value.map((one) => one ?? 'NULL').join(',')}}`);
  return pg.escapeLiteral(String(value));
}

/** The plan that a connection makes once and keeps. */
async function keptPlan(call: (on: Queryable) => Promise<unknown>): Promise<PlanNode> {
  const noted: Statement[] = [];
  await call({
    query: async (statement) => {
      noted.push(statement);
      return [];
    },
  }).catch(() => {});
  const [{ text, values = [] }] = noted as [Statement];
  const run = <Row>(statement: string) => database.query<Row>({ name: 'test.explain', text: statement });
  await run(`PREPARE planned AS ${text}`);
  try {
    const [row] = await run<{ 'QUERY PLAN': [{ Plan: PlanNode }] }>(
      `EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE planned (${(values as Value[]).map(literal).join(', ')})`,
    );
    return row!['QUERY PLAN'][0].Plan;
  } finally {
    await run('DEALLOCATE planned');
  }
}

const extensions = some.map(({ id, userId }): Extension => ({
  projectId,
  userId,
  sessionId: id,
  firstAt: now.getTime(),
  lastAt: now.getTime(),
  events: 1,
  errors: 0,
  beatAt: null,
  beatBefore: null,
  entryId: null,
  exitId: null,
  exitSource: null,
  types: [],
  says: 0,
  dataKeys: [],
  name: null,
  nameAt: 0,
}));
const writes = some.map(({ id, userId }) => ({
  session: {
    projectId,
    id,
    userId,
    key: null,
    endReason: null,
    startedAt: startedAt.getTime(),
    lastActivityAt: now.getTime(),
    heartbeatAt: null,
    heartbeatBefore: null,
    closedByHeartbeat: false,
    explicitStart: false,
    hasHeartbeat: false,
    eventCount: 1,
    errorCount: 0,
    eventTypes: ['log'],
    data: {},
    isBot: false,
  } as unknown as WorkingSession,
  liveness: { onlineUntil: now.getTime() + 300_000, live: true, dueAt: startedAt.getTime() + 300_000 },
}));

const statements: [string, (on: Queryable) => Promise<unknown>][] = [
  ['ingest: extend', (on) => extendSessions(on, extensions, [], [], idDays(now.getTime()), now)],
  ['ingest: lock users', (on) => lockUsers(on, some)],
  [
    'ingest: identity sessions',
    (on) =>
      readIdentitySessions(
        on,
        some.map(({ userId }) => ({ projectId, userId, deviceId: null, at: now.getTime() })),
      ),
  ],
  ['ingest: move sessions', (on) => moveSessions(on, writes)],
  ['ingest: describe sessions', (on) => describeSessions(on, writes)],
  [
    'ingest: copy sources',
    (on) =>
      copySources(
        on,
        writes.map(({ session }) => session),
      ),
  ],
  [
    'closer: see users',
    (on) =>
      seeUsers(
        on,
        some.map((one) => ({ ...one, lastSeenAt: now })),
      ),
  ],
  ['closer: close', (on) => closeSessions(on, some, new Date(now.getTime() + 3_600_000))],
  [
    'presence: flip',
    (on) =>
      flipPresence(
        on,
        some.map(({ id, userId }) => ({
          projectId,
          userId,
          sessionId: id,
          cause: 'STARTED' as const,
          lastSeenAt: now.getTime(),
          isRenamed: false,
        })),
        now,
      ),
  ],
  [
    'presence: note devices',
    (on) =>
      noteDevices(
        on,
        some.map(({ id, ...user }) => ({ ...user, sessionId: id, cause: 'STARTED' as const })),
        now,
      ),
  ],
];

test.each(statements)('%s: a hundred sessions of 5,000 by index, without statistics', async (_name, call) => {
  const plan = await keptPlan(call);
  expect(rowsRead(plan)).toBeGreaterThanOrEqual(100);
  // At most five rows of each: one more of the user, where a change must not be told behind a later one.
  expect(rowsRead(plan)).toBeLessThanOrEqual(500);
});
