import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createMemoryBus } from '../../src/adapters/memory-bus.js';
import type { Beside, PresenceUpdate } from '../../src/domain/presence.js';
import { readPresenceCursor } from '../../src/domain/presence-cursor.js';
import type { Bus } from '../../src/services/bus.js';
import { createCloser } from '../../src/services/ingest/closer.js';
import { createIngest } from '../../src/services/ingest/ingest.js';
import { createPresence } from '../../src/services/presence/watch-presence.js';
import { devicesOf } from '../../src/store/presence/read-devices.js';
import { presenceOf } from '../../src/store/presence/read-presence.js';
import { eventually } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { Dice } from '../support/dice.js';
import { createRecordingBus, createStage, SENDER, toIncoming, type Stage, type StageEvent } from '../support/stage.js';

/**
 * A user's devices can change without an edge: viewers of devices are told, whether they listen, come back, or have lost the
 * bus; the others hear nothing.
 */

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});
afterAll(() => db.drop());

const DEVICES: ReadonlySet<Beside> = new Set(['devices']);
const NOTHING: ReadonlySet<Beside> = new Set();

/** A server that watches. `send` is another server's ingest, which tells it by the bus; `sendUnheard` one whose bus is lost. */
function open(stage: Stage, bus: Bus = createMemoryBus()) {
  const deps = { database: stage.database, bus, clock: stage, observe: () => {} };
  const ingest = createIngest(deps);
  const presence = createPresence(deps);
  const unheard = createIngest({ ...deps, bus: createRecordingBus() });
  const events = (some: StageEvent[]) => some.map((event) => toIncoming(event, stage.time));
  return {
    presence,
    send: (...some: StageEvent[]) => ingest.ingestEvents(stage.caller, events(some), SENDER),
    sendUnheard: (...some: StageEvent[]) => unheard.ingestEvents(stage.caller, events(some), SENDER),
    async close() {
      await presence.close();
      await ingest.close();
      await unheard.close();
    },
  };
}
type Server = ReturnType<typeof open>;
type Send = Server['send'];

async function pull(updates: AsyncIterator<PresenceUpdate>): Promise<PresenceUpdate> {
  const { value, done } = await updates.next();
  if (done) throw new Error('It has ended.');
  return value;
}
const told = ({ kind, users }: PresenceUpdate): unknown[] => [
  kind,
  ...users.map(({ identity }) => identity).toSorted(),
];

const PHONE = { sessionKey: 'the-phone', user: 'ada' };
/** What makes `ada` show other devices than before; she is online with one session from 0 s on. */
const WAYS: [string, (send: Send, stage: Stage) => Promise<unknown>][] = [
  ['a start in the place of an open session', (send) => send({ user: 'ada', type: 'session' })],
  ['an end and a start in one request', (send) => send({ user: 'ada', type: 'sessionend' }, { user: 'ada' })],
  ['an end of one and a start of another', (send) => send({ user: 'ada', type: 'sessionend' }, PHONE)],
  ['a late start that splits the session', (send) => send({ user: 'ada', type: 'session', t: 950 })],
  ['a start of the session that moves back', (send) => send({ user: 'ada', t: 890 })],
  ['two sessions that become one', (send) => send({ user: 'ada', t: 750 })],
];

/** `ada` has a session that has ended, from 0 s to 300 s, and one that counts, from 900 s to 1,000 s. */
async function begin(stage: Stage, { send }: Server): Promise<void> {
  stage.at(300);
  await send({ user: 'ada', t: 0 }, { user: 'ada', t: 300 });
  stage.at(900);
  await stage.close();
  await send({ user: 'ada', t: 900 });
  stage.at(1_000);
  await send({ user: 'ada', t: 1_000 });
}
const SETTINGS = { inactivityTimeout: 480 };

