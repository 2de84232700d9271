import WebSocket from 'ws';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { createClient, type Client, type ClientOptions, type LiveValue } from '../../src/client/client.js';
import { createProject, eventually, post, startTestApp, type TestApp } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { startProxy, type Proxy } from '../support/proxy.js';

/** Who is there, as a client shows it, through everything that happens to its connection. */

let db: TestDatabase;
let app: TestApp;
let proxy: Proxy;
beforeAll(async () => {
  db = await createTestDatabase();
  app = await startTestApp(db, { REDIS_URL: '' });
  proxy = await startProxy(Number(new URL(app.url).port));
});
afterAll(async () => {
  await proxy.close();
  await app.close('test');
  await db.drop();
});

/** Every message of every socket of a client, as it was sent and received, and how many sockets there were. */
interface Wire {
  sockets: number;
  readonly said: any[];
  readonly heard: any[];
}

function recorded(wire: Wire): NonNullable<ClientOptions['WebSocket']> {
  return class extends WebSocket {
    constructor(url: string, protocol: string) {
      super(url, protocol);
      wire.sockets += 1;
      this.addEventListener('message', ({ data }) => wire.heard.push(JSON.parse(data as string)));
    }
    override send(text: string): void {
      wire.said.push(JSON.parse(text));
      super.send(text);
    }
  };
}

interface Opened {
  readonly key: string;
  readonly client: Client;
  readonly wire: Wire;
  readonly errors: string[];
  /** Tracks events of these users. */
  come(...identities: string[]): Promise<void>;
  go(...identities: string[]): Promise<void>;
}

async function open(by: 'socket' | 'stream', options: Partial<ClientOptions> = {}): Promise<Opened> {
  const key = await createProject(app.url);
  const wire: Wire = { sockets: 0, said: [], heard: [] };
  const errors: string[] = [];
  const client = createClient({
    url: `http://127.0.0.1:${proxy.port}`,
    ...('token' in options ? {} : { key }),
    ...(by === 'socket' && { WebSocket: recorded(wire) }),
    onError: ({ code }) => errors.push(code),
    ...options,
  });
  const send = async (type: string, identities: readonly string[]): Promise<void> => {
    const events = identities.map((identity) => ({ type, user: { identity } }));
    const query = 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { rejected } }';
    expect((await post(app.url, key, query, { events })).data.ingestEvents.rejected).toBe(0);
  };
  return {
    key,
    client,
    wire,
    errors,
    come: (...identities) => send('log', identities),
    go: (...identities) => send('sessionend', identities),
  };
}

/** Follows a value: each change, with the status, until `stop`. */
function follow(value: LiveValue<unknown>): { statuses: string[]; stop: () => void } {
  const statuses = [value.status as string];
  const stop = value.subscribe(() => {
    if (statuses.at(-1) !== value.status) statuses.push(value.status);
  });
  return { statuses, stop };
}

const subscribes = ({ said }: Wire): any[] => said.filter(({ type }) => type === 'subscribe');
const tokenOf = async (key: string, expiresIn: number): Promise<string> =>
  (await post(app.url, key, `mutation { createAccessToken(scopes: [PRESENCE], expiresIn: ${expiresIn}) { token } }`))
    .data.createAccessToken.token;

