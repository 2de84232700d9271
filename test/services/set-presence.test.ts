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
import { redisUrl, startOwnRedis } from '../support/redis.js';
import { uuidIn } from '../support/tenant.js';

/** What devices say of themselves: two servers over one Redis, and one alone. */

let db: TestDatabase;
let apps: TestApp[];
beforeAll(async () => {
  db = await createTestDatabase();
  apps = [];
  for (let server = 0; server < 2; server += 1) apps.push(await startTestApp(db, { REDIS_URL: redisUrl() }));
});
afterAll(async () => {
  for (const app of apps) await app.close('test');
  await db.drop();
});

const SET = `mutation ($input: HeartbeatInput!, $state: JSONObject, $away: Boolean! = false) {
  setPresence(input: $input, state: $state, away: $away) { acknowledged } }`;
const WATCH = `subscription ($identities: [String!]) { userPresence(identities: $identities) {
  kind users { identity status onlineSessions since devices { key state away } } } }`;
const READ = '{ presence { nodes { identity devices { key state away } } } }';
const INGEST = 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }';

const ADA = { identity: 'ada' };
const set = (app: TestApp, key: string, input: object, state: object | null, away = false) =>
  post(app.url, key, SET, { input, state, away });
const send = (app: TestApp, key: string, event: object) => post(app.url, key, INGEST, { events: [event] });

/** The devices of a user as a subscriber shows them by now. */
function shown({ heard }: Listening, identity = 'ada'): any[] | null {
  const users = heard.flatMap(({ users: all }) => all);
  return users.findLast((user) => user.identity === identity)?.devices ?? null;
}
const shows = (listening: Listening, devices: object[], identity = 'ada') =>
  listening.until(() => JSON.stringify(shown(listening, identity)) === JSON.stringify(devices));
const watch = (app: TestApp, key: string, query = WATCH, identities: string[] | null = null) =>
  listen(connect(app.url, key), query, { identities });

const device = (state: object | null, away = false, key: string | null = null) => ({ key, state, away });

test('a state is told on every server, is neither coming nor leaving, and goes with its session', async () => {
  const [here, there] = apps as [TestApp, TestApp];
  const key = await createProject(here.url);
  const views = [watch(here, key), watch(there, key), watch(there, key, WATCH, ['ada', 'bob'])];
  const deaf = watch(there, key, 'subscription { userPresence { kind users { identity onlineSessions } } }');
  for (const view of [...views, deaf]) await view.until((heard) => heard.length > 0);
  const first = await set(here, key, ADA, { page: '/home' });
  expect(first.data.setPresence).toEqual({ acknowledged: true });
  for (const view of views) await shows(view, [device({ page: '/home' })]);
  const { since } = views[0]!.heard.at(-1).users[0];
  await set(there, key, ADA, { typing: true }, true);
  for (const view of views) await shows(view, [device({ typing: true }, true)]);
  // Only a state: the whole user, as before.
  for (const { heard } of views)
    expect(heard.at(-1)).toMatchObject({ kind: 'DIFF', users: [{ status: 'ONLINE', onlineSessions: 1, since }] });
  // What is left out is said no more.
  await set(here, key, ADA, null);
  for (const view of views) await shows(view, [device(null)]);
  await set(here, key, ADA, { page: '/last' });
  for (const view of views) await shows(view, [device({ page: '/last' })]);
  await send(there, key, { type: 'sessionend', user: ADA });
  for (const view of views) await shows(view, []);
  // Who does not ask for devices has heard of the coming and the leaving alone.
  await deaf.until((heard) => heard.at(-1).users[0]?.onlineSessions === 0);
  expect(deaf.heard.slice(1).map(({ users }) => users[0].onlineSessions)).toEqual([1, 0]);
  // A new session knows nothing of it.
  await send(here, key, { user: ADA });
  for (const view of views) await shows(view, [device(null)]);
  for (const view of [...views, deaf]) view.stop();
});

