import fc from 'fast-check';
import type { GraphQLInputObjectType } from 'graphql';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { createRedisBus } from '../../src/adapters/redis-bus.js';
import type { PresenceEdge, PresenceUpdate } from '../../src/domain/presence.js';
import { isVisible, readSnapshot } from '../../src/domain/presence.js';
import type { Bus } from '../../src/services/bus.js';
import { EdgeOrder } from '../../src/services/edge-order.js';
import { createIngest } from '../../src/services/ingest.js';
import { createPresence, type Presence } from '../../src/services/presence.js';
import { listPresence, presenceOf, presenceSnapshot, recentEdges } from '../../src/store/presence.js';
import { schema } from '../../src/schema/schema.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { eventually } from '../support/app.js';
import { startOwnRedis } from '../support/redis.js';
import { SENDER, createRecordingBus, createStage, toIncoming, type Stage } from '../support/stage.js';

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});
afterAll(() => db.drop());

/** Reads a watch for as long as it goes on. */
function follow(updates: AsyncIterable<PresenceUpdate>) {
  const heard: PresenceUpdate[] = [];
  const done = (async () => {
    for await (const update of updates) heard.push(update);
  })();
  return { heard, done };
}

/** What a client knows after these updates, as a front end would keep it. */
function reduce(updates: readonly PresenceUpdate[]): Map<string, string> {
  const state = new Map<string, string>();
  for (const { kind, users } of updates) {
    if (kind === 'SNAPSHOT') state.clear();
    for (const user of users) state.set(user.identity, user.status);
  }
  return state;
}

/** Two servers over one Redis, for a stage's project. */
async function twoServers(stage: Stage, url = inject('redisUrl')) {
  const clock = { now: () => stage.now() };
  const observe = () => {};
  const buses: Bus[] = [await createRedisBus({ url, observe }), await createRedisBus({ url, observe })];
  const servers = buses.map((bus) => ({
    bus,
    ingest: createIngest({ database: stage.database, bus, clock, observe }),
    presence: createPresence({ database: stage.database, bus, clock, observe }),
  }));
  const send = (server: number, user: string, type = 'log') =>
    servers[server]!.ingest.ingestEvents(
      stage.caller,
      [toIncoming({ user, type, t: (stage.now().getTime() - stage.time(0).getTime()) / 1000 }, stage.time)],
      SENDER,
    );
  return {
    servers,
    send,
    async close() {
      for (const { presence, ingest, bus } of servers) {
        await presence.close();
        await ingest.close();
        await bus.close();
      }
    },
  };
}

test('isVisible answers as Postgres does', async () => {
  const database = db.open();
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 3, max: 40 }),
      fc.integer({ min: 0, max: 20 }),
      fc.uniqueArray(fc.nat(19), { maxLength: 8 }),
      fc.integer({ min: 1, max: 80 }),
      async (xmin, span, offsets, transaction) => {
        const running = offsets
          .filter((offset) => offset < span)
          .map((offset) => xmin + offset)
          .sort((a, b) => a - b);
        const text = `${running[0] ?? xmin}:${xmin + span}:${running.join(',')}`;
        const [row] = await database.query<{ visible: boolean }>({
          name: 'test',
          text: 'SELECT pg_visible_in_snapshot($1::text::xid8, $2::pg_snapshot) AS visible',
          values: [String(transaction), text],
        });
        expect(isVisible(transaction, readSnapshot(text))).toBe(row!.visible);
      },
    ),
    { numRuns: 200 },
  );
});

const edge = (version: number, previous: number | null): PresenceEdge => ({
  userId: 'u',
  presence: {
    identity: 'u',
    name: null,
    status: version % 2 ? 'ONLINE' : 'OFFLINE',
    since: null,
    lastSeenAt: null,
    onlineSessions: 0,
  },
  version,
  previous,
  transaction: String(version),
  sessionId: null,
});

test("rule 30: a user's edges come out in order and once, whatever order and repeats they arrive in", async () => {
  await fc.assert(
    fc.property(fc.integer({ min: 1, max: 8 }), fc.infiniteStream(fc.nat()), (count, choices) => {
      const out: number[] = [];
      const order = new EdgeOrder(({ version }) => out.push(version), 60_000);
      const edges = Array.from({ length: count }, (_, at) => edge(at + 1, at === 0 ? null : at));
      // The first establishes what is known; the rest arrive in any order, some twice.
      order.receive(edges[0]!);
      const rest = [...edges.slice(1), ...edges];
      while (rest.length > 0) order.receive(rest.splice(choices.next().value! % rest.length, 1)[0]!);
      expect(out).toEqual(edges.map(({ version }) => version));
      order.close();
    }),
  );
});

