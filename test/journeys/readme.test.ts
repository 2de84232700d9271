import { execFile, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { promisify } from 'node:util';
import { createClient } from 'graphql-ws';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { transformWithOxc } from 'vite';
import WebSocket from 'ws';
import { eventually, post } from '../support/app.js';
import { startChromium } from '../support/chromium.js';
import { startProxy } from '../support/proxy.js';
import { startServer, temporaryFolder, type ServerProcess } from '../support/server.js';

/** The examples of README.md and SECURITY.md, word for word but for the port, on a server at its first start. */

const run = promisify(execFile);
const documents = ['README.md', 'SECURITY.md']
  .map((name) => readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8'))
  .join('\n');

let server: ServerProcess;
let remove: () => void;
beforeAll(async () => {
  const temporary = temporaryFolder();
  ({ remove } = temporary);
  server = await startServer({ DATA_DIR: path.join(temporary.folder, 'data') });
});
afterAll(async () => {
  await server.stop();
  remove();
});

function example(name: string): string {
  const found = new RegExp(`<!-- example: ${name} -->\\n\`\`\`\\w+\\n([\\s\\S]*?)\`\`\``).exec(documents);
  return found![1]!.replaceAll('127.0.0.1:4000', new URL(server.url).host);
}

const IMPORT = /^import { createClient } from 'graphql-ws';$/m;
/** An example in TypeScript, without its types and its import: the test gives it another client. */
async function stripped(name: string): Promise<string> {
  const source = example(name);
  expect(source).toMatch(IMPORT);
  return (await transformWithOxc(source.replace(IMPORT, ''), `${name}.ts`)).code;
}

const shell = async (name: string): Promise<any> =>
  JSON.parse((await run('sh', ['-c', example(name)], { env: { ...process.env, KEY: server.key! } })).stdout);

test('a first event, a first query, a heartbeat', async () => {
  const sent = await shell('event');
  expect(sent.data.ingestEvents).toMatchObject({
    accepted: 2,
    results: [{ status: 'ACCEPTED' }, { status: 'ACCEPTED' }],
  });
  const found = await shell('query');
  expect(found.data.sessions.nodes).toMatchObject([
    {
      user: { name: 'Ada', presence: { status: 'ONLINE' } },
      events: {
        nodes: [
          { type: 'page view', source: '/pricing' },
          { type: 'error', message: 'Payment failed' },
        ],
      },
    },
  ]);
  expect(await shell('heartbeat')).toMatchObject({ data: { recordHeartbeat: { acknowledged: true } } });
  const [session] = found.data.sessions.nodes;
  expect((await shell('users')).data.users.nodes).toMatchObject([
    {
      identity: 'ada@example.com',
      firstSeenAt: session.startedAt,
      presence: { status: 'ONLINE' },
      sessions: {
        nodes: [{ startReason: 'FIRST_SEEN', entrySource: '/pricing', exitSource: '/pricing', previous: null }],
      },
      events: { nodes: [{ type: 'error' }, { type: 'page view' }] },
    },
  ]);
  expect(await shell('past')).toMatchObject({
    data: {
      presenceHistory: { nodes: [{ status: 'ONLINE', onlineSessions: 1, cause: 'STARTED' }] },
      presence: { nodes: [] },
      concurrency: { peak: 1 },
    },
  });
  expect(await shell('figures')).toMatchObject({
    data: {
      sessionStats: { totals: { sessions: 1, users: 1 } },
      eventStats: { total: 1, users: 1, series: [{ events: 1 }] },
      sessionBreakdown: { totalCount: 1, groups: [{ value: null, count: 1, users: 1 }] },
      eventBreakdown: { totalCount: 2 },
    },
  });
});

test('a first subscription, with curl and in TypeScript', async () => {
  const curl = spawn('sh', ['-c', example('subscription')], {
    env: { ...process.env, KEY: server.key! },
    detached: true,
  });
  let heard = '';
  curl.stdout.on('data', (data: Buffer) => (heard += data.toString()));
  await eventually(() => heard.includes('SNAPSHOT'));

  const code = await stripped('typescript');
  // The example's own client, with the WebSocket that Node 20 lacks.
  const withWebSocket = (options: Parameters<typeof createClient>[0]) =>
    createClient({ ...options, webSocketImpl: WebSocket });
  // The README's own text is what this test runs.
  // oxlint-disable-next-line no-new-func, no-implied-eval
  const make = new Function('createClient', 'key', `${code}; return { client, online };`);
  const { client, online } = make(withWebSocket, server.key) as {
    client: ReturnType<typeof createClient>;
    online: Map<string, boolean>;
  };
  await shell('event');
  await eventually(() => heard.includes('ada@example.com') && online.get('ada@example.com') === true);
  await client.dispose();
  process.kill(-curl.pid!, 'SIGKILL');
});

test('a client that renews its token, and notices a dead network', async () => {
  const proxy = await startProxy(Number(new URL(server.url).port));
  const code = (await stripped('live client'))
    .replace(new URL(server.url).host, `127.0.0.1:${proxy.port}`)
    // The same, sooner: the server is heard by its answers to keepAlive.
    .replace(/18_?000|18e3/, '3000')
    .replace(/10_?000|1e4/, '500');
  let connections = 0;
  let closed = 0;
  const pongs: any[] = [];
  const watched = (options: Parameters<typeof createClient>[0]) => {
    const client = createClient({ ...options, webSocketImpl: WebSocket, retryWait: () => Promise.resolve() });
    client.on('connected', () => (connections += 1));
    client.on('closed', () => (closed += 1));
    client.on('pong', (_received, payload) => void (payload && pongs.push(payload)));
    return client;
  };
  let tokens = 0;
  const newToken = async (): Promise<string> => {
    tokens += 1;
    const expiresIn = tokens === 1 ? 16 : 600;
    const made = await post(
      server.url,
      server.key,
      `mutation { createAccessToken(scopes: [PRESENCE], expiresIn: ${expiresIn}) { token } }`,
    );
    return made.data.createAccessToken.token as string;
  };
  // The README's own text is what this test runs.
  // oxlint-disable-next-line no-new-func, no-implied-eval
  const make = new Function('createClient', 'newToken', `${code}; return live;`);
  const client = make(watched, newToken) as ReturnType<typeof createClient>;
  const kinds: string[] = [];
  const sink = {
    next: ({ data }: any) => void kinds.push(data.userPresence.kind),
    error: (error: unknown) => void kinds.push(String(error)),
    complete: () => void kinds.push('complete'),
  };
  client.subscribe({ query: 'subscription { userPresence { kind } }' }, sink);
  // In the middle of its time the first token gives way to the second.
  await eventually(() => pongs.length > 0, 30_000);
  expect(pongs).toMatchObject([{ expiresIn: expect.any(Number) }]);
  expect([tokens, connections, closed, kinds[0]]).toEqual([2, 1, 0, 'SNAPSHOT']);
  expect(kinds.slice(1)).not.toContain('SNAPSHOT');

  proxy.blackhole();
  await eventually(() => closed > 0, 30_000);
  proxy.heal();
  await eventually(() => kinds.filter((kind) => kind === 'SNAPSHOT').length === 2, 30_000);
  expect(kinds.filter((kind) => kind !== 'SNAPSHOT' && kind !== 'DIFF')).toEqual([]);
  await client.dispose();
  await proxy.close();
}, 120_000);

test('a consumer of the feed misses nothing and gets nothing twice, however often its connection is cut', async () => {
  const proxy = await startProxy(Number(new URL(server.url).port));
  const code = (await stripped('missing nothing'))
    .replace(new URL(server.url).host, `127.0.0.1:${proxy.port}`)
    .replace(/1_?000\)|1e3\)/, '50)');
  const withWebSocket = (options: Parameters<typeof createClient>[0]) =>
    createClient({ ...options, webSocketImpl: WebSocket });
  const made = await post(server.url, server.key, '{ changeCursor }');
  const first: string = made.data.changeCursor;
  const heard: any[] = [];
  let isOver = false;
  const copy = {
    cursor: async () => (isOver ? new Promise<never>(() => {}) : (heard.at(-1)?.cursor ?? first)),
    save: async (change: unknown) => void heard.push(change),
    clear: async () => {},
  };
  // The README's own text is what this test runs.
  // oxlint-disable-next-line no-new-func, no-implied-eval
  const follow = new Function('createClient', `${code}; return follow;`)(withWebSocket) as (
    key: string,
    kept: typeof copy,
  ) => Promise<never>;
  void follow(server.key!, copy);
  const messages = Array.from({ length: 40 }, (_, at) => `kept ${at}`);
  for (const [at, message] of messages.entries()) {
    if (at % 8 === 5) proxy.cut();
    const events = [{ message, type: 'log', user: { identity: 'kept@example.com' } }];
    await post(
      server.url,
      server.key,
      'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }',
      { events },
    );
  }
  const kept = (): string[] =>
    heard.flatMap(({ event }) => (event?.message?.startsWith('kept') ? (event.message as string) : []));
  await eventually(() => kept().length >= messages.length);
  expect(kept()).toEqual(messages);
  expect(new Set(heard.map(({ cursor }) => cursor)).size).toBe(heard.length);
  isOver = true;
  await proxy.close();
}, 60_000);

