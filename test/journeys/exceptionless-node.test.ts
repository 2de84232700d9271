import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { connect, createProject, eventually, listen, post, startTestApp, type TestApp } from '../support/app.js';
import { look } from '../support/collector.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { startExceptionlessApp, startMoodyProxy, type ExceptionlessApp } from '../support/exceptionless-app.js';

/** The real @exceptionless/node 3.2.1 in its own process. Only the server's address and the key are configured. */

let db: TestDatabase;
let server: TestApp;
let key: string;
const running: ExceptionlessApp[] = [];
beforeAll(async () => {
  db = await createTestDatabase();
  server = await startTestApp(db);
});
beforeEach(async () => {
  key = await createProject(server.url);
});
afterAll(async () => {
  await Promise.all(running.map((app) => app.kill()));
  await server.close('test');
  await db.drop();
});

async function start(
  more: { serverUrl?: string; apiKey?: string; sessionIds?: boolean } = {},
): Promise<ExceptionlessApp> {
  const app = await startExceptionlessApp({
    serverUrl: server.url,
    apiKey: key,
    identity: 'ada+node@example.com',
    ...more,
  });
  running.push(app);
  return app;
}

test('a process from start to end: every kind of event, an unhandled error, heartbeats, and the end of the process', async () => {
  const client = connect(server.url, key);
  const presence = listen(client, 'subscription { userPresence { kind users { identity status } } }');
  await presence.until((heard) => heard.length > 0);
  const statuses = (): string[] =>
    presence.heard.slice(1).flatMap(({ users }) => users.map(({ status }: any) => status));

  // A slash at the end of the address, as people write it.
  const app = await start({ serverUrl: `${server.url}/` });
  await app.tell('everyKind');
  await app.tell('unhandled');
  await eventually(async () => (await app.tell('process')).queued.length === 0);
  await presence.until(() => statuses().length === 1);
  await eventually(async () => (await look(server.url, key)).sessions[0].eventCount === 7);
  await app.tell('heartbeat');
  expect(await app.finish()).toBe(0);
  // If the machine stops the server for 2 s, that counts as an outage, and OFFLINE comes a presenceTimeout later (rule 21).
  await presence.until(() => statuses().length === 2, 90_000);
  expect(statuses()).toEqual(['ONLINE', 'OFFLINE']);
  presence.stop();
  await client.dispose();

  const { sessions } = await look(server.url, key);
  expect(sessions).toHaveLength(1);
  const [session] = sessions;
  expect(session).toMatchObject({
    user: { identity: 'ada+node@example.com', name: 'Ada' },
    status: 'ENDED',
    endReason: 'CLIENT',
    eventCount: 7,
    errorCount: 2,
    version: '1.2.3',
    ipAddress: '127.0.0.1',
  });
  expect(session.events.nodes.map(({ type, source, message }: any) => `${type} ${message ?? source}`)).toEqual([
    'session null',
    'log a log line',
    'usage checkout',
    '404 /missing',
    'order a custom event',
    expect.stringContaining('error'),
    expect.stringContaining('error'),
  ]);
  const [, , , , order, handled, unhandled] = session.events.nodes;
  expect(order).toMatchObject({ value: 12.5, tags: ['new'], data: { plan: { name: 'gold' }, '@geo': '52.5,13.4' } });
  expect(handled.data).toMatchObject({
    '@error': { type: 'TypeError', message: 'handled', stack_trace: expect.any(Array) },
    '@environment': { o_s_name: expect.any(String), process_id: expect.any(String) },
    '@user_description': { email_address: 'ada@example.com', description: 'I had just pressed save' },
    '@submission_client': { user_agent: 'exceptionless-js', version: '3.2.1' },
  });
  expect(unhandled.data).toMatchObject({
    '@submission_method': 'unhandledRejection',
    '@error': { message: 'nobody caught this' },
  });
}, 150_000);

test('a session that the client names: all its events are in one session, which the client ends', async () => {
  const app = await start({ sessionIds: true });
  await app.tell('log', { messages: ['one', 'two'] });
  await eventually(async () => (await app.tell('process')).queued.length === 0);
  await app.tell('heartbeat');
  await app.finish();
  const { sessions } = await look(server.url, key);
  expect(sessions).toMatchObject([
    { key: expect.stringMatching(/^[0-9a-f]{32}$/), eventCount: 3, status: 'ENDED', endReason: 'CLIENT' },
  ]);
}, 60_000);

