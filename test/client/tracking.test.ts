import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { createTracker, type FootstepsError } from '../../src/client/client.js';
import { createEventIds, timeOfId } from '../../src/client/event-ids.js';
import { createProject, eventually, post, startTestApp, type TestApp } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { startProxy } from '../support/proxy.js';

/** The client in Node: no page, no storage, many users. */

let db: TestDatabase;
let app: TestApp;
beforeAll(async () => {
  db = await createTestDatabase();
  app = await startTestApp(db, { REDIS_URL: '' });
});
afterAll(async () => {
  await app.close('test');
  await db.drop();
});

const stored = async (key: string): Promise<any[]> =>
  (await post(app.url, key, '{ events { nodes { type message source value user { identity } session { id } } } }')).data
    .events.nodes;

test('a service tracks what its users do, and ends with everything sent', async () => {
  const key = await createProject(app.url);
  const client = createTracker({ url: `${app.url}/`, key, version: '2.0.0' });
  expect(client.deviceId).toBeNull();
  client.track('order', { value: 12.5, user: { identity: 'ada' } });
  client.track('order', { value: 3, user: { identity: 'ben' } });
  client.error(new TypeError('no stock'), { source: 'orders' });
  client.page({ source: '/orders' });
  expect(await client.close()).toBe(0);
  client.track('too late');
  expect(await client.flush()).toBe(0);
  const events = await stored(key);
  expect(events.map(({ type, user }) => [type, user?.identity])).toEqual([
    ['page view', undefined],
    ['error', undefined],
    ['order', 'ben'],
    ['order', 'ada'],
  ]);
  expect(events[1]).toMatchObject({ message: 'no stock', source: 'orders' });
  expect(new Set(events.map(({ session }) => session?.id)).size).toBe(3);
});

test('with sessions a program is present while it runs, under its name, and says goodbye', async () => {
  const key = await createProject(app.url);
  const client = createTracker({ url: app.url, key, useSessions: { heartbeat: 0.5 }, flushEvery: 0.01 });
  client.identify('robot', { name: 'The robot' });
  const seen = async (): Promise<any> =>
    (
      await post(
        app.url,
        key,
        '{ user(identity: "robot") { name presence { status } sessions { nodes { endReason } } } }',
      )
    ).data.user;
  await eventually(async () => (await seen()) !== null);
  expect(await seen()).toEqual({
    name: 'The robot',
    presence: { status: 'ONLINE' },
    sessions: { nodes: [{ endReason: null }] },
  });
  await client.close();
  expect((await seen()).sessions.nodes).toEqual([{ endReason: 'CLIENT' }]);
  expect(await stored(key)).toEqual([]);
});

test('what the server has not answered is sent again with the same ids, and stored once', async () => {
  const key = await createProject(app.url);
  const proxy = await startProxy(Number(new URL(app.url).port));
  const errors: FootstepsError[] = [];
  const url = `http://127.0.0.1:${proxy.port}`;
  const client = createTracker({ url, key, flushEvery: 0.01, onError: (error) => errors.push(error) });
  const count = async (): Promise<number> =>
    (await post(app.url, key, '{ events(first: 0) { totalCount } }')).data.events.totalCount;
  // The answer is on its way when the connection ends.
  proxy.delay = 300;
  for (let value = 0; value < 500; value += 1) client.track('step', { value, user: { identity: 'ada' } });
  await eventually(async () => (await count()) > 0);
  proxy.refuse();
  await eventually(() => errors.length > 0);
  expect(errors[0]).toMatchObject({ name: 'FootstepsError', code: 'NETWORK', status: 0 });
  expect(await client.flush()).toBe(500);
  proxy.heal();
  expect(await client.close()).toBe(0);
  expect(await count()).toBe(500);
  await proxy.close();
});

