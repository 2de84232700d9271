import { afterAll, beforeAll, expect, test } from 'vitest';
import { userIdOf } from '../../src/domain/identity.js';
import { createMaintenance } from '../../src/services/upkeep/maintenance.js';
import { catchUpSources } from '../../src/store/upkeep/catch-up.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { createExecutor } from '../support/execute.js';
import { sessionsThatMiscount } from '../support/rules.js';
import { createStage, type Stage } from '../support/stage.js';

/** What a session says of how it began, of the one before, and of where it was. */

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});
afterAll(() => db.drop());

const D1 = { deviceId: 'device-1' };
const D2 = { deviceId: 'device-2' };

/** The start reasons of a stage's sessions, in the order of their starts. */
async function reasonsOf(stage: Stage): Promise<string[]> {
  const { data } = await createExecutor(stage);
  const { sessions } = await data('{ sessions(first: 100, orderBy: { direction: ASC }) { nodes { startReason } } }');
  return sessions.nodes.map(({ startReason }: { startReason: string }) => startReason);
}

test('startReason: a session event; the first of a user, of a key, of a user on a device; activity after the one before', async () => {
  const stage = await createStage(db, { inactivityTimeout: 10 });
  stage.at(1_000);
  await stage.send(
    { user: 'ada', t: 0 },
    { user: 'ada', t: 100 },
    { user: 'ada', t: 200, type: 'session' },
    { user: 'ada', t: 300, ...D1 },
    { user: 'ada', t: 400, ...D1 },
    { user: 'ada', t: 500, sessionKey: 'key-00001' },
    { user: 'bob', t: 600, type: 'session' },
  );
  expect(await reasonsOf(stage)).toEqual([
    'FIRST_SEEN',
    'ACTIVITY',
    'CLIENT',
    'FIRST_SEEN',
    'ACTIVITY',
    'FIRST_SEEN',
    'CLIENT',
  ]);
});

test('startReason: a heartbeat begins a session too, and a late event makes the first the second', async () => {
  const stage = await createStage(db, { inactivityTimeout: 10 });
  stage.at(1_000);
  await stage.beat({ identity: 'ada' });
  expect(await reasonsOf(stage)).toEqual(['FIRST_SEEN']);
  await stage.send({ user: 'ada', t: 500 });
  expect(await reasonsOf(stage)).toEqual(['FIRST_SEEN', 'ACTIVITY']);
});

test("startReason: a session of nobody is its device's first, or comes after another of the device, whoever's", async () => {
  const stage = await createStage(db, { inactivityTimeout: 10 });
  stage.at(1_000);
  await stage.send({ ...D1, t: 0 }, { ...D1, t: 100 }, { user: 'ada', ...D2, t: 200 }, { ...D2, t: 300 });
  expect(await reasonsOf(stage)).toEqual(['FIRST_SEEN', 'ACTIVITY', 'FIRST_SEEN', 'ACTIVITY']);
  // The second visit signs in: it is the user's first on this device.
  await stage.send({ user: 'bob', ...D1, t: 105 });
  expect(await reasonsOf(stage)).toEqual(['FIRST_SEEN', 'FIRST_SEEN', 'FIRST_SEEN', 'ACTIVITY']);
});

test('previous: the session of the user before, on whatever device, in one statement for a page', async () => {
  const stage = await createStage(db, { inactivityTimeout: 10 });
  stage.at(1_000);
  await stage.send(
    { user: 'ada', t: 0 },
    { user: 'ada', t: 100, ...D1 },
    { user: 'bob', t: 150 },
    { user: 'ada', t: 200, sessionKey: 'key-00001' },
    { ...D2, t: 300 },
    { ...D2, t: 400 },
  );
  const { data } = await createExecutor(stage);
  const list = `sessions(orderBy: { direction: ASC }) { nodes { id startReason previous { id user { identity } previous { id } } } }`;
  stage.observations.length = 0;
  const { sessions } = await data(`{ ${list} }`);
  const statements = stage.observations
    .filter(({ kind }) => kind === 'statement')
    .map((one) => 'name' in one && one.name);
  // The sessions before those before are known already.
  expect(statements.toSorted()).toEqual(['sessions.first', 'sessions.list.STARTED_AT', 'sessions.previous']);
  const ids = sessions.nodes.map(({ id }: { id: string }) => id);
  const ada = { identity: 'ada' };
  expect(sessions.nodes.map(({ previous }: { previous: object | null }) => previous)).toEqual([
    null,
    { id: ids[0], user: ada, previous: null },
    null,
    { id: ids[1], user: ada, previous: { id: ids[0] } },
    null,
    null,
  ]);
  // A token that is narrowed to others sees nothing of this.
  const reach = { projectId: stage.projectId, userIds: [userIdOf(stage.projectId, 'bob')] };
  const narrowed = await data(`{ ${list} }`, {}, { reach });
  expect(narrowed.sessions.nodes).toEqual([{ id: ids[2], startReason: 'FIRST_SEEN', previous: null }]);
});

const sources = async (stage: Stage): Promise<[string | null, string | null][]> => {
  const { data } = await createExecutor(stage);
  const { sessions } = await data('{ sessions(orderBy: { direction: ASC }) { nodes { entrySource exitSource } } }');
  return sessions.nodes.map((one: { entrySource: string; exitSource: string }) => [one.entrySource, one.exitSource]);
};

