import { createClient, type Client } from 'graphql-sse';
import { connect as connectTcp } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
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
import { openDoors } from '../support/doors.js';

/** Server-sent events in the single connection mode of graphql-sse: one stream for all that a page subscribes to. */

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});
afterAll(() => db.drop());

const PRESENCE = 'subscription { userPresence { kind users { identity status } } }';
const EVENTS = 'subscription { eventIngested { message } }';

const openWatchers = (observations: readonly Observation[]): number => {
  const count = (kind: string): number => observations.filter((one) => one.kind === kind).length;
  return count('watcher.opened') - count('watcher.closed');
};

const send = (url: string, key: string, event: object) =>
  post(url, key, 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }', {
    events: [event],
  });

/** graphql-sse as it is; notes what it asks for. */
function stock(url: string, credential: string | (() => Promise<string>)) {
  const asked: string[] = [];
  const client = createClient({
    url: `${url}/graphql`,
    singleConnection: true,
    headers: async () => ({
      Authorization: `Bearer ${typeof credential === 'string' ? credential : await credential()}`,
    }),
    retry: () => Promise.resolve(),
    fetchFn: async (input: string, init: RequestInit) => {
      const response = await fetch(input, init);
      asked.push(`${init.method} ${response.status}`);
      return response;
    },
  });
  return { client, asked };
}

const watch = (client: Client<true>, query: string, variables?: Record<string, unknown>): Listening =>
  collect((sink) => client.subscribe({ query, ...(variables && { variables }) }, sink));

/** A request by hand. */
async function ask(
  url: string,
  key: string,
  method: string,
  { token, search = '', body, accept }: { token?: string; search?: string; body?: object; accept?: string } = {},
) {
  const response = await fetch(`${url}/graphql${search}`, {
    method,
    headers: {
      Authorization: `Bearer ${key}`,
      ...(token && { 'X-GraphQL-Event-Stream-Token': token }),
      ...(body && { 'Content-Type': 'application/json' }),
      ...(accept && { Accept: accept }),
    },
    ...(body && { body: JSON.stringify(body) }),
  });
  return response;
}
const reserve = async (url: string, key: string): Promise<string> => (await ask(url, key, 'PUT')).text();
/** Status and code of what is refused. */
async function refusal(answering: Promise<Response>): Promise<unknown[]> {
  const response = await answering;
  return [response.status, (await response.json()).errors[0].extensions.code];
}
async function openStream(url: string, key: string) {
  const token = await reserve(url, key);
  const ending = new AbortController();
  const response = await fetch(`${url}/graphql?token=${token}`, {
    headers: { Accept: 'text/event-stream', Authorization: `Bearer ${key}` },
    signal: ending.signal,
  });
  const stream = {
    token,
    response,
    text: '',
    isOver: false,
    stop: () => ending.abort(),
    subscribe: (id: string, query: string, by = key) =>
      ask(url, by, 'POST', { token, body: { query, extensions: { operationId: id } } }),
  };
  void (async () => {
    for await (const chunk of response.body!) stream.text += Buffer.from(chunk).toString();
    stream.isOver = true;
  })().catch(() => (stream.isOver = true));
  return stream;
}

