import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import WebSocket from 'ws';
import type { Observation } from '../../src/observation.js';
import { createProject, eventually, post } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { openDoors, type Doors } from '../support/doors.js';

/** One who subscribes with ever different documents: a change costs what it costs, and others are served meanwhile. */

/** Of one socket, and sockets. A key may have 250 different ones. */
const [DOCUMENTS, SOCKETS] = [80, 3];
const USERS = 200;
/** Sent in one request. */
const EVENTS = 20;
const INGEST = 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }';
const identityOf = (at: number): string => `somebody ${at}`;

let db: TestDatabase;
let doors: Doors;
let key: string;
let other: string;
let sockets: WebSocket[] = [];
beforeAll(async () => {
  db = await createTestDatabase();
  doors = await openDoors(db);
  [key, other] = [await createProject(doors.url), await createProject(doors.url)];
});
afterEach(async () => {
  for (const socket of sockets) socket.terminate();
  sockets = [];
  await eventually(() => standing() === 0);
});
afterAll(async () => {
  await doors.close();
  await db.drop();
});

/** Opens the subscriptions, and waits until each has got what comes first. Returns how many messages have come since. */
async function attack(documentOf: (at: number) => string, hasFirst: boolean): Promise<() => number> {
  let heard = 0;
  for (let number = 0; number < SOCKETS; number += 1) {
    const socket = new WebSocket(`${doors.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws');
    sockets.push(socket);
    socket.once('open', () =>
      socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${key}` } })),
    );
    socket.on('message', (data: Buffer) => {
      const text = data.toString();
      if (text.includes('"type":"next"')) heard += 1;
      if (!text.startsWith('{"type":"connection_ack"')) return;
      for (let at = 0; at < DOCUMENTS; at += 1) {
        const query = documentOf(number * DOCUMENTS + at);
        socket.send(JSON.stringify({ id: String(at), type: 'subscribe', payload: { query } }));
      }
    });
  }
  const all = DOCUMENTS * SOCKETS;
  await eventually(() => standing() === all && (!hasFirst || heard === all), 20_000);
  const first = heard;
  return () => heard - first;
}

/** Subscriptions that are open. */
const standing = (): number =>
  doors.observations.reduce(
    (sum, { kind }) => sum + Number(kind === 'watcher.opened') - Number(kind === 'watcher.closed'),
    0,
  );
const send = (of: string, events: object[]) => post(doors.url, of, INGEST, { events });
const statements = (name: string): number =>
  doors.observations.filter((one) => one.kind === 'statement' && one.name === name).length;
/** The messages delivered in each turn of the event loop, since `from`. */
const deliveries = (from: number): number[] =>
  doors.observations
    .slice(from)
    .filter((one): one is Extract<Observation, { kind: 'messages.delivered' }> => one.kind === 'messages.delivered')
    .map(({ count }) => count);