test.each(WAYS)('%s: viewers of devices are told once, the others nothing', async (_name, change) => {
  const stage = await createStage(db, SETTINGS);
  const server = open(stage);
  await begin(stage, server);
  const { reach } = stage.caller;
  const views = await Promise.all(
    [null, ['ada', 'bob']].flatMap((identities) =>
      [DEVICES, NOTHING].map((asks) => server.presence.watch(reach, { identities, asks })),
    ),
  );
  const cursors = (await Promise.all(views.map(pull))).map(({ cursor }) => readPresenceCursor(cursor)!);
  const nexts = views.map(pull);
  await change(server.send, stage);
  for (const at of [0, 2]) expect(told(await nexts[at]!)).toEqual(['DIFF', 'ada']);
  // Neither look tells it again.
  await server.presence.repair();
  await server.presence.repair();
  const [resumed, deaf] = await Promise.all(
    [DEVICES, NOTHING].map(async (asks) => pull(await server.presence.watch(reach, { asks, after: cursors[0]! }))),
  );
  expect(told(resumed!)).toEqual(['DIFF', 'ada']);
  expect(told(deaf!)).toEqual(['DIFF']);
  await server.send({ user: 'bob' });
  for (const at of [0, 2]) expect(told(await pull(views[at]!))).toEqual(['DIFF', 'bob']);
  for (const at of [1, 3]) expect(told(await nexts[at]!)).toEqual(['DIFF', 'bob']);
  await server.close();
});

test.each(WAYS)('%s: found by a look if the bus has lost it, once', async (_name, change) => {
  const stage = await createStage(db, SETTINGS);
  const server = open(stage);
  await begin(stage, server);
  const views = await Promise.all(
    [DEVICES, NOTHING].map((asks) => server.presence.watch(stage.caller.reach, { asks })),
  );
  await Promise.all(views.map(pull));
  const [next, deaf] = views.map(pull);
  await change(server.sendUnheard, stage);
  await server.presence.repair();
  expect(told(await next!)).toEqual(['DIFF', 'ada']);
  await server.presence.repair();
  await server.send({ user: 'bob' });
  expect(told(await pull(views[0]!))).toEqual(['DIFF', 'bob']);
  expect(told(await deaf!)).toEqual(['DIFF', 'bob']);
  await server.close();
});

test('whoever gets the snapshot that was made for a viewer who has left is told what has changed since', async () => {
  const stage = await createStage(db);
  const server = open(stage);
  await server.send({ user: 'ada' });
  const { reach } = stage.caller;
  const [left, deaf] = await Promise.all([DEVICES, NOTHING].map((asks) => server.presence.watch(reach, { asks })));
  const snapshot = await pull(left!);
  await pull(deaf!);
  await left!.return!();
  await server.send({ user: 'ada', type: 'session' });
  await server.send({ user: 'bob' });
  expect(told(await pull(deaf!))).toEqual(['DIFF', 'bob']);
  const view = await server.presence.watch(reach, { asks: DEVICES });
  expect(await pull(view)).toBe(snapshot);
  expect(told(await pull(view))).toEqual(['DIFF', 'ada', 'bob']);
  await server.close();
});

test('an edge and a change of devices after it, both missed, are one user; those without devices get the edge', async () => {
  const stage = await createStage(db);
  const server = open(stage);
  const { reach } = stage.caller;
  const identities = ['ada'];
  const place = readPresenceCursor((await pull(await server.presence.watch(reach, { identities }))).cursor)!;
  await server.send({ user: 'ada' });
  await server.send({ user: 'ada', type: 'session' });
  for (const asks of [DEVICES, NOTHING])
    for (const some of [null, identities]) {
      const watch = await server.presence.watch(reach, { asks, identities: some, after: place });
      expect(told(await pull(watch))).toEqual(['DIFF', 'ada']);
    }
  await server.close();
});

test('as many sessions that the closer turns online as offline are told to viewers of devices', async () => {
  const stage = await createStage(db, { inactivityTimeout: 480, presenceTimeout: 60 });
  const bus = createMemoryBus();
  const server = open(stage, bus);
  const closer = createCloser({ database: stage.database, bus, clock: stage, observe: () => {}, interval: 1_000 });
  await server.send({ user: 'ada', t: 0 }, { ...PHONE, t: 0 });
  stage.at(400);
  await stage.beat({ sessionKey: 'the-phone' });
  stage.at(461);
  await closer.runOnce(stage.now());
  const views = await Promise.all(
    [DEVICES, NOTHING].map((asks) => server.presence.watch(stage.caller.reach, { asks })),
  );
  expect((await Promise.all(views.map(pull)))[0]!.users).toMatchObject([{ identity: 'ada', onlineSessions: 1 }]);
  const [next, deaf] = views.map(pull);
  // The phone counts again with a longer timeout. It is looked at when the other session ends.
  await stage.database.query({
    name: 'test.timeout',
    text: 'UPDATE projects SET presence_timeout = 300 WHERE id = $1',
    values: [stage.projectId],
  });
  await stage.database.query({
    name: 'test.due',
    text: `UPDATE sessions SET due_at = $2 WHERE project_id = $1 AND key = 'the-phone'`,
    values: [stage.projectId, stage.time(480)],
  });
  stage.at(481);
  await closer.runOnce(stage.now());
  expect(await next).toMatchObject({ kind: 'DIFF', users: [{ identity: 'ada', onlineSessions: 1 }] });
  const { reach } = stage.caller;
  expect((await devicesOf(stage.database, reach, ['ada'])).get('ada')).toMatchObject([{ key: 'the-phone' }]);
  await server.send({ user: 'bob' });
  expect(told(await deaf!)).toEqual(['DIFF', 'bob']);
  await closer.close();
  await server.close();
});

