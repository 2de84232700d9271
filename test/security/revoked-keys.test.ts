import { afterAll, beforeAll, expect, test } from 'vitest';
import { createMemoryBus } from '../../src/adapters/memory-bus.js';
import { createRevokedKeys } from '../../src/services/access/revoked-keys.js';
import type { Statement } from '../../src/store/database.js';
import { connect, createProject, eventually, listen, post, startTestApp, type TestApp } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { startProxy, type Proxy } from '../support/proxy.js';
import { startOwnRedis, type RedisServer } from '../support/redis.js';

/** What a revoked key keeps open ends, whichever server has lost its Redis, and though nobody says so on the bus. */

let db: TestDatabase;
let redis: RedisServer;
let lines: Proxy[];
let apps: TestApp[];

beforeAll(async () => {
  db = await createTestDatabase();
  redis = await startOwnRedis();
  lines = [await startProxy(redis.port), await startProxy(redis.port)];
  apps = [];
  for (const { port } of lines) apps.push(await startTestApp(db, { REDIS_URL: `redis://127.0.0.1:${port}` }));
});
afterAll(async () => {
  for (const line of lines) line.heal();
  await Promise.all(apps.map((app) => app.close('test')));
  await Promise.all(lines.map((line) => line.close()));
  await db.drop();
  await redis.kill();
});

const busOf = async (app: TestApp): Promise<boolean> => (await fetch(`${app.url}/health/ready`)).status === 200;

const send = (app: TestApp, key: string, identity: string) =>
  post(app.url, key, 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }', {
    events: [{ message: identity, user: { identity } }],
  });

async function revoke(app: TestApp, key: string, id: string): Promise<void> {
  const { errors } = await post(app.url, key, 'mutation ($id: ID!) { revokeApiKey(id: $id) { id } }', { id });
  expect(errors).toBeUndefined();
}

/** A key of its own, whose holder watches at that server: events and presence, over WebSocket and as server-sent events. */
async function watcherAt(app: TestApp, key: string) {
  const { data } = await post(
    app.url,
    key,
    'mutation { createApiKey(name: "watcher", scopes: [READ]) { key apiKey { id } } }',
  );
  const { key: watching, apiKey } = data.createApiKey;
  const client = connect(app.url, watching);
  const queries = [
    'subscription { userPresence { kind users { identity } } }',
    'subscription { eventIngested { message } }',
  ];
  const watches = queries.map((query) => listen(client, query));
  await watches[0]!.until((heard) => heard.length > 0);
  await listen(client, '{ __typename }').ended;
  const stream = await fetch(`${app.url}/graphql?query=${encodeURIComponent(queries[0]!)}`, {
    headers: { Authorization: `Bearer ${watching}`, Accept: 'text/event-stream' },
  });
  const sse = { text: '', ended: false };
  void (async () => {
    for await (const chunk of stream.body!) sse.text += Buffer.from(chunk).toString();
    sse.ended = true;
  })().catch(() => (sse.ended = true));
  await eventually(() => sse.text.includes('SNAPSHOT'));
  return { id: apiKey.id as string, watches, sse };
}

test('the server that revokes has lost its Redis: the streams at the other end all the same, and hear nothing later', async () => {
  const [here, there] = apps as [TestApp, TestApp];
  const key = await createProject(here.url);
  const { id, watches, sse } = await watcherAt(there, key);
  lines[0]!.refuse();
  await eventually(async () => !(await busOf(here)));
  await revoke(here, key, id);
  // It stays away: nothing but the rows can tell.
  await Promise.all(watches.map(({ ended }) => ended));
  await eventually(() => sse.ended);
  const heard = JSON.stringify([watches.map((watch) => watch.heard), sse.text]);
  for (let round = 0; round < 30; round += 1) await send(there, key, `later ${round}`);
  expect(JSON.stringify([watches.map((watch) => watch.heard), sse.text])).toBe(heard);
  lines[0]!.heal();
  await eventually(() => busOf(here));
});

test('the server of the streams has lost its Redis, and is not told that it has: they end too', async () => {
  const [here, there] = apps as [TestApp, TestApp];
  const key = await createProject(here.url);
  const { id, watches, sse } = await watcherAt(there, key);
  lines[1]!.blackhole();
  await revoke(here, key, id);
  await Promise.all(watches.map(({ ended }) => ended));
  await eventually(() => sse.ended);
  expect((watches[0]!.errors[0] as { code: number }).code).toBe(4401);
  lines[1]!.heal();
  await eventually(() => busOf(there));
});

test('a look asks for what was revoked since the last one, in pages, and tells of every key', async () => {
  const database = db.open();
  const asked: Statement[] = [];
  const noting: typeof database = {
    ...database,
    query: (statement) => {
      asked.push(statement);
      return database.query(statement);
    },
  };
  let now = new Date();
  const revoked = await createRevokedKeys({
    database: noting,
    bus: createMemoryBus(),
    clock: { now: () => now },
    observe: () => {},
  });
  const told = new Set<string>();
  revoked.onRevoked((id) => told.add(id));
  const add = (count: number, at: Date) =>
    database.query({
      name: 'test.revoked',
      text: `INSERT INTO api_keys (project_id, id, name, prefix, hash, scopes, created_at, revoked_at)
             SELECT p.id, gen_random_uuid(), 'many', 'fs_', decode(md5(n::text), 'hex'), '{READ}', $2, $2
             FROM (SELECT id FROM projects LIMIT 1) p, generate_series(1, $1) n`,
      values: [count, at],
    });
  await createProject(apps[0]!.url);
  now = new Date(Date.now() + 3_600_000);
  await revoked.look();
  told.clear();
  asked.length = 0;
  // All at the same instant: a page goes on within it.
  await add(2_500, now);
  await revoked.look();
  expect([told.size, asked.length]).toEqual([2_500, 3]);
  for (const { text, values } of asked) expect([text.includes('LIMIT $4'), values!.at(-1)]).toEqual([true, 1_000]);

  // A transaction that took its time: what it has revoked a look ago is told now.
  now = new Date(now.getTime() + 60_000);
  await revoked.look();
  told.clear();
  now = new Date(now.getTime() + 2_000);
  await add(1, new Date(now.getTime() - 100_000));
  await add(1, new Date(now.getTime() - 10_000));
  await revoked.look();
  expect(told.size).toBe(2 + 2_500);
  now = new Date(now.getTime() + 3_600_000);
  await revoked.look();
  told.clear();
  asked.length = 0;
  await revoked.look();
  expect([told.size, asked.length]).toEqual([0, 1]);
  await revoked.close();
});
