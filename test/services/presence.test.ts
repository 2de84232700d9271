import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import type { GraphQLInputObjectType } from 'graphql';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createMemoryBus } from '../../src/adapters/memory-bus.js';
import { createRedisBus } from '../../src/adapters/redis/redis-bus.js';
import type { PresenceEdge, PresenceUpdate } from '../../src/domain/presence.js';
import { isVisible, readSnapshot } from '../../src/domain/presence.js';
import type { Observer } from '../../src/observation.js';
import type { Bus } from '../../src/services/bus.js';
import { EdgeOrder } from '../../src/services/presence/edge-order.js';
import { createIngest } from '../../src/services/ingest/ingest.js';
import { PRESENCE_LIMITS } from '../../src/services/presence/presence-limits.js';
import { createPresence } from '../../src/services/presence/watch-presence.js';
import { userIdOf } from '../../src/domain/identity.js';
import { edgesSince, presenceNow } from '../../src/store/presence/presence-moments.js';
import { listPresence, presenceOf } from '../../src/store/presence/read-presence.js';
import { schema } from '../../src/schema/schema.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { eventually } from '../support/app.js';
import { startOwnRedis, redisUrl } from '../support/redis.js';
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
async function twoServers(stage: Stage, url = redisUrl()) {
  const clock = { now: () => stage.now() };
  const observe = () => {};
  const installation = randomUUID();
  const buses: Bus[] = [
    await createRedisBus({ url, installation, observe }),
    await createRedisBus({ url, installation, observe }),
  ];
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
    const watch = await two.servers[watcher % 2]!.presence.watch(stage.caller.reach, { identities });
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

test('rule 30: after a lost connection to Redis every watcher is told what has changed, and no more', async () => {
  const redis = await startOwnRedis();
  const stage = await createStage(db);
  const two = await twoServers(stage, redis.url);
  const { heard } = follow(await two.servers[0]!.presence.watch(stage.caller.reach));
  await two.send(1, 'ada');
  await two.send(1, 'cyd');
  await eventually(() => reduce(heard).size === 2);
  await redis.kill();
  await eventually(() => !two.servers[0]!.bus.connected && !two.servers[1]!.bus.connected);
  const before = heard.length;
  // Nobody is told of these; ingest goes on.
  await two.send(1, 'ada', 'sessionend');
  await two.send(1, 'bob');
  const again = await startOwnRedis(redis.port);
  await eventually(() => heard.slice(before).flatMap(({ users }) => users).length === 2);
  expect(heard.slice(before).map(({ kind }) => kind)).not.toContain('SNAPSHOT');
  expect(reduce(heard)).toEqual(
    new Map([
      ['cyd', 'ONLINE'],
      ['ada', 'OFFLINE'],
      ['bob', 'ONLINE'],
    ]),
  );
  await two.close();
  await again.kill();
}, 30_000);

test('rule 21: after a closing heartbeat the user is ONLINE with a session until it lapses, wherever it is told', async () => {
  const stage = await createStage(db);
  /** Status and sessions as every statement tells them. */
  async function told(): Promise<string[]> {
    const { database, caller } = stage;
    const { reach } = caller;
    const page = { limit: 10, after: null, before: null, backwards: false };
    const listed = await listPresence(database, reach, { status: null }, page);
    const edges: PresenceEdge[] = [];
    const since = { naming: "'here'", since: readSnapshot('1:1:') };
    await edgesSince(database, [reach], since, (some) => edges.push(...some.map(({ edge: one }) => one)));
    const mine = { ...reach, userIds: [userIdOf(reach.projectId, 'ada')] };
    const all = [
      ...(await presenceOf(database, reach, ['ada'])),
      ...listed.rows.map(({ presence }) => presence),
      ...(await presenceNow(database, mine, "'here'")).users.values(),
      ...edges.map(({ presence }) => presence),
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
  expect(close!.description).toContain('counts as online for 5 seconds');
});

test('an edge that was committed and never published is found by the repair, once', async () => {
  const stage = await createStage(db);
  const bus = await createRedisBus({ url: redisUrl(), installation: randomUUID(), observe: () => {} });
  const presence = createPresence({
    database: stage.database,
    bus,
    clock: { now: () => stage.now() },
    observe: () => {},
  });
  const { heard } = follow(await presence.watch(stage.caller.reach));
  // The stage's own bus only records: as if its server had died between commit and publish.
  await stage.send({ user: 'ada', t: 0 });
  await presence.repair();
  await eventually(() => heard.length === 2);
  await presence.repair();
  await presence.repair();
  await stage.send({ type: 'sessionend', user: 'ada', t: 0 });
  await presence.repair();
  await eventually(() => heard.length === 3);
  expect(heard.map(({ kind, users }) => [kind, ...users.map(({ status }) => status)])).toEqual([
    ['SNAPSHOT'],
    ['DIFF', 'ONLINE'],
    ['DIFF', 'OFFLINE'],
  ]);
  await presence.close();
  await bus.close();
});

test('the repair reads what was never published in pages, all of it', async () => {
  const stage = await createStage(db);
  const read: number[] = [];
  const database = db.open(
    (seen) => seen.kind === 'statement' && seen.name === 'presence.page' && read.push(seen.rows),
  );
  const presence = createPresence({ database, bus: createRecordingBus(), clock: stage, observe: () => {} });
  const { heard } = follow(await presence.watch(stage.caller.reach));
  const users = Array.from({ length: 2_500 }, (_, at) => `user ${at}`);
  for (let at = 0; at < users.length; at += 1_000) {
    stage.at(at / 1_000);
    await stage.send(...users.slice(at, at + 1_000).map((user) => ({ user })));
  }
  read.length = 0;
  await presence.repair();
  await eventually(() => reduce(heard).size === users.length);
  expect(read).toEqual([2_000, 500]);
  await presence.close();
});

test('a slow watcher is told the latest state of each user at once, and where that is not in memory any more, what the rows say', async () => {
  const stage = await createStage(db);
  const bus = createMemoryBus();
  const ingest = createIngest({ database: stage.database, bus, clock: stage, observe: () => {} });
  const resnapshots: string[] = [];
  const observe: Observer = (seen) => seen.kind === 'watcher.resnapshotted' && resnapshots.push(seen.why);
  const deps = { database: stage.database, bus, clock: stage, observe };
  const servers = [
    createPresence(deps),
    createPresence({ ...deps, limits: { ...PRESENCE_LIMITS, kept: 1_000 } }),
    createPresence({ ...deps, limits: { ...PRESENCE_LIMITS, kept: 1_000, changed: 1_000 } }),
  ];
  const slow = await Promise.all(servers.map((presence) => presence.watch(stage.caller.reach)));
  const quick = await Promise.all(servers.map(async (presence) => follow(await presence.watch(stage.caller.reach))));
  for (const watch of slow) expect((await watch.next()).value.kind).toBe('SNAPSHOT');
  for (let batch = 0; batch < 6; batch += 1) {
    const type = batch % 2 ? 'sessionend' : 'log';
    const events = Array.from({ length: 600 }, (_, at) =>
      toIncoming({ user: `user ${Math.floor(batch / 2) * 600 + at}`, type, t: 0 }, stage.time),
    );
    await ingest.ingestEvents(stage.caller, events, SENDER);
  }
  for (const { heard } of quick)
    await eventually(() => [...reduce(heard).values()].filter((status) => status === 'OFFLINE').length === 1_800);
  const next = await Promise.all(slow.map(async (watch) => (await watch.next()).value as PresenceUpdate));
  expect(next.map(({ kind, users }) => [kind, users.length])).toEqual([
    ['DIFF', 1_800],
    ['DIFF', 1_800],
    ['SNAPSHOT', 0],
  ]);
  expect(new Set(next.flatMap(({ users }) => users.map(({ status }) => status)))).toEqual(new Set(['OFFLINE']));
  expect(resnapshots).toEqual(['slow']);
  for (const { heard } of quick) expect(heard.filter(({ kind }) => kind === 'SNAPSHOT')).toHaveLength(1);
  for (const presence of servers) await presence.close();
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
  const watch = await presence.watch(stage.caller.reach, { identities: [] });
  await watch.next();
  const waiting = watch.next();
  await watch.return!();
  expect(await waiting).toEqual({ value: undefined, done: true });
  await eventually(() => left.length === 1);
});