describe.each(['socket', 'stream'] as const)('by %s', (by) => {
  test('users come and go; after a lost connection everything is right again, and nobody seems to have left', async () => {
    const { client, wire, errors, come, go } = await open(by);
    await come('ada');
    const some = client.presence({ identities: ['ada', 'ben'] });
    const all = client.presence();
    const count = client.onlineCount();
    const seen = [some, all, count].map(follow);
    await eventually(() => [some, all, count].every(({ status }) => status === 'live'));
    expect([...some.get()].map(([identity, { status }]) => [identity, status])).toEqual([
      ['ada', 'ONLINE'],
      ['ben', 'OFFLINE'],
    ]);
    expect([...all.get().keys()]).toEqual(['ada']);
    const before = some.get();
    expect(some.get()).toBe(before);
    await come('ben', 'cleo');
    await go('ada');
    await eventually(() => some.get('ada')?.status === 'OFFLINE' && count.get() === 2);
    expect([some.get('ben')?.status, some.get('cleo'), all.get('cleo')?.status]).toEqual([
      'ONLINE',
      undefined,
      'ONLINE',
    ]);
    expect([...all.get().keys()].toSorted()).toEqual(['ben', 'cleo']);
    expect(before.get('ada')?.status).toBe('ONLINE');

    proxy.refuse();
    await eventually(() => some.status === 'stale' && all.status === 'stale');
    expect([some.get('ben')?.status, [...all.get().keys()].toSorted()]).toEqual(['ONLINE', ['ben', 'cleo']]);
    await go('ben');
    await come('dora');
    const heard = wire.heard.length;
    proxy.heal();
    // The count is the same as before: so its status tells that it has come again.
    await eventually(() => [some, all, count].every(({ status }) => status === 'live') && count.get() === 2);
    expect([some.get('ben')?.status, [...all.get().keys()].toSorted()]).toEqual(['OFFLINE', ['cleo', 'dora']]);
    for (const { statuses } of seen) expect(statuses).toEqual(['connecting', 'live', 'stale', 'live']);
    // It went on from the cursors: no user was sent again who had not changed.
    const kinds = wire.heard.slice(heard).flatMap(({ payload }) => payload?.data?.userPresence?.kind ?? []);
    expect(kinds).not.toContain('SNAPSHOT');
    expect(errors).toEqual([]);
    for (const { stop } of seen) stop();
    await client.close();
  });

  test('a token that runs out is replaced', async () => {
    let tokens = 0;
    let key = '';
    const { client, wire, errors, ...opened } = await open(by, {
      token: () => {
        tokens += 1;
        return tokenOf(key, tokens === 1 ? (by === 'socket' ? 6 : 2) : 600);
      },
    });
    key = opened.key;
    const all = client.presence();
    const { statuses, stop } = follow(all);
    await eventually(() => all.status === 'live' && tokens === 2);
    await opened.come('ada');
    await eventually(() => all.get('ada') !== undefined && all.status === 'live');
    // A socket renews its token while it is open.
    if (by === 'socket') expect([wire.sockets, statuses]).toEqual([1, ['connecting', 'live']]);
    expect(errors).toEqual([]);
    stop();
    await client.close();
  });

  test('a revoked key ends the trying, and what was known stays, as stale', async () => {
    const { client, key, errors, come } = await open(by);
    await come('ada');
    const { data } = await post(
      app.url,
      key,
      'mutation { createApiKey(name: "page", scopes: [PRESENCE]) { key apiKey { id } } }',
    );
    const guest = createClient({
      url: app.url,
      key: data.createApiKey.key,
      ...(by === 'socket' && { WebSocket: recorded({ sockets: 0, said: [], heard: [] }) }),
      onError: ({ code }) => errors.push(code),
    });
    const all = guest.presence();
    const { statuses, stop } = follow(all);
    await eventually(() => all.status === 'live');
    await post(app.url, key, 'mutation ($id: ID!) { revokeApiKey(id: $id) { id } }', {
      id: data.createApiKey.apiKey.id,
    });
    await eventually(() => errors.includes('UNAUTHENTICATED'));
    expect([all.status, all.get('ada')?.status, statuses]).toEqual([
      'stale',
      'ONLINE',
      ['connecting', 'live', 'stale'],
    ]);
    stop();
    await guest.close();
    await client.close();
  });
});