test('an EventSource in a browser watches, and continues with a new token after its token has expired', async () => {
  const browser = await startChromium();
  const shop = createServer((_request, response) => {
    response.setHeader('Content-Type', 'text/html');
    response.end('<title>Shop</title>');
  });
  try {
    const page = await browser.newPage();
    // A page of another origin, as a front end's is.
    await new Promise<void>((resolve) => shop.listen(0, '127.0.0.1', resolve));
    await page.goto(`http://127.0.0.1:${(shop.address() as AddressInfo).port}`);
    let tokens = 0;
    await page.exposeFunction('newToken', async () => {
      tokens += 1;
      const expiresIn = tokens === 1 ? 2 : 600;
      const made = await post(
        server.url,
        server.key,
        `mutation { createAccessToken(scopes: [PRESENCE], identities: ["ada@example.com"], expiresIn: ${expiresIn}) { token } }`,
      );
      return made.data.createAccessToken.token as string;
    });
    await page.addScriptTag({ content: example('event source') });
    const isOnline = (expected: boolean) =>
      page.waitForFunction(`online.get('ada@example.com') === ${expected}`, undefined, { timeout: 20_000 });
    await shell('event');
    await isOnline(true);
    await page.evaluate('online.clear()');
    // The next snapshot comes with the next token.
    await isOnline(true);
    expect(tokens).toBe(2);
    const end = { type: 'sessionend', user: { identity: 'ada@example.com' } };
    await post(
      server.url,
      server.key,
      'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }',
      { events: [end] },
    );
    await isOnline(false);
  } finally {
    await browser.close();
    shop.close();
  }
}, 60_000);