test('an edge whose predecessor never comes is let through after a moment', async () => {
  const out: number[] = [];
  const order = new EdgeOrder(({ version }) => out.push(version), 20);
  order.receive(edge(1, null));
  order.receive(edge(4, 3));
  expect(out).toEqual([1]);
  await eventually(() => out.length === 2);
  expect(out).toEqual([1, 4]);
  order.close();
});

test('rule 30: whoever begins to watch at any moment sees the snapshot and then every change, none twice, none missing', async () => {
  const stage = await createStage(db);
  const two = await twoServers(stage);
  const users = Array.from({ length: 12 }, (_, at) => `user ${at}`);
  const followed: { heard: PresenceUpdate[]; identities: string[] | null }[] = [];
  const watches: AsyncIterableIterator<PresenceUpdate>[] = [];
  // Changes keep coming on both servers while watchers come.
  const changing = users.map(async (user, at) => {
    for (let round = 0; round < 20; round += 1)
      await two.send((at + round) % 2, user, round % 2 ? 'sessionend' : 'log');
    await two.send(at % 2, user);
  });
  for (let watcher = 0; watcher < 24; watcher += 1) {
    const identities = watcher % 3 === 0 ? users.slice(watcher % 5, (watcher % 5) + 4) : null;
    const watch = await two.servers[watcher % 2]!.presence.watch(stage.caller.reach, identities);
    watches.push(watch);
    followed.push({ heard: follow(watch).heard, identities });
  }
  await Promise.all(changing);
  // A last change of each, so that everybody's end is known.
  for (const user of users) await two.send(0, user, 'sessionend');
  for (const { heard, identities } of followed) {
    const expected = identities ?? users;
    await eventually(() => {
      const state = reduce(heard);
      return expected.every((user) => (state.get(user) ?? 'OFFLINE') === 'OFFLINE') && heard.length > 0;
    });
    expect(heard[0]!.kind).toBe('SNAPSHOT');
    expect(heard.filter(({ kind }) => kind === 'SNAPSHOT')).toHaveLength(1);
    // In order, none twice, none missing: each change is the opposite of what was known.
    const known = new Map(heard[0]!.users.map(({ identity, status }) => [identity, status]));
    for (const { users: changed } of heard.slice(1)) {
      for (const { identity, status } of changed) {
        expect(status).toBe((known.get(identity) ?? 'OFFLINE') === 'ONLINE' ? 'OFFLINE' : 'ONLINE');
        known.set(identity, status);
        if (identities) expect(identities).toContain(identity);
      }
    }
  }
  await Promise.all(watches.map((watch) => watch.return!()));
  await two.close();
}, 60_000);

test('rule 30: after a lost connection to Redis every watcher is sent a new snapshot that is right', async () => {
  const redis = await startOwnRedis();
  const stage = await createStage(db);
  const two = await twoServers(stage, redis.url);
  const { heard } = follow(await two.servers[0]!.presence.watch(stage.caller.reach, null));
  await two.send(1, 'ada');
  await eventually(() => reduce(heard).get('ada') === 'ONLINE');
  await redis.kill();
  await eventually(() => !two.servers[0]!.bus.connected && !two.servers[1]!.bus.connected);
  // Nobody is told of these; ingest goes on.
  await two.send(1, 'ada', 'sessionend');
  await two.send(1, 'bob');
  const again = await startOwnRedis(redis.port);
  await eventually(() => heard.filter(({ kind }) => kind === 'SNAPSHOT').length === 2);
  expect([...reduce(heard)]).toEqual([['bob', 'ONLINE']]);
  await two.close();
  await again.kill();
}, 30_000);

