import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { createPrismaDatabase } from '../../src/adapters/postgres/postgres.js';
import { DEFAULT_SETTINGS } from '../../src/domain/project.js';
import type { Observation } from '../../src/observation.js';
import { addAuditEntry, listAuditEntries } from '../../src/store/access/audit-log.js';
import type { PrismaDatabase, PrismaQueryable } from '../../src/store/database.js';
import { lockProject } from '../../src/store/lock-project.js';
import { addProject, getProject } from '../../src/store/projects/projects.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { startProxy } from '../support/proxy.js';

let db: TestDatabase;
let database: PrismaDatabase;
const observations: Observation[] = [];
const opened: PrismaDatabase[] = [];

beforeAll(async () => {
  db = await createTestDatabase();
  database = db.open((observation) => observations.push(observation));
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map((one) => one.close()));
});
afterAll(() => db.drop());

function open(options: { url?: string; poolSize?: number; pooled?: boolean } = {}): PrismaDatabase {
  const one = createPrismaDatabase({ url: db.url, poolSize: 2, observe: () => {}, ...options });
  opened.push(one);
  return one;
}

const project = () => ({
  ...DEFAULT_SETTINGS,
  id: randomUUID(),
  name: 'Shop',
  createdAt: new Date('2026-03-04T05:06:07.089Z'),
});
const reachOf = (projectId: string) => ({ projectId, userIds: null });
const entry = () => ({
  id: randomUUID(),
  at: new Date(),
  keyId: null,
  action: 'PROJECT_CREATED' as const,
  details: {},
});
/** Any statement within Prisma's transaction. */
const say = (tx: PrismaQueryable, text: string) =>
  tx.prisma('test', (models) => models.$queryRawUnsafe<Record<string, unknown>[]>(text));
const projectsCalled = (name: string) =>
  database.query({ name: 'test', text: 'SELECT 1 FROM projects WHERE name = $1', values: [name] });

test('each operation is observed by its name, with its rows', async () => {
  observations.length = 0;
  const made = await database.prismaTransaction((tx) => addProject(tx, project()));
  await getProject(database, reachOf(made.id));
  await getProject(database, reachOf(randomUUID()));
  expect(observations).toMatchObject([
    { kind: 'statement', name: 'projects.add', rows: 1 },
    { kind: 'statement', name: 'projects.get', rows: 1 },
    { kind: 'statement', name: 'projects.get', rows: 0 },
  ]);
});

test('what fails takes what was done before it along: a change is never without its entry in the audit log', async () => {
  const wanted = { ...project(), name: 'taken back' };
  const twice = entry();
  await database.prismaTransaction((tx) => addAuditEntry(tx, reachOf(wanted.id), twice)).catch(() => {});
  const failing = database.prismaTransaction(async (tx) => {
    await addProject(tx, wanted);
    await addAuditEntry(tx, reachOf(wanted.id), { ...twice, at: new Date(Number.NaN) });
  });
  await expect(failing).rejects.toThrow();
  expect(await projectsCalled('taken back')).toEqual([]);
});

test('a failure that is passed over is no commit', async () => {
  const passing = database.prismaTransaction(async (tx) => {
    await addProject(tx, { ...project(), name: 'passed over' });
    await say(tx, 'SELECT 1 / 0').catch(() => {});
  });
  await expect(passing).rejects.toThrow('rolled back');
  expect(await projectsCalled('passed over')).toEqual([]);
});

test.each([
  ['a statement that takes too long', `SET LOCAL statement_timeout = '20ms'`, 'SELECT pg_sleep(10)'],
  ['a lock that is not had', `SET LOCAL lock_timeout = '20ms'`, 'LOCK TABLE projects'],
])('%s is UNAVAILABLE', async (_what, setting, statement) => {
  const free = await db.hold('LOCK TABLE projects IN ACCESS EXCLUSIVE MODE');
  const failing = database.prismaTransaction(async (tx) => {
    await say(tx, setting);
    await say(tx, statement);
  });
  await expect(failing.finally(() => void free())).rejects.toMatchObject({
    code: 'UNAVAILABLE',
    details: { retryAfter: 1 },
  });
});

test('a connection that is lost within a transaction is UNAVAILABLE, nothing of it is kept, and the pool goes on', async () => {
  const one = open({ poolSize: 1 });
  const losing = one.prismaTransaction(async (tx) => {
    await addProject(tx, { ...project(), name: 'lost' });
    const [row] = await say(tx, 'SELECT pg_backend_pid() AS pid');
    await database.query({ name: 'test', text: 'SELECT pg_terminate_backend($1)', values: [row!.pid] });
    await addAuditEntry(tx, reachOf(randomUUID()), entry());
  });
  await expect(losing).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  expect(await projectsCalled('lost')).toEqual([]);
  expect(await getProject(one, reachOf(randomUUID()))).toBeNull();
});

