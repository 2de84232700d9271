import { createClient, type Client, type ClientOptions } from 'graphql-ws';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import WebSocket from 'ws';
import { createProject, eventually, listen, post, startTestApp, type TestApp } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

/** A client of graphql-ws gives a new token in a ping, and keeps its subscriptions. */

let db: TestDatabase;
let app: TestApp;
let key: string;
beforeAll(async () => {
  db = await createTestDatabase();
  app = await startTestApp(db);
  key = await createProject(app.url);
});
afterAll(async () => {
  await app.close('test');
  await db.drop();
});

const PRESENCE = 'subscription { userPresence { kind users { identity status } } }';
const EVENTS = 'subscription { eventIngested { message } }';

const send = (event: object, by = key) =>
  post(app.url, by, 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }', {
    events: [event],
  });
async function makeToken(args: string, by = key): Promise<string> {
  const { data, errors } = await post(app.url, by, `mutation { createAccessToken(${args}) { token } }`);
  if (errors) throw new Error(errors[0]!.message);
  return data.createAccessToken.token;
}
const makeKey = async (scopes: string): Promise<{ key: string; apiKey: { id: string } }> =>
  (await post(app.url, key, `mutation { createApiKey(name: "maker", scopes: [${scopes}]) { key apiKey { id } } }`)).data
    .createApiKey;
const revoke = (id: string) => post(app.url, key, 'mutation ($id: ID!) { revokeApiKey(id: $id) { id } }', { id });

interface Renewing {
  readonly client: Client;
  /** What connection_ack said, each time. */
  readonly acks: any[];
  readonly pongs: any[];
  readonly codes: number[];
  /** Sends a token on the socket that is open; resolves with the pong's payload. */
  renew(token: string): Promise<any>;
}

const made: Client[] = [];
afterEach(async () => {
  for (const client of made.splice(0)) await client.dispose();
});

/** graphql-ws as it is. `credential` is asked for each connection. */
function stock(credential: () => string | Promise<string>, url = app.url, more: Partial<ClientOptions> = {}): Renewing {
  let socket: WebSocket;
  const acks: any[] = [];
  const pongs: any[] = [];
  const codes: number[] = [];
  const client = createClient({
    url: `${url.replace('http', 'ws')}/graphql`,
    webSocketImpl: WebSocket,
    connectionParams: async () => ({ authorization: `Bearer ${await credential()}` }),
    retryWait: () => Promise.resolve(),
    ...more,
    on: {
      connected: (opened, payload) => {
        socket = opened as WebSocket;
        acks.push(payload);
      },
      pong: (received, payload) => void (received && pongs.push(payload)),
      closed: (event) => codes.push((event as { code: number }).code),
    },
  });
  made.push(client);
  return {
    client,
    acks,
    pongs,
    codes,
    async renew(token) {
      const before = pongs.length;
      socket.send(JSON.stringify({ type: 'ping', payload: { authorization: `Bearer ${token}` } }));
      await eventually(() => pongs.length > before || codes.length > 0);
      return pongs[before];
    },
  };
}