describe('240 different documents', () => {
  test('of presence with devices: a change is read once, told once a second, and made in many turns', async () => {
    await send(
      key,
      Array.from({ length: USERS }, (_, at) => ({ user: { identity: identityOf(at) }, sessionKey: `device-of-${at}` })),
    );
    const heard = await attack(
      (at) => `subscription { userPresence { users { identity a${at}: devices { key state away } } } }`,
      true,
    );
    // Everybody's devices say something, one after another.
    const [from, before] = [doors.observations.length, statements('presence.devices')];
    const begun = performance.now();
    const SAY =
      'mutation ($key: String!, $state: JSONObject) { setPresence(input: { sessionKey: $key }, state: $state) { acknowledged } }';
    for (let at = 0; at < 10; at += 1) {
      const said = await post(doors.url, key, SAY, { key: `device-of-${at}`, state: { at } });
      expect(said.data.setPresence.acknowledged).toBe(true);
      expect((await post(doors.url, other, '{ project { name } }')).status).toBe(200);
    }
    await eventually(() => heard() >= DOCUMENTS * SOCKETS);
    const seconds = Math.ceil((performance.now() - begun) / 1_000);
    expect(heard()).toBeLessThanOrEqual(DOCUMENTS * SOCKETS * (seconds + 1));
    // A slow subscription joins updates to one of its own.
    expect(statements('presence.devices') - before).toBeLessThanOrEqual(3 * (seconds + 1));
    expect(Math.max(...deliveries(from))).toBeLessThan(DOCUMENTS * SOCKETS);
  }, 60_000);

  test.each([
    ['presence', (at: number) => `subscription { userPresence { users { identity a${at}: status } } }`, true],
    ['sessions', (at: number) => `subscription { sessionChanged { kind session { a${at}: id } } }`, false],
    [
      'events, with their sessions',
      (at: number) => `subscription { eventIngested { type session { a${at}: id } } }`,
      false,
    ],
  ])(
    'of %s: many changes are made in many turns, and others are answered between',
    async (what, documentOf, hasFirst) => {
      const heard = await attack(documentOf, hasFirst);
      const all = DOCUMENTS * SOCKETS;
      const [from, before] = [doors.observations.length, statements('sessions.byIds')];
      const expected = what === 'presence' ? all : all * EVENTS;
      const sent = send(
        key,
        Array.from({ length: EVENTS }, (_, at) => ({ user: { identity: `${what} ${at}` } })),
      );
      let between = 0;
      await eventually(async () => {
        expect((await post(doors.url, other, '{ project { name } }')).status).toBe(200);
        if (heard() > 0 && heard() < expected) between += 1;
        return heard() >= expected;
      }, 20_000);
      await sent;
      // All messages of presence are made within some 20 ms of turns, in which a request of others may not fall.
      if (what !== 'presence') expect(between).toBeGreaterThan(0);
      expect(Math.max(...deliveries(from))).toBeLessThan(expected);
      // Each event's session is read once, and not once for each document.
      expect(statements('sessions.byIds') - before).toBeLessThanOrEqual(EVENTS + 10);
    },
    60_000,
  );
});

test('a change of a user whom many lists name: devices are read for several lists together', async () => {
  const identity = 'on every list';
  await send(key, [{ user: { identity } }]);
  const heard = await attack(
    (at) => `subscription { userPresence(identities: ["${identity}", "on list ${at}"]) { users { devices { key } } } }`,
    true,
  );
  const before = statements('presence.devices');
  await send(key, [{ user: { identity }, sessionKey: 'the-second-device' }]);
  await eventually(() => heard() >= DOCUMENTS * SOCKETS, 20_000);
  // A connection makes two messages at a time, so those of all connections are joined, and not all of them.
  expect(statements('presence.devices') - before).toBeLessThanOrEqual((DOCUMENTS * SOCKETS) / 3);
}, 60_000);

test('a key has 250 of them open at a time; those that watch others with the same are not counted', async () => {
  await attack((at) => `subscription { userPresence { a${at}: kind } }`, true);
  const refused = new WebSocket(`${doors.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws');
  sockets.push(refused);
  const answers: any[] = [];
  refused.once('open', () =>
    refused.send(JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${key}` } })),
  );
  refused.on('message', (data: Buffer) => {
    const message = JSON.parse(data.toString());
    if (message.id !== undefined && message.type !== 'complete') answers.push(message);
    if (message.type !== 'connection_ack') return;
    for (let at = 0; at < 30; at += 1) {
      const query = `subscription { userPresence(identities: ["somebody ${at}"]) { a1: kind } }`;
      refused.send(JSON.stringify({ id: `same ${at}`, type: 'subscribe', payload: { query } }));
    }
    for (let at = 0; at < 11; at += 1) {
      const query = `subscription { userPresence { b${at}: kind } }`;
      refused.send(JSON.stringify({ id: `new ${at}`, type: 'subscribe', payload: { query } }));
    }
  });
  await eventually(() => answers.length === 41);
  const errors = answers.filter(({ type }) => type === 'error');
  expect(errors.map(({ payload }) => payload[0].extensions.code)).toEqual(['TOO_MANY_SUBSCRIPTIONS']);
  expect(errors[0].id).toContain('new');
});