test('two devices of a user say each its own, and the state of one leaves with it', async () => {
  const [here, there] = apps as [TestApp, TestApp];
  const key = await createProject(here.url);
  for (const sessionKey of ['the-phone', 'the-laptop']) await send(here, key, { sessionKey, user: ADA });
  const view = watch(there, key);
  await set(here, key, { sessionKey: 'the-phone' }, { on: 'phone' });
  await set(there, key, { sessionKey: 'the-laptop' }, { on: 'laptop' }, true);
  await shows(view, [device({ on: 'laptop' }, true, 'the-laptop'), device({ on: 'phone' }, false, 'the-phone')]);
  await send(there, key, { sessionKey: 'the-laptop', user: ADA, type: 'sessionend' });
  await shows(view, [device({ on: 'phone' }, false, 'the-phone')]);
  view.stop();
});

test('a server that begins to watch, or is asked, later learns what was said to another before', async () => {
  const [here, there] = apps as [TestApp, TestApp];
  const [one, two] = [await createProject(here.url), await createProject(here.url)];
  for (const key of [one, two]) {
    await set(here, key, ADA, { page: '/before' });
    await set(here, key, { identity: 'bob' }, null, true);
  }
  const view = watch(there, one);
  await shows(view, [device({ page: '/before' })]);
  await shows(view, [device(null, true)], 'bob');
  view.stop();
  await eventually(async () => {
    const { data } = await post(there.url, two, READ);
    const devices = Object.fromEntries(data.presence.nodes.map((user: any) => [user.identity, user.devices]));
    return (
      JSON.stringify(devices.ada) === JSON.stringify([device({ page: '/before' })]) &&
      JSON.stringify(devices.bob) === JSON.stringify([device(null, true)])
    );
  });
});

test('the changes of a session are joined to one a second, and the last is told', async () => {
  const [here, there] = apps as [TestApp, TestApp];
  const key = await createProject(here.url);
  await send(here, key, { user: ADA });
  const view = watch(there, key);
  await view.until((heard) => heard.length > 0);
  const before = view.heard.length;
  const start = performance.now();
  for (let at = 1; at <= 40; at += 1) await set(at % 2 ? here : there, key, ADA, { at });
  await shows(view, [device({ at: 40 })]);
  const seconds = (performance.now() - start) / 1_000;
  expect(view.heard.length - before).toBeLessThanOrEqual(Math.floor(seconds) + 1);
  view.stop();
});

test('a state has 1,024 bytes, a session that is not there none, and a bad one is no heartbeat', async () => {
  const [app] = apps as [TestApp];
  const key = await createProject(app.url);
  const text = (bytes: number) => ({ text: 'ä'.repeat((bytes - 11) / 2) + 'a'.repeat((bytes - 11) % 2) });
  expect(Buffer.byteLength(JSON.stringify(text(1_024)))).toBe(1_024);
  const tooLong = await set(app, key, ADA, text(1_025));
  expect(tooLong.errors?.[0]?.extensions).toMatchObject({ code: 'BAD_USER_INPUT', field: 'state' });
  const deep = JSON.parse(`${'{"a":'.repeat(101)}1${'}'.repeat(101)}`);
  const tooDeep = await set(app, key, ADA, deep);
  expect(tooDeep.errors?.[0]?.extensions).toMatchObject({ code: 'BAD_USER_INPUT' });
  expect(tooDeep.errors?.[0]?.message).toContain('nested too deeply');
  const { data } = await post(app.url, key, '{ presence(status: null) { totalCount } }');
  expect(data.presence.totalCount).toBe(0);
  expect((await set(app, key, ADA, text(1_024))).data.setPresence.acknowledged).toBe(true);
  const unknown = await set(app, key, { sessionKey: 'never-seen' }, { page: '/' });
  expect(unknown.data.setPresence.acknowledged).toBe(false);
});