test('rule 21: after a closing heartbeat the user is ONLINE with a session until it lapses, wherever it is told', async () => {
  const stage = await createStage(db);
  /** Status and sessions as every statement tells them. */
  async function told(): Promise<string[]> {
    const { database, caller } = stage;
    const [reach, now] = [caller.reach, stage.now()];
    const page = { limit: 10, after: null, before: null, backwards: false };
    const listed = await listPresence(database, reach, { status: null }, page, now);
    const edges = await recentEdges(database, [reach], stage.time(0), now);
    const all = [
      ...(await presenceOf(database, reach, ['ada'], now)),
      ...listed.rows.map(({ presence }) => presence),
      ...(await presenceSnapshot(database, reach, ['ada'], now)).users,
      ...edges.map(({ edge: { presence } }) => presence),
    ];
    expect(all).toHaveLength(4);
    return [...new Set(all.map(({ status, onlineSessions }) => `${status} ${onlineSessions}`))];
  }

  stage.at(0);
  await stage.send({ user: 'ada' });
  stage.at(10);
  await stage.beat({ identity: 'ada' }, true);
  for (const later of [10, 14.999, 15, 60]) {
    stage.at(later);
    expect([later, await told()]).toEqual([later, ['ONLINE 1']]);
  }
  await stage.close();
  expect(await told()).toEqual(['OFFLINE 0']);
  // One more heartbeat, and the next lapse is of presence alone: the session stays open.
  stage.at(100);
  await stage.beat({ identity: 'ada' });
  expect(await told()).toEqual(['ONLINE 1']);
  stage.at(180);
  expect(await told()).toEqual(['ONLINE 1']);
  await stage.close();
  expect(await told()).toEqual(['OFFLINE 0']);
  expect(stage.edges().map(({ presence }) => `${presence.status} ${presence.onlineSessions}`)).toEqual([
    'ONLINE 1',
    'OFFLINE 0',
    'ONLINE 1',
    'OFFLINE 0',
  ]);

  const { close } = (schema.getType('HeartbeatInput') as GraphQLInputObjectType).getFields();
  expect(close!.description).toContain('5 more seconds');
});

test('an edge that was committed and never published is found by the repair, once', async () => {
  const stage = await createStage(db);
  const bus = await createRedisBus({ url: inject('redisUrl'), observe: () => {} });
  const presence = createPresence({
    database: stage.database,
    bus,
    clock: { now: () => stage.now() },
    observe: () => {},
  });
  const { heard } = follow(await presence.watch(stage.caller.reach, null));
  // The stage's own bus only records: as if its server had died between commit and publish.
  await stage.send({ user: 'ada', t: 0 });
  await presence.repair(stage.now());
  await eventually(() => heard.length === 2);
  await presence.repair(stage.now());
  await presence.repair(stage.now());
  await stage.send({ type: 'sessionend', user: 'ada', t: 0 });
  await presence.repair(stage.now());
  await eventually(() => heard.length === 3);
  expect(heard.map(({ kind, users }) => [kind, ...users.map(({ status }) => status)])).toEqual([
    ['SNAPSHOT'],
    ['DIFF', 'ONLINE'],
    ['DIFF', 'OFFLINE'],
  ]);
  await presence.close();
  await bus.close();
});

test('a slow watcher holds bounded memory, and starts again with a snapshot that is right', async () => {
  const stage = await createStage(db);
  const bus = await createRedisBus({ url: inject('redisUrl'), observe: () => {} });
  const clock = { now: () => stage.now() };
  const ingest = createIngest({ database: stage.database, bus, clock, observe: () => {} });
  const resnapshots: string[] = [];
  const presence: Presence = createPresence({
    database: stage.database,
    bus,
    clock,
    observe: (observation) => observation.kind === 'watcher.resnapshotted' && resnapshots.push(observation.why),
  });
  const slow = await presence.watch(stage.caller.reach, null);
  const quick = follow(await presence.watch(stage.caller.reach, null));
  expect((await slow.next()).value.kind).toBe('SNAPSHOT');
  for (let batch = 0; batch < 3; batch += 1) {
    const events = Array.from({ length: 600 }, (_, at) =>
      toIncoming({ user: `user ${batch * 600 + at}`, t: 0 }, stage.time),
    );
    await ingest.ingestEvents(stage.caller, events, SENDER);
  }
  await eventually(() => reduce(quick.heard).size === 1800);
  const next = (await slow.next()).value as PresenceUpdate;
  expect([next.kind, next.users.length]).toEqual(['SNAPSHOT', 1800]);
  expect(resnapshots).toEqual(['slow']);
  expect(quick.heard.filter(({ kind }) => kind === 'SNAPSHOT')).toHaveLength(1);
  await presence.close();
  await quick.done;
  await ingest.close();
  await bus.close();
});

test('a watch that is returned while it waits ends at once and leaves nothing behind', async () => {
  const stage = await createStage(db);
  const left: string[] = [];
  const bus = createRecordingBus();
  const counting: Bus = {
    ...bus,
    subscribe: async (channel) => ({ close: async () => void left.push(channel) }),
  };
  const presence = createPresence({
    database: stage.database,
    bus: counting,
    clock: { now: () => stage.now() },
    observe: () => {},
  });
  const watch = await presence.watch(stage.caller.reach, []);
  await watch.next();
  const waiting = watch.next();
  await watch.return!();
  expect(await waiting).toEqual({ value: undefined, done: true });
  await eventually(() => left.length === 1);
});