describe('a token that is renewed in time', () => {
  test('keeps the subscriptions open beyond the end of the first one', async () => {
    const short = await makeToken('scopes: [PRESENCE], expiresIn: 3');
    const renewing = stock(() => short);
    const watching = listen(renewing.client, PRESENCE);
    await watching.until((heard) => heard.length === 1);
    const [{ expiresAt, expiresIn }] = renewing.acks;
    expect(expiresIn).toBeGreaterThan(0);
    expect(expiresIn).toBeLessThanOrEqual(3);
    const answer = await renewing.renew(await makeToken('scopes: [PRESENCE], expiresIn: 600'));
    expect(Date.parse(answer.expiresAt) - Date.parse(expiresAt)).toBeGreaterThan(500_000);
    expect(answer.expiresIn).toBeGreaterThan(500);
    // A second one with the first token, which is not renewed, says when that is over.
    const other = stock(() => short, app.url, { retryAttempts: 0 });
    listen(other.client, PRESENCE);
    await eventually(() => other.codes.length > 0);
    expect(other.codes).toEqual([4403]);
    await send({ user: { identity: 'ada' } });
    await watching.until((heard) => heard.length === 2);
    expect(watching.heard[1]).toEqual({ kind: 'DIFF', users: [{ identity: 'ada', status: 'ONLINE' }] });
    // New operations go by the new token too.
    const asked = listen(renewing.client, '{ presence { nodes { identity } } }');
    await asked.ended;
    expect(asked.heard).toHaveLength(1);
    expect([renewing.codes, renewing.acks.length]).toEqual([[], 1]);
  });

  test('ends the socket with 4403 when it runs out itself', async () => {
    const [long, short] = await Promise.all(
      [600, 2].map((time) => makeToken(`scopes: [PRESENCE], expiresIn: ${time}`)),
    );
    const renewing = stock(() => long!, app.url, { retryAttempts: 0 });
    const watching = listen(renewing.client, PRESENCE);
    await watching.until((heard) => heard.length === 1);
    expect((await renewing.renew(short!)).expiresIn).toBeLessThanOrEqual(2);
    await watching.ended;
    expect(renewing.codes).toEqual([4403]);
  });

  test('may be a key, which has no end', async () => {
    const token = await makeToken('scopes: [PRESENCE]');
    const renewing = stock(() => token);
    await listen(renewing.client, PRESENCE).until((heard) => heard.length === 1);
    expect(await renewing.renew(key)).toEqual({ expiresAt: null, expiresIn: null });
  });

  test('of another key of the project: from then on that one counts', async () => {
    const [first, second] = [await makeKey('MANAGE'), await makeKey('MANAGE')];
    const token = await makeToken('scopes: [PRESENCE]', first.key);
    const renewing = stock(() => token);
    const watching = listen(renewing.client, PRESENCE);
    await watching.until((heard) => heard.length === 1);
    await renewing.renew(await makeToken('scopes: [PRESENCE]', second.key));
    await revoke(first.apiKey.id);
    await send({ user: { identity: `after ${first.apiKey.id}` } });
    await watching.until((heard) => heard.length === 2);
    expect(renewing.codes).toEqual([]);
    await revoke(second.apiKey.id);
    await watching.ended;
    expect(watching.errors).toMatchObject([{ code: 4401, reason: 'The key was revoked' }]);
  });
});

describe('scopes', () => {
  test('are those of the new token: what they do not reach ends with FORBIDDEN, alone', async () => {
    const token = await makeToken('scopes: [READ, PRESENCE]');
    const renewing = stock(() => token);
    const presence = listen(renewing.client, PRESENCE);
    const events = listen(renewing.client, EVENTS);
    await presence.until((heard) => heard.length === 1);
    await send({ message: 'before' });
    await eventually(async () => {
      await send({ message: 'before' });
      return events.heard.length > 0;
    });
    expect((await renewing.renew(await makeToken('scopes: [PRESENCE]'))).expiresIn).toBeGreaterThan(0);
    await events.ended;
    expect(events.errors).toMatchObject([{ extensions: { code: 'FORBIDDEN', requiredScopes: ['READ'] } }]);
    await send({ message: 'after', user: { identity: 'grace' } });
    await presence.until((heard) => heard.length === 2);
    expect(JSON.stringify(events.heard)).not.toContain('after');
    const asked = listen(renewing.client, '{ sessions { nodes { id } } }');
    await asked.ended;
    expect(asked.errors).toMatchObject([{ extensions: { code: 'FORBIDDEN' } }]);
    // And back: what it may again, it may again.
    await renewing.renew(token);
    const again = listen(renewing.client, '{ sessions { nodes { id } } }');
    await again.ended;
    expect([again.errors, presence.errors, renewing.codes]).toEqual([[], [], []]);
  });

  test('of a message are those of the token that holds when it is made', async () => {
    const [first, second] = await Promise.all(['READ', 'PRESENCE'].map((scope) => makeToken(`scopes: [${scope}]`)));
    const [renewed, other] = [stock(() => first!), stock(() => second!)];
    const presence = 'subscription { userPresence { kind users { identity } } }';
    const watches = [renewed, other].map(({ client }) => listen(client, presence));
    for (const watch of watches) await watch.until((heard) => heard.length === 1);
    /** How often a message was made for this user: each one that is made is put into words. */
    const madeFor = async (identity: string): Promise<number> => {
      const written = vi.spyOn(JSON, 'stringify');
      await send({ user: { identity } });
      for (const watch of watches) await watch.until((heard) => heard.at(-1).users[0]?.identity === identity);
      const made = written.mock.calls.filter(([value]) => value?.data?.userPresence?.users[0]?.identity === identity);
      written.mockRestore();
      return made.length;
    };
    expect(await madeFor('apart')).toBe(2);
    // From now on both have the same rights, so they share one message.
    await renewed.renew(second!);
    expect(await madeFor('shared')).toBe(1);
  });
});