test('entrySource and exitSource: of the first and the latest event that name one', async () => {
  const stage = await createStage(db);
  stage.at(100);
  await stage.send({ user: 'ada', type: 'session', t: 0 }, { user: 'ada', t: 10, source: '/a' });
  await stage.send({ user: 'ada', t: 20, source: '/b' });
  await stage.send({ user: 'ada', t: 30 });
  expect(await sources(stage)).toEqual([['/a', '/b']]);
  // Late ones: before the first, between, and after the latest.
  await stage.send({ user: 'ada', t: 5, source: '/before' });
  await stage.send({ user: 'ada', t: 15, source: '/between' });
  expect(await sources(stage)).toEqual([['/before', '/b']]);
  await stage.send({ user: 'ada', type: 'sessionend', t: 40 });
  expect(await sources(stage)).toEqual([['/before', '/b']]);
  await stage.send({ user: 'bob', t: 50 });
  expect(await sources(stage)).toEqual([
    ['/before', '/b'],
    [null, null],
  ]);
});

test('they follow events that a merge or a late start moves, also where the sources were stored long before', async () => {
  const stage = await createStage(db, { inactivityTimeout: 60 });
  stage.at(1_000);
  await stage.send({ user: 'ada', t: 0, source: '/a' }, { user: 'ada', t: 10 });
  await stage.send({ user: 'ada', t: 100, source: '/b' }, { user: 'ada', t: 120, source: '/c' });
  expect(await sources(stage)).toEqual([
    ['/a', '/a'],
    ['/b', '/c'],
  ]);
  await stage.send({ user: 'ada', t: 60 });
  expect(await sources(stage)).toEqual([['/a', '/c']]);
  // The session is open up to 120, so the start splits it.
  await stage.send({ user: 'ada', type: 'session', t: 50 });
  expect(await sources(stage)).toEqual([
    ['/a', '/a'],
    ['/b', '/c'],
  ]);
});

test('an erasure takes the sources of its events out of the sessions of others', async () => {
  const stage = await createStage(db);
  stage.at(100);
  // A session of two users: bob's by its key, and ada was there too.
  const key = { sessionKey: 'key-00001' };
  await stage.send({ user: 'bob', t: 10, source: '/bob', ...key });
  await stage.send({ t: 20, source: '/nobody', ...key });
  const { data } = await createExecutor(stage);
  const ids = await stage.send({ t: 0, source: '/ada', ...key }, { t: 30, source: '/ada', ...key });
  await stage.send({ user: 'ada', t: 40 });
  // As a client that named the session before its events were told apart by user stored them.
  await stage.database.query({
    name: 'test',
    text: `UPDATE events SET user_id = (SELECT id FROM users WHERE project_id = $1 AND identity = 'ada')
           WHERE project_id = $1 AND id = ANY($2::uuid[])`,
    values: [stage.projectId, ids.map(({ eventId }) => eventId)],
  });
  expect((await sources(stage))[0]).toEqual(['/ada', '/ada']);
  expect(await data('mutation { eraseUser(identity: "ada") { events } }')).toEqual({ eraseUser: { events: 3 } });
  expect(await sources(stage)).toEqual([['/bob', '/nobody']]);
});

test('sessions that were there before the update get their sources in bounded steps', async () => {
  const stage = await createStage(db, { inactivityTimeout: 10 });
  stage.at(1_000);
  for (let at = 0; at < 7; at += 1)
    await stage.send(
      { user: 'ada', t: at * 100 },
      { user: 'ada', t: at * 100 + 5, ...(at < 6 && { source: `/${at}` }) },
    );
  await stage.send({ user: 'ada', t: 8, source: '/late' });
  const before = await sources(stage);
  const forget = async () => {
    await stage.database.query({
      name: 'test',
      text: `UPDATE sessions SET entry_event_id = NULL, entry_source = NULL, exit_event_id = NULL, exit_source = NULL`,
    });
    await stage.database.query({
      name: 'test',
      text: `INSERT INTO catch_ups VALUES ('session sources', $1, '00000000-0000-0000-0000-000000000000')`,
      values: [stage.projectId],
    });
  };
  await forget();
  expect(await sources(stage)).toEqual(before.map(() => [null, null]));
  expect(await catchUpSources(stage.database, 2)).toBe(true);
  expect(await sources(stage)).toEqual(before.map((one, at) => (at < 2 ? one : [null, null])));
  // What ingest learns meanwhile is as right as it can be, and then as it must be.
  await stage.send({ user: 'ada', t: 607, source: '/new' });
  const maintenance = createMaintenance({ database: stage.database, clock: stage, observe: () => {} });
  await maintenance.runOnce(stage.now());
  await maintenance.close();
  expect(await sources(stage)).toEqual([...before.slice(0, 6), ['/new', '/new']]);
  expect(await sessionsThatMiscount(stage.database, stage.projectId)).toEqual([]);
  expect(await stage.database.query({ name: 'test', text: 'SELECT FROM catch_ups' })).toEqual([]);
  // A session that ingest holds is waited for, alone.
  await forget();
  const held = (await stage.sessions('ada'))[1]!.id;
  let release = (): void => {};
  const released = new Promise<void>((resolve) => (release = resolve));
  let isHeld = (): void => {};
  const holding = new Promise<void>((resolve) => (isHeld = resolve));
  const holder = stage.database.transaction(async (tx) => {
    await tx.query({ name: 'test', text: 'SELECT FROM sessions WHERE id = $1 FOR UPDATE', values: [held] });
    isHeld();
    await released;
  });
  await holding;
  expect(await catchUpSources(stage.database, 5)).toBe(true);
  expect(await sources(stage)).toEqual(before.map((one, at) => (at < 1 ? one : [null, null])));
  const waiting = catchUpSources(stage.database, 5);
  release();
  await holder;
  expect(await waiting).toBe(true);
  while (await catchUpSources(stage.database, 5));
  expect(await sessionsThatMiscount(stage.database, stage.projectId)).toEqual([]);
});
