import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createMemoryBus } from '../../src/adapters/memory-bus.js';
import type { EventFilter } from '../../src/domain/filters.js';
import type { Reach } from '../../src/domain/access.js';
import { userIdOf } from '../../src/domain/identity.js';
import type { Bus, BusListener } from '../../src/services/bus.js';
import { createLive } from '../../src/services/live/watch-live.js';
import { eventsChannel } from '../../src/services/messages.js';
import type { Database, Statement } from '../../src/store/database.js';
import { listEvents } from '../../src/store/sessions/events.js';
import type { EventRow } from '../../src/store/rows.js';
import { listSessions } from '../../src/store/sessions/sessions.js';
import { eventually } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { createStage, type Stage } from '../support/stage.js';

/** Watches of events: who is told of what, what it costs, and that nobody is left behind in silence. */

const USERS = ['ada', 'grace', 'linus'];
const TYPES = ['log', 'error', 'page view'];
const EVERYTHING = { limit: 100, after: null, before: null, backwards: false } as const;

let db: TestDatabase;
let stage: Stage;
let reach: Reach;
let events: readonly EventRow[];
let sessionIds: string[];

beforeAll(async () => {
  db = await createTestDatabase();
  stage = await createStage(db, { inactivityTimeout: 86_400 });
  reach = stage.caller.reach;
  stage.at(600);
  // Of users, of sessions that a client names, of those that nobody has named a user of, and of nobody.
  const sent = Array.from({ length: 80 }, (_, at) => ({
    type: TYPES[at % 3]!,
    t: at * 5,
    ...(at % 4 < 2 ? { user: USERS[at % 3]! } : {}),
    ...(at % 5 === 0 ? {} : at % 4 === 1 || at % 4 === 2 ? { sessionKey: `session-key-${at % 3}` } : {}),
    ...(at % 2 ? { source: `/page/${at % 5}` } : {}),
    ...(at % 3 ? { message: `100%_sure ${at % 7}` } : {}),
    ...(at % 3 ? { tags: [`tag${at % 4}`, `tag${at % 3}`] } : {}),
    ...(at % 6 ? { referenceId: `reference-${at % 11}` } : {}),
    data: { step: at % 4, deep: { list: [at % 2, 'x'] } },
  }));
  await stage.send(...sent);
  ({ rows: events } = await listEvents(stage.database, reach, null, EVERYTHING));
  const sessions = await listSessions(
    stage.database,
    reach,
    null,
    { field: 'STARTED_AT', direction: 'DESC' },
    EVERYTHING,
  );
  sessionIds = sessions.rows.map(({ id }) => id);
  expect(events.length).toBe(80);
  // Events of a named session that name nobody belong to whoever it is of.
  expect(events.some(({ userId, sessionId }) => userId === null && sessionId !== null)).toBe(true);
  expect(events.some(({ sessionId }) => sessionId === null)).toBe(true);
});
afterAll(() => db.drop());

/** The statements that a database is asked, which wait where `hold` is set. */
function watchedDatabase(inner: Database) {
  const asked: Statement[] = [];
  let gate: Promise<void> | null = null;
  let open = (): void => {};
  return {
    asked,
    hold(): void {
      gate = new Promise((resolve) => (open = resolve));
    },
    release(): void {
      gate = null;
      open();
    },
    database: {
      ...inner,
      async query<Row>(statement: Statement): Promise<Row[]> {
        asked.push(statement);
        await gate;
        return inner.query<Row>(statement);
      },
    } satisfies Database,
  };
}

/** Reads a watch for as long as it goes on. */
function follow<Item>(watch: AsyncIterable<Item>) {
  const heard: Item[] = [];
  const ended = (async () => {
    for await (const item of watch) heard.push(item);
  })();
  ended.catch(() => {});
  return { heard, ended };
}

const sayEvents = (bus: Bus, ids: readonly string[]): Promise<void> =>
  bus.publish(eventsChannel(reach.projectId), JSON.stringify({ ids }));