test('a token of one user sets its own alone, and needs INGEST', async () => {
  const [app] = apps as [TestApp];
  const key = await createProject(app.url);
  const tokenWith = async (scopes: string[]): Promise<string> => {
    const { data } = await post(
      app.url,
      key,
      'mutation ($scopes: [Scope!]!) { createAccessToken(scopes: $scopes, identities: ["ada"]) { token } }',
      { scopes },
    );
    return data.createAccessToken.token;
  };
  const token = await tokenWith(['INGEST', 'PRESENCE']);
  await set(app, key, { identity: 'bob' }, { page: '/bob' });
  await send(app, key, { sessionKey: 'bobs-phone', user: { identity: 'bob' } });
  expect((await set(app, token, ADA, { page: '/ada' })).data.setPresence.acknowledged).toBe(true);
  const others = await set(app, token, { identity: 'bob' }, { page: '/ada' });
  expect(others.errors?.[0]?.extensions).toMatchObject({ code: 'FORBIDDEN' });
  const named = await set(app, token, { sessionKey: 'bobs-phone' }, { page: '/ada' });
  expect(named.data?.setPresence.acknowledged ?? false).toBe(false);
  const deaf = await set(app, await tokenWith(['PRESENCE']), ADA, { page: '/ada' });
  expect(deaf.errors?.[0]?.extensions).toMatchObject({ code: 'FORBIDDEN' });
  const own = await post(app.url, token, READ);
  expect(own.data.presence.nodes).toEqual([{ identity: 'ada', devices: [device({ page: '/ada' })] }]);
  const all = await post(app.url, key, READ);
  const bob = all.data.presence.nodes.find(({ identity }: { identity: string }) => identity === 'bob');
  expect(bob.devices.map(({ state }: { state: unknown }) => state)).toEqual([null, { page: '/bob' }]);
});

test('where one session takes the place of another, the devices are told', async () => {
  const [here, there] = apps as [TestApp, TestApp];
  const key = await createProject(here.url);
  await send(here, key, { user: ADA });
  const view = watch(there, key);
  await shows(view, [device(null)]);
  await set(there, key, ADA, { page: '/first' });
  await shows(view, [device({ page: '/first' })]);
  const deaf = watch(there, key, 'subscription { userPresence { users { identity } } }');
  await deaf.until((heard) => heard.length > 0);
  // As many as before: no edge.
  await send(here, key, { type: 'session', user: ADA });
  await shows(view, [device(null)]);
  await send(here, key, { user: { identity: 'bob' } });
  await deaf.until((heard) => heard.length > 1);
  expect(deaf.heard[1].users).toEqual([{ identity: 'bob' }]);
  for (const one of [view, deaf]) one.stop();
});

test('who comes back with a cursor is told of a session that took the place of another meanwhile', async () => {
  const [here, there] = apps as [TestApp, TestApp];
  const key = await createProject(here.url);
  await set(here, key, ADA, { page: '/first' });
  const query = (devices: string) =>
    `subscription ($after: String) { userPresence(after: $after) { kind cursor users { identity ${devices} } } }`;
  const cursored = query('devices { key state away }');
  const before = listen(connect(there.url, key), cursored);
  await shows(before, [device({ page: '/first' })]);
  const { cursor: after } = before.heard.at(-1);
  before.stop();
  await send(here, key, { type: 'session', user: ADA });
  const view = listen(connect(there.url, key), cursored, { after });
  await shows(view, [device(null)]);
  expect(view.heard.map(({ kind }) => kind)).not.toContain('SNAPSHOT');
  view.stop();
  const deaf = listen(connect(there.url, key), query(''), { after });
  expect(await deaf.until((heard) => heard.length > 0)).toMatchObject([{ kind: 'DIFF', users: [] }]);
  deaf.stop();
});

test('who comes back with a cursor is told what devices said meanwhile', async () => {
  const [here, there] = apps as [TestApp, TestApp];
  const key = await createProject(here.url);
  await send(here, key, { user: ADA });
  const cursored = `subscription ($after: String) { userPresence(after: $after) { kind cursor users { identity devices { key state away } } } }`;
  const before = listen(connect(there.url, key), cursored);
  await shows(before, [device(null)]);
  const { cursor: after } = before.heard.at(-1);
  before.stop();
  await set(here, key, ADA, { page: '/meanwhile' });
  const view = listen(connect(there.url, key), cursored, { after });
  await shows(view, [device({ page: '/meanwhile' })]);
  expect(view.heard.map(({ kind }) => kind)).not.toContain('SNAPSHOT');
  view.stop();
});

