import { afterAll, beforeAll, expect, test } from 'vitest';
import WebSocket from 'ws';
import { connect, createProject, eventually, listen, post } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { openDoors, type Doors } from '../support/doors.js';
import { startSlowLine, type SlowLine } from '../support/slow-line.js';

/** Several of each pass while the large answer is read: as with 12 s, a minute, 12 MB and 160 kB a second, only sooner. */
const PING_EVERY = 500;
const STUCK_AFTER = 3_000;
const RATE = 1_500_000;

let db: TestDatabase;
let doors: Doors;
let key: string;
let line: SlowLine;
let url: string;

beforeAll(async () => {
  db = await createTestDatabase();
  doors = await openDoors(db, { pingEvery: PING_EVERY, stuckAfter: STUCK_AFTER });
  key = await createProject(doors.url);
  const events = Array.from({ length: 50 }, () => ({ data: { text: 'x'.repeat(60_000) } }));
  for (let half = 0; half < 2; half += 1) {
    const sent = await post(
      doors.url,
      key,
      'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }',
      { events },
    );
    expect(sent.data.ingestEvents.accepted).toBe(50);
  }
});
afterAll(async () => {
  await line?.close();
  await doors.close();
  await db.drop();
});

async function openLine(): Promise<void> {
  await line?.close();
  line = await startSlowLine(Number(new URL(doors.url).port), RATE);
  url = `http://127.0.0.1:${line.port}`;
}

/** One answer of 12 MB, of 6 MB that are read, which is one write to its socket. */
const LARGE = '{ events(first: 100) { nodes { data again: data } } }';

test('a WebSocket that is read slowly is not cut, whether the answer waits here or in the kernel', async () => {
  await openLine();
  const closed: unknown[] = [];
  const client = connect(url, key, { closed: (event) => closed.push(event) });
  // A subscription beside it keeps the socket open when the answer is there.
  const watching = listen(client, 'subscription { userPresence { kind } }');
  await watching.until((heard) => heard.length === 1);
  const start = performance.now();
  const asked = listen(client, LARGE);
  await asked.ended;
  const took = performance.now() - start;
  expect(asked.errors).toEqual([]);
  expect(asked.heard[0].nodes).toHaveLength(100);
  expect(took).toBeGreaterThan(2 * STUCK_AFTER);
  // It is as good as before: pings come and are answered.
  const before = line.brought;
  await eventually(() => line.brought > before);
  expect(closed).toEqual([]);
  await client.dispose();
}, 60_000);

test('a stream of events that is read slowly is not cut either', async () => {
  await openLine();
  const start = performance.now();
  const stream = await fetch(`${url}/graphql?query=${encodeURIComponent(LARGE)}`, {
    headers: { Authorization: `Bearer ${key}`, Accept: 'text/event-stream' },
  });
  const text = await stream.text();
  expect(performance.now() - start).toBeGreaterThan(2 * STUCK_AFTER);
  expect(text.length).toBeGreaterThan(12_000_000);
  expect(text.endsWith('event: complete\ndata:\n\n')).toBe(true);
}, 60_000);

test('a WebSocket of which nothing is read any more is cut', async () => {
  await openLine();
  let code: number | undefined;
  const client = connect(url, key, { closed: (event) => (code = (event as { code: number }).code) });
  const watching = listen(client, 'subscription { userPresence { kind } }');
  await watching.until((heard) => heard.length === 1);
  const closed = (): number => doors.observations.filter(({ kind }) => kind === 'watcher.closed').length;
  const before = closed();
  const stuck = listen(client, LARGE);
  await eventually(() => line.brought > 1_000_000);
  line.rate = 0;
  await eventually(() => closed() > before);
  // What lies in the kernels is still brought, and then the end.
  line.rate = RATE;
  await stuck.ended;
  expect([code, stuck.heard]).toEqual([1006, []]);
}, 60_000);

test('who answers no ping is gone at the next one', async () => {
  const socket = new WebSocket(`${doors.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws', {
    autoPong: false,
  });
  socket.on('open', () => socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: key } })));
  let pings = 0;
  socket.on('ping', () => (pings += 1));
  const code = await new Promise<number>((resolve) => socket.on('close', resolve));
  expect([code, pings]).toEqual([1006, 1]);
});

test('a server that was busy for longer than a ping waits cuts nobody for it', async () => {
  const socket = new WebSocket(`${doors.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws', {
    autoPong: false,
  });
  socket.on('open', () => socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: key } })));
  let pings = 0;
  let code: number | null = null;
  socket.on('close', (given) => (code = given));
  socket.on('ping', () => {
    pings += 1;
    // The server is in this process too: its timers run before it reads the answer.
    const end = performance.now() + (pings === 1 ? 3 * PING_EVERY : 0);
    while (performance.now() < end);
    socket.pong();
  });
  await eventually(() => pings >= 3 || code !== null);
  expect(code).toBeNull();
  socket.terminate();
});

test('who waits for a hundred operations is not asked to answer a ping first', async () => {
  const OPERATIONS = 120;
  const beside = new WebSocket(`${doors.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws');
  let pings = 0;
  beside.on('ping', () => (pings += 1));
  beside.on('open', () => beside.send(JSON.stringify({ type: 'connection_init', payload: { authorization: key } })));
  const closed: unknown[] = [];
  const client = connect(doors.url, key, { closed: (event) => closed.push(event) });
  const watching = listen(client, 'subscription { userPresence { kind } }');
  await watching.until((heard) => heard.length === 1);
  const asked = await db.open().transaction(async (tx) => {
    await tx.query({ name: 'test.lock', text: 'LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE', values: [] });
    const begun = Array.from({ length: OPERATIONS }, () => listen(client, '{ sessions { nodes { id } } }'));
    const before = pings;
    await eventually(() => pings >= before + 5);
    return begun;
  });
  await Promise.all(asked.map(({ ended }) => ended));
  expect(asked.map(({ heard }) => heard.length)).toEqual(asked.map(() => 1));
  expect(closed).toEqual([]);
  beside.terminate();
  await client.dispose();
}, 60_000);