describe('a stock client', () => {
  let app: TestApp;
  let key: string;
  beforeEach(async () => {
    app = await startTestApp(db);
    key = await createProject(app.url);
  });
  afterEach(() => app.close('test'));

  test('has subscriptions, queries and mutations on one stream; one that stops ends alone', async () => {
    const { client, asked } = stock(app.url, key);
    const identities = ['ada', 'grace', 'linus'];
    const watches = identities.map((identity) =>
      watch(
        client,
        'subscription ($identities: [String!]) { userPresence(identities: $identities) { kind users { identity status } } }',
        { identities: [identity] },
      ),
    );
    for (const one of watches) await one.until((heard) => heard.length === 1);
    const query = watch(client, '{ project { name } }');
    await query.ended;
    expect(query.heard[0].name).toMatch(/Project/);
    const mutation = watch(client, 'mutation { ingestEvents(events: [{ user: { identity: "ada" } }]) { accepted } }');
    await mutation.ended;
    expect(mutation.heard).toEqual([{ accepted: 1 }]);
    await watches[0]!.until((heard) => heard.length === 2);
    expect(watches[0]!.heard[1]).toEqual({ kind: 'DIFF', users: [{ identity: 'ada', status: 'ONLINE' }] });
    expect(asked).toEqual(['PUT 201', 'GET 200', ...Array.from({ length: 5 }, () => 'POST 202')]);

    watches[1]!.stop();
    await eventually(() => openWatchers(app.observations) === 2);
    await send(app.url, key, { user: { identity: 'linus' } });
    await watches[2]!.until((heard) => heard.length === 2);
    expect(asked.at(-1)).toBe('DELETE 200');
    client.dispose();
    await eventually(() => openWatchers(app.observations) === 0);
  });

  test('is told what is wrong with an operation, and does not try again', async () => {
    const { data } = await post(app.url, key, 'mutation { createApiKey(name: "watcher", scopes: [PRESENCE]) { key } }');
    const { client, asked } = stock(app.url, data.createApiKey.key);
    const open = watch(client, PRESENCE);
    await open.until((heard) => heard.length === 1);
    const codes = [];
    for (const wrong of [
      '{',
      '{ nothing }',
      EVENTS,
      'subscription { sessionChanged(sessionIds: ["x"]) { kind } }',
      '{ sessions { nodes { id } } }',
    ]) {
      const refused = watch(client, wrong);
      await refused.ended;
      codes.push((refused.errors[0] as any).extensions.code);
    }
    expect(codes).toEqual(['GRAPHQL_PARSE_FAILED', 'GRAPHQL_VALIDATION_FAILED', 'FORBIDDEN', 'FORBIDDEN', 'FORBIDDEN']);
    expect(asked.filter((one) => one.startsWith('POST'))).toHaveLength(6);
    await send(app.url, key, { user: { identity: 'ada' } });
    await open.until((heard) => heard.length === 2);
    client.dispose();
  });

  test('comes back with a new token when the first one runs out, and with all that it had open', async () => {
    let tokens = 0;
    const { client, asked } = stock(app.url, async () => {
      tokens += 1;
      const made = await post(
        app.url,
        key,
        `mutation { createAccessToken(scopes: [PRESENCE], expiresIn: ${tokens === 1 ? 2 : 60}) { token } }`,
      );
      return made.data.createAccessToken.token;
    });
    const watches = [watch(client, PRESENCE), watch(client, PRESENCE)];
    for (const one of watches) {
      await one.until((heard) => heard.length === 2);
      expect([one.heard.map(({ kind }) => kind), one.errors]).toEqual([['SNAPSHOT', 'SNAPSHOT'], []]);
    }
    expect(asked.filter((one) => one === 'GET 200').length).toBeGreaterThan(1);
    client.dispose();
  });

  test('comes back to another server when its own closes', async () => {
    const other = await startTestApp(db);
    let at = other;
    const client = createClient({
      url: async () => `${at.url}/graphql`,
      singleConnection: true,
      headers: { Authorization: `Bearer ${key}` },
      retry: () => Promise.resolve(),
    });
    const watching = watch(client, PRESENCE);
    await watching.until((heard) => heard.length === 1);
    at = app;
    await other.close('test');
    await watching.until((heard) => heard.length === 2);
    expect(watching.errors).toEqual([]);
    client.dispose();
  });
});

