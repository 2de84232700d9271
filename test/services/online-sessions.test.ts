import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createRedisBus } from '../../src/adapters/redis/redis-bus.js';
import type { PresenceUpdate } from '../../src/domain/presence.js';
import { createCloser } from '../../src/services/ingest/closer.js';
import { createEraseUser } from '../../src/services/projects/erase-user.js';
import { createIngest } from '../../src/services/ingest/ingest.js';
import { createPresence } from '../../src/services/presence/watch-presence.js';
import { presenceOf } from '../../src/store/presence/read-presence.js';
import { eventually } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { usersMiscounted } from '../support/rules.js';
import { shownBy } from '../support/shown-presence.js';
import { createStage, SENDER, toIncoming, type Stage } from '../support/stage.js';
import { redisUrl } from '../support/redis.js';

/** Rule 29: subscribers hear of every session that comes or goes, and not of the status alone. */

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});
afterAll(() => db.drop());

const told = (stage: Stage): string[] =>
  stage.edges().map(({ presence: { status, onlineSessions } }) => `${status} ${onlineSessions}`);

const PHONE = { sessionKey: 'the-phone', user: 'ada' };
const LAPTOP = { sessionKey: 'the-laptop', user: 'ada' };

test('rule 29: a second session is told when it comes and when it leaves, each time with the session', async () => {
  const stage = await createStage(db);
  const [phone] = await stage.send({ ...PHONE, t: 0 });
  stage.at(10);
  const [laptop] = await stage.send(LAPTOP);
  stage.at(20);
  await stage.send({ ...LAPTOP, type: 'sessionend' });
  stage.at(30);
  await stage.send({ ...PHONE, type: 'sessionend' });
  expect(told(stage)).toEqual(['ONLINE 1', 'ONLINE 2', 'ONLINE 1', 'OFFLINE 0']);
  const edges = stage.edges();
  expect(edges.map(({ sessionId }) => sessionId)).toEqual(
    [phone, laptop, laptop, phone].map((outcome) => outcome!.sessionId),
  );
  // The status has not changed in between.
  expect(edges.map(({ presence }) => presence.since)).toEqual([0, 0, 0, 30].map(stage.time));
  expect(edges.map(({ presence }) => presence.lastSeenAt)).toEqual([0, 10, 20, 30].map(stage.time));
  expect(edges.map(({ previous }) => previous)).toEqual([null, ...edges.slice(0, -1).map(({ version }) => version)]);
});

test('rule 29: sessions that come and go in one request are one change', async () => {
  const stage = await createStage(db);
  await stage.send({ ...PHONE, t: 0 }, { ...LAPTOP, t: 0 }, { user: 'ada', t: 0 });
  stage.at(10);
  await stage.send({ ...PHONE, type: 'sessionend' }, { ...LAPTOP, type: 'sessionend' }, { user: 'ada' });
  // One ends, another begins: as many as before.
  stage.at(20);
  await stage.send({ user: 'ada', type: 'session' });
  await stage.send({ user: 'ada', type: 'sessionend' }, { ...PHONE, sessionKey: 'the-tablet' });
  expect(told(stage)).toEqual(['ONLINE 3', 'ONLINE 1']);
});

test('rules 21 and 29: a session that lapses is told by the closer, and told again when it is heard', async () => {
  const stage = await createStage(db);
  await stage.send({ ...PHONE, t: 0 }, { ...LAPTOP, t: 0 });
  const { sessionId: phone } = await stage.beat({ sessionKey: 'the-phone' });
  const read = async () => {
    const [presence] = await presenceOf(stage.database, stage.caller.reach, ['ada']);
    return `${presence!.status} ${presence!.onlineSessions}`;
  };
  stage.at(80);
  // Nobody was told yet, and nobody reads anything else.
  expect(await read()).toBe('ONLINE 2');
  await stage.close();
  expect(await read()).toBe('ONLINE 1');
  // The shortcut takes no session that has lapsed, and an event is enough to hear it.
  await stage.send(PHONE);
  expect(told(stage)).toEqual(['ONLINE 2', 'ONLINE 1', 'ONLINE 2']);
  expect(stage.edges().map(({ sessionId }) => sessionId)).toEqual([expect.any(String), phone, phone]);
  stage.at(400);
  await stage.close();
  expect(told(stage).at(-1)).toBe('OFFLINE 0');
  expect(await usersMiscounted(stage.database, stage.projectId)).toEqual([]);
});

