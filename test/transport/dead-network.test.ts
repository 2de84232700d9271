import { createClient } from 'graphql-ws';
import { afterAll, beforeAll, expect, test } from 'vitest';
import WebSocket from 'ws';
import { connect, createProject, eventually, listen } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { openDoors, type Doors } from '../support/doors.js';
import { startProxy } from '../support/proxy.js';

/** A network that swallows everything ends no connection: what both sides notice it by. Times are a thirtieth of the real ones. */
const PING_EVERY = 400;
/** Longer than the 18 s that clients wait, so that a slow machine is not taken for a dead network. */
const SILENCE = 2_000;

let db: TestDatabase;
let doors: Doors;
let key: string;
beforeAll(async () => {
  db = await createTestDatabase();
  doors = await openDoors(db, { pingEvery: PING_EVERY });
  key = await createProject(doors.url);
});
afterAll(async () => {
  await doors.close();
  await db.drop();
});

const WATCH = 'subscription { userPresence { kind } }';
const open = (): number => {
  const count = (kind: string): number => doors.observations.filter((one) => one.kind === kind).length;
  return count('watcher.opened') - count('watcher.closed');
};

test('a client hears the server while nothing happens, after it was let in and not before, and stays', async () => {
  const said: string[] = [];
  const socket = new WebSocket(`${doors.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws');
  socket.on('message', (data: Buffer) => said.push(data.toString()));
  let asked = 0;
  socket.on('ping', () => (asked += 1));
  await eventually(() => asked === 2);
  expect(said).toEqual([]);
  socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: key } }));
  // This one never answers: what tells that a client is there is the pong of WebSockets.
  await eventually(() => said.filter((text) => text === '{"type":"ping"}').length === 3);
  expect(socket.readyState).toBe(socket.OPEN);
  socket.terminate();

  let heard = 0;
  const stock = connect(doors.url, key, { ping: (received) => void (received && (heard += 1)) });
  const watching = listen(stock, WATCH);
  await eventually(() => heard === 3);
  expect([watching.heard, watching.errors]).toEqual([[{ kind: 'SNAPSHOT' }], []]);
  await stock.dispose();
});

test('where the network swallows everything, a stock client notices and comes back, and the server lets go of it', async () => {
  await eventually(() => open() === 0);
  const proxy = await startProxy(Number(new URL(doors.url).port));
  const codes: number[] = [];
  let silence: NodeJS.Timeout | undefined;
  const client = createClient({
    url: `ws://127.0.0.1:${proxy.port}/graphql`,
    webSocketImpl: WebSocket,
    connectionParams: { authorization: `Bearer ${key}` },
    retryAttempts: 100,
    retryWait: () => new Promise((resolve) => setTimeout(resolve, 50)),
    on: {
      opened: () => listening(),
      message: () => listening(),
      closed: (event) => {
        clearTimeout(silence);
        codes.push((event as { code: number }).code);
      },
    },
  });
  /** The server says something every PING_EVERY: silence means that the network is dead. */
  function listening(): void {
    clearTimeout(silence);
    silence = setTimeout(() => client.terminate(), SILENCE);
  }
  const watching = listen(client, WATCH);
  await watching.until((heard) => heard.length === 1);
  expect([codes, open()]).toEqual([[], 1]);
  proxy.blackhole();
  await eventually(() => codes.length > 0);
  expect(codes).toEqual([4499]);
  // Nobody has told the server.
  await eventually(() => open() === 0);
  proxy.heal();
  await watching.until((heard) => heard.length === 2);
  expect(watching.heard).toEqual([{ kind: 'SNAPSHOT' }, { kind: 'SNAPSHOT' }]);
  expect(watching.errors).toEqual([]);
  clearTimeout(silence);
  await client.dispose();
  await proxy.close();
}, 30_000);
