import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { Database, Queryable } from '../../src/store/database.js';
import type { Observation } from '../../src/observation.js';
import { createDatabase } from '../../src/adapters/postgres/postgres.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { startProxy } from '../support/proxy.js';

let db: TestDatabase;
let database: Database;
const observations: Observation[] = [];
beforeAll(async () => {
  db = await createTestDatabase();
  database = db.open((observation) => observations.push(observation));
});
afterAll(() => db.drop());

const select = (tx: Queryable, expression: string) =>
  tx.query<{ value: unknown }>({ name: `test ${expression}`, text: `SELECT ${expression} AS value` });

test.each([
  ['a statement that takes too long', '57014', [`SET LOCAL statement_timeout = '20ms'`, 'SELECT pg_sleep(10)']],
  ['a lock that is not had', '55P03', [`SET LOCAL lock_timeout = '20ms'`, 'LOCK TABLE projects']],
  [
    'a row without a partition',
    '23514',
    [`INSERT INTO event_keys VALUES (gen_random_uuid(), gen_random_uuid(), '1999-01-01')`],
  ],
])('%s is UNAVAILABLE, for it may be done a little later', async (_what, sqlState, statements) => {
  const free = await db.hold('LOCK TABLE projects IN ACCESS EXCLUSIVE MODE');
  const failing = database
    .transaction(async (tx) => {
      for (const text of statements) await tx.query({ name: 'test', text });
    })
    .finally(() => void free());
  await expect(failing).rejects.toMatchObject({
    code: 'UNAVAILABLE',
    details: { retryAfter: 1 },
    cause: { code: sqlState },
  });
});

test('a value that is wrong, and a check that has a name, are not', async () => {
  await expect(select(database, `'x'::uuid`)).rejects.toMatchObject({ code: '22P02' });
  const text = `INSERT INTO projects (id, name, created_at, retention_days) VALUES (gen_random_uuid(), 'x', now(), 0)`;
  await expect(database.query({ name: 'test', text })).rejects.toMatchObject({ code: '23514' });
});

test('statements sent at once run in their order, each answered with its own rows', async () => {
  const values = await database.transaction(async (tx) => {
    await tx.query({ name: 'test', text: 'CREATE TEMPORARY SEQUENCE steps' });
    return Promise.all(Array.from({ length: 20 }, () => select(tx, "nextval('steps')::integer")));
  });
  expect(values.flat().map(({ value }) => value)).toEqual(Array.from({ length: 20 }, (_, at) => at + 1));
});

test('where one of them fails all that follow tell of that failure, and nothing is kept', async () => {
  await database.query({ name: 'test', text: 'CREATE TABLE kept (value integer)' });
  for (let round = 0; round < 20; round += 1) {
    const transaction = database.transaction(async (tx) => {
      const before = tx.query({ name: 'test', text: 'INSERT INTO kept VALUES (1)' });
      // Behind more promises than the one after it, it is heard of later.
      const failing = Promise.all([select(tx, '1 / 0'), select(tx, '1')]).then((rows) => rows.flat());
      const after = select(tx, '2');
      const settled = await Promise.allSettled([before, failing, after]);
      expect(settled.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected']);
      await Promise.all([after, failing]);
    });
    await expect(transaction).rejects.toMatchObject({ code: '22012' });
  }
  expect(await database.query({ name: 'test', text: 'SELECT * FROM kept' })).toEqual([]);
});

test('a failure that is passed over is no commit', async () => {
  const transaction = database.transaction(async (tx) => {
    await select(tx, '1 / 0').catch(() => {});
  });
  await expect(transaction).rejects.toThrow('rolled back');
  expect(await select(database, '3')).toEqual([{ value: 3 }]);
});

test('of statements sent at once, each is observed with the time of its own', async () => {
  observations.length = 0;
  await database.transaction((tx) => Promise.all([select(tx, 'pg_sleep(0.2)'), select(tx, '4')]));
  const took = observations.flatMap((observation) =>
    observation.kind === 'statement' ? [[observation.name, observation.milliseconds] as const] : [],
  );
  expect(took.map(([name]) => name)).toEqual(['test pg_sleep(0.2)', 'test 4']);
  expect(took[1]![1]).toBeLessThan(took[0]![1]);
});

test('closing waits until Postgres has let go of every connection, and calls none of them lost', async () => {
  const proxy = await startProxy(Number(new URL(db.url).port));
  const url = new URL(db.url);
  url.hostname = '127.0.0.1';
  url.port = String(proxy.port);
  url.searchParams.set('application_name', 'closing');
  const seen: Observation[] = [];
  const closing = createDatabase({ url: url.href, poolSize: 5, observe: (observation) => seen.push(observation) });
  const count = async (): Promise<unknown> =>
    (await select(database, `(SELECT count(*)::integer FROM pg_stat_activity WHERE application_name = 'closing')`))[0]!
      .value;
  try {
    await Promise.all(Array.from({ length: 5 }, () => select(closing, 'pg_sleep(0.1)')));
    // A query may run on a connection that was opened for another one; the last of the five is then still being opened.
    await vi.waitFor(async () => expect(await count()).toBe(5), 10_000);
    // A goodbye that takes its time.
    proxy.delay = 100;
    await closing.close();
    expect(await count()).toBe(0);

    const lost = createDatabase({ url: url.href, poolSize: 5, observe: (observation) => seen.push(observation) });
    await Promise.all(Array.from({ length: 5 }, () => select(lost, 'pg_sleep(0.1)')));
    await vi.waitFor(async () => expect(await count()).toBe(5), 10_000);
    const closed = lost.close();
    proxy.cut();
    await closed;
    expect(seen.filter(({ kind }) => kind === 'database.lost')).toEqual([]);
  } finally {
    await proxy.close();
  }
});