test('rules 1 and 29: a session of nobody counts for the first user whom it brings', async () => {
  const stage = await createStage(db);
  await stage.send({ user: 'ada', t: 0 }, { sessionKey: 'the-phone', t: 0 });
  await stage.send({ ...PHONE, t: 0 });
  expect(told(stage)).toEqual(['ONLINE 1', 'ONLINE 2']);
});

test('rules 27 and 29: two sessions that become one are one', async () => {
  const stage = await createStage(db);
  stage.at(1_000);
  await stage.send({ user: 'ada', t: 500 });
  await stage.send({ user: 'ada', t: 1_000 });
  await stage.send({ ...PHONE });
  await stage.send({ user: 'ada', t: 750 });
  expect(await stage.sessions('ada')).toHaveLength(2);
  expect(told(stage)).toEqual(['ONLINE 1', 'ONLINE 2']);
  expect(await usersMiscounted(stage.database, stage.projectId)).toEqual([]);
});

test('what only lets sessions go on leaves the row of their user alone', async () => {
  const stage = await createStage(db);
  await stage.send({ ...PHONE, t: 0 }, { ...LAPTOP, t: 0 }, { user: 'ada', t: 0 });
  const place = () =>
    stage.database.query({
      name: 'test.place',
      text: 'SELECT xmin, ctid FROM users WHERE project_id = $1',
      values: [stage.projectId],
    });
  const before = await place();
  for (let at = 1; at <= 20; at += 1) {
    stage.at(at);
    await stage.send({ user: 'ada' }, PHONE);
    await stage.beat({ sessionKey: 'the-laptop' });
  }
  expect(await place()).toEqual(before);
  expect(stage.edges()).toHaveLength(1);
});

