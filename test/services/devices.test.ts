import { afterAll, beforeAll, expect, test } from 'vitest';
import { userIdOf } from '../../src/domain/identity.js';
import { devicesOf } from '../../src/store/presence/read-devices.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { createExecutor, type Run } from '../support/execute.js';
import { createStage, type Stage } from '../support/stage.js';
import { uuidIn } from '../support/tenant.js';

/** What a user is there by: the sessions that count as online. */

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});
afterAll(() => db.drop());

const CHROME =
  'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0.0.0 Safari/537.36';
const PRESENCE = `query ($identities: [String!]) { presence(identities: $identities) { nodes {
  identity status onlineSessions devices { sessionId key since browser os device state away } } } }`;

type Executor = Awaited<ReturnType<typeof createExecutor>>;
const devicesIn = async ({ data }: Executor, ...[identity, caller]: [string, Parameters<Run>[2]?]) =>
  (await data(PRESENCE, { identities: [identity] }, caller)).presence.nodes[0].devices;
const statements = (stage: Stage): number =>
  stage.observations.filter((one) => one.kind === 'statement' && one.name === 'presence.devices').length;

test('two devices of a user come and go, each with its key, since when, and what it runs on', async () => {
  const stage = await createStage(db);
  const executor = await createExecutor(stage);
  const [phone] = await stage.send({ sessionKey: 'the-phone', user: 'ada', t: 0 });
  stage.at(10);
  const [laptop] = await stage.send({
    sessionKey: 'the-laptop',
    user: 'ada',
    data: { '@request': { user_agent: CHROME } },
  });
  const devices = await devicesIn(executor, 'ada');
  expect(devices).toEqual([
    {
      sessionId: expect.any(String),
      key: 'the-laptop',
      since: stage.time(10).toISOString(),
      browser: 'Chrome',
      os: 'Windows',
      device: 'desktop',
      state: null,
      away: false,
    },
    {
      sessionId: expect.any(String),
      key: 'the-phone',
      since: stage.time(0).toISOString(),
      browser: null,
      os: null,
      device: null,
      state: null,
      away: false,
    },
  ]);
  expect(devices.map(({ sessionId }: { sessionId: string }) => uuidIn(sessionId))).toEqual([
    laptop!.sessionId,
    phone!.sessionId,
  ]);
  await stage.send({ sessionKey: 'the-laptop', user: 'ada', type: 'sessionend' });
  expect(await devicesIn(executor, 'ada')).toMatchObject([{ key: 'the-phone' }]);
  // It goes silent, and what counts is what was told.
  stage.at(400);
  expect(await devicesIn(executor, 'ada')).toMatchObject([{ key: 'the-phone' }]);
  await stage.close();
  expect(await devicesIn(executor, 'ada')).toEqual([]);
});

test('rule 27: a session that became part of another is no device of its own', async () => {
  const stage = await createStage(db);
  const executor = await createExecutor(stage);
  stage.at(1_000);
  await stage.send({ user: 'ada', t: 500 });
  await stage.send({ user: 'ada', t: 1_000 });
  await stage.send({ user: 'ada', t: 750 });
  expect(await devicesIn(executor, 'ada')).toMatchObject([{ key: null, since: stage.time(500).toISOString() }]);
});

test('the devices of a page are one statement, and those of users who are offline none', async () => {
  const stage = await createStage(db);
  const executor = await createExecutor(stage);
  const users = Array.from({ length: 50 }, (_, at) => `user ${at}`);
  await stage.send(...users.map((user) => ({ user, t: 0 })));
  const before = statements(stage);
  const { presence } = await executor.data(PRESENCE, { identities: users });
  expect(presence.nodes.map(({ devices }: { devices: unknown[] }) => devices.length)).toEqual(
    Array.from({ length: 20 }, () => 1),
  );
  expect(statements(stage)).toBe(before + 1);
  const { user } = await executor.data(
    'query ($identity: String!) { user(identity: $identity) { presence { devices { key } } } }',
    { identity: 'user 3' },
  );
  expect(user.presence.devices).toEqual([{ key: null }]);
  await executor.data(PRESENCE, { identities: ['nobody'] });
  expect(statements(stage)).toBe(before + 2);
});

test('a token of one user sees no devices of others', async () => {
  const stage = await createStage(db);
  const executor = await createExecutor(stage);
  await stage.send({ user: 'ada', t: 0 }, { user: 'bob', t: 0 });
  const { projectId } = stage;
  const caller = {
    identities: ['ada'],
    reach: { projectId, userIds: [userIdOf(projectId, 'ada')] },
    scopes: new Set(['PRESENCE' as const]),
  };
  const { presence } = await executor.data(PRESENCE, { identities: ['ada', 'bob'] }, caller);
  expect(presence.nodes).toMatchObject([{ identity: 'ada', devices: [{ key: null }] }]);
  expect(await devicesOf(stage.database, caller.reach, ['bob'])).toEqual(new Map());
});

test('of a user a hundred devices are shown, the newest, and of many users fewer of each', async () => {
  const stage = await createStage(db);
  const executor = await createExecutor(stage);
  const keys = Array.from({ length: 105 }, (_, at) => `device-${String(at).padStart(3, '0')}`);
  for (const [at, sessionKey] of keys.entries()) {
    stage.at(at);
    await stage.send({ sessionKey, user: 'ada' });
  }
  const { presence } = await executor.data(PRESENCE, { identities: ['ada'] });
  expect(presence.nodes[0].onlineSessions).toBe(105);
  const newest = keys.toReversed();
  expect(presence.nodes[0].devices.map(({ key }: { key: string }) => key)).toEqual(newest.slice(0, 100));
  const crowd = Array.from({ length: 159 }, (_, at) => `somebody ${at}`);
  const some = await devicesOf(stage.database, stage.caller.reach, ['ada', ...crowd]);
  expect(some.get('ada')!.map(({ key }) => key)).toEqual(newest.slice(0, 25));
});