const range = fc.record(
  { from: fc.integer({ min: 0, max: 400 }), to: fc.integer({ min: 0, max: 400 }) },
  { requiredKeys: [] },
);
const some = <Value>(...values: Value[]) => fc.option(fc.subarray(values, { minLength: 0 }), { freq: 1 });
const anyFilter = fc
  .record(
    {
      types: some(...TYPES, 'other'),
      identities: some(...USERS, ' ada ', 'nobody'),
      sources: some('/page/1', '/page/3', '/PAGE/1'),
      tags: some('tag0', 'tag1', 'tag3'),
      search: fc.constantFrom('', null, 'PAGE/1', '%_', 'sure 3'),
      referenceId: fc.constantFrom(null, 'reference-1', 'reference-5'),
      hasSession: fc.constantFrom(null, true, false),
      dataContains: fc.constantFrom(null, {}, { step: 2 }, { deep: { list: ['x', 1] } }, { step: '2' }),
      occurredAt: fc.option(range, { freq: 2 }),
      sessions: fc.array(fc.nat(20), { maxLength: 4 }),
    },
    { requiredKeys: [] },
  )
  .map(({ sessions, occurredAt, ...filter }): EventFilter => ({
    ...filter,
    ...(sessions && { sessionIds: sessions.map((at) => sessionIds[at % sessionIds.length]!) }),
    ...(occurredAt && {
      occurredAt: {
        ...(occurredAt.from !== undefined && { from: stage.time(occurredAt.from) }),
        ...(occurredAt.to !== undefined && { to: stage.time(occurredAt.to) }),
      },
    }),
  }));
const anyView = fc.record({
  filter: fc.option(anyFilter, { freq: 20 }),
  users: fc.option(fc.subarray(USERS, { minLength: 1 }), { freq: 1 }),
});

test('each watch of events is told of just those that a list with its filter and reach has, whatever the others watch', async () => {
  let told = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(anyView, { minLength: 1, maxLength: 40 }), async (views) => {
      const bus = createMemoryBus();
      const live = createLive({ database: stage.database, bus, observe: () => {} });
      const watched = await Promise.all(
        views.map(async ({ filter, users }) => {
          const userIds = users && users.map((user) => userIdOf(reach.projectId, user));
          const within = { ...reach, userIds };
          const { rows } = await listEvents(stage.database, within, filter, EVERYTHING);
          const expected = rows.map(({ id }) => id).toReversed();
          return { expected, ...follow(await live.watchEvents(within, filter)) };
        }),
      );
      await sayEvents(
        bus,
        events.map(({ id }) => id),
      );
      await eventually(() => watched.every(({ heard, expected }) => heard.length >= expected.length));
      await live.close();
      await Promise.all(watched.map(({ ended }) => ended));
      for (const { heard, expected } of watched) {
        told += expected.length;
        expect(heard.map(({ id }) => id)).toEqual(expected);
      }
    }),
    { numRuns: 60 },
  );
  // Filters that nothing matches would show nothing.
  expect(told).toBeGreaterThan(1_000);
}, 60_000);

test('rule 27: whoever watches the events of a session goes on with what it became, however it is told', async () => {
  const own = await createStage(db, { inactivityTimeout: 20 });
  const { reach: within } = own.caller;
  const bus = createMemoryBus();
  // What the stage's bus has recorded is said here: its own listens to nobody.
  const say = async (): Promise<void> => {
    for (const { channel, message } of own.bus.said.splice(0)) await bus.publish(channel, message);
  };
  own.at(100);
  // As few as the database tells apart, and so many that it does not.
  for (const views of [1, 40]) {
    const user = `of ${views}`;
    const [, later] = await own.send({ user, t: 0 }, { user, t: 40 });
    await say();
    const live = createLive({ database: own.database, bus, observe: () => {} });
    const watched = await Promise.all(
      Array.from({ length: views }, async (_, at) =>
        follow(
          await live.watchEvents(within, { sessionIds: [later!.sessionId!], ...(at > 0 && { types: [`none ${at}`] }) }),
        ),
      ),
    );
    await own.send({ user, t: 20, message: 'between' });
    await own.send({ user, t: 60, message: 'after' });
    await say();
    const { heard } = watched[0]!;
    await eventually(() => heard.length === 2);
    expect(heard.map(({ message }) => message)).toEqual(['between', 'after']);
    expect(watched.slice(1).every((other) => other.heard.length === 0)).toBe(true);
    expect(await own.sessions(user)).toHaveLength(1);
    await live.close();
  }
});

