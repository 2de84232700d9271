import { createClient as createSseClient } from 'graphql-sse';
import { createClient } from 'graphql-ws';
import { connect as connectTcp } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import WebSocket from 'ws';
import type { Observation } from '../../src/observation.js';
import {
  collect,
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
import { startProxy } from '../support/proxy.js';
import { nested } from '../support/odd-values.js';
import { startOwnRedis, redisUrl } from '../support/redis.js';

/** Subscriptions over both doors: what each message reads, what is told when something is lost, and what is left open. */

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});
afterAll(() => db.drop());

const INGEST = 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }';
const send = async (url: string, key: string, ...events: object[]): Promise<void> => {
  const { errors } = await post(url, key, INGEST, { events });
  if (errors) throw new Error(errors[0]!.message);
};

/** Subscriptions that the server still holds, by what they watch. */
function openWatchers(observations: readonly Observation[]): number {
  let open = 0;
  for (const { kind } of observations) {
    if (kind === 'watcher.opened') open += 1;
    if (kind === 'watcher.closed') open -= 1;
  }
  return open;
}

/** The same subscription over each door that a server has for it. */
function overBothDoors(url: string, key: string, query: string): { listening: Listening[]; stop: () => Promise<void> } {
  const client = connect(url, key);
  const sse = createSseClient({
    url: `${url}/graphql`,
    headers: { Authorization: `Bearer ${key}` },
    retryAttempts: 0,
  });
  const listening = [listen(client, query), collect((sink) => sse.subscribe({ query }, sink))];
  return {
    listening,
    async stop() {
      for (const one of listening) one.stop();
      sse.dispose();
      await client.dispose();
    },
  };
}

/** Resolves when so many watches stand. */
const standing = (app: TestApp, count: number): Promise<void> =>
  eventually(() => openWatchers(app.observations) >= count);

describe('each message', () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await startTestApp(db);
  });
  afterAll(() => app.close('test'));

  test('is read anew: a session shows what it is at each of its events', async () => {
    const key = await createProject(app.url);
    const { listening, stop } = overBothDoors(
      app.url,
      key,
      'subscription { eventIngested { message session { eventCount user { presence { status onlineSessions } } } } }',
    );
    await standing(app, 2);
    // Each alone: the session is then what this event has made of it.
    for (let count = 1; count <= 3; count += 1) {
      await send(app.url, key, { type: 'log', message: `event ${count}`, user: { identity: 'ada' } });
      for (const one of listening) await one.until((heard) => heard.length === count);
    }
    await send(app.url, key, { type: 'sessionend', user: { identity: 'ada' } });
    for (const { heard, until } of listening) {
      await until(() => heard.length === 4);
      expect(heard.map(({ session }) => session.eventCount)).toEqual([1, 2, 3, 4]);
      expect(heard.map(({ session }) => session.user.presence)).toEqual([
        ...[1, 2, 3].map(() => ({ status: 'ONLINE', onlineSessions: 1 })),
        { status: 'OFFLINE', onlineSessions: 0 },
      ]);
    }
    await stop();
  });
});