test('junk among what devices say is left out, and ends nothing', async () => {
  const [here, there] = apps as [TestApp, TestApp];
  const key = await createProject(here.url);
  const view = watch(there, key);
  await view.until((heard) => heard.length > 0);
  const stranger = new Redis(redisUrl());
  const { data } = await post(here.url, key, '{ project { id } }');
  const channels = (await stranger.pubsub('CHANNELS', `*:devices:{${uuidIn(data.project.id)}}`)) as string[];
  expect(channels).toHaveLength(1);
  const state = { sessionId: randomUUID(), state: null, away: false, at: 1 };
  const junk = [
    'x',
    '[]',
    '{}',
    '{"states":7}',
    '{"states":[{}]}',
    JSON.stringify({ states: [{ ...state, sessionId: 'x' }] }),
    JSON.stringify({ states: [{ ...state, state: '[]' }] }),
    JSON.stringify({ states: [{ ...state, state: JSON.stringify({ text: 'x'.repeat(1_024) }) }] }),
    JSON.stringify({ states: [{ ...state, at: 1e300 }] }),
  ];
  for (const text of junk) await stranger.publish(channels[0]!, text);
  // Of a session that is not there.
  await stranger.publish(channels[0]!, JSON.stringify({ states: [state] }));
  stranger.disconnect();
  await set(here, key, ADA, { page: '/after' });
  await shows(view, [device({ page: '/after' })]);
  expect(view.errors).toEqual([]);
  const noticed = there.observations.filter((one) => one.kind === 'bus.junk' && one.channel.startsWith('devices:'));
  expect(noticed.length).toBe(junk.length);
  for (const { observations } of apps) expect(observations.filter(({ kind }) => kind === 'task.failed')).toEqual([]);
  view.stop();
});

test('a token of one user hears what devices of that user say alone', async () => {
  const [here, there] = apps as [TestApp, TestApp];
  const key = await createProject(here.url);
  const { data } = await post(
    here.url,
    key,
    'mutation { createAccessToken(scopes: [PRESENCE], identities: ["ada"]) { token } }',
  );
  const view = watch(there, data.createAccessToken.token);
  const all = watch(there, key);
  for (const one of [view, all]) await one.until((heard) => heard.length > 0);
  await set(here, key, { identity: 'bob' }, { page: '/bob' });
  await shows(all, [device({ page: '/bob' })], 'bob');
  await set(here, key, ADA, { page: '/ada' });
  await shows(view, [device({ page: '/ada' })]);
  expect(JSON.stringify(view.heard)).not.toContain('bob');
  for (const one of [view, all]) one.stop();
});

test('what is said while Redis is away is told when it is back', async () => {
  const own = await createTestDatabase();
  const redis = await startOwnRedis();
  const servers = [
    await startTestApp(own, { REDIS_URL: redis.url }),
    await startTestApp(own, { REDIS_URL: redis.url }),
  ];
  const [here, there] = servers as [TestApp, TestApp];
  const key = await createProject(here.url);
  await set(here, key, ADA, { page: '/before' });
  await set(here, key, { identity: 'bob' }, { page: '/bob' });
  const view = watch(there, key);
  await shows(view, [device({ page: '/before' })]);
  await shows(view, [device({ page: '/bob' })], 'bob');
  await redis.kill();
  await eventually(() => servers.every(({ observations }) => observations.some(({ kind }) => kind === 'bus.lost')));
  await set(here, key, ADA, { page: '/meanwhile' });
  // Another session in the place of the one before: the rows tell it.
  await send(here, key, { type: 'session', user: { identity: 'bob' } });
  await shows(view, [device(null)], 'bob');
  const again = await startOwnRedis(redis.port);
  await shows(view, [device({ page: '/meanwhile' })]);
  expect(view.heard.filter(({ kind }) => kind === 'SNAPSHOT')).toHaveLength(1);
  view.stop();
  for (const app of servers) await app.close('test');
  await again.kill();
  await own.drop();
}, 60_000);

test('one server without Redis tells it too', async () => {
  const own = await createTestDatabase();
  const app = await startTestApp(own, { REDIS_URL: '' });
  try {
    const key = await createProject(app.url);
    const view = watch(app, key);
    await view.until((heard) => heard.length > 0);
    await set(app, key, ADA, { page: '/home' });
    await shows(view, [device({ page: '/home' })]);
    view.stop();
  } finally {
    await app.close('test');
    await own.drop();
  }
});