test('a database that goes away before the commit is UNAVAILABLE', async () => {
  const proxy = await startProxy(Number(new URL(db.url).port));
  const url = new URL(db.url);
  url.hostname = '127.0.0.1';
  url.port = String(proxy.port);
  const one = open({ url: url.href });
  try {
    const losing = one.prismaTransaction(async (tx) => {
      await addProject(tx, { ...project(), name: 'not committed' });
      proxy.cut();
    });
    await expect(losing).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect(await projectsCalled('not committed')).toEqual([]);
  } finally {
    await proxy.close();
  }
});

test(
  'who gets no connection within 5 seconds hears UNAVAILABLE, and holds none afterwards',
  { timeout: 30_000 },
  async () => {
    const one = open({ poolSize: 1 });
    let waiting!: Promise<unknown>;
    await one.transaction(async (tx) => {
      await tx.query({ name: 'test', text: 'SELECT 1' });
      waiting = one.prismaTransaction((other) => say(other, 'SELECT 1'));
      await expect(waiting).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    });
    expect(await getProject(one, reachOf(randomUUID()))).toBeNull();
  },
);

test('instants are the same whatever the time zone of the database', async () => {
  const admin = new pg.Client({ connectionString: db.url });
  await admin.connect();
  const name = new URL(db.url).pathname.slice(1);
  await admin.query(`ALTER DATABASE ${name} SET TimeZone = 'Asia/Tokyo'`);
  try {
    for (const pooled of [false, true]) {
      const one = open({ pooled });
      const wanted = project();
      await one.prismaTransaction((tx) => addProject(tx, wanted));
      expect((await getProject(one, reachOf(wanted.id)))!.createdAt).toEqual(wanted.createdAt);
      const values = [wanted.id];
      const rows = await one.query<{ at: Date }>({
        name: 'test',
        text: 'SELECT created_at AS at FROM projects WHERE id = $1',
        values,
      });
      expect(rows).toEqual([{ at: wanted.createdAt }]);
    }
  } finally {
    await admin.query(`ALTER DATABASE ${name} RESET TimeZone`);
    await admin.end();
  }
});

test('where a pooler lends the connections, a transaction brings its limits along', async () => {
  for (const pooled of [true, false]) {
    const limits = await open({ pooled }).prismaTransaction((tx) =>
      say(
        tx,
        `SELECT current_setting('statement_timeout') AS statement, current_setting('idle_in_transaction_session_timeout') AS idle`,
      ),
    );
    expect(limits).toEqual([{ statement: '30s', idle: '30s' }]);
  }
});

test('of two that lock a project the second waits, and there is no lock where there is no project', async () => {
  const made = await database.prismaTransaction((tx) => addProject(tx, project()));
  const order: string[] = [];
  let second!: Promise<unknown>;
  await database.prismaTransaction(async (tx) => {
    expect(await lockProject(tx, reachOf(made.id))).toBe(true);
    second = database.prismaTransaction(async (other) => {
      await lockProject(other, reachOf(made.id));
      order.push('second');
    });
    for (;;) {
      const held = await database.query({
        name: 'test',
        text: `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
      });
      if (held.length > 0) break;
    }
    order.push('first');
  });
  await second;
  expect(order).toEqual(['first', 'second']);
  expect(await database.prismaTransaction((tx) => lockProject(tx, reachOf(randomUUID())))).toBe(false);
});

test('the audit log keeps whatever a client’s setting is called', async () => {
  const reach = reachOf(randomUUID());
  const set = JSON.parse('{"__proto__":"a","$type":"b","constructor":"c","toJSON":"d"}') as Record<string, string>;
  await database.prismaTransaction((tx) => addAuditEntry(tx, reach, { ...entry(), details: { set } }));
  const { rows } = await listAuditEntries(database, reach, { limit: 1, after: null, before: null, backwards: false });
  expect(JSON.stringify(rows[0]!.details)).toContain('"__proto__":"a"');
  expect(Object.keys(rows[0]!.details.set as object)).toHaveLength(4);
});

test('transactions are READ COMMITTED whatever the default of the database', async () => {
  const name = new URL(db.url).pathname.slice(1);
  await database.query({
    name: 'test',
    text: `ALTER DATABASE ${name} SET default_transaction_isolation = 'serializable'`,
  });
  try {
    const one = open();
    const text = `SELECT current_setting('transaction_isolation') AS level`;
    expect(await one.prismaTransaction((tx) => say(tx, text))).toEqual([{ level: 'read committed' }]);
    expect(await one.transaction((tx) => tx.query({ name: 'test', text }))).toEqual([{ level: 'read committed' }]);
  } finally {
    await database.query({ name: 'test', text: `ALTER DATABASE ${name} RESET default_transaction_isolation` });
  }
});