describe('where Redis is lost', () => {
  const EVENTS = 'subscription { eventIngested { message } }';
  const SESSIONS = 'subscription { sessionChanged { kind } }';
  const PRESENCE = 'subscription { userPresence { kind users { identity status } } }';

  const told = (listening: Listening): unknown[] =>
    listening.errors.flat().map((error) => {
      const { message, extensions } = error as { message: string; extensions: Record<string, unknown> };
      return [extensions['code'], extensions['reason'], message.length > 20];
    });

  test('subscribers are told with UNAVAILABLE and why, and can ask anew; of presence they are told what changed', async () => {
    const redis = await startOwnRedis();
    const apps = await Promise.all([0, 1].map(() => startTestApp(db, { REDIS_URL: redis.url })));
    const [here, there] = apps as [TestApp, TestApp];
    const key = await createProject(here.url);
    const subscriptions = [overBothDoors(there.url, key, EVENTS)];
    const sessions = overBothDoors(there.url, key, SESSIONS);
    const presence = overBothDoors(there.url, key, PRESENCE);
    // As an application has it, which tries again what can be tried again.
    let connections = 0;
    const stock = createClient({
      url: `${there.url.replace('http', 'ws')}/graphql`,
      webSocketImpl: WebSocket,
      connectionParams: { authorization: `Bearer ${key}` },
      lazy: false,
      on: { connecting: () => (connections += 1) },
    });
    const stocks = listen(stock, EVENTS);
    await standing(there, 7);

    await redis.kill();
    for (const { listening } of subscriptions) {
      for (const one of listening) {
        await one.ended;
        expect(told(one)).toEqual([['UNAVAILABLE', 'GAP', true]]);
      }
    }
    await stocks.ended;
    expect([told(stocks), connections]).toEqual([[['UNAVAILABLE', 'GAP', true]], 1]);
    // Until Redis is back nobody can watch events, and HTTP says so.
    const refused = await post(there.url, key, EVENTS, undefined, { headers: { Accept: 'text/event-stream' } });
    expect([refused.status, refused.headers.get('Retry-After')]).toEqual([503, '1']);
    // No watch of events hears of this one. The feed finds it in its rows, without Redis.
    await send(here.url, key, { type: 'log', message: 'unheard', user: { identity: 'ada' } });
    for (const one of sessions.listening)
      expect(await one.until((heard) => heard.length > 0)).toEqual([{ kind: 'STARTED' }]);

    const again = await startOwnRedis(redis.port);
    for (const one of presence.listening) {
      await one.until((heard) => heard.length === 2);
      expect(one.errors).toEqual([]);
      expect(one.heard.map(({ kind }) => kind)).toEqual(['SNAPSHOT', 'DIFF']);
      expect(one.heard.at(-1).users).toEqual([{ identity: 'ada', status: 'ONLINE' }]);
    }
    await Promise.all(
      apps.map((app) => eventually(async () => (await fetch(`${app.url}/health/ready`)).status === 200)),
    );
    const anew = overBothDoors(there.url, key, EVENTS);
    anew.listening.push(listen(stock, EVENTS));
    await standing(there, 5);
    await send(here.url, key, { type: 'log', message: 'heard', user: { identity: 'ada' } });
    for (const one of anew.listening) expect((await one.until((heard) => heard.length > 0))[0].message).toBe('heard');
    expect(connections).toBe(1);
    await Promise.all([...subscriptions, sessions, presence, anew].map(({ stop }) => stop()));
    await stock.dispose();
    await Promise.all(apps.map((app) => app.close('test')));
    await again.kill();
  });

  test('a server that could not say what it stored tells the subscribers of the others, whose Redis is well', async () => {
    const redis = await startOwnRedis();
    const proxy = await startProxy(redis.port);
    const [cut, well] = await Promise.all([
      startTestApp(db, { REDIS_URL: `redis://127.0.0.1:${proxy.port}` }),
      startTestApp(db, { REDIS_URL: redis.url }),
    ]);
    const [key, other] = [await createProject(well.url), await createProject(well.url)];
    const { listening, stop } = overBothDoors(well.url, key, EVENTS);
    const unconcerned = overBothDoors(well.url, other, EVENTS);
    const made = await post(
      well.url,
      key,
      'mutation { createApiKey(name: "watcher", scopes: [PRESENCE]) { key apiKey { id } } }',
    );
    const { key: secret, apiKey } = made.data.createApiKey;
    let revoked = false;
    const client = connect(well.url, secret, { closed: () => (revoked = true) });
    listen(client, PRESENCE);
    await standing(well, 5);
    proxy.refuse();
    await eventually(() => cut.observations.some(({ kind }) => kind === 'bus.lost'));
    await send(cut.url, key, { type: 'log', message: 'unheard', user: { identity: 'ada' } });
    await eventually(() => cut.observations.some(({ kind }) => kind === 'bus.publishFailed'));
    await post(cut.url, key, 'mutation ($id: ID!) { revokeApiKey(id: $id) { id } }', { id: apiKey.id });
    proxy.heal();
    for (const one of listening) {
      await one.ended;
      expect(told(one)).toEqual([['UNAVAILABLE', 'GAP', true]]);
      expect(one.heard).toEqual([]);
    }
    // A revocation is found in the database instead.
    await eventually(() => revoked);
    // Of the other project nothing was lost.
    await send(well.url, other, { type: 'log', message: 'heard' });
    for (const one of unconcerned.listening) {
      expect(await one.until((heard) => heard.length > 0)).toEqual([{ message: 'heard' }]);
      expect(one.errors).toEqual([]);
    }
    await stop();
    await unconcerned.stop();
    await client.dispose();
    await cut.close('test');
    await well.close('test');
    await proxy.close();
    await redis.kill();
  });
});