/** What a subscriber shows: how many sessions each user has online. */
function fold(updates: readonly PresenceUpdate[]): Map<string, number> {
  const shown = new Map<string, number>();
  for (const { kind, users } of updates) {
    if (kind === 'SNAPSHOT') shown.clear();
    for (const { identity, status, since, onlineSessions } of users) {
      expect(status === 'ONLINE').toBe(onlineSessions > 0);
      // Rule 30: a DIFF tells nothing that was known already, but for somebody who was erased.
      if (kind === 'DIFF' && since !== null) expect(shown.get(identity) ?? 0).not.toBe(onlineSessions);
      shown.set(identity, onlineSessions);
    }
  }
  return new Map([...shown].filter(([, sessions]) => sessions > 0).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

test('rules 29 and 30: with two servers, closers and erasures at once, what every subscriber shows is what the rows say', async () => {
  const stage = await createStage(db, { presenceTimeout: 60 });
  const installation = randomUUID();
  const clock = { now: () => stage.now() };
  const observe = () => {};
  const servers = await Promise.all(
    [0, 1].map(async () => {
      const bus = await createRedisBus({ url: redisUrl(), installation, observe });
      const deps = { database: stage.database, bus, clock, observe };
      return {
        bus,
        ingest: createIngest(deps),
        presence: createPresence(deps),
        closer: createCloser({ ...deps, interval: 1_000 }),
        erase: createEraseUser(deps),
      };
    }),
  );
  const users = ['ada', 'bob', 'cyd'];
  const views: PresenceUpdate[][] = [];
  async function view(server: number, identities: string[] | null): Promise<void> {
    const heard: PresenceUpdate[] = [];
    views.push(heard);
    const updates = await servers[server]!.presence.watch(stage.caller.reach, { identities });
    void (async () => {
      for await (const update of updates) heard.push(update);
    })();
  }
  const types = ['log', 'heartbeat', 'sessionend', 'session', 'log', 'heartbeat', 'log'];
  const { caller: actor } = stage;
  for (let round = 0; round < 60; round += 1) {
    stage.at(round * 20);
    if (round % 7 === 0) await view(round % 2, round % 3 === 0 ? users : null);
    await Promise.all([
      ...users.flatMap((user, at) =>
        [0, 1].map((server) => {
          const step = round * 5 + at * 3 + server;
          // What a client has ended never comes back: there are new devices now and then.
          const device = `device-${step % 4}-${Math.floor(round / 6)}`;
          const who = step % 3 === 0 ? { user } : { user, sessionKey: device };
          return servers[server]!.ingest.ingestEvents(
            stage.caller,
            [toIncoming({ ...who, type: types[step % types.length]! }, stage.time)],
            SENDER,
          );
        }),
      ),
      ...servers.map(({ closer }) => closer.runOnce(stage.now())),
    ]);
    stage.at(round * 20 + 10);
    if (round % 20 === 19) await servers[round % 2]!.erase(actor, users[round % 3]!);
    expect(await usersMiscounted(stage.database, stage.projectId)).toEqual([]);
  }
  const rows = await presenceOf(stage.database, stage.caller.reach, users);
  const online = new Map(
    rows
      .filter(({ onlineSessions }) => onlineSessions > 0)
      .map(({ identity, onlineSessions }) => [identity, onlineSessions]),
  );
  expect([...online.values()].some((sessions) => sessions > 1)).toBe(true);
  for (const heard of views) await eventually(() => JSON.stringify([...fold(heard)]) === JSON.stringify([...online]));
  for (const heard of views) expect(heard.filter(({ kind }) => kind === 'SNAPSHOT')).toHaveLength(1);
  for (const { presence, ingest, bus } of servers) {
    await presence.close();
    await ingest.close();
    await bus.close();
  }
}, 60_000);

test('a session that came while its server died before it could say so is found by the repair', async () => {
  const stage = await createStage(db);
  // The stage's bus only records: nobody hears what it is told.
  const bus = await createRedisBus({ url: redisUrl(), installation: randomUUID(), observe: () => {} });
  const clock = { now: () => stage.now() };
  const presence = createPresence({ database: stage.database, bus, clock, observe: () => {} });
  await stage.send({ ...PHONE, t: 0 });
  const watch = await presence.watch(stage.caller.reach);
  expect(fold([(await watch.next()).value])).toEqual(new Map([['ada', 1]]));
  stage.at(100);
  await presence.repair();
  await stage.send(LAPTOP);
  await presence.repair();
  const { value } = await watch.next();
  expect(value.users).toMatchObject([{ identity: 'ada', status: 'ONLINE', onlineSessions: 2, since: stage.time(0) }]);
  await presence.close();
  await bus.close();
});

test('an update of a database that knew the status alone fills in how many sessions are online', async () => {
  const stage = await createStage(db);
  const { database } = stage;
  await stage.send({ ...PHONE, t: 0 }, { ...LAPTOP, t: 0 }, { user: 'ada', t: 0 }, { user: 'bob', t: 0 });
  await stage.beat({ sessionKey: 'the-laptop' });
  await stage.send({ user: 'bob', type: 'sessionend' });
  stage.at(80);
  await stage.close();
  const counts = () =>
    database.query({
      name: 'test.counts',
      text: `SELECT identity, online_sessions AS sessions, status_since AS since FROM users WHERE project_id = $1 ORDER BY 1`,
      values: [stage.projectId],
    });
  const before = await counts();
  expect(before).toMatchObject([{ sessions: 2 }, { sessions: 0 }]);
  const migration = await readFile('prisma/migrations/20261126142000_online_sessions/migration.sql', 'utf8');
  // As it was before.
  await database.query({
    name: 'test.before',
    text: 'ALTER TABLE users ADD COLUMN online boolean NOT NULL DEFAULT false',
  });
  await database.query({ name: 'test.before', text: 'UPDATE users SET online = online_sessions > 0' });
  await database.query({ name: 'test.before', text: 'ALTER TABLE users DROP COLUMN online_sessions' });
  await database.query({
    name: 'test.before',
    text: 'CREATE INDEX users_online ON users (project_id, id) WHERE online',
  });
  await database.query({
    name: 'test.before',
    text: 'CREATE INDEX users_status_since ON users (project_id, status_since)',
  });
  await database.transaction((tx) => tx.query({ name: 'test.migrate', text: migration }));
  expect(await counts()).toEqual(before);
  expect(await usersMiscounted(database, stage.projectId)).toEqual([]);
  expect(shownBy(stage.edges())).toEqual(
    new Map([
      ['ada', 2],
      ['bob', 0],
    ]),
  );
});