test('2,000 stores of one user each are a few subscriptions on one connection, and each hears its own user alone', async () => {
  const { client, wire, come } = await open('socket');
  const identities = Array.from({ length: 2_000 }, (_, at) => `user ${at}`);
  const stores = identities.map((identity) => client.presence({ identities: [identity] }));
  const heard = identities.map(() => 0);
  const stops = stores.map((store, at) => store.subscribe(() => (heard[at]! += 1)));
  await eventually(() => stores.every(({ status }) => status === 'live'));
  expect([wire.sockets, subscribes(wire).length]).toEqual([1, 2]);
  const before = [...heard];
  await come('user 7', 'user 1500');
  await eventually(
    () => stores[7]!.get('user 7')?.status === 'ONLINE' && stores[1500]!.get('user 1500')?.status === 'ONLINE',
  );
  expect(heard.flatMap((times, at) => (times === before[at] ? [] : [at]))).toEqual([7, 1_500]);
  // Most of them leave; the others stay live, in one subscription.
  for (const stop of stops.slice(10)) stop();
  await eventually(() => wire.said.filter(({ type }) => type === 'complete').length === 2);
  expect(stores.slice(0, 10).map(({ status }) => status)).toEqual(Array.from({ length: 10 }, () => 'live'));
  await come('user 8');
  await eventually(() => stores[8]!.get('user 8')?.status === 'ONLINE');
  expect([wire.sockets, subscribes(wire).at(-1).payload.variables.identities.length]).toEqual([1, 10]);
  for (const stop of stops.slice(0, 10)) stop();
  await eventually(() => wire.said.filter(({ type }) => type === 'complete').length === 3);
  await client.close();
});

test('a subscription that the key does not allow is told, and tries nothing again', async () => {
  const { key, client } = await open('socket');
  const { data } = await post(app.url, key, 'mutation { createApiKey(name: "page", scopes: [INGEST]) { key } }');
  const errors: string[] = [];
  const wire: Wire = { sockets: 0, said: [], heard: [] };
  const guest = createClient({
    url: app.url,
    key: data.createApiKey.key,
    WebSocket: recorded(wire),
    onError: ({ code }) => errors.push(code),
  });
  const all = guest.presence();
  const stop = all.subscribe(() => {});
  await eventually(() => errors.length > 0);
  expect([errors, all.status, wire.sockets]).toEqual([['FORBIDDEN'], 'connecting', 1]);
  stop();
  await guest.close();
  await client.close();
});

test('a server that says to wait for years is asked again after an hour at most, and no timer is left', async () => {
  const { key, client } = await open('socket');
  const setTimer = vi.spyOn(globalThis, 'setTimeout');
  const clearTimer = vi.spyOn(globalThis, 'clearTimeout');
  // What it hears is not from our server: a proxy may answer anything.
  let isTold = false;
  class Told extends WebSocket {
    override send(text: string): void {
      const { type, id } = JSON.parse(text);
      if (type !== 'subscribe') {
        super.send(text);
        return;
      }
      isTold = true;
      const payload = [{ message: 'Later.', extensions: { code: 'RATE_LIMITED', retryAfter: 1e9 } }];
      const answer = Buffer.from(JSON.stringify({ type: 'error', id, payload }));
      setImmediate(() => this.emit('message', answer, false));
    }
  }
  const guest = createClient({ url: app.url, key, WebSocket: Told });
  const stop = guest.presence().subscribe(() => {});
  await eventually(() => isTold && setTimer.mock.calls.some(([, delay]) => delay !== undefined && delay >= 3_600_000));
  const at = setTimer.mock.calls.findIndex(([, delay]) => delay === 3_600_000);
  const delays = setTimer.mock.calls.map(([, delay]) => delay ?? 0);
  expect(delays.filter((delay) => delay > 3_600_000)).toEqual([]);
  expect(at).toBeGreaterThanOrEqual(0);
  stop();
  await guest.close();
  expect(clearTimer.mock.calls.map(([timer]) => timer)).toContain(setTimer.mock.results[at]!.value);
  setTimer.mockRestore();
  clearTimer.mockRestore();
  await client.close();
});