describe('a stream', () => {
  let app: TestApp;
  let key: string;
  beforeEach(async () => {
    app = await startTestApp(db, { RATE_LIMIT_PER_KEY: '0' });
    key = await createProject(app.url);
  });
  afterEach(() => app.close('test'));

  test('says what is wrong with a request to it', async () => {
    expect(await refusal(ask(app.url, 'fs_wrong', 'PUT'))).toEqual([401, 'UNAUTHENTICATED']);
    const token = await reserve(app.url, key);
    const operation = { query: PRESENCE, extensions: { operationId: '1' } };
    expect(await refusal(ask(app.url, key, 'POST', { token, body: operation }))).toEqual([409, 'CONFLICT']);
    const stream = await openStream(app.url, key);
    const other = await createProject(app.url);
    for (const [by, given] of [
      [other, stream.token],
      [key, 'nothing'],
    ] as const) {
      for (const method of ['GET', 'POST', 'DELETE']) {
        const body = method === 'POST' ? operation : undefined;
        const asking = ask(app.url, by, method, { token: given, search: '?operationId=1', ...(body && { body }) });
        expect([method, ...(await refusal(asking))]).toEqual([method, 404, 'NOT_FOUND']);
      }
    }
    expect(await refusal(ask(app.url, key, 'DELETE'))).toEqual([404, 'NOT_FOUND']);
    expect(await refusal(ask(app.url, key, 'GET', { token: stream.token }))).toEqual([409, 'CONFLICT']);
    expect(await refusal(ask(app.url, key, 'PATCH', { token: stream.token }))).toEqual([405, 'METHOD_NOT_ALLOWED']);
    expect(await refusal(ask(app.url, key, 'DELETE', { token: stream.token }))).toEqual([400, 'BAD_USER_INPUT']);
    for (const extensions of [
      undefined,
      {},
      { operationId: 7 },
      { operationId: '' },
      { operationId: 'x'.repeat(129) },
    ]) {
      const asking = ask(app.url, key, 'POST', { token: stream.token, body: { query: PRESENCE, extensions } });
      expect(await refusal(asking)).toEqual([400, 'BAD_USER_INPUT']);
    }
    expect(await refusal(ask(app.url, key, 'POST', { token: stream.token, body: [] }))).toEqual([
      400,
      'BAD_USER_INPUT',
    ]);
    expect((await stream.subscribe('1', PRESENCE)).status).toBe(202);
    expect(await refusal(stream.subscribe('1', PRESENCE))).toEqual([409, 'CONFLICT']);
    // An id that is free again can be used again.
    expect((await ask(app.url, key, 'DELETE', { token: stream.token, search: '?operationId=1' })).status).toBe(200);
    expect((await stream.subscribe('1', PRESENCE)).status).toBe(202);
    await eventually(() => stream.text.split('SNAPSHOT').length === 3);
    stream.stop();
    await eventually(() => openWatchers(app.observations) === 0);
    await eventually(async () => (await stream.subscribe('2', PRESENCE)).status === 404);
  });

  test('passes through proxies, and is for pages of other origins', async () => {
    const stream = await openStream(app.url, key);
    expect(Object.fromEntries(stream.response.headers)).toMatchObject({
      'content-type': 'text/event-stream',
      'x-accel-buffering': 'no',
    });
    stream.stop();
    const Origin = 'https://app.example';
    const preflight = await fetch(`${app.url}/graphql`, {
      method: 'OPTIONS',
      headers: {
        Origin,
        'Access-Control-Request-Method': 'PUT',
        'Access-Control-Request-Headers': 'authorization,x-graphql-event-stream-token',
      },
    });
    expect(preflight.headers.get('access-control-allow-methods')).toMatch(/PUT.*DELETE/);
    expect(preflight.headers.get('access-control-allow-headers')).toContain('x-graphql-event-stream-token');
    const reserved = await fetch(`${app.url}/graphql`, { method: 'PUT', headers: { Origin, Authorization: key } });
    expect([reserved.status, reserved.headers.get('access-control-allow-origin')]).toEqual([201, '*']);
    const guarded = await createProject(app.url, { allowedOrigins: ['https://other.example'] });
    const refused = await fetch(`${app.url}/graphql`, { method: 'PUT', headers: { Origin, Authorization: guarded } });
    expect(refused.status).toBe(403);
  });

  test('carries 100 subscriptions at most', async () => {
    const stream = await openStream(app.url, key);
    for (let at = 0; at < 100; at += 1) await stream.subscribe(String(at), PRESENCE);
    await eventually(() => stream.text.split('SNAPSHOT').length === 101);
    expect((await stream.subscribe('more', PRESENCE)).status).toBe(202);
    await eventually(() => stream.text.endsWith('event: complete\ndata: {"id":"more"}\n\n'));
    expect(stream.text).toContain('TOO_MANY_SUBSCRIPTIONS');
    await ask(app.url, key, 'DELETE', { token: stream.token, search: '?operationId=7' });
    await eventually(() => openWatchers(app.observations) === 99);
    await stream.subscribe('again', PRESENCE);
    await eventually(() => openWatchers(app.observations) === 100);
    stream.stop();
    await eventually(() => openWatchers(app.observations) === 0);
  });

  test('shares its messages with WebSockets: each is put into words once', async () => {
    const streams = await Promise.all(Array.from({ length: 5 }, () => openStream(app.url, key)));
    for (const { subscribe } of streams) for (const id of ['1', '2']) await subscribe(id, PRESENCE);
    const client = connect(app.url, key);
    const watching = listen(client, PRESENCE);
    await watching.until((heard) => heard.length === 1);
    const written = vi.spyOn(JSON, 'stringify');
    await send(app.url, key, { user: { identity: 'shared' } });
    await eventually(() => streams.every(({ text }) => text.split('"shared"').length === 3));
    await watching.until((heard) => heard.length === 2);
    const results = written.mock.calls.filter(([value]) => value?.data?.userPresence?.kind === 'DIFF');
    written.mockRestore();
    expect(results).toHaveLength(1);
    for (const { stop } of streams) stop();
    await client.dispose();
  });

  test('ends when its key is revoked, and when that of one of its operations is', async () => {
    const makeKey = async () =>
      (await post(app.url, key, 'mutation { createApiKey(name: "x", scopes: [PRESENCE]) { key apiKey { id } } }')).data
        .createApiKey;
    for (const whose of ['the stream', 'an operation']) {
      const { key: secret, apiKey } = await makeKey();
      const stream = await openStream(app.url, whose === 'the stream' ? secret : key);
      await stream.subscribe('1', PRESENCE, secret);
      await eventually(() => stream.text.includes('SNAPSHOT'));
      await post(app.url, key, 'mutation ($id: ID!) { revokeApiKey(id: $id) { id } }', { id: apiKey.id });
      await eventually(() => stream.isOver);
      expect(stream.text).not.toContain('complete');
    }
    await eventually(() => openWatchers(app.observations) === 0);
  });
});