test('ids are in the order in which they were made, also where the clock goes back', () => {
  const newId = createEventIds();
  const ids = Array.from({ length: 10_000 }, (_, at) => newId(at < 5_000 ? 1_800_000_000_000 : 1_700_000_000_000));
  expect(ids).toEqual([...new Set(ids)].toSorted());
  for (const id of ids) expect(id).toMatch(/^[\da-f]{8}-[\da-f]{4}-7[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/);
  expect(timeOfId(ids[0]!)).toBe(1_800_000_000_000);
});

test('where the user changes, a token of the new user is asked for, and nothing is lost', async () => {
  const key = await createProject(app.url);
  const mint = 'mutation ($for: [String!]) { createAccessToken(scopes: [INGEST], identities: $for) { token } }';
  const asked: string[] = [];
  let signedIn = 'ada';
  const client = createTracker({
    url: app.url,
    token: async () => {
      asked.push(signedIn);
      return (await post(app.url, key, mint, { for: [signedIn] })).data.createAccessToken.token;
    },
  });
  for (const identity of ['ada', 'ben', 'ada']) {
    signedIn = identity;
    client.identify(identity);
    client.track('order');
    expect(await client.flush()).toBe(0);
  }
  await client.close();
  expect((await stored(key)).map(({ user }) => user.identity)).toEqual(['ada', 'ben', 'ada']);
  expect(asked).toEqual(['ada', 'ben', 'ada']);
});

test('no time that a page or a server gives makes a timer that fires at once, again and again', async () => {
  const setTimer = vi.spyOn(globalThis, 'setTimeout');
  for (const seconds of [Number.NaN, -1, Number.POSITIVE_INFINITY, 1e300, 3e6]) {
    const options = { url: 'http://127.0.0.1:1', key: 'fs_none', useSessions: { heartbeat: seconds } };
    const client = createTracker({ ...options, flushEvery: seconds });
    client.identify('ada');
    client.track('step');
    const closed = client.close(seconds);
    expect(await closed).toBe(1);
  }
  const delays = setTimer.mock.calls.map(([, delay]) => delay ?? 0);
  setTimer.mockRestore();
  expect(delays.length).toBeGreaterThan(10);
  // An hour.
  expect(delays.filter((delay) => !(delay >= 0 && delay <= 3_600_000))).toEqual([]);
});

test('what cannot be written as JSON is left out, is told, and throws nothing', async () => {
  const key = await createProject(app.url);
  const errors: FootstepsError[] = [];
  const client = createTracker({ url: app.url, key, onError: (error) => errors.push(error) });
  const ring: Record<string, unknown> = { size: 1 };
  ring['self'] = ring;
  const trap = {
    get name(): string {
      throw new Error('A trap.');
    },
  };
  const thrower: any = Object.assign(new Error('no stock'), { message: { toString: () => 'no stock at all' } });
  client.identify('ada', { name: 'Ada', data: { plan: 'free', count: 10n, ring: [ring] } });
  client.track('ring', { source: 'one', data: { good: true, ring, big: 10n } });
  client.track('big', { value: 10n as any, source: 'two' });
  client.track('trap', { source: 'three', data: { trap, good: true } });
  client.error(thrower);
  client.error(Object.create(null));
  client.track('null', null as any);
  client.identify(12n as any, null as any);
  client.track('number');
  client.identify(Symbol('nobody') as any, trap);
  expect(await client.flush()).toBe(0);
  const { events } = (
    await post(app.url, key, '{ events { nodes { type source message data user { identity name data } } } }')
  ).data;
  const found = events.nodes.toReversed();
  const ada = { identity: 'ada', name: 'Ada', data: { plan: 'free' } };
  expect(found).toMatchObject([
    { type: 'ring', source: 'one', data: { good: true }, user: ada },
    { type: 'big', source: 'two', user: ada },
    { type: 'trap', source: 'three', data: { good: true }, user: ada },
    { type: 'error', message: 'no stock at all', user: ada },
    { type: 'null', user: ada },
    { type: 'number', user: { identity: '12' } },
  ]);
  expect([found[0].data, found[2].data]).toEqual([{ good: true }, { good: true }]);
  // The user, four events, and the trap.
  expect(errors.map(({ code }) => code)).toEqual(Array.from({ length: 6 }, () => 'BAD_EVENT'));
  await client.close();
});

test('an event larger than any that the server takes is dropped alone', async () => {
  const key = await createProject(app.url);
  const errors: string[] = [];
  const client = createTracker({ url: app.url, key, onError: ({ code }) => errors.push(code) });
  client.track('before');
  client.track('huge', { message: 'x'.repeat(5_000_000) });
  client.track('after');
  expect(await client.close()).toBe(0);
  expect((await stored(key)).map(({ type }) => type)).toEqual(['after', 'before']);
  expect(errors).toEqual(['TOO_LARGE']);
});

test('what was taken before opting out is not sent after it, also if a token was waited for', async () => {
  const key = await createProject(app.url);
  let answer: ((token: string) => void) | undefined;
  const errors: string[] = [];
  const client = createTracker({
    url: app.url,
    onError: ({ code }) => errors.push(code),
    token: () => new Promise((resolve) => (answer = resolve)),
  });
  client.track('before');
  const flushed = client.flush();
  await eventually(() => answer !== undefined);
  client.optOut();
  client.track('while');
  client.optIn();
  client.track('after');
  answer!(key);
  await flushed;
  expect(await client.close()).toBe(0);
  expect((await stored(key)).map(({ type }) => type)).toEqual(['after']);
  expect(errors).toEqual([]);
});

test('a service that ends does not go on sending when its patience is over', async () => {
  const key = await createProject(app.url);
  const proxy = await startProxy(Number(new URL(app.url).port));
  const client = createTracker({ url: `http://127.0.0.1:${proxy.port}`, key, flushEvery: 60 });
  for (let value = 0; value < 150; value += 1) client.track('step', { value });
  proxy.delay = 60_000;
  const request = client.flush();
  expect(await client.close(0.1)).toBe(150);
  expect(await request).toBe(150);
  await proxy.close();
});
