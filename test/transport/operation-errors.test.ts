import { afterAll, beforeAll, expect, test } from 'vitest';
import WebSocket from 'ws';
import { createProject, eventually, post, startTestApp, type TestApp } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { startOwnRedis } from '../support/redis.js';

/** What a WebSocket says where an operation goes wrong: `error` where there is no result, and nothing after it. */

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

/** A socket that has been let in. */
async function enter(credential: string, { url } = app) {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws');
  const said: { type: string; id?: string; payload?: any }[] = [];
  socket.on('message', (data: Buffer) => said.push(JSON.parse(data.toString())));
  await new Promise((resolve) => socket.once('open', resolve));
  const send = (message: object): void => socket.send(JSON.stringify(message));
  send({ type: 'connection_init', payload: { authorization: credential } });
  await eventually(() => said.length === 1);
  const of = (id: string) => said.filter((message) => message.id === id);
  return {
    socket,
    of,
    /** All that is said of an operation, once another that was asked for behind it is over. */
    async ask(id: string, payload: object) {
      send({ id, type: 'subscribe', payload });
      await eventually(() => of(id).some(({ type }) => type === 'error' || type === 'complete'));
      send({ id: `${id} fence`, type: 'subscribe', payload: { query: '{ __typename }' } });
      await eventually(() => of(`${id} fence`).some(({ type }) => type === 'complete'));
      return of(id);
    },
  };
}

const WRONG: [string, { query: string; variables?: object }, string][] = [
  ['no document', { query: '{' }, 'GRAPHQL_PARSE_FAILED'],
  ['a document that does not fit', { query: '{ nothing }' }, 'GRAPHQL_VALIDATION_FAILED'],
  [
    'a query beyond the limits',
    {
      query: `{ ${['once', 'twice'].map((name) => `${name}: sessions(first: 100) { nodes { events(first: 100) { nodes { id } } } }`).join(' ')} }`,
    },
    'QUERY_TOO_COMPLEX',
  ],
  [
    'a variable of the wrong type',
    { query: 'query ($f: Int) { sessions(first: $f) { nodes { id } } }', variables: { f: 'x' } },
    'BAD_USER_INPUT',
  ],
  [
    'a variable that is missing, of a subscription',
    { query: 'subscription ($f: [String!]!) { userPresence(identities: $f) { kind } }' },
    'BAD_USER_INPUT',
  ],
  [
    'an argument of a subscription',
    { query: 'subscription { sessionChanged(sessionIds: ["x"]) { kind } }' },
    'BAD_USER_INPUT',
  ],
];

test.each(WRONG)('%s: one `error`, with a code, and nothing else', async (_what, payload, code) => {
  const socket = await enter(key);
  const heard = await socket.ask('1', payload);
  expect(heard).toMatchObject([{ type: 'error', payload: [{ message: expect.any(String), extensions: { code } }] }]);
  socket.socket.terminate();
});

test('a scope that is missing: `error`, too, beside a subscription that goes on', async () => {
  const { data } = await post(app.url, key, 'mutation { createApiKey(name: "watcher", scopes: [PRESENCE]) { key } }');
  const socket = await enter(data.createApiKey.key);
  socket.socket.send(
    JSON.stringify({ id: 'on', type: 'subscribe', payload: { query: 'subscription { userPresence { kind } }' } }),
  );
  await eventually(() => socket.of('on').length === 1);
  const heard = await socket.ask('1', { query: 'subscription { eventIngested { id } }' });
  expect(heard).toMatchObject([{ type: 'error', payload: [{ extensions: { code: 'FORBIDDEN' } }] }]);
  expect(socket.of('on')).toHaveLength(1);
  socket.socket.terminate();
});

test('a limit that is used up: `error`, of a query and of a subscription', async () => {
  const limited = await startTestApp(db, { REDIS_URL: '', RATE_LIMIT_PER_KEY: '1' });
  const socket = await enter(await createProject(app.url), limited);
  const query = { query: '{ sessions { nodes { id } } }' };
  socket.socket.send(JSON.stringify({ id: 'good', type: 'subscribe', payload: { query: '{ __typename }' } }));
  await eventually(() => socket.of('good').length === 2);
  const watch = { query: 'subscription { userPresence { kind } }' };
  for (const [id, payload] of Object.entries({ query, watch })) {
    socket.socket.send(JSON.stringify({ id, type: 'subscribe', payload }));
    await eventually(() => socket.of(id).length > 0);
    expect(socket.of(id)).toMatchObject([{ type: 'error', payload: [{ extensions: { code: 'RATE_LIMITED' } }] }]);
  }
  socket.socket.terminate();
  await limited.close('test');
});

test('a field that fails within a result: `next`, with what there is, and `complete`', async () => {
  const { data } = await post(app.url, key, 'mutation { createApiKey(name: "reader", scopes: [READ]) { key } }');
  const socket = await enter(data.createApiKey.key);
  const heard = await socket.ask('1', { query: '{ project { name auditLog { nodes { at } } } }' });
  expect(heard.map(({ type }) => type)).toEqual(['next', 'complete']);
  expect(heard[0]!.payload).toMatchObject({
    data: { project: { name: expect.any(String), auditLog: null } },
    errors: [{ path: ['project', 'auditLog'], extensions: { code: 'FORBIDDEN' } }],
  });
  socket.socket.terminate();
});

test('a source that fails after results: `error`, and nothing after it', async () => {
  const redis = await startOwnRedis();
  const lost = await startTestApp(db, { REDIS_URL: redis.url });
  const socket = await enter(key, lost);
  socket.socket.send(
    JSON.stringify({ id: '1', type: 'subscribe', payload: { query: 'subscription { eventIngested { message } }' } }),
  );
  await eventually(async () => {
    await post(lost.url, key, 'mutation { ingestEvents(events: [{ message: "heard" }]) { accepted } }');
    return socket.of('1').length > 0;
  });
  await redis.kill();
  await eventually(() => socket.of('1').at(-1)!.type === 'error');
  expect(socket.of('1').at(-1)).toMatchObject({ payload: [{ extensions: { code: 'UNAVAILABLE', reason: 'GAP' } }] });
  expect(
    new Set(
      socket
        .of('1')
        .slice(0, -1)
        .map(({ type }) => type),
    ),
  ).toEqual(new Set(['next']));
  socket.socket.terminate();
  await lost.close('test');
});
