import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createReaders } from '../../src/services/access/reading-turns.js';
import { getProject } from '../../src/store/projects/projects.js';
import { connect, createProject, eventually, listen, post, startTestApp, type TestApp } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { record } from '../support/ledger.js';

/** Whoever reads much, or what takes long, holds up nobody else. */

let db: TestDatabase;
let app: TestApp;
let watcher: pg.Client;
beforeAll(async () => {
  db = await createTestDatabase();
  app = await startTestApp(db);
  watcher = new pg.Client({ connectionString: db.url });
  await watcher.connect();
});
afterAll(async () => {
  await watcher.end();
  await app.close('test');
  await db.drop();
});

/** Statements on events that wait for a lock. */
async function waiting(): Promise<number> {
  const { rows } = await watcher.query(
    `SELECT count(*)::integer AS count FROM pg_stat_activity
     WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%FROM events e%' AND query NOT LIKE '%user_descriptions%'`,
  );
  return rows[0].count;
}

test('a key whose statements take for ever has four of them under way; others read, come in and watch', async () => {
  const [greedy, other] = [await createProject(app.url), await createProject(app.url)];
  const release = await db.hold('LOCK TABLE events IN ACCESS EXCLUSIVE MODE');
  const asked = Array.from({ length: 40 }, () => post(app.url, greedy, '{ events { nodes { id } } }'));
  await eventually(async () => (await waiting()) > 0);
  const start = performance.now();
  const reads = await Promise.all(
    Array.from({ length: 5 }, () =>
      post(app.url, other, '{ sessions { nodes { id } } presence { nodes { identity } } }'),
    ),
  );
  expect(reads.map(({ errors }) => errors)).toEqual(Array.from({ length: 5 }, () => undefined));
  expect((await fetch(`${app.url}/health/ready`)).status).toBe(200);
  const client = connect(app.url, other);
  await listen(client, 'subscription { userPresence { kind } }').until((heard) => heard.length === 1);
  record('reading beside a key that reads for ever: milliseconds of others', Math.round(performance.now() - start));
  expect(await waiting()).toBe(4);
  await client.dispose();
  // Who waits too long is told so, and the rest is answered when the lock is gone.
  let told = 0;
  for (const one of asked) void one.then(() => (told += 1));
  await eventually(() => told === asked.length - 4, 30_000);
  expect((await Promise.race(asked)).errors![0]!.extensions).toMatchObject({ code: 'UNAVAILABLE', retryAfter: 1 });
  await release();
  const codes = (await Promise.all(asked)).map(({ errors }) => errors?.[0]?.extensions['code']);
  // The four that had their turn; more where their own 5 s are not over quite as soon as the first one's.
  expect(codes.filter((code) => code === undefined).length).toBeGreaterThanOrEqual(4);
  expect((await post(app.url, greedy, '{ events { nodes { id } } }')).errors).toBeUndefined();
});

test('a narrowed token has two of them, and leaves the rest to others of its key', async () => {
  const key = await createProject(app.url);
  const tokenOf = async (identity: string): Promise<string> => {
    const { data } = await post(
      app.url,
      key,
      'mutation ($of: [String!]) { createAccessToken(scopes: [READ], identities: $of) { token } }',
      { of: [identity] },
    );
    return data.createAccessToken.token;
  };
  const [greedy, other] = [await tokenOf('ada'), await tokenOf('bob')];
  const release = await db.hold('LOCK TABLE events IN ACCESS EXCLUSIVE MODE');
  const asked = Array.from({ length: 40 }, () => post(app.url, greedy, '{ events { nodes { id } } }'));
  await eventually(async () => (await waiting()) > 0);
  for (const reader of [other, key]) {
    expect((await post(app.url, reader, '{ sessions { nodes { id } } }')).errors).toBeUndefined();
  }
  expect(await waiting()).toBe(2);
  await release();
  await Promise.all(asked);
});

test('however many keys a project makes, and where three of them collude, others have their turn', async () => {
  const projects = await Promise.all(Array.from({ length: 3 }, () => createProject(app.url)));
  const [first, second, third] = projects as [string, string, string];
  const made = await Promise.all(
    Array.from({ length: 3 }, () =>
      post(app.url, first, 'mutation { createApiKey(name: "more", scopes: [READ]) { key } }'),
    ),
  );
  const others = made.map(({ data }) => data.createApiKey.key as string);
  const victim = await createProject(app.url);
  const release = await db.hold('LOCK TABLE events IN ACCESS EXCLUSIVE MODE');
  const ask = (key: string) => Array.from({ length: 20 }, () => post(app.url, key, '{ events { nodes { id } } }'));
  const asked = [first, ...others].flatMap(ask);
  await eventually(async () => (await waiting()) >= 6);
  asked.push(...[second, third].flatMap(ask));
  await eventually(async () => (await waiting()) >= 8);
  const { errors } = await post(app.url, victim, '{ project { apiKeys { id } } sessions { nodes { id } } }');
  expect(errors).toBeUndefined();
  expect(await waiting()).toBe(8);
  await release();
  await Promise.all(asked);
});

test("what Prisma reads waits for its key's turn too", async () => {
  let underWay = 0;
  let most = 0;
  async function prisma(): Promise<null> {
    most = Math.max(most, (underWay += 1));
    await new Promise((resolve) => setImmediate(resolve));
    underWay -= 1;
    return null;
  }
  const readers = createReaders({ prisma } as never);
  const caller = { kind: 'project', keyId: 'k', reach: { projectId: 'p', userIds: null } } as never;
  await Promise.all(Array.from({ length: 50 }, () => getProject(readers(caller), { projectId: 'p', userIds: null })));
  expect(most).toBe(4);
});
