import { gzipSync } from 'node:zlib';
import WebSocket from 'ws';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkJsonSize } from '../../src/transport/http/check-json-size.js';
import { createProject, post } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { openDoors, type Doors } from '../support/doors.js';
import { nested } from '../support/odd-values.js';

/** What one request holds is bounded in what it takes to read it, not in its bytes alone. */

let db: TestDatabase;
let doors: Doors;
let key: string;
beforeAll(async () => {
  db = await createTestDatabase();
  doors = await openDoors(db);
  key = await createProject(doors.url);
});
afterAll(async () => {
  await doors.close();
  await db.drop();
});

/** 1 MB of objects in which there is nothing: each takes twenty times as much memory. */
const empty = `[${'{},'.repeat(330_000)}{}]`;
const unused = `{"query":"{ __typename }","variables":{"unused":${empty}}}`;

const send = (path: string, body: string | Buffer<ArrayBuffer>, headers: Record<string, string> = {}) =>
  fetch(`${doors.url}${path}`, {
    method: 'POST',
    body,
    headers: { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json', ...headers },
  });

describe('what holds too many values is refused before it is read', () => {
  test.each([
    ['an operation', '/graphql', unused, {}],
    ['a stream', '/graphql', unused, { Accept: 'text/event-stream' }],
    ['events of the collector', '/api/v2/events', empty, {}],
    ['packed ones', '/api/v2/events', gzipSync(empty), { 'Content-Encoding': 'gzip' }],
    ['JSON within a text', '/api/v2/events', JSON.stringify({ message: 'a', '@error': empty }), {}],
    [
      'a description',
      '/api/v2/events/by-ref/reference-1/user-description',
      `{"description":"a","data":{"a":${empty}}}`,
      {},
    ],
  ] as [string, string, string | Buffer<ArrayBuffer>, Record<string, string>][])(
    '%s',
    async (_what, path, body, headers) => {
      const answer = await send(path, body, headers);
      expect([answer.status, await answer.text()]).toEqual([413, expect.stringContaining('200,000 values')]);
    },
  );

  test('a message of a WebSocket', async () => {
    const socket = new WebSocket(`${doors.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws');
    const closed = new Promise((resolve) => socket.once('close', (code, reason) => resolve([code, reason.toString()])));
    socket.once('open', () =>
      socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${key}` } })),
    );
    socket.once('message', () => socket.send(`{"id":"1","type":"subscribe","payload":${unused}}`));
    expect(await closed).toEqual([4400, expect.stringContaining('200,000 values')]);
  });
});

describe('what nests too deep to be told again is no fault of the server', () => {
  const deep = nested(20_000);
  const ofEvents = 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }';
  const body = (query: string, variables: string, more = ''): string =>
    `{"query":${JSON.stringify(query)},"variables":${variables}${more}}`;
  test.each([
    ['a variable that nothing uses', '/graphql', body('{ __typename }', `{"unused":${deep}}`)],
    ['all variables', '/graphql', body('{ __typename }', deep)],
    ['extensions', '/graphql', body('{ __typename }', '{}', `,"extensions":${deep}`)],
    ['a text', '/graphql', body('query ($name: String!) { __type(name: $name) { name } }', `{"name":${deep}}`)],
    ['data of an event', '/graphql', body(ofEvents, `{"events":[{"data":${deep}},{"message":"a"}]}`)],
    ['an event', '/graphql', body(ofEvents, `{"events":[${deep}]}`)],
    ['no operation', '/graphql', deep],
    ['operations', '/graphql', `[${deep}]`],
    ['an event of the collector', '/api/v2/events', `[{"message":"a","data":${deep}},{"message":"b"}]`],
    ['one in its version 1', '/api/v1/error', `{"message":"a","data":${deep}}`],
    [
      'a description',
      '/api/v2/events/by-ref/reference-1/user-description',
      `{"email_address":"ada@example.com","description":"a","data":{"a":${deep}}}`,
    ],
  ])('%s', async (_what, path, text) => {
    for (const accept of ['application/json', 'application/graphql-response+json', 'text/event-stream']) {
      const answer = await send(path, text, { Accept: accept });
      expect(answer.status).toBeLessThan(500);
      expect(await answer.text()).not.toContain('INTERNAL');
    }
    expect(doors.observations.filter(({ kind }) => kind === 'request.failed' || kind === 'task.failed')).toEqual([]);
  });
});

test('a large body of usual events is taken', () => {
  const frame = { file: 'https://example.com/static/app.js', line: 12, column: 40, name: 'onClick' };
  const event = {
    type: 'error',
    message: 'x',
    data: { '@error': { stack_trace: Array.from({ length: 30 }, () => frame) } },
  };
  const body = JSON.stringify(Array.from({ length: 1_000 }, () => event));
  expect(body.length).toBeGreaterThan(2_000_000);
  expect(() => checkJsonSize(body)).not.toThrow();
});

test('a document has half a million characters at most', async () => {
  for (const query of [`${' '.repeat(600_000)}{ __typename }`, `{ __type(name: "${'é'.repeat(600_000)}") { name } }`]) {
    expect((await post(doors.url, key, query)).errors?.[0]?.extensions['code']).toBe('QUERY_TOO_COMPLEX');
  }
});
