import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import WebSocket from 'ws';
import { createProject, eventually, post } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { openDoors, type Doors } from '../support/doors.js';

/** Many large messages for a client that does not read: they are made when there is room for them. */

/** Each has its own snapshot of more than a megabyte. The kernels take some of them. */
const SUBSCRIPTIONS = 30;
const USERS = 1_000;
const queryOf = (number: number): string => {
  const fields = Array.from({ length: 10 }, (_, at) => `a${number}_${at}: identity`);
  return `subscription { userPresence { kind users { ${fields.join(' ')} } } }`;
};

let db: TestDatabase;
let doors: Doors;
let key: string;
beforeAll(async () => {
  db = await createTestDatabase();
  doors = await openDoors(db);
  key = await createProject(doors.url);
  const events = Array.from({ length: USERS }, (_, at) => ({ user: { identity: `${'x'.repeat(100)}${at}` } }));
  await post(doors.url, key, 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }', {
    events,
  });
});
afterAll(async () => {
  await doors.close();
  await db.drop();
});

interface Deaf {
  subscribe(id: string, query: string): Promise<void> | void;
  /** Reads everything from now on. `heard` is called with each piece. */
  listen(heard: (text: string) => void): void;
  close(): void;
}

async function socket(): Promise<Deaf> {
  const client = new WebSocket(`${doors.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws', {
    // Compressed, all of them have room below the server.
    perMessageDeflate: false,
  });
  await new Promise((resolve) => client.once('open', resolve));
  client.send(JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${key}` } }));
  await new Promise((resolve) => client.once('message', resolve));
  client.pause();
  return {
    subscribe: (id, query) => client.send(JSON.stringify({ id, type: 'subscribe', payload: { query } })),
    listen(heard) {
      client.on('message', (data: Buffer) => heard(data.toString()));
      client.resume();
    },
    close: () => client.terminate(),
  };
}

async function stream(): Promise<Deaf> {
  const headers = { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' };
  const token = await (await fetch(`${doors.url}/graphql`, { method: 'PUT', headers })).text();
  const { hostname, port } = new URL(doors.url);
  const client: Socket = connect(Number(port), hostname);
  client.on('error', () => {});
  client.pause();
  client.write(`GET /graphql?token=${token} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${key}\r\n\r\n`);
  return {
    async subscribe(operationId, query) {
      const body = JSON.stringify({ query, extensions: { operationId } });
      const send = () => fetch(`${doors.url}/graphql?token=${token}`, { method: 'POST', headers, body });
      // The first may come before the stream is open.
      await eventually(async () => (await send()).status === 202);
    },
    listen(heard) {
      let rest = '';
      client.on('data', (data: Buffer) => {
        rest += data.toString('latin1');
        const end = rest.lastIndexOf('\n\n');
        heard(rest.slice(0, end + 1));
        rest = rest.slice(end + 1);
      });
      client.resume();
    },
    close: () => client.destroy(),
  };
}

test.each([
  ['a WebSocket', socket],
  ['a stream in single connection mode', stream],
])(
  '%s: a few messages are made for a client that does not read, and all when it reads',
  async (_what, open) => {
    const [opened, delivered] = [
      () => doors.observations.filter(({ kind }) => kind === 'watcher.opened').length,
      () => doors.observations.reduce((sum, one) => (one.kind === 'messages.delivered' ? sum + one.count : sum), 0),
    ];
    const before = { opened: opened(), delivered: delivered() };
    const deaf = await open();
    for (let at = 0; at < SUBSCRIPTIONS; at += 1) await deaf.subscribe(String(at), queryOf(at));
    await eventually(() => opened() === before.opened + SUBSCRIPTIONS, 30_000);
    // Others are served meanwhile. That takes many turns of the event loop, in which the messages could be made.
    for (let at = 0; at < 50; at += 1) expect((await post(doors.url, key, '{ project { name } }')).status).toBe(200);
    expect(delivered() - before.delivered).toBeGreaterThan(0);
    expect(delivered() - before.delivered).toBeLessThan(SUBSCRIPTIONS / 2);
    let snapshots = 0;
    deaf.listen((text) => (snapshots += text.split('SNAPSHOT').length - 1));
    await eventually(() => snapshots === SUBSCRIPTIONS, 30_000);
    expect(delivered() - before.delivered).toBe(SUBSCRIPTIONS);
    deaf.close();
  },
  60_000,
);
