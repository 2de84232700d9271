import { afterAll, beforeAll, expect, test } from 'vitest';
import { createMemoryBus } from '../../src/adapters/memory-bus.js';
import { userIdOf } from '../../src/domain/identity.js';
import { createToldLastSeen, LastSeenRound } from '../../src/services/presence/last-seen-round.js';
import { createPresence } from '../../src/services/presence/watch-presence.js';
import type { Database } from '../../src/store/database.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { createStage, type Stage } from '../support/stage.js';

/** When a user was last seen is told at most once a minute, and only where it is news. */

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});
afterAll(() => db.drop());

const MINUTE = 60;

interface Told {
  readonly at: number;
  readonly who: string;
  readonly seen: number;
}

/** Lets ada send a heartbeat every 10 s and a look come every 2 s, for five minutes from second 10 on. */
async function fiveMinutes(stage: Stage, userIds: readonly string[] | null): Promise<Told[]> {
  const told: Told[] = [];
  const round = new LastSeenRound(stage.database, stage.projectId, stage.time(10).getTime(), createToldLastSeen());
  for (let at = 10; at <= 310; at += 2) {
    stage.at(at);
    if (at % 10 === 0) await stage.beat({ identity: 'ada' });
    for (const { presence } of await round.look(() => userIds, stage.now().getTime())) {
      const seen = (presence.lastSeenAt!.getTime() - stage.time(0).getTime()) / 1_000;
      told.push({ at, who: presence.identity, seen });
    }
  }
  return told;
}

test('a user who is seen all the time is told of once a minute, one who is silent never', async () => {
  const stage = await createStage(db, { inactivityTimeout: 3_600, presenceTimeout: 60 });
  await stage.send({ user: 'ada', t: 0 }, { user: 'bob', t: 0 });
  const told = await fiveMinutes(stage, null);
  expect(told.map(({ who }) => who)).toEqual(['ada', 'ada', 'ada', 'ada', 'ada']);
  for (const [index, { at, seen }] of told.entries()) {
    expect(at - seen).toBeLessThan(10);
    expect(at - (told[index - 1]?.at ?? 10)).toBeGreaterThanOrEqual(MINUTE);
  }
});

test('where somebody asks for some users alone, the others are not looked at', async () => {
  for (const [asked, times] of [
    [['bob', 'nobody'], 0],
    [['ada', 'bob'], 5],
  ] as const) {
    const stage = await createStage(db, { inactivityTimeout: 3_600, presenceTimeout: 60 });
    await stage.send({ user: 'ada', t: 0 }, { user: 'bob', t: 0 });
    const ids = asked.map((identity) => userIdOf(stage.projectId, identity));
    expect(await fiveMinutes(stage, ids)).toHaveLength(times);
  }
});

test('what an edge has told is not told again within the minute', async () => {
  const stage = await createStage(db, { inactivityTimeout: 3_600 });
  const begun = stage.time(0).getTime();
  const round = new LastSeenRound(stage.database, stage.projectId, begun, createToldLastSeen());
  stage.at(50);
  await stage.send({ user: 'ada' });
  round.note(stage.edges(), stage.now().getTime());
  stage.at(62);
  await stage.send({ user: 'ada' });
  expect(await round.look(() => null, stage.now().getTime())).toEqual([]);
  stage.at(122);
  const [ada, ...others] = await round.look(() => null, stage.now().getTime());
  expect(ada!.presence.lastSeenAt).toEqual(stage.time(62));
  expect(others).toEqual([]);
});

test('only those who ask for lastSeenAt are told that a user was seen again, with the whole state', async () => {
  const stage = await createStage(db, { inactivityTimeout: 3_600 });
  const bus = createMemoryBus();
  const clock = { now: () => stage.now() };
  const presence = createPresence({ database: stage.database, bus, clock, observe: () => {} });
  await stage.send({ user: 'ada', t: 0 }, { user: 'bob', t: 0 });
  const asks = new Set(['lastSeenAt' as const]);
  const watches = await Promise.all([
    presence.watch(stage.caller.reach, { asks }),
    presence.watch(stage.caller.reach, { asks, identities: ['ada'] }),
    presence.watch(stage.caller.reach, { asks, identities: ['bob'] }),
    presence.watch(stage.caller.reach),
  ]);
  for (const watch of watches) await watch.next();
  const [all, ada, ...others] = watches.map((watch) => watch.next());
  for (let at = 1; at <= 90; at += 1) {
    stage.at(at);
    await stage.send({ user: 'ada' });
    await presence.tellLastSeen();
  }
  for (const told of [all, ada]) {
    const { value } = await told!;
    const state = { identity: 'ada', status: 'ONLINE', onlineSessions: 1, since: stage.time(0) };
    expect(value).toMatchObject({ kind: 'DIFF', users: [{ ...state, lastSeenAt: stage.time(60) }] });
  }
  // An edge comes after all that was told before it: to the others it is the first.
  stage.at(91);
  await stage.send({ user: 'ada', type: 'sessionend' }, { user: 'bob', type: 'sessionend' });
  await presence.repair();
  for (const told of others) expect((await told).value.users[0]).toMatchObject({ status: 'OFFLINE' });
  const { value } = await watches[1].next();
  expect(value.users).toMatchObject([{ identity: 'ada', status: 'OFFLINE', lastSeenAt: stage.time(91) }]);
  await presence.close();
  await bus.close();
});

test('a round of many users takes several looks, and begins anew a minute after its beginning', async () => {
  const stage = await createStage(db, { inactivityTimeout: 3_600 });
  const users = Array.from({ length: 4_500 }, (_, at) => `user ${at}`);
  for (let from = 0; from < users.length; from += 500)
    await stage.send(...users.slice(from, from + 500).map((user) => ({ user, t: 0 })));
  const round = new LastSeenRound(stage.database, stage.projectId, stage.time(0).getTime(), createToldLastSeen());
  const heard = async (at: number): Promise<number> => {
    stage.at(at);
    return (await round.look(() => null, stage.now().getTime())).length;
  };
  stage.at(30);
  for (let from = 0; from < users.length; from += 500)
    await stage.send(...users.slice(from, from + 500).map((user) => ({ user })));
  expect([await heard(59), await heard(60), await heard(61), await heard(62), await heard(63)]).toEqual([
    0, 2_000, 2_000, 500, 0,
  ]);
  expect(await heard(121)).toBe(0);
});

test('users whose read failed are read a second later, and nothing of the round is left out', async () => {
  for (const asked of [null, ['ada']]) {
    const stage = await createStage(db, { inactivityTimeout: 3_600 });
    await stage.send({ user: 'ada', t: 0 });
    const userIds = asked && asked.map((identity) => userIdOf(stage.projectId, identity));
    let fails = true;
    const database: Database = {
      ...stage.database,
      query: (statement) => (fails ? Promise.reject(new Error('away')) : stage.database.query(statement)),
    };
    const round = new LastSeenRound(database, stage.projectId, stage.time(0).getTime(), createToldLastSeen());
    stage.at(30);
    await stage.send({ user: 'ada' });
    await expect(round.look(() => userIds, stage.time(60).getTime())).rejects.toThrow('away');
    fails = false;
    expect(await round.look(() => userIds, stage.time(61).getTime())).toHaveLength(1);
  }
});
