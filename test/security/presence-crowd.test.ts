import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, beforeAll, expect, test } from 'vitest';
import WebSocket from 'ws';
import { connect, createProject, eventually, listen, post } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { openDoors, type Doors } from '../support/doors.js';
import { record } from '../support/ledger.js';

/** Many who watch many: what a snapshot takes follows the snapshots, not those who look at them. */

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;
function heldMegabytes(): number {
  collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return (heapUsed + external) / 1024 / 1024;
}

const USERS = 2_000;
const INGEST = 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }';
const identityOf = (at: number): string => `somebody who is online, by a rather long name, number ${at}`;

let db: TestDatabase;
let doors: Doors;
let key: string;
beforeAll(async () => {
  db = await createTestDatabase();
  doors = await openDoors(db);
  key = await createProject(doors.url);
  for (let from = 0; from < USERS; from += 1_000) {
    const events = Array.from({ length: 1_000 }, (_, at) => ({ user: { identity: identityOf(from + at) } }));
    expect((await post(doors.url, key, INGEST, { events })).data.ingestEvents.accepted).toBe(1_000);
  }
});
afterAll(async () => {
  await doors.close();
  await db.drop();
});

interface Viewer {
  readonly bytes: number;
  readonly users: number;
  readonly last: string;
  close(): void;
}

/** A viewer over a WebSocket that keeps nothing of what it is told; resolves once it has its snapshot. */
function view(query: string, variables?: object, id = 'view'): Promise<Viewer> {
  const socket = new WebSocket(`${doors.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws');
  const viewer = { bytes: 0, users: 0, last: '', close: () => socket.terminate() };
  return new Promise((resolve, reject) => {
    socket.on('error', reject);
    socket.on('open', () => socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: key } })));
    socket.on('message', (data: Buffer) => {
      const { type, payload } = JSON.parse(data.toString());
      if (type === 'ping') socket.send(JSON.stringify({ type: 'pong' }));
      if (type === 'connection_ack')
        socket.send(JSON.stringify({ id, type: 'subscribe', payload: { query, variables } }));
      if (type !== 'next') return;
      viewer.bytes += data.length;
      viewer.users += payload.data.userPresence.users.length;
      viewer.last = payload.data.userPresence.users[0]?.status ?? '';
      resolve(viewer);
    });
  });
}

/** The same over server-sent events. */
async function stream(query: string): Promise<{ bytes: number; close(): void }> {
  const aborted = new AbortController();
  const response = await fetch(`${doors.url}/graphql?query=${encodeURIComponent(query)}`, {
    headers: { Authorization: `Bearer ${key}`, Accept: 'text/event-stream' },
    signal: aborted.signal,
  });
  let bytes = 0;
  const reader = response.body!.getReader();
  while (bytes < USERS * 60) bytes += (await reader.read()).value!.length;
  return { bytes, close: () => aborted.abort() };
}

const snapshots = (): number =>
  doors.observations.filter((one) => one.kind === 'statement' && one.name === 'presence.snapshot').length;

/** Has all of `come` ask before the first read is answered. */
async function atOnce<Viewers>(count: number, come: () => Promise<Viewers>): Promise<Viewers> {
  const opened = () => doors.observations.filter(({ kind }) => kind === 'watcher.opened').length;
  const before = opened();
  const release = await db.hold('LOCK TABLE users IN ACCESS EXCLUSIVE MODE');
  const viewers = come();
  await eventually(() => opened() - before === count, 30_000);
  await release();
  return viewers;
}

const WATCH = 'subscription { userPresence { kind users { identity name status since lastSeenAt onlineSessions } } }';

test('a hundred who come at once share a few reads, and keep nothing of what they were sent', async () => {
  // What the first of all makes is made by now.
  (await view(WATCH)).close();
  const before = snapshots();
  const memory = heldMegabytes();
  const start = performance.now();
  let latest = performance.now();
  let longest = 0;
  const beat = setInterval(() => {
    longest = Math.max(longest, performance.now() - latest);
    latest = performance.now();
  }, 5);
  // Half of them ask each in words, or under a name, of their own.
  const [viewers, streams] = await atOnce(100, () =>
    Promise.all([
      Promise.all(
        Array.from({ length: 80 }, (_, at) =>
          view(
            at % 2 ? WATCH : WATCH.replace('since', `since since${at}: since`),
            undefined,
            at % 4 < 2 ? 'view' : `view ${at}`,
          ),
        ),
      ),
      Promise.all(Array.from({ length: 20 }, () => stream(WATCH))),
    ]),
  );
  clearInterval(beat);
  record(
    'a hundred viewers of 2,000: milliseconds until all had their snapshot',
    Math.round(performance.now() - start),
  );
  record(
    'a hundred viewers of 2,000: the longest turn of the loop, clients included, milliseconds',
    Math.round(longest),
  );
  record('a hundred viewers of 2,000: reads of the snapshot', snapshots() - before);
  expect(viewers.every(({ users }) => users === USERS)).toBe(true);
  expect(snapshots() - before).toBeLessThanOrEqual(2);
  // Each of them would keep 2,000 users, of some 400 bytes.
  await eventually(() => heldMegabytes() - memory < 25, 10_000);
  record(
    'a hundred viewers of 2,000: megabytes held while they are quiet',
    Math.max(0, Math.round(heldMegabytes() - memory)),
  );
  // They go on.
  await post(doors.url, key, INGEST, { events: [{ type: 'sessionend', user: { identity: identityOf(7) } }] });
  await eventually(() => viewers.every(({ last, users }) => last === 'OFFLINE' && users === USERS + 1));
  for (const { close } of [...viewers, ...streams]) close();
}, 60_000);

test('pages that each watch a few friends share reads too', async () => {
  const before = snapshots();
  const viewers = await atOnce(200, () =>
    Promise.all(
      Array.from({ length: 200 }, (_, at) =>
        view('subscription ($i: [String!]) { userPresence(identities: $i) { kind users { identity status } } }', {
          i: [identityOf(at + 10), identityOf(at + 11), 'never seen', identityOf(at + 10)],
        }),
      ),
    ),
  );
  record('two hundred pages with friends: reads of snapshots', snapshots() - before);
  expect(viewers.every(({ users }) => users === 3)).toBe(true);
  expect(snapshots() - before).toBeLessThanOrEqual(3);
  for (const { close } of viewers) close();
}, 60_000);

test('a snapshot is charged by its rows', async () => {
  const poor = await createProject(doors.url, { rateLimit: 60 });
  const events = Array.from({ length: 1_000 }, (_, at) => ({ user: { identity: identityOf(at) } }));
  for (let at = 0; at < 2; at += 1) await post(doors.url, poor, INGEST, { events });
  const client = connect(doors.url, poor);
  // 11 points each for the events; 1 and 10 for each subscription: the fourth is too much.
  for (let at = 0; at < 3; at += 1) await listen(client, WATCH).until((heard) => heard.length === 1);
  const refused = listen(client, WATCH);
  await refused.ended;
  expect(JSON.stringify(refused.errors)).toContain('RATE_LIMITED');
  expect(refused.heard).toEqual([]);
  await client.dispose();
}, 60_000);
