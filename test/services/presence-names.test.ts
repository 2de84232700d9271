import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createMemoryBus } from '../../src/adapters/memory-bus.js';
import { createIngest } from '../../src/services/ingest/ingest.js';
import { createPresence } from '../../src/services/presence/watch-presence.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { shownBy } from '../support/shown-presence.js';
import { createStage, SENDER, toIncoming, type Stage, type StageEvent } from '../support/stage.js';

/** Rule 29: subscribers hear of a changed name, as of whoever comes or goes. */

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});
afterAll(() => db.drop());

const told = (stage: Stage): string[] =>
  stage.edges().map(({ presence: { name, status, onlineSessions } }) => `${name} ${status} ${onlineSessions}`);

test('rule 29: a changed name is told once, in order with the rest, and changes nothing else', async () => {
  const stage = await createStage(db);
  await stage.send({ user: 'ada', name: 'Ada', t: 0 });
  stage.at(10);
  await stage.send({ user: 'ada', name: 'Ada Lovelace' });
  stage.at(20);
  await stage.send({ user: 'ada', type: 'sessionend' });
  expect(told(stage)).toEqual(['Ada ONLINE 1', 'Ada Lovelace ONLINE 1', 'Ada Lovelace OFFLINE 0']);
  const edges = stage.edges();
  expect(edges.map(({ presence }) => presence.since)).toEqual([0, 0, 20].map(stage.time));
  expect(edges.map(({ presence }) => presence.lastSeenAt)).toEqual([0, 10, 20].map(stage.time));
  expect(edges[1]!.sessionId).toBeNull();
  expect(edges.map(({ previous }) => previous)).toEqual([null, ...edges.slice(0, -1).map(({ version }) => version)]);
  expect(shownBy(edges)).toEqual(new Map([['ada', 0]]));
});

test('rule 29: a name that comes with a second device is one change', async () => {
  const stage = await createStage(db);
  await stage.send({ user: 'ada', name: 'Ada', t: 0 });
  await stage.send({ user: 'ada', name: 'Ada Lovelace', sessionKey: 'the-phone' });
  expect(told(stage)).toEqual(['Ada ONLINE 1', 'Ada Lovelace ONLINE 2']);
});

test('rule 29: the name of a user who is offline is told, with when they were last seen', async () => {
  const stage = await createStage(db);
  stage.at(1_000);
  await stage.send({ user: 'ada', t: 900 }, { user: 'ada', type: 'sessionend', t: 990 });
  await stage.send({ user: 'ada', name: 'Ada', t: 950 });
  expect(told(stage)).toEqual(['Ada OFFLINE 0']);
  expect(stage.edges()[0]!.presence.lastSeenAt).toEqual(stage.time(990));
});

test('rules 24 and 29: a name that stays, comes late, or is taken back in its own request tells nothing', async () => {
  const stage = await createStage(db);
  await stage.send({ user: 'ada', name: 'Ada', t: 0 });
  for (let at = 20; at <= 200; at += 20) {
    stage.at(at);
    await stage.send({ user: 'ada', name: 'Ada' });
  }
  await stage.send({ user: 'ada', name: 'Old Ada', t: 30 });
  await stage.send({ user: 'ada', name: 'Countess' }, { user: 'ada', name: 'Ada' });
  expect(told(stage)).toEqual(['Ada ONLINE 1']);
});

test('rules 29 and 30: a new name reaches who watches the user, and the repair finds one that nobody could say', async () => {
  const stage = await createStage(db);
  const bus = createMemoryBus();
  const clock = { now: () => stage.now() };
  const deps = { database: stage.database, bus, clock, observe: () => {} };
  const ingest = createIngest(deps);
  const presence = createPresence(deps);
  const send = (...events: StageEvent[]) =>
    ingest.ingestEvents(
      stage.caller,
      events.map((event) => toIncoming(event, stage.time)),
      SENDER,
    );
  await send({ user: 'ada', name: 'Ada', t: 0 });
  const watches = await Promise.all(
    [null, ['ada'], ['ada', 'bob']].map((identities) => presence.watch(stage.caller.reach, { identities })),
  );
  for (const watch of watches) await watch.next();
  stage.at(10);
  await send({ user: 'ada', name: 'Ada Lovelace' });
  for (const watch of watches) {
    const { value } = await watch.next();
    expect(value).toMatchObject({ kind: 'DIFF', users: [{ name: 'Ada Lovelace', status: 'ONLINE' }] });
  }
  await presence.repair();
  stage.at(20);
  // By the stage's own server, whose bus nobody hears.
  await stage.send({ user: 'ada', name: randomUUID() });
  await presence.repair();
  for (const watch of watches) {
    const { value } = await watch.next();
    expect(value.users).toHaveLength(1);
    expect(value.users[0].name).not.toBe('Ada Lovelace');
  }
  await presence.close();
  await ingest.close();
  await bus.close();
});