test('any order of sessions, servers, losses and returns: viewers of devices show those of the rows', async () => {
  const stage = await createStage(db, { inactivityTimeout: 600 });
  const dice = new Dice(Number(process.env['SEED'] ?? 21));
  const roll = (count: number): number => dice.below(count);
  const servers = [open(stage), open(stage)];
  const { reach } = stage.caller;
  const USERS = ['ada', 'bob', 'cyd'];

  interface View {
    readonly asks: ReadonlySet<Beside>;
    readonly identities: readonly string[] | null;
    readonly shown: Map<string, string>;
    place: string | null;
    updates: AsyncIterableIterator<PresenceUpdate>;
    reading: Promise<void>;
  }
  const devicesNow = async (identity: string): Promise<string> =>
    JSON.stringify(
      ((await devicesOf(stage.database, reach, [identity])).get(identity) ?? []).map(({ sessionId, since }) => [
        sessionId,
        since,
      ]),
    );
  async function read(view: View): Promise<void> {
    for await (const { kind, users, cursor } of view.updates) {
      if (kind === 'SNAPSHOT') view.shown.clear();
      for (const { identity, name, status, onlineSessions } of users) {
        const isAsked = view.asks.has('devices');
        const text = isAsked ? await devicesNow(identity) : `${status} ${onlineSessions} ${name}`;
        view.shown.set(identity, text);
      }
      view.place = cursor;
    }
  }
  async function listenTo(view: View): Promise<void> {
    const { asks, identities, place } = view;
    const after = place === null ? null : readPresenceCursor(place)!;
    view.updates = await servers[roll(2)]!.presence.watch(reach, { asks, identities, after });
    view.reading = read(view);
  }
  const views: View[] = [];
  for (const asks of [DEVICES, NOTHING, DEVICES])
    for (const identities of [null, USERS.slice(0, 2)]) {
      const view = { asks, identities, shown: new Map(), place: null } as unknown as View;
      views.push(view);
      await listenTo(view);
    }

  for (let step = 0; step < 120; step += 1) {
    const now = 100 + step * 20;
    stage.at(now);
    const user = USERS[roll(USERS.length)]!;
    const sender = servers[roll(2)]!;
    const send = roll(4) ? sender.send : sender.sendUnheard;
    const what = roll(12);
    if (what < 3) await send({ user, type: 'session' });
    else if (what < 5) await send({ user, type: 'sessionend' }, { user });
    else if (what < 6) await send({ user, type: 'sessionend' });
    else if (what < 7) await send({ user, t: Math.max(0, now - roll(900)) });
    else if (what < 8) await send({ user, sessionKey: `the-key-${roll(3)}`, type: roll(2) ? 'log' : 'sessionend' });
    else if (what < 9) await send({ user, t: now });
    else if (what < 10) await stage.close();
    else {
      const view = views[roll(views.length)]!;
      await view.updates.return!();
      await view.reading;
      await listenTo(view);
    }
    if (roll(5) === 0) for (const { presence } of servers) await presence.repair();
    for (let turns = roll(5); turns > 0; turns -= 1) await nextTurn();
  }
  for (const { presence } of servers) await presence.repair();
  const rows = new Map((await presenceOf(stage.database, reach, USERS)).map((one) => [one.identity, one]));
  for (const view of views) {
    for (const identity of view.identities ?? USERS) {
      const { name, status, onlineSessions } = rows.get(identity)!;
      const isDevices = view.asks.has('devices');
      const due = isDevices ? await devicesNow(identity) : `${status} ${onlineSessions} ${name}`;
      const nobody = isDevices ? '[]' : `OFFLINE 0 ${name}`;
      await eventually(() => (view.shown.get(identity) ?? nobody) === due);
    }
  }
  // What they still say is looked up in the database.
  for (const { updates } of views) await updates.return!();
  await Promise.all(views.map(({ reading }) => reading));
  for (const server of servers) await server.close();
}, 60_000);