test('a back end makes tokens; each token gives access only to the data of the signed-in user', async () => {
  const code = example('token').replace(/^import .*$/m, '');
  const made: Server[] = [];
  const listening = (...args: Parameters<typeof createServer>): Server => {
    const backEnd = createServer(...args);
    made.push(backEnd);
    return backEnd;
  };
  const whoIsSignedIn = async ({ headers }: IncomingMessage) => headers['x-signed-in'] ?? null;
  // The document's own text is what this test runs; only its port is any free one.
  // oxlint-disable-next-line no-new-func, no-implied-eval
  new Function('createServer', 'key', 'whoIsSignedIn', code.replace('listen(8080,', 'listen(0,'))(
    listening,
    server.key,
    whoIsSignedIn,
  );
  const [backEnd] = made;
  await eventually(() => backEnd!.listening);
  const tokenOf = (headers: Record<string, string>) =>
    fetch(`http://127.0.0.1:${(backEnd!.address() as AddressInfo).port}/`, { headers });
  try {
    expect((await tokenOf({})).status).toBe(401);
    const answer = await tokenOf({ 'X-Signed-In': 'grace@example.com' });
    const { token } = (await answer.json()) as { token: string };
    await shell('event');
    const sent = await post(
      server.url,
      token,
      'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { results { status code } } }',
      {
        events: [
          { user: { identity: 'grace@example.com', name: 'Grace' } },
          { user: { identity: 'ada@example.com', name: 'Mallory' } },
          { type: 'sessionend', user: { identity: 'ada@example.com' } },
        ],
      },
    );
    const refused = { status: 'REJECTED', code: 'FORBIDDEN_IDENTITY' };
    expect(sent.data.ingestEvents.results).toEqual([{ status: 'ACCEPTED', code: null }, refused, refused]);
    const left = await post(
      server.url,
      token,
      'mutation { recordHeartbeat(input: { identity: "ada@example.com", close: true }) { acknowledged } }',
    );
    expect(left.errors?.[0]?.extensions['code']).toBe('FORBIDDEN');
    const seen = await post(server.url, token, '{ presence(status: null) { nodes { identity name status } } }');
    expect(seen.data.presence.nodes).toEqual([{ identity: 'grace@example.com', name: 'Grace', status: 'ONLINE' }]);
    // The other one is as before.
    const { data } = await post(
      server.url,
      server.key,
      '{ user(identity: "ada@example.com") { name presence { status } } }',
    );
    expect(data.user).toEqual({ name: 'Ada', presence: { status: 'ONLINE' } });
  } finally {
    backEnd!.close();
  }
});

test('a value of the wrong type, or an unknown field, fails the whole request, and nothing of it is stored', async () => {
  const good = { type: 'page view', user: { identity: 'whole@example.com' } };
  for (const bad of [
    { type: 7, user: good.user },
    { typ: 'page view', user: good.user },
  ]) {
    const answer = await post(
      server.url,
      server.key,
      'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }',
      { events: [good, bad] },
    );
    expect(answer.errors?.[0]?.extensions['code']).toBe('BAD_USER_INPUT');
  }
  const seen = await post(server.url, server.key, '{ user(identity: "whole@example.com") { identity } }');
  expect(seen.data.user).toBeNull();
});
