import { once } from 'node:events';
import { connect as openSocket, type Socket } from 'node:net';
import { createClient as createSseClient } from 'graphql-sse';
import { createClient, type Client, type ClientOptions } from 'graphql-ws';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import WebSocket from 'ws';
import {
  collect,
  connect,
  createProject,
  eventually,
  listen,
  OPERATOR_KEY,
  post,
  startTestApp,
  type TestApp,
} from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { openDoors } from '../support/doors.js';

let db: TestDatabase;
let one: TestApp;
let two: TestApp;
let key: string;

beforeAll(async () => {
  db = await createTestDatabase();
  one = await startTestApp(db);
  two = await startTestApp(db);
  key = await createProject(one.url);
});
afterAll(async () => {
  await Promise.all([one.close('test'), two.close('test')]);
  await db.drop();
});

const INGEST =
  'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted rejected results { status code eventId sessionId } } }';
const PRESENCE =
  'subscription ($identities: [String!]) { userPresence(identities: $identities) { kind at users { identity status onlineSessions since } } }';
const send = (url: string, who: string, events: Record<string, unknown>[]) => post(url, who, INGEST, { events });

async function isWell(): Promise<void> {
  const { data } = await post(one.url, key, '{ project { name } }');
  expect(data.project.name).toMatch(/Project/);
}

const codeOf = ({ errors }: { errors: { extensions: Record<string, unknown> }[] | undefined }) =>
  errors?.[0]?.extensions['code'];

test('an operation that comes again, and is compiled by then, answers the same', async () => {
  await send(one.url, key, [{ type: 'page view', source: '/twice', user: { identity: 'again@example.com' } }]);
  const query = `{ sessions(filter: { identities: ["again@example.com"] }) { nodes {
    events(first: 3) { edges { cursor node { type ...Said } } } events(first: 3) { nodes { source __typename } }
    other: events(first: 3) { nodes { id occurredAt session { id } } }
  } } } fragment Said on Event { message tags user { identity } }`;
  const answers = [];
  for (let time = 0; time < 5; time += 1) answers.push(await post(one.url, key, query));
  expect(answers[0]!.errors).toBeUndefined();
  expect(answers[0]!.data.sessions.nodes[0].events).toMatchObject({
    edges: [{ node: { type: 'page view', user: { identity: 'again@example.com' } } }],
    nodes: [{ source: '/twice', __typename: 'Event' }],
  });
  for (const answer of answers) expect(answer.data).toEqual(answers[0]!.data);
});

