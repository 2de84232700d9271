import { once } from 'node:events';
import type { Socket } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import WebSocket from 'ws';
import { createProject, eventually, startTestApp, type TestApp } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { nested } from '../support/odd-values.js';

/** Pings and pongs cost no points. So a client may send only as many, and as large ones, as a client needs. */

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

/** A socket that is let in, and the messages that it gets from then on. */
async function letIn(): Promise<{ socket: WebSocket; got: any[]; closed: Promise<number> }> {
  const socket = new WebSocket(`${app.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws');
  const closed = once(socket, 'close').then(([code]) => code as number);
  await once(socket, 'open');
  socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${key}` } }));
  await once(socket, 'message');
  const got: any[] = [];
  socket.on('message', (data: Buffer) => got.push(JSON.parse(data.toString())));
  return { socket, got, closed };
}

test('a client that needs pings gets its pongs; one that floods the server with pings or pongs is cut', async () => {
  const { socket, got, closed } = await letIn();
  socket.send(JSON.stringify({ type: 'ping', payload: { at: 1 } }));
  await once(socket, 'message');
  expect(got).toEqual([{ type: 'pong', payload: { at: 1 } }]);
  for (let sent = 0; sent < 2_000; sent += 1) socket.send(JSON.stringify({ type: 'ping' }));
  expect(await closed).toBe(1006);
  expect(got.length).toBeLessThan(500);

  const other = await letIn();
  for (let sent = 0; sent < 2_000; sent += 1) other.socket.send(JSON.stringify({ type: 'pong' }));
  expect(await other.closed).toBe(1006);
});

test('ends of operations that nobody began are a flood too; each operation may be ended', async () => {
  const { socket, got, closed } = await letIn();
  const ids = Array.from({ length: 300 }, (_, at) => `${at}`);
  const query = 'subscription { eventIngested { id } }';
  for (let from = 0; from < ids.length; from += 50) {
    const some = ids.slice(from, from + 50);
    for (const id of some) socket.send(JSON.stringify({ id, type: 'subscribe', payload: { query } }));
    for (const id of some) socket.send(JSON.stringify({ id, type: 'complete' }));
  }
  socket.send(JSON.stringify({ type: 'ping' }));
  await eventually(() => got.some(({ type }) => type === 'pong'));
  expect(socket.readyState).toBe(WebSocket.OPEN);

  for (const id of ids) socket.send(JSON.stringify({ id, type: 'complete' }));
  expect(await closed).toBe(1006);

  const other = await letIn();
  other.socket.send(JSON.stringify({ id: 'x'.repeat(5_000), type: 'complete' }));
  expect(await other.closed).toBe(4400);
});

test('a ping with a large payload ends its socket', async () => {
  const { socket, got, closed } = await letIn();
  socket.send(JSON.stringify({ type: 'ping', payload: { text: 'x'.repeat(5_000) } }));
  expect(await closed).toBe(4400);
  expect(got).toEqual([]);
});

test('a ping that is too deep to be answered ends its socket as a large one, also with more behind it', async () => {
  const { socket, got, closed } = await letIn();
  // Both come in one turn of the event loop. The small one is taken before the large one is answered.
  const { _socket: connection } = socket as unknown as { _socket: Socket };
  connection.cork();
  socket.send(`{"type":"ping","payload":${nested(10_000)}}`);
  socket.send(JSON.stringify({ type: 'ping' }));
  connection.uncork();
  expect(await closed).toBe(4400);
  expect(got).toEqual([]);
  expect(app.observations.filter(({ kind }) => kind === 'task.failed')).toEqual([]);
});

test('what no answer needs may nest to any depth', async () => {
  const { socket, got, closed } = await letIn();
  const query = JSON.stringify('query ($name: String!) { __type(name: $name) { name } }');
  const deep = nested(20_000);
  for (const payload of [
    `{"query":${query},"variables":{"name":"Event"},"extensions":${deep}}`,
    `{"query":${query},"variables":{"name":"Event","more":${deep}}}`,
    `{"query":${query},"variables":{"name":${deep}}}`,
    `{"query":${query},"operationName":"a","variables":${deep}}`,
  ])
    socket.send(`{"id":"${got.length}${payload.length}","type":"subscribe","payload":${payload}}`);
  await eventually(() => got.filter(({ type }) => type === 'error' || type === 'next').length === 4);
  expect(
    got
      .filter(({ type }) => type !== 'complete')
      .map(({ type }) => type)
      .toSorted(),
  ).toEqual(['error', 'error', 'next', 'next']);
  socket.send(`{"type":"connection_init","payload":${deep}}`);
  expect(await closed).toBe(4429);
  for (const message of [
    `{"type":"error","id":"1","payload":${deep}}`,
    `{"type":"next","id":"1","payload":${deep}}`,
    `{"type":${deep}}`,
    deep,
  ]) {
    const other = await letIn();
    other.socket.send(message);
    expect(await other.closed).toBe(4400);
  }
  expect(app.observations.filter(({ kind }) => kind === 'task.failed' || kind === 'request.failed')).toEqual([]);
});