describe('who is refused', () => {
  test('memory: a subscription whose new key has none left ends, and the old key has its own back', async () => {
    const [first, second] = [await makeKey('PRESENCE'), await makeKey('PRESENCE')];
    let documents = 0;
    /** Some 0.5 MB of a key's 128 MB: a document that no other subscription has. */
    const large = (): string =>
      `subscription { userPresence(identities: ["ada"]) { kind } } #${'x'.repeat(9_900)}${(documents += 1)}`;
    const fill = async (by: string): Promise<number> => {
      for (let open = 0; ;) {
        const client = stock(() => by).client;
        const hundred = Array.from({ length: 100 }, () => listen(client, large()));
        for (const one of hundred) await Promise.race([one.ended, one.until((heard) => heard.length === 1)]);
        const [refused] = hundred.flatMap(({ errors }) => errors);
        open += hundred.filter(({ heard }) => heard.length === 1).length;
        if (!refused) continue;
        expect(refused).toMatchObject({ extensions: { code: 'TOO_MANY_SUBSCRIPTIONS' } });
        return open;
      }
    };
    const renewing = stock(() => first.key);
    const watching = listen(renewing.client, large());
    await watching.until((heard) => heard.length === 1);
    const whole = await fill(second.key);
    await renewing.renew(second.key);
    await watching.ended;
    expect(watching.errors).toMatchObject([{ extensions: { code: 'TOO_MANY_SUBSCRIPTIONS' } }]);
    expect(await fill(first.key)).toBe(whole);
  }, 60_000);

  test('keeps the socket after a bad try, is told why, and waits a second for the next', async () => {
    const token = await makeToken('scopes: [PRESENCE]');
    const renewing = stock(() => token);
    const watching = listen(renewing.client, PRESENCE);
    await watching.until((heard) => heard.length === 1);
    expect(await renewing.renew('garbage')).toMatchObject({
      error: { message: expect.any(String), extensions: { code: 'UNAUTHENTICATED' } },
    });
    const next = await renewing.renew(token);
    expect(next).toMatchObject({ error: { extensions: { code: 'RATE_LIMITED', retryAfter: 1 } } });
    await eventually(async () => (await renewing.renew(token)).expiresIn > 0);
    await send({ user: { identity: 'still here' } });
    await watching.until((heard) => heard.length === 2);
    expect([renewing.codes, renewing.acks.length]).toEqual([[], 1]);
  });

  test('an expired token is refused with its reason', async () => {
    const token = await makeToken('scopes: [PRESENCE]');
    const expired = await makeToken('scopes: [PRESENCE], expiresIn: 1');
    await eventually(async () => (await post(app.url, expired, '{ __typename }')).status === 401);
    const renewing = stock(() => token);
    await listen(renewing.client, PRESENCE).until((heard) => heard.length === 1);
    expect(await renewing.renew(expired)).toMatchObject({
      error: { extensions: { code: 'UNAUTHENTICATED', reason: 'EXPIRED' } },
    });
  });

  test.each([
    ['another project', async () => createProject(app.url)],
    ['other users', async () => makeToken('scopes: [PRESENCE], identities: ["bob"]')],
    ['fewer users', async () => makeToken('scopes: [PRESENCE], identities: ["ada"]')],
    ['all users', async () => makeToken('scopes: [PRESENCE]')],
  ])(
    'a credential of %s closes the socket with 4403: the client comes again as whom it says it is',
    async (_who, make) => {
      const first = await makeToken('scopes: [PRESENCE], identities: ["ada", "grace"]');
      const other = await make();
      let credential = first;
      const renewing = stock(() => credential);
      const watching = listen(renewing.client, PRESENCE);
      await watching.until((heard) => heard.length === 1);
      credential = other;
      await renewing.renew(other);
      await watching.until((heard) => heard.length === 2);
      expect([renewing.codes, renewing.acks.length, watching.errors]).toEqual([[4403], 2, []]);
    },
  );

  test('a wrong one costs its address ten requests, and a right one the key a point', async () => {
    const counted = await startTestApp(db, {
      REDIS_URL: '',
      RATE_LIMIT_PER_ADDRESS: '15',
      RATE_LIMIT_PER_KEY: '3',
      TRUSTED_PROXIES: 'loopback',
    });
    const token = await makeToken('scopes: [READ]', (await makeKey('MANAGE')).key);
    const socket = new WebSocket(`${counted.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws', {
      headers: { 'X-Forwarded-For': '10.3.0.1' },
    });
    const said: any[] = [];
    socket.on('message', (data: Buffer) => said.push(JSON.parse(data.toString())));
    await new Promise((resolve) => socket.once('open', resolve));
    socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: token } }));
    await eventually(() => said.length === 1);
    const renew = async (authorization: string): Promise<any> => {
      const before = said.length;
      socket.send(JSON.stringify({ type: 'ping', payload: { authorization } }));
      await eventually(() => said.length > before);
      return said.at(-1);
    };
    expect(await renew(token)).toMatchObject({ type: 'pong', payload: { expiresIn: expect.any(Number) } });
    expect(await renew('wrong')).toMatchObject({ payload: { error: { extensions: { code: 'UNAUTHENTICATED' } } } });
    // 1 for the socket, 1 and 10 for the tries: 3 are left.
    const left = async (): Promise<string | null> => {
      const headers = { 'X-Forwarded-For': '10.3.0.1' };
      const { status, headers: answered } = await post(counted.url, token, '{ __typename }', undefined, { headers });
      return status === 429 ? 'none' : answered.get('RateLimit');
    };
    expect(await left()).toMatch(/^"key";r=1;/);
    expect(await left()).toMatch(/^"key";r=0;/);
    expect(await left()).toBe('none');
    expect((await fetch(`${counted.url}/graphql`, { headers: { 'X-Forwarded-For': '10.3.0.1' } })).status).toBe(429);
    socket.terminate();
    await counted.close('test');
  });

  test('places: a key that has all its sockets can renew, and takes none of another that is full', async () => {
    const narrow = await startTestApp(db, { REDIS_URL: '', SOCKETS_PER_KEY: '1' });
    const [first, second] = [await makeKey('MANAGE'), await makeKey('MANAGE')];
    const [one, two] = [first, second].map(
      ({ key: by }) =>
        () =>
          makeToken('scopes: [PRESENCE]', by),
    );
    const renewing = stock(one!, narrow.url);
    await listen(renewing.client, PRESENCE).until((heard) => heard.length === 1);
    expect((await renewing.renew(await one!())).expiresIn).toBeGreaterThan(0);
    const beside = stock(two!, narrow.url);
    const watching = listen(beside.client, PRESENCE);
    await watching.until((heard) => heard.length === 1);
    expect(await renewing.renew(await two!())).toMatchObject({
      error: { extensions: { code: 'TOO_MANY_SUBSCRIPTIONS' } },
    });
    watching.stop();
    await eventually(async () => (await renewing.renew(await two!())).expiresIn > 0);
    // The first key has its place back.
    const again = stock(one!, narrow.url);
    await listen(again.client, PRESENCE).until((heard) => heard.length === 1);
    for (const { client } of [renewing, beside, again]) await client.dispose();
    await narrow.close('test');
  });
});

test('a ping without a credential is answered with what it brought, as ever', async () => {
  const socket = new WebSocket(`${app.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws');
  const said: any[] = [];
  socket.on('message', (data: Buffer) => said.push(JSON.parse(data.toString())));
  await new Promise((resolve) => socket.once('open', resolve));
  // Before connection_init there is nothing to renew.
  const early = { type: 'ping', payload: { authorization: 'Bearer x' } };
  socket.send(JSON.stringify(early));
  await eventually(() => said.length === 1);
  socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: key } }));
  await eventually(() => said.length === 2);
  socket.send(JSON.stringify({ type: 'ping' }));
  socket.send(JSON.stringify({ type: 'ping', payload: { at: 1 } }));
  await eventually(() => said.length === 4);
  expect(said).toEqual([
    { ...early, type: 'pong' },
    { type: 'connection_ack', payload: { expiresAt: null, expiresIn: null } },
    { type: 'pong' },
    { type: 'pong', payload: { at: 1 } },
  ]);
  socket.terminate();
});