describe('bad input over HTTP: a clear error with a stable code, and the server unharmed', () => {
  const deep = `{ sessions { nodes { ${'events { nodes { session { '.repeat(66)} id ${'} } }'.repeat(66)} } } }`;
  const aliases = `{ ${Array.from({ length: 500 }, (_, at) => `a${at}: project { name }`).join(' ')} }`;
  const cases: [string, string, Record<string, unknown> | undefined, string][] = [
    ['a syntax error', '{', undefined, 'GRAPHQL_PARSE_FAILED'],
    ['an unknown field', '{ nope }', undefined, 'GRAPHQL_VALIDATION_FAILED'],
    ['an unknown input field', INGEST, { events: [{ user: { identity: 'x' }, nope: 1 }] }, 'BAD_USER_INPUT'],
    [
      'a wrong type',
      'query ($first: Int) { sessions(first: $first) { nodes { id } } }',
      { first: 'x' },
      'BAD_USER_INPUT',
    ],
    ['a missing variable', INGEST, {}, 'BAD_USER_INPUT'],
    ['1,001 events', INGEST, { events: Array.from({ length: 1001 }, () => ({ message: 'x' })) }, 'TOO_MANY_EVENTS'],
    ['no event', INGEST, { events: [] }, 'BAD_USER_INPUT'],
    ['a query of 200 levels', deep, undefined, 'QUERY_TOO_DEEP'],
    ['500 aliases', aliases, undefined, 'TOO_MANY_ALIASES'],
    [
      'a query that could return a million rows',
      '{ sessions(first: 100) { nodes { events(first: 100) { nodes { session { events(first: 100) { nodes { id } } } } } } } }',
      undefined,
      'QUERY_TOO_COMPLEX',
    ],
    ['a query of endless tokens', `{ ${'project { name } '.repeat(3000)} }`, undefined, 'QUERY_TOO_COMPLEX'],
    ['a syntax error at a word', '{ project(tokens: ]) }', undefined, 'GRAPHQL_PARSE_FAILED'],
    ['a syntax error that quotes a word', '{ project } tokens', undefined, 'GRAPHQL_PARSE_FAILED'],
    ['a syntax error that quotes a limit', '{ project } "token limit"', undefined, 'GRAPHQL_PARSE_FAILED'],
    ['5,000 tokens and no end', `{ project ${'a '.repeat(4998)}`, undefined, 'GRAPHQL_PARSE_FAILED'],
    ['5,001 tokens and no end', `{ project ${'a '.repeat(4999)}`, undefined, 'QUERY_TOO_COMPLEX'],
    ['a syntax error before endless tokens', `{ ] ${'a '.repeat(9000)}`, undefined, 'GRAPHQL_PARSE_FAILED'],
    ['no token after 5,000', `{ project ${'a '.repeat(4998)} ?`, undefined, 'GRAPHQL_PARSE_FAILED'],
    [
      'a fragment within itself',
      '{ project { ...f } } fragment f on Project { ...f }',
      undefined,
      'GRAPHQL_VALIDATION_FAILED',
    ],
    [
      'fragments that double',
      `{ project { ...f0 } } ${Array.from({ length: 40 }, (_, at) => `fragment f${at} on Project { ...f${at + 1} ...f${at + 1} }`).join(' ')} fragment f40 on Project { a: name b: name }`,
      undefined,
      'TOO_MANY_ALIASES',
    ],
    [
      'an invalid date in a filter',
      '{ sessions(filter: { startedAt: { from: "2026-02-30T00:00:00Z" } }) { nodes { id } } }',
      undefined,
      'BAD_USER_INPUT',
    ],
    [
      'a cursor of another query',
      '{ sessions(after: "WyJldmVudHMiLCJ4Il0") { nodes { id } } }',
      undefined,
      'INVALID_CURSOR',
    ],
  ];
  test.each(cases)('%s', async (_name, query, variables, code) => {
    const answer = await post(one.url, key, query, variables);
    expect(codeOf(answer)).toBe(code);
    expect(answer.text).not.toMatch(/node_modules|at \w+ \(|\.js:\d/);
    await isWell();
  });

  test('broken JSON, a large body, another content type, another path', async () => {
    const broken = await post(one.url, key, '', undefined, { body: '{"query": ' });
    expect([broken.status, codeOf(broken)]).toEqual([400, 'BAD_USER_INPUT']);
    expect(broken.text).not.toContain('SyntaxError');
    const large = await post(one.url, key, '', undefined, { body: 'x'.repeat(10_000_000) }).catch(() => null);
    // The server may hang up while the client still sends; where it answers, it says why.
    if (large) expect([large.status, codeOf(large)]).toEqual([413, 'PAYLOAD_TOO_LARGE']);
    const chunks = new ReadableStream({
      start(controller) {
        for (let at = 0; at < 10; at += 1) controller.enqueue(new Uint8Array(1_000_000).fill(97));
        controller.close();
      },
    });
    const chunked = await post(one.url, key, '', undefined, { body: chunks, duplex: 'half' } as RequestInit).catch(
      () => null,
    );
    if (chunked) expect([chunked.status, codeOf(chunked)]).toEqual([413, 'PAYLOAD_TOO_LARGE']);
    expect(large ?? chunked).not.toBeNull();
    const form = await post(one.url, key, '', undefined, {
      body: 'query={project{name}}',
      headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
    });
    expect([form.status, codeOf(form)]).toEqual([415, 'UNSUPPORTED_MEDIA_TYPE']);
    const text = await post(one.url, key, '', undefined, {
      body: '{"query":"{project{name}}"}',
      headers: { 'Content-Type': 'text/plain' },
    });
    expect(text.status).toBe(415);
    const mutation = await fetch(
      `${one.url}/graphql?query=${encodeURIComponent('mutation { eraseUser(identity: "x") { events } }')}`,
      { headers: { Authorization: `Bearer ${key}` } },
    );
    const { errors } = await mutation.json();
    expect([mutation.status, mutation.headers.get('allow'), errors[0].extensions.code]).toEqual([
      405,
      'POST',
      'METHOD_NOT_ALLOWED',
    ]);
    const lost = await fetch(`${one.url}/nowhere`);
    expect([lost.status, lost.headers.get('content-type')]).toEqual([404, 'application/json; charset=utf-8']);
    await isWell();
  });

  test.each(['/graphql', '/api/v2/events'])(
    'a client that goes away while it sends is no fault of the server: %s',
    async (path) => {
      const { url, observations, close } = await openDoors(db);
      const { port } = new URL(url);
      const requests = () => observations.filter(({ kind }) => kind.startsWith('request.')).map(({ kind }) => kind);
      const leave = [(socket: Socket) => socket.destroy(), (socket: Socket) => socket.resetAndDestroy()];
      for (const [at, go] of leave.entries()) {
        const socket = openSocket(Number(port), '127.0.0.1');
        socket.write(
          `POST ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${key}\r\n` +
            'Content-Type: application/json\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n{"query"',
        );
        // The server has the request.
        await once(socket, 'data');
        // It is answered in the order of arrival: the first has been authenticated by then, and its body is awaited.
        await post(url, key, '{ project { name } }');
        go(socket);
        await eventually(() => requests().length >= 2 * at + 2);
      }
      expect(requests()).toEqual(Array.from({ length: 4 }, () => 'request.finished'));
      await close();
    },
  );

  test('one bad event is refused alone', async () => {
    const { data } = await send(one.url, key, [
      { occurredAt: 'yesterday', user: { identity: 'bad-date' } },
      { occurredAt: '2026-13-01T00:00:00Z', user: { identity: 'bad-date' } },
      { user: { identity: '   ' } },
      { user: { identity: 'good' } },
    ]);
    expect(data.ingestEvents.results.map(({ code, status }: any) => code ?? status)).toEqual([
      'INVALID_DATE',
      'INVALID_DATE',
      'INVALID_IDENTITY',
      'ACCEPTED',
    ]);
    const seen = await post(one.url, key, '{ user(identity: "bad-date") { identity } }');
    expect(seen.data.user).toBeNull();
  });

  test('a client that hangs up half-way harms nobody', async () => {
    const { port } = new URL(one.url);
    await new Promise<void>((resolve) => {
      const socket = openSocket(Number(port), '127.0.0.1', () => {
        socket.write(
          'POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"query"',
        );
        socket.end();
      });
      socket.on('close', () => resolve()).on('error', () => resolve());
      socket.resume();
    });
    await isWell();
  });
});

describe('who is let in', () => {
  test('no key, a wrong key, a key of the wrong kind', async () => {
    for (const wrong of [null, 'fs_wrong', 'garbage', 'a.b.c', `${key}x`]) {
      const answer = await post(one.url, wrong, '{ project { name } }');
      expect([answer.status, codeOf(answer)]).toEqual([401, 'UNAUTHENTICATED']);
    }
    // A scheme with nothing behind it is no key: so it comes out of a shell where the key was never set.
    for (const Authorization of ['', 'Bearer', 'Bearer ']) {
      const { status, errors } = await post(one.url, null, '{ project { name } }', {}, { headers: { Authorization } });
      expect([status, errors?.[0]?.message]).toEqual([401, expect.stringMatching(/^Send an API key/)]);
    }
    const operator = await post(one.url, OPERATOR_KEY, '{ project { name } }');
    expect(codeOf(operator)).toBe('FORBIDDEN');
    const nobody = await post(one.url, key, 'mutation { createProject(name: "x") { key } }');
    expect(codeOf(nobody)).toBe('FORBIDDEN');
  });

  test('a key says its scopes, is listed without its secret, and is of no use once revoked, on every server', async () => {
    const made = await post(
      one.url,
      key,
      'mutation { createApiKey(name: "front end", scopes: [INGEST]) { key apiKey { id prefix scopes } } }',
    );
    const { key: secret, apiKey } = made.data.createApiKey;
    expect(secret).toMatch(/^fs_[0-9A-Za-z]{32,}$/);
    for (const app of [one, two])
      expect((await send(app.url, secret, [{ message: 'x' }])).data.ingestEvents.accepted).toBe(1);
    const refused = await post(one.url, secret, '{ sessions { nodes { id } } }');
    expect(refused.errors![0]).toMatchObject({
      message: expect.stringContaining('READ'),
      extensions: { code: 'FORBIDDEN', requiredScopes: ['READ'] },
    });
    const listed = await post(one.url, key, '{ project { apiKeys { id prefix scopes revokedAt lastUsedAt } } }');
    expect(listed.text).not.toContain(secret);
    expect(listed.data.project.apiKeys.find((one: any) => one.id === apiKey.id)).toMatchObject({
      prefix: secret.slice(0, 8),
      scopes: ['INGEST'],
      revokedAt: null,
    });

    await post(one.url, key, 'mutation ($id: ID!) { revokeApiKey(id: $id) { revokedAt } }', { id: apiKey.id });
    for (const app of [one, two]) expect((await post(app.url, secret, '{ project { name } }')).status).toBe(401);
    const stranger = await createProject(one.url);
    const foreign = await post(one.url, stranger, 'mutation ($id: ID!) { revokeApiKey(id: $id) { id } }', {
      id: apiKey.id,
    });
    expect(codeOf(foreign)).toBe('NOT_FOUND');
  });

  test('a token reaches what it says, no longer than it says, and dies with its key', async () => {
    const made = await post(
      one.url,
      key,
      'mutation { createApiKey(name: "maker", scopes: [MANAGE]) { key apiKey { id } } }',
    );
    const maker = made.data.createApiKey;
    const tokenOf = async (args: string): Promise<any> =>
      (await post(one.url, maker.key, `mutation { createAccessToken(${args}) { token expiresAt } }`)).data
        ?.createAccessToken;
    const { token } = await tokenOf('scopes: [READ, INGEST], identities: ["ada"]');
    await send(one.url, key, [{ user: { identity: 'ada' } }, { user: { identity: 'bob' } }]);
    const seen = await post(two.url, token, '{ sessions { nodes { user { identity } } } }');
    expect(seen.data.sessions.nodes).toEqual([{ user: { identity: 'ada' } }]);
    expect((await send(two.url, token, [{ user: { identity: 'bob' } }])).data.ingestEvents.results[0].code).toBe(
      'FORBIDDEN_IDENTITY',
    );
    expect(codeOf(await post(one.url, token, 'mutation { eraseUser(identity: "ada") { events } }'))).toBe('FORBIDDEN');
    for (const args of [
      'scopes: [MANAGE]',
      'scopes: []',
      'scopes: [READ], expiresIn: 0',
      'scopes: [READ], expiresIn: 86401',
      'scopes: [READ], identities: []',
    ]) {
      expect(codeOf(await post(one.url, maker.key, `mutation { createAccessToken(${args}) { token } }`))).toBe(
        'BAD_USER_INPUT',
      );
    }

    const [head, body, signature] = token.split('.') as [string, string, string];
    const claims = JSON.parse(Buffer.from(body, 'base64url').toString()) as Record<string, unknown>;
    const forge = (header: object, payload: object, sign = signature) =>
      `${Buffer.from(JSON.stringify(header)).toString('base64url')}.${Buffer.from(JSON.stringify(payload)).toString('base64url')}.${sign}`;
    for (const forged of [
      forge({ alg: 'none' }, claims, ''),
      forge({ alg: 'HS256' }, { ...claims, identities: null }),
      forge({ alg: 'RS256' }, claims),
      `${head}.${body}.${signature.slice(0, -2)}AA`,
    ]) {
      expect((await post(one.url, forged, '{ project { name } }')).status).toBe(401);
    }

    await post(one.url, key, 'mutation ($id: ID!) { revokeApiKey(id: $id) { id } }', { id: maker.apiKey.id });
    expect((await post(two.url, token, '{ project { name } }')).status).toBe(401);
  });

  test('GraphiQL is one page, with nothing from elsewhere', async () => {
    const response = await fetch(`${one.url}/graphql`, { headers: { Accept: 'text/html' } });
    const page = await response.text();
    expect(response.headers.get('content-type')).toContain('text/html');
    expect(page.match(/<(?:script|link)[^>]+(?:src|href)=["']https?:/g)).toBeNull();
  });

  test('health says what is there', async () => {
    expect(await (await fetch(`${one.url}/health/live`)).json()).toEqual({ status: 'live' });
    expect(await (await fetch(`${one.url}/health/ready`)).json()).toEqual({ status: 'ready' });
  });

  test('a request id comes back, the caller’s own where it is sane', async () => {
    const own = await post(one.url, key, '{ project { name } }', undefined, { headers: { 'X-Request-Id': 'my-id-1' } });
    expect(own.headers.get('x-request-id')).toBe('my-id-1');
    const odd = await post(one.url, key, '{ project { name } }', undefined, { headers: { 'X-Request-Id': 'a b' } });
    expect(odd.headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
  });
});

describe('subscriptions', () => {
  test('a WebSocket and a stream on one server see what the other ingests: SNAPSHOT, online, offline', async () => {
    const client = connect(one.url, key);
    const socket = listen(client, PRESENCE, { identities: ['grace', 'never'] });
    const sse = createSseClient({
      url: `${two.url}/graphql`,
      headers: { Authorization: `Bearer ${key}` },
      retryAttempts: 0,
    });
    const stream = collect((sink) => sse.subscribe({ query: PRESENCE, variables: { identities: ['grace'] } }, sink));
    await Promise.all([socket.until((heard) => heard.length > 0), stream.until((heard) => heard.length > 0)]);
    expect(socket.heard[0]).toMatchObject({
      kind: 'SNAPSHOT',
      users: [
        { identity: 'grace', status: 'OFFLINE', since: null },
        { identity: 'never', status: 'OFFLINE' },
      ],
    });

    await send(two.url, key, [{ user: { identity: 'grace' } }]);
    const online = { kind: 'DIFF', users: [{ identity: 'grace', status: 'ONLINE', onlineSessions: 1 }] };
    await Promise.all([socket.until((heard) => heard.length > 1), stream.until((heard) => heard.length > 1)]);
    expect(socket.heard[1]).toMatchObject(online);
    expect(stream.heard[1]).toMatchObject(online);

    await send(one.url, key, [{ user: { identity: 'grace' }, type: 'sessionend' }]);
    await Promise.all([socket.until((heard) => heard.length > 2), stream.until((heard) => heard.length > 2)]);
    expect(socket.heard[2]).toMatchObject({
      kind: 'DIFF',
      users: [{ identity: 'grace', status: 'OFFLINE', onlineSessions: 0 }],
    });
    expect([socket.heard.length, stream.heard.length]).toEqual([3, 3]);
    stream.stop();
    await client.dispose();
  });

  test('sessionChanged and eventIngested, filtered, over both servers', async () => {
    const client = connect(one.url, key);
    const events = listen(
      client,
      'subscription { eventIngested(filter: { types: ["purchase"] }) { type message session { id } } }',
    );
    const sessions = listen(
      client,
      'subscription { sessionChanged(identities: ["linus"], kinds: [STARTED, ENDED]) { kind session { eventCount user { identity } } } }',
    );
    // There is no snapshot: what shows that a watch stands is that it hears.
    for (let round = 0; events.heard.length === 0; round += 1) {
      await send(two.url, key, [{ user: { identity: `warm ${round}` }, type: 'purchase', message: 'warm' }]);
      await events.until((heard) => heard.length > 0, 300).catch(() => {});
    }
    await send(two.url, key, [
      { user: { identity: 'linus' }, type: 'purchase', message: 'a' },
      { user: { identity: 'linus' }, type: 'other', message: 'b' },
      { user: { identity: 'other' }, type: 'purchase', message: 'c' },
    ]);
    await send(two.url, key, [{ user: { identity: 'linus' }, type: 'sessionend' }]);
    await sessions.until((heard) => heard.length >= 2);
    expect(sessions.heard.map(({ kind, session }) => [kind, session.user.identity])).toEqual([
      ['STARTED', 'linus'],
      ['ENDED', 'linus'],
    ]);
    // Events of different users come in any order.
    await events.until((heard) => ['a', 'c'].every((text) => heard.some(({ message }) => message === text)));
    expect(
      events.heard
        .map(({ message }) => message)
        .filter((message) => message !== 'warm')
        .toSorted(),
    ).toEqual(['a', 'c']);
    await client.dispose();
  });

  test('no operation before the connection is initialised; a bad key closes with 4401', async () => {
    const url = `${one.url.replace('http', 'ws')}/graphql`;
    const closeOf = (first: object) =>
      new Promise<number>((resolve) => {
        const socket = new WebSocket(url, 'graphql-transport-ws');
        socket.on('open', () => socket.send(JSON.stringify(first)));
        socket.on('close', (code) => resolve(code));
      });
    expect(await closeOf({ id: '1', type: 'subscribe', payload: { query: '{ project { name } }' } })).toBe(4401);
    expect(await closeOf({ type: 'connection_init', payload: { authorization: 'Bearer fs_wrong' } })).toBe(4401);
    expect(await closeOf({ type: 'connection_init' })).toBe(4401);
  });

  test('the key stands where clients put it: as authorization or Authorization, or so in headers', async () => {
    for (const connectionParams of [
      { authorization: `Bearer ${key}` },
      { Authorization: `Bearer ${key}` },
      { authorization: key },
      { headers: { authorization: `Bearer ${key}` } },
      { headers: { Authorization: `bearer ${key}` } },
      { authorization: '', headers: { Authorization: key } },
    ]) {
      const client = stockClient({ connectionParams });
      const asked = listen(client, '{ project { name } }');
      await asked.ended;
      expect([connectionParams, asked.heard.length]).toEqual([connectionParams, 1]);
    }
    for (const connectionParams of [
      { headers: key },
      { headers: [key] },
      { headers: null },
      { authorization: [key] },
    ]) {
      const asked = listen(stockClient({ connectionParams }), '{ project { name } }');
      await asked.ended;
      expect([connectionParams, asked.errors]).toMatchObject([connectionParams, [{ code: 4401 }]]);
    }
  });

  /** graphql-ws as it is, retries and all, but that it does not dawdle; counts its connections. */
  function stockClient(options: Partial<ClientOptions>): Client & { connections: () => number } {
    let connections = 0;
    const client = createClient({
      url: `${one.url.replace('http', 'ws')}/graphql`,
      webSocketImpl: WebSocket,
      retryWait: () => Promise.resolve(),
      ...options,
      on: { connecting: () => (connections += 1) },
    });
    return Object.assign(client, { connections: () => connections });
  }
  const makeKey = async (scopes: string): Promise<{ key: string; apiKey: { id: string } }> =>
    (await post(one.url, key, `mutation { createApiKey(name: "door", scopes: [${scopes}]) { key apiKey { id } } }`))
      .data.createApiKey;
  const revokeKey = (id: string) => post(one.url, key, 'mutation ($id: ID!) { revokeApiKey(id: $id) { id } }', { id });

  test('where trying again cannot help, a stock client does not: no key, a wrong one, a revoked one, before and meanwhile', async () => {
    const { key: revoked, apiKey } = await makeKey('PRESENCE');
    const open = stockClient({ connectionParams: { authorization: revoked } });
    const watching = listen(open, PRESENCE);
    await watching.until((heard) => heard.length > 0);
    await revokeKey(apiKey.id);
    await watching.ended;
    expect([watching.errors, open.connections()]).toMatchObject([[{ code: 4401, reason: 'The key was revoked' }], 1]);
    for (const authorization of [undefined, 'Bearer fs_wrong', 'garbage', `Bearer ${revoked}`]) {
      const client = stockClient({ connectionParams: { authorization } });
      const asked = listen(client, PRESENCE);
      await asked.ended;
      expect([authorization, asked.errors, client.connections()]).toMatchObject([authorization, [{ code: 4401 }], 1]);
    }
  });

  test('a token that has run out, before or meanwhile, is asked for anew by a stock client', async () => {
    const tokenFor = async (expiresIn: number): Promise<string> =>
      (
        await post(
          one.url,
          key,
          `mutation { createAccessToken(scopes: [PRESENCE], expiresIn: ${expiresIn}) { token } }`,
        )
      ).data.createAccessToken.token;
    const short = await tokenFor(2);
    const given: string[] = [];
    const codes: number[] = [];
    const client = createClient({
      url: `${one.url.replace('http', 'ws')}/graphql`,
      webSocketImpl: WebSocket,
      // The short one again, to be refused at the door; then a good one.
      connectionParams: async () => {
        given.push(given.length < 2 ? short : await tokenFor(60));
        return { authorization: `Bearer ${given.at(-1)}` };
      },
      retryWait: () => Promise.resolve(),
      on: { closed: (event) => codes.push((event as CloseEvent).code) },
    });
    const watching = listen(client, PRESENCE, { identities: ['ada'] });
    await watching.until((heard) => heard.length === 2);
    expect(watching.heard.map(({ kind }) => kind)).toEqual(['SNAPSHOT', 'SNAPSHOT']);
    expect([codes, given.length, watching.errors]).toEqual([[4403, 4403], 3, []]);
    await client.dispose();
  });

  test('a subscription beyond the scopes is refused at once; the socket closes with 4401 if it carries nothing else', async () => {
    const { key: sending } = await makeKey('INGEST');
    const stock = stockClient({ connectionParams: { authorization: sending } });
    const refused = listen(stock, PRESENCE);
    await refused.ended;
    expect(refused.errors).toMatchObject([{ extensions: { code: 'FORBIDDEN', requiredScopes: ['PRESENCE', 'READ'] } }]);
    expect(stock.connections()).toBe(1);

    /** What a socket of its own hears of these subscriptions, and how it closes. */
    const open = (credential: string, queries: string[]) => {
      const socket = new WebSocket(`${one.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws');
      const said: string[] = [];
      socket.on('open', () =>
        socket.send(JSON.stringify({ type: 'connection_init', payload: { Authorization: credential } })),
      );
      socket.on('message', (data: Buffer) => {
        const { type, id } = JSON.parse(data.toString()) as { type: string; id?: string };
        said.push(id ? `${type} ${id}` : type);
        if (type !== 'connection_ack') return;
        queries.forEach((query, at) =>
          socket.send(JSON.stringify({ type: 'subscribe', id: String(at), payload: { query } })),
        );
      });
      const closed = new Promise<[number, string]>((resolve) =>
        socket.on('close', (code, reason) => resolve([code, reason.toString()])),
      );
      return { socket, said, closed };
    };
    const events = 'subscription { eventIngested { id } }';
    const alone = open(sending, [events]);
    expect(await alone.closed).toEqual([4401, 'This needs a key with the scope READ.']);
    expect(alone.said).toEqual(['connection_ack', 'error 0']);
    const { key: watcher } = await makeKey('PRESENCE');
    const beside = open(watcher, ['subscription { userPresence { kind } }', events]);
    await eventually(() => ['next 0', 'error 1'].every((one) => beside.said.includes(one)));
    // It is still heard.
    beside.socket.send(JSON.stringify({ type: 'ping' }));
    await eventually(() => beside.said.includes('pong'));
    beside.socket.terminate();
  });

  test('queries and errors over a WebSocket are those of HTTP', async () => {
    const client = connect(one.url, key);
    const ask = (query: string, variables?: Record<string, unknown>) => {
      const asked = listen(client, query, variables);
      return asked.ended.then(() => asked);
    };
    expect((await ask('{ project { name } }')).heard[0].name).toMatch(/Project/);
    const failures = [
      await ask('{ nope }'),
      await ask('{'),
      await ask('{ sessions(first: 1000) { nodes { id } } }'),
      await ask('query ($i: Int) { sessions(first: $i) { totalCount } }', { i: 'x' }),
    ];
    expect(failures.map(({ errors }) => (errors.flat()[0] as any).extensions.code)).toEqual([
      'GRAPHQL_VALIDATION_FAILED',
      'GRAPHQL_PARSE_FAILED',
      'BAD_USER_INPUT',
      'BAD_USER_INPUT',
    ]);
    await client.dispose();
  });

  test('revoking a key ends its open subscriptions at once, on the other server too', async () => {
    const made = await post(
      one.url,
      key,
      'mutation { createApiKey(name: "watcher", scopes: [PRESENCE]) { key apiKey { id } } }',
    );
    const { key: secret, apiKey } = made.data.createApiKey;
    let closed: (event: { code: number; reason: string }) => void;
    const closing = new Promise<{ code: number; reason: string }>((resolve) => (closed = resolve));
    const client = connect(two.url, secret, { closed: (event) => closed(event as { code: number; reason: string }) });
    const socket = listen(client, PRESENCE);
    const sse = createSseClient({
      url: `${two.url}/graphql`,
      headers: { Authorization: `Bearer ${secret}` },
      retryAttempts: 0,
    });
    const stream = collect((sink) => sse.subscribe({ query: PRESENCE }, sink));
    await Promise.all([socket.until((heard) => heard.length > 0), stream.until((heard) => heard.length > 0)]);
    await post(one.url, key, 'mutation ($id: ID!) { revokeApiKey(id: $id) { id } }', { id: apiKey.id });
    expect(await closing).toMatchObject({ code: 4401, reason: 'The key was revoked' });
    await stream.ended;
  });

  test('a token that runs out ends what it keeps open', async () => {
    const made = await post(one.url, key, 'mutation { createAccessToken(scopes: [PRESENCE], expiresIn: 1) { token } }');
    const { token } = made.data.createAccessToken;
    let closed: (event: { code: number; reason: string }) => void;
    const closing = new Promise<{ code: number; reason: string }>((resolve) => (closed = resolve));
    const client = connect(one.url, token, { closed: (event) => closed(event as { code: number; reason: string }) });
    listen(client, PRESENCE);
    expect(await closing).toMatchObject({ code: 4403 });
  });

  test('an event source sends its token in the address, and hears when to come back, and comments while nothing happens', async () => {
    const doors = await openDoors(db, { commentEvery: 20 });
    const query = encodeURIComponent('subscription { userPresence { kind } }');
    const aborted = new AbortController();
    const response = await fetch(`${doors.url}/graphql?query=${query}&access_token=${key}`, {
      headers: { Accept: 'text/event-stream' },
      signal: aborted.signal,
    });
    expect(response.headers.get('content-type')).toContain('text/event-stream');
    const reader = response.body!.getReader();
    let text = '';
    const read = async (): Promise<void> => void (text += new TextDecoder().decode((await reader.read()).value));
    while (!text.endsWith('\n\n:\n\n:\n\n')) await read();
    const [retry, next, ...comments] = text.split('\n\n').filter((one) => one !== '');
    expect(retry).toBe('retry: 3000');
    expect(next).toMatch(/^event: next\nid: \S+\ndata: {"data":{"userPresence":{"kind":"SNAPSHOT"}}}$/);
    expect(new Set(comments)).toEqual(new Set([':']));
    aborted.abort();
    const closed = () => doors.observations.filter(({ kind }) => kind === 'watcher.closed').length;
    await eventually(() => closed() === 1);
    await doors.close();
  });

  test('erasing a user tells subscribers', async () => {
    const client = connect(one.url, key);
    const socket = listen(client, PRESENCE, { identities: ['gone'] });
    await socket.until((heard) => heard.length > 0);
    await send(two.url, key, [{ user: { identity: 'gone' } }]);
    await socket.until((heard) => heard.length > 1);
    const erased = await post(two.url, key, 'mutation { eraseUser(identity: "gone") { sessions events } }');
    expect(erased.data.eraseUser).toEqual({ sessions: 1, events: 1 });
    await socket.until((heard) => heard.length > 2);
    expect(socket.heard[2].users).toEqual([{ identity: 'gone', status: 'OFFLINE', onlineSessions: 0, since: null }]);
    await client.dispose();
  });
});

test('a server that closes answers what is under way, closes sockets with 1001, ends streams, and refuses what is new', async () => {
  const three = await startTestApp(db);
  let closed: (event: { code: number }) => void;
  const closing = new Promise<{ code: number }>((resolve) => (closed = resolve));
  const client = connect(three.url, key, { closed: (event) => closed(event as { code: number }) });
  const socket = listen(client, PRESENCE);
  const sse = createSseClient({
    url: `${three.url}/graphql`,
    headers: { Authorization: `Bearer ${key}` },
    retryAttempts: 0,
  });
  const stream = collect((sink) => sse.subscribe({ query: PRESENCE }, sink));
  await Promise.all([socket.until((heard) => heard.length > 0), stream.until((heard) => heard.length > 0)]);
  const underWay = Array.from({ length: 20 }, (_, at) => send(three.url, key, [{ user: { identity: `last ${at}` } }]));
  await Promise.race(underWay);
  const end = three.close('test');
  const answers = await Promise.allSettled(underWay);
  expect(answers.filter(({ status }) => status === 'fulfilled').length).toBeGreaterThan(0);
  for (const answer of answers)
    if (answer.status === 'fulfilled')
      expect(answer.value.data?.ingestEvents.accepted ?? codeOf(answer.value)).toBeTruthy();
  expect((await closing).code).toBe(1001);
  await stream.ended;
  await end;
  await expect(fetch(`${three.url}/health/live`)).rejects.toThrow();
});

test('errors over a WebSocket say nothing of HTTP, which has the status', async () => {
  const socket = new WebSocket(`${one.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws');
  const heard: { id?: string; payload?: unknown }[] = [];
  socket.on('message', (data: Buffer) => heard.push(JSON.parse(data.toString()) as { id?: string }));
  socket.on('open', () => socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: key } })));
  await eventually(() => heard.length === 1);
  const queries = [
    '{ nope',
    '{ nope }',
    '{ sessions(first: 100000) { nodes { id } } }',
    'mutation { createProject(name: "x") { key } }',
    'subscription { sessionChanged(sessionIds: ["x"]) { kind } }',
  ];
  for (const [id, query] of queries.entries())
    socket.send(JSON.stringify({ id: String(id), type: 'subscribe', payload: { query } }));
  const told = () => heard.filter(({ payload }) => JSON.stringify(payload ?? null).includes('"code"'));
  await eventually(() => told().length === queries.length);
  expect(told().filter(({ payload }) => JSON.stringify(payload).includes('"http"'))).toEqual([]);
  socket.terminate();
});