test('another user on the same client: two sessions; heartbeats go on naming the first user, because the client does so', async () => {
  const app = await start();
  await app.tell('log', { messages: ['as ada'] });
  await app.tell('identify', { identity: 'second' });
  await app.tell('log', { messages: ['as second'] });
  await eventually(async () => (await app.tell('process')).queued.length === 0);
  await app.tell('heartbeat');
  await app.finish();
  const { sessions } = await look(server.url, key);
  const of = (identity: string) => sessions.find(({ user }) => user.identity === identity);
  expect(sessions).toHaveLength(2);
  expect(of('ada+node@example.com')).toMatchObject({ status: 'ENDED', endReason: 'CLIENT' });
  // The client does not report that the second user left. That session ends by inactivity.
  expect(of('second')).toMatchObject({ status: 'ACTIVE', eventCount: 1 });
}, 60_000);

test('the client learns of changed settings with its next batch, and then follows them', async () => {
  const app = await start();
  await app.tell('log', { messages: ['before'] });
  await post(
    server.url,
    key,
    'mutation { setClientSettings(settings: [{ key: "@@log:*", value: "Error" }, { key: "color", value: "blue" }]) { id } }',
  );
  await app.tell('process');
  await eventually(async () => (await app.tell('process')).settingsVersion === 2);
  const { settings, queued } = await app.tell('log', { messages: ['info is no longer wanted'] });
  expect(settings).toMatchObject({ color: 'blue', '@@log:*': 'Error' });
  expect(queued).toEqual([]);
  expect((await app.tell('fetchSettings')).result).toEqual({
    version: 2,
    settings: { '@@log:*': 'Error', color: 'blue' },
  });
}, 60_000);

describe("the client's queue after each kind of answer", () => {
  const texts = Array.from({ length: 60 }, (_, at) => `event ${String(at).padStart(2, '0')}`);
  const stored = async (): Promise<string[]> =>
    (await look(server.url, key)).events.flatMap(({ message }) => (message?.startsWith('event') ? [message] : []));

  test.each([503, 429, 500, 502])(
    '%i: the client keeps the events and sends them again; each is stored exactly once',
    async (status) => {
      const proxy = await startMoodyProxy(server.url);
      const app = await start({ serverUrl: proxy.url });
      await app.tell('log', { messages: texts });
      proxy.refuse(status, status);
      expect((await app.tell('process')).queued).toHaveLength(61);
      expect((await app.tell('process')).queued).toHaveLength(61);
      expect((await app.tell('process')).queued).toHaveLength(11);
      expect((await app.tell('process')).queued).toHaveLength(0);
      expect(proxy.posts.map((one) => one.status)).toEqual([status, status, 202, 202]);
      expect((await stored()).toSorted()).toEqual(texts);
      await app.kill();
      await proxy.close();
    },
    60_000,
  );

  test('413: the client keeps the events and sends them in smaller batches', async () => {
    const proxy = await startMoodyProxy(server.url);
    const app = await start({ serverUrl: proxy.url });
    await app.tell('log', { messages: texts });
    proxy.refuse(413, 413);
    await app.tell('process');
    expect((await app.tell('process')).batchSize).toBe(22);
    while ((await app.tell('process')).queued.length > 0);
    expect(proxy.posts.map((one) => one.events)).toEqual([50, 33, 22, 22, 17]);
    expect((await stored()).toSorted()).toEqual(texts);
    await app.kill();
    await proxy.close();
  }, 60_000);

  test('the server answers 413 to a batch that is too large, and the client sends smaller batches', async () => {
    const app = await start();
    await app.tell('log', { messages: Array.from({ length: 8 }, (_, at) => `${at} ${'x'.repeat(1_500_000)}`) });
    expect((await app.tell('process')).queued).toHaveLength(9);
    for (let tries = 0; tries < 20 && (await app.tell('process')).queued.length > 0; tries += 1);
    const { events } = await look(server.url, key);
    expect(
      events
        .filter(({ type }) => type === 'log')
        .map(({ message }) => message.slice(0, 1))
        .toSorted(),
    ).toEqual([...'01234567']);
    await app.kill();
  }, 60_000);

  test('401: the client drops the batch and reports it; events that it sends later with a valid key are stored', async () => {
    const wrong = await start({ apiKey: 'fs_this-key-was-revoked' });
    await wrong.tell('log', { messages: ['event lost'] });
    expect((await wrong.tell('process')).queued).toEqual([]);
    await wrong.kill();
    const right = await start();
    await right.tell('log', { messages: ['event 00'] });
    await right.tell('process');
    expect(await stored()).toEqual(['event 00']);
    await right.kill();
  }, 60_000);

  test('if an answer is lost, the client sends the batch again, and the server recognises the events by their reference ids', async () => {
    const proxy = await startMoodyProxy(server.url);
    const app = await start({ serverUrl: proxy.url, sessionIds: true });
    proxy.refuse(0);
    expect((await app.tell('process')).queued).toHaveLength(1);
    expect((await app.tell('process')).queued).toHaveLength(0);
    expect((await look(server.url, key)).sessions).toMatchObject([{ eventCount: 1 }]);
    await app.kill();
    await proxy.close();
  }, 60_000);
});