describe('bounds', () => {
  test('a stream takes the place of a socket; a reservation costs a point, an operation what it costs elsewhere', async () => {
    const narrow = await startTestApp(db, { REDIS_URL: '', SOCKETS_PER_KEY: '1', RATE_LIMIT_PER_KEY: '3' });
    const key = await createProject(narrow.url);
    const stream = await openStream(narrow.url, key);
    expect(stream.response.status).toBe(200);
    const token = await reserve(narrow.url, key);
    expect(await refusal(ask(narrow.url, key, 'GET', { token }))).toEqual([429, 'TOO_MANY_SUBSCRIPTIONS']);
    await stream.subscribe('1', '{ __typename }');
    await stream.subscribe('2', '{ __typename }');
    await eventually(() => stream.text.includes('data: {"id":"2"}'));
    expect(stream.text).toMatch(/"id":"1","payload":\{"data"/);
    expect(stream.text).toMatch(/"id":"2","payload":\{"errors":.*RATE_LIMITED/);
    expect(await refusal(ask(narrow.url, key, 'PUT'))).toEqual([429, 'RATE_LIMITED']);
    stream.stop();
    await eventually(async () => {
      const again = await fetch(`${narrow.url}/graphql`, {
        headers: { Authorization: key, 'X-GraphQL-Event-Stream-Token': token },
      });
      await again.body?.cancel();
      return again.status === 200;
    });
    await narrow.close('test');
  });

  // 9 MB each.
  const large = '{ events(first: 100) { nodes { a: data b: data c: data } } }';
  test.each([
    ['answers', large],
    ['errors', '{ nothing }'],
  ])(
    '%s wait for who does not read, and what asks for them with them; then the stream is cut',
    async (_what, query) => {
      // Long enough for all to come before the stream is cut, also on a slow machine.
      const doors = await openDoors(db, { stuckAfter: 4_000 });
      const key = await createProject(doors.url);
      const events = Array.from({ length: 50 }, () => ({ data: { text: 'x'.repeat(60_000) } }));
      await post(doors.url, key, 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }', {
        events,
      });
      const token = await reserve(doors.url, key);
      const { hostname, port } = new URL(doors.url);
      const deaf = connectTcp(Number(port), hostname);
      deaf.on('error', () => {});
      deaf.pause();
      deaf.write(
        `GET /graphql?token=${token} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${key}\r\nAccept: text/event-stream\r\n\r\n`,
      );
      const begin = (id: string, asking = query) =>
        ask(doors.url, key, 'POST', { token, body: { query: asking, extensions: { operationId: id } } });
      await eventually(async () => (await begin('first', large)).status === 202);
      const read = (): number =>
        doors.observations.filter((one) => one.kind === 'statement' && one.name === 'events.list').length;
      const before = read();
      const asked = Array.from({ length: 105 }, (_, at) => begin(String(at)));
      // All come to their end: some are refused at once, the others wait until the stream is cut.
      const statuses = await Promise.all(asked.map(async (answer) => (await answer).status));
      expect(statuses.filter((status) => status === 503)).toHaveLength(5);
      expect(statuses.filter((status) => status === 202)).toHaveLength(100);
      expect(read() - before).toBeLessThan(5);
      expect((await begin('late')).status).toBe(404);
      deaf.destroy();
      await doors.close();
    },
    60_000,
  );

  test('a reservation that nobody opens is forgotten', async () => {
    const doors = await openDoors(db, { reservedFor: 50 });
    const key = await createProject(doors.url);
    const token = await reserve(doors.url, key);
    await eventually(async () => (await refusal(ask(doors.url, key, 'DELETE', { token })))[0] === 404);
    expect(await refusal(ask(doors.url, key, 'GET', { token }))).toEqual([404, 'NOT_FOUND']);
    await doors.close();
  });

  test('a key has 1,000 reservations at a time, the users of a token 20 of them', async () => {
    const app = await startTestApp(db, { RATE_LIMIT_PER_KEY: '0', REDIS_URL: '' });
    const [key, other] = [await createProject(app.url), await createProject(app.url)];
    const tokenOf = async (identity: string): Promise<string> => {
      const made = `mutation { createAccessToken(scopes: [PRESENCE], identities: ["${identity}"]) { token } }`;
      return (await post(app.url, other, made)).data.createAccessToken.token;
    };
    const [ada, bob] = [await tokenOf('ada'), await tokenOf('bob')];
    const adas = await Promise.all(Array.from({ length: 25 }, () => ask(app.url, ada, 'PUT')));
    expect(adas.filter(({ status }) => status === 201)).toHaveLength(20);
    expect((await ask(app.url, bob, 'PUT')).status).toBe(201);
    const statuses: number[] = [];
    for (let round = 0; round < 21; round += 1) {
      const asked = await Promise.all(Array.from({ length: 50 }, () => ask(app.url, key, 'PUT')));
      for (const { status } of asked) statuses.push(status);
    }
    expect([statuses.filter((one) => one === 201).length, statuses.filter((one) => one === 429).length]).toEqual([
      1_000, 50,
    ]);
    expect((await ask(app.url, other, 'PUT')).status).toBe(201);
    await app.close('test');
  });
});