test('thirty views cost one statement, and those of which the database must tell one more; what is said while it is read costs no more than that again', async () => {
  const bus = createMemoryBus();
  const { database, asked, hold, release } = watchedDatabase(stage.database);
  const live = createLive({ database, bus, observe: () => {} });
  const filters: EventFilter[] = Array.from({ length: 30 }, (_, at) =>
    at % 3 === 0 ? { search: `sure ${at}` } : { types: ['log', 'error', 'page view', `type ${at}`] },
  );
  const watched = await Promise.all(filters.map(async (filter) => follow(await live.watchEvents(reach, filter))));
  const { heard } = watched[1]!;
  let said = 0;
  const ear = { onMessage: () => void (said += 1), onLoss: () => {}, onGap: () => {} };
  await bus.subscribe(eventsChannel(reach.projectId), ear);
  hold();
  await sayEvents(bus, [events[0]!.id]);
  await eventually(() => asked.length > 0);
  for (const { id } of events.slice(1)) await sayEvents(bus, [id]);
  await eventually(() => said === events.length);
  expect(asked.length).toBe(1);
  release();
  await eventually(() => heard.length === events.length);
  const names = asked.map(({ name }) => name);
  expect(names.filter((name) => name === 'events.watched')).toHaveLength(2);
  expect(names.filter((name) => name === 'events.met').length).toBeLessThanOrEqual(2);
  await live.close();
});

test('a consumer that keeps up is told of however much comes at once, and one that does not is told that it has missed something', async () => {
  const bus = createMemoryBus();
  const { database, asked } = watchedDatabase(stage.database);
  const live = createLive({ database, bus, observe: () => {} });
  const slow = await live.watchEvents(reach, null);
  const quick = follow(await live.watchEvents(reach, { types: TYPES }));
  const ids = events.map(({ id }) => id);
  for (let told = 0; told < 1_600; told += ids.length) {
    await sayEvents(bus, ids);
    await eventually(() => quick.heard.length === told + ids.length);
  }
  await expect(slow.next()).rejects.toMatchObject({ code: 'OVERLOADED' });
  expect(await slow.next()).toEqual({ value: undefined, done: true });
  expect(asked.length).toBeLessThanOrEqual(20);
  await live.close();
});

test('more than can be read, a database that cannot be asked, a bus that has lost something: every watch ends and says so', async () => {
  const listeners: BusListener[] = [];
  const bus: Bus = {
    ...createMemoryBus(),
    async subscribe(_channel, listener) {
      listeners.push(listener);
      return { close: async () => {} };
    },
  };
  const closed: string[] = [];
  let isLost = false;
  const losing: Database = {
    ...stage.database,
    query: (statement) => (isLost ? Promise.reject(new Error('It is gone.')) : stage.database.query(statement)),
  };
  const { database, asked, hold, release } = watchedDatabase(losing);
  const live = createLive({ database, bus, observe: ({ kind }) => kind === 'watcher.closed' && closed.push(kind) });
  const [id] = [events[0]!.id];

  const overloaded = follow(await live.watchEvents(reach, null));
  hold();
  listeners[0]!.onMessage(JSON.stringify({ ids: [id] }));
  await eventually(() => asked.length === 1);
  listeners[0]!.onMessage(JSON.stringify({ ids: Array(20_001).fill(id) }));
  await expect(overloaded.ended).rejects.toMatchObject({ code: 'OVERLOADED' });
  release();

  const unread = [
    follow(await live.watchEvents(reach, null)),
    follow(await live.watchEvents(reach, { types: ['log'] })),
  ];
  isLost = true;
  listeners[1]!.onMessage(JSON.stringify({ ids: [id] }));
  for (const { ended } of unread)
    await expect(ended).rejects.toMatchObject({ code: 'UNAVAILABLE', details: { reason: 'GAP' } });
  isLost = false;

  const missed = [follow(await live.watchEvents(reach, null)), follow(await live.watchEvents(reach, { types: [] }))];
  for (const listener of listeners.slice(2)) listener.onLoss();
  for (const { ended } of missed)
    await expect(ended).rejects.toMatchObject({ code: 'UNAVAILABLE', details: { reason: 'GAP' } });
  expect(closed).toHaveLength(5);
  await live.close();
});