describe('what a subscription opened', () => {
  let app: TestApp;
  let key: string;
  beforeEach(async () => {
    app = await startTestApp(db);
    key = await createProject(app.url);
  });
  afterEach(() => app.close('test'));

  const ROOTS = {
    eventIngested: 'eventIngested { id }',
    sessionChanged: 'sessionChanged { kind }',
    userPresence: 'userPresence { kind }',
  };
  /** More levels than the stack has room for. */
  const DEEP = nested(20_000);

  /** Subscribes over a socket of its own; resolves with it, and the first message that answers. */
  async function subscribeWith(payload: string): Promise<{ socket: WebSocket; answer: Promise<any> }> {
    const socket = new WebSocket(`${app.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws');
    const messages: any[] = [];
    let wake = (): void => {};
    socket.on('message', (data: Buffer) => {
      const message = JSON.parse(data.toString());
      if (message.type === 'ping') return;
      messages.push(message);
      wake();
    });
    await new Promise((resolve) => socket.once('open', resolve));
    const acknowledged = new Promise<void>((resolve) => (wake = resolve));
    socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${key}` } }));
    await acknowledged;
    const answer = new Promise<any>((resolve) => {
      wake = () => resolve(messages.at(-1));
      socket.once('close', (code) => resolve({ code }));
    });
    socket.send(`{"id":"1","type":"subscribe","payload":${payload}}`);
    return { socket, answer };
  }

  test.each(Object.entries(ROOTS))(
    '%s: variables that nothing uses change nothing, however deep, and a socket that closes leaves nothing open',
    async (_name, field) => {
      const query = JSON.stringify(`subscription { ${field} }`);
      const sockets = await Promise.all(
        Array.from({ length: 10 }, () => subscribeWith(`{"query":${query},"variables":{"unused":${DEEP}}}`)),
      );
      await standing(app, 10);
      await send(app.url, key, { type: 'log', user: { identity: 'ada' } });
      for (const { answer } of sockets) expect(await answer).toMatchObject({ type: 'next', payload: { data: {} } });
      for (const { socket } of sockets) socket.terminate();
      await eventually(() => openWatchers(app.observations) === 0);
    },
  );

  test('a filter that nests too deep to be taken is refused, and leaves nothing open', async () => {
    const query = JSON.stringify('subscription ($filter: EventFilter) { eventIngested(filter: $filter) { id } }');
    const { socket, answer } = await subscribeWith(
      `{"query":${query},"variables":{"filter":{"dataContains":${DEEP}}}}`,
    );
    expect(await answer).toMatchObject({ type: 'error', payload: [{ extensions: { code: 'BAD_USER_INPUT' } }] });
    const response = await fetch(`${app.url}/graphql`, {
      method: 'POST',
      headers: {
        Authorization: `Bearer ${key}`,
        'Content-Type': 'application/json',
        Accept: 'text/event-stream',
      },
      body: `{"query":${query},"variables":{"filter":{"dataContains":${DEEP}}}}`,
    });
    expect(await response.text()).toContain('BAD_USER_INPUT');
    socket.terminate();
    await eventually(() => openWatchers(app.observations) === 0);
  });

  test('over HTTP, an answer that cannot be a stream leaves nothing open, and says what would be right', async () => {
    for (const [name, field] of Object.entries(ROOTS)) {
      for (const accept of ['application/json', 'application/graphql-response+json', 'multipart/mixed', 'image/png']) {
        const { status, errors } = await post(app.url, key, `subscription { ${field} }`, undefined, {
          headers: { Accept: accept },
        });
        expect([name, accept, status, errors?.[0]?.extensions['code']]).toEqual([name, accept, 406, 'BAD_USER_INPUT']);
        expect(errors![0]!.message).toContain('text/event-stream');
      }
    }
    await eventually(() => openWatchers(app.observations) === 0);
  });

  test('over HTTP, a client that is gone before it is answered leaves nothing open', async () => {
    const redis = await startProxy(Number(new URL(redisUrl()).port));
    const slow = await startTestApp(db, { REDIS_URL: `redis://127.0.0.1:${redis.port}` });
    const { hostname, port } = new URL(slow.url);
    // The bus now takes longer to confirm a subscription than the client waits for it.
    redis.delay = 150;
    const sockets = Object.values(ROOTS).map((field) => {
      const text = JSON.stringify({ query: `subscription { ${field} }` });
      const socket = connectTcp(Number(port), hostname);
      socket.on('error', () => {});
      socket.write(
        `POST /graphql HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${key}\r\nContent-Type: application/json\r\n` +
          `Accept: text/event-stream\r\nContent-Length: ${text.length}\r\n\r\n${text}`,
      );
      return socket;
    });
    await standing(slow, sockets.length);
    for (const socket of sockets) socket.resetAndDestroy();
    await eventually(() => openWatchers(slow.observations) === 0);
    await slow.close('test');
    await redis.close();
  });
});
