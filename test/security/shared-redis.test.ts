import { randomUUID } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  connect,
  createProject,
  eventually,
  listen,
  post,
  startTestApp,
  type Listening,
  type TestApp,
} from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { startOwnRedis, type RedisServer } from '../support/redis.js';

/** A Redis is seldom anybody's alone: other programs say and keep things there, and so do other installations. */

let redis: RedisServer;
let stranger: Redis;
const databases: TestDatabase[] = [];
const apps: TestApp[] = [];

beforeAll(async () => {
  redis = await startOwnRedis();
  stranger = new Redis(redis.url);
  for (let installation = 0; installation < 2; installation += 1) {
    const db = await createTestDatabase();
    databases.push(db);
    apps.push(await startTestApp(db, { REDIS_URL: redis.url }));
  }
});
afterAll(async () => {
  stranger.disconnect();
  await Promise.all(apps.map((app) => app.close('test')));
  await Promise.all(databases.map((db) => db.drop()));
  await redis.kill();
});

const EDGE = {
  userId: randomUUID(),
  presence: { identity: 'a', name: null, status: 'ONLINE', since: null, lastSeenAt: null, onlineSessions: 1 },
  version: 1,
  previous: null,
  transaction: '1',
  sessionId: null,
};

const JUNK: readonly (string | Buffer)[] = [
  '',
  'not JSON',
  '{',
  'null',
  '0',
  '"text"',
  '[]',
  '{}',
  '[{}]',
  '[null]',
  '[[]]',
  '[{"presence":null}]',
  '{"ids":null}',
  '{"ids":[{}]}',
  '{"ids":["no id"]}',
  '{"at":1}',
  '{"at":null,"changes":[]}',
  '{"at":1e300,"changes":[{"id":"x","kind":"ENDED"}]}',
  `{"at":9e15,"changes":[{"id":"${randomUUID()}","kind":"ENDED"}]}`,
  `{"at":1,"changes":[{"id":"${randomUUID()}","kind":"NOTHING"}]}`,
  `{"at":1,"changes":[{"id":"${randomUUID()}","kind":"ENDED","took":7}]}`,
  JSON.stringify([{ ...EDGE, presence: { ...EDGE.presence, since: 'never' } }]),
  JSON.stringify([{ ...EDGE, presence: { ...EDGE.presence, status: 'THERE' } }]),
  JSON.stringify([{ ...EDGE, version: 'x' }]),
  JSON.stringify([{ ...EDGE, transaction: 'x' }]),
  `[${'['.repeat(20_000)}`,
  Buffer.from([0xff, 0xfe, 0x00, 0x80]),
];
/** Longer than anything that is said. */
const TOO_LONG = 'x'.repeat(16_000_001);

/** A project's three watches, each of which has heard something. */
async function watchAll(app: TestApp): Promise<{ key: string; watches: Listening[]; stop: () => Promise<unknown> }> {
  const key = await createProject(app.url);
  const client = connect(app.url, key);
  const watches = [
    'subscription { userPresence { kind users { identity } } }',
    'subscription { sessionChanged { kind session { id } } }',
    'subscription { eventIngested { message } }',
  ].map((query) => listen(client, query));
  await watches[0]!.until((heard) => heard.length > 0);
  // A query behind them: by the time it is answered they stand.
  await listen(client, '{ __typename }').ended;
  return { key, watches, stop: async () => client.dispose() };
}

const send = (app: TestApp, key: string, identity: string) =>
  post(
    app.url,
    key,
    'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted results { sessionId } } }',
    { events: [{ message: identity, user: { identity } }] },
  );

test('junk on a channel that is watched is noticed and left out; every watch goes on', async () => {
  const app = apps[0]!;
  const { key, watches, stop } = await watchAll(app);
  // Of both installations: their losses and keys; of this one the three of the project.
  const listChannels = async (): Promise<string[]> => (await stranger.pubsub('CHANNELS', '*')) as string[];
  await eventually(async () => (await listChannels()).length === 2 * 2 + 3);
  const channels = await listChannels();
  // A loss of any channel is a loss: its watches end.
  const isLoss = (channel: string, junk: string | Buffer): boolean => channel.endsWith(':losses') && junk === 'null';
  for (const channel of channels)
    for (const junk of JUNK) if (!isLoss(channel, junk)) await stranger.publish(channel, junk);
  await stranger.publish(
    channels.find((channel) => channel.includes('presence'))!,
    TOO_LONG,
  );

  const before = watches.map(({ heard }) => heard.length);
  await send(app, key, 'after the junk');
  for (const [at, watch] of watches.entries()) {
    const said = await watch.until((heard) => heard.length > before[at]!);
    expect(watch.errors).toEqual([]);
    expect(JSON.stringify(said)).not.toContain('THERE');
  }
  await eventually(() => app.observations.filter(({ kind }) => kind === 'bus.junk').length >= JUNK.length * 3);
  // What was said is in nobody's log.
  expect(JSON.stringify(app.observations).length).toBeLessThan(1_000_000);
  expect(app.observations.filter(({ kind }) => kind === 'task.failed')).toEqual([]);
  await stop();
});

test('where something else stands in the place of a counter, requests are counted here and answered', async () => {
  const app = apps[0]!;
  const key = await createProject(app.url);
  await eventually(async () => {
    await post(app.url, key, '{ project { name } }');
    return (await stranger.keys('footsteps:*')).length > 0;
  });
  for (const name of await stranger.keys('footsteps:*')) await stranger.del(name).then(() => stranger.lpush(name, 'x'));
  const { status, headers } = await post(app.url, key, '{ project { name } }');
  expect([status, headers.get('RateLimit')]).toEqual([200, expect.stringContaining('"key"')]);
});

test('two installations on one Redis have nothing in common there', async () => {
  const both = await Promise.all(apps.map(watchAll));
  for (const [at, { key }] of both.entries()) await send(apps[at]!, key, 'somebody');
  const names = await Promise.all(
    databases.map(async (db) => {
      const [row] = await db
        .open()
        .query<{ name: string }>({ name: 'test.name', text: 'SELECT name FROM installation' });
      return row!.name;
    }),
  );
  expect(new Set(names).size).toBe(2);
  const prefixes = names.map((name) => `footsteps:${name}:`);
  const used = [...((await stranger.pubsub('CHANNELS', '*')) as string[]), ...(await stranger.keys('*'))];
  for (const prefix of prefixes) expect(used.filter((one) => one.startsWith(prefix)).length).toBeGreaterThan(5);
  expect(used.filter((one) => !prefixes.some((prefix) => one.startsWith(prefix)))).toEqual([]);

  // That one of them has lost something ends that one's watch of events. The others stand on rows.
  await stranger.publish(`${prefixes[0]}losses`, 'null');
  await both[0]!.watches[2]!.ended;
  const standing = [...both[0]!.watches.slice(0, 2), ...both[1]!.watches];
  const before = standing.map(({ heard }) => heard.length);
  for (const [at, { key }] of both.entries()) await send(apps[at]!, key, 'somebody else');
  for (const [at, watch] of standing.entries()) await watch.until((heard) => heard.length > before[at]!);
  for (const { stop } of both) await stop();
});
