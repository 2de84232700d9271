import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createMemoryBus } from '../../src/adapters/memory-bus.js';
import { userIdOf } from '../../src/domain/identity.js';
import { uuidAt } from '../../src/domain/event-id.js';
import { readFeedCursor } from '../../src/domain/feed-cursor.js';
import { isBefore, type FeedPlace } from '../../src/domain/change.js';
import type { Observation } from '../../src/observation.js';
import type { Bus } from '../../src/services/bus.js';
import { createView, WHOLE_FEED, type FeedChange, type FeedFilter } from '../../src/services/feed/feed-view.js';
import { HeldPages, type PageHolder } from '../../src/services/feed/held-pages.js';
import { createFeed, type Feed } from '../../src/services/feed/watch-feed.js';
import { createEraseUser } from '../../src/services/projects/erase-user.js';
import { AppError } from '../../src/errors.js';
import { writeChanges } from '../../src/store/change-rows.js';
import type { Database, Statement } from '../../src/store/database.js';
import { createNaming } from '../../src/store/database-name.js';
import { eventually } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { createStage, type Stage } from '../support/stage.js';
import { untilReadable } from '../support/webhooks.js';

/** Watches of the feed: what is told live and what is replayed are one sequence, whatever is lost, late, slow or away. */

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});
afterAll(() => db.drop());

const ALL: FeedFilter = { ...WHOLE_FEED, sessionChanges: ['STARTED', 'UPDATED', 'ENDED', 'MERGED'] };
const free = async (): Promise<void> => {};
const HOUR = 3_600;

/** A bus that loses each message for which `isLost` says so. */
const losing = (bus: Bus, isLost: () => boolean): Bus => ({
  ...bus,
  publish: async (channel, message) => (isLost() ? undefined : bus.publish(channel, message)),
});

function openFeed(
  stage: Stage,
  bus: Bus,
  database: Database = stage.database,
  pages = new HeldPages(),
): Feed & { observations: Observation[] } {
  const observations: Observation[] = [];
  const feed = createFeed({
    database,
    naming: createNaming(stage.database),
    bus,
    clock: stage,
    observe: (observation) => void observations.push(observation),
    pages,
  });
  feed.start();
  return Object.assign(feed, { observations });
}

/** A subscriber that remembers what it heard, and can go away and come back at another server. */
function createSubscriber(stage: Stage, from: FeedPlace, filter: FeedFilter = ALL) {
  const heard: FeedChange[] = [];
  let current: AsyncIterableIterator<FeedChange> | null = null;
  const place = (): FeedPlace => (heard.length === 0 ? from : readFeedCursor(heard.at(-1)!.cursor)!);
  return {
    heard,
    failed: [] as unknown[],
    async subscribe(feed: Feed): Promise<void> {
      const watch = await feed.watch(stage.caller.reach, filter, { after: place(), pay: free });
      current = watch;
      void (async () => {
        try {
          for await (const change of watch) if (current === watch) heard.push(change);
        } catch (error) {
          this.failed.push(error);
        }
      })();
    },
    async drop(): Promise<void> {
      const watch = current;
      current = null;
      await watch?.return?.();
    },
  };
}

/** Everything from a place on, read page by page. */
async function replay(stage: Stage, feed: Feed, from: FeedPlace): Promise<string[]> {
  const end = await feed.reader.now();
  const subscriber = createSubscriber(stage, from);
  await subscriber.subscribe(feed);
  // The last change of all.
  await stage.send({ type: 'the end', user: 'the end', t: 0 });
  await eventually(() => subscriber.heard.some((one) => one.kind === 'EVENT' && one.event.type === 'the end'));
  await subscriber.drop();
  return subscriber.heard.filter(({ place }) => place.transaction < end.transaction).map(({ cursor }) => cursor);
}

const step = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      does: fc.constant('send' as const),
      user: fc.nat(5),
      events: fc.integer({ min: 1, max: 4 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ does: fc.constant('beat' as const), user: fc.nat(5) }) },
  { weight: 1, arbitrary: fc.record({ does: fc.constant('end' as const), user: fc.nat(5) }) },
  { weight: 1, arbitrary: fc.constant({ does: 'close' as const }) },
  { weight: 2, arbitrary: fc.record({ does: fc.constant('drop' as const), who: fc.nat(2), server: fc.nat(1) }) },
  { weight: 2, arbitrary: fc.constant({ does: 'hold' as const }) },
  { weight: 3, arbitrary: fc.constant({ does: 'release' as const }) },
);

/** Whether a statement reads the events of changes, for the room or for one watcher. */
const readsEvents = ({ name }: Statement): boolean =>
  ['feed.events', 'feed.askedEvents', 'feed.wholeEvents'].includes(name);

test('late commits, lost messages, subscribers that drop and come back at the other server: 0 missing, 0 repeated, in order', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), fc.array(fc.boolean()), async (steps, losses) => {
      const stage = await createStage(db, { inactivityTimeout: 60, presenceTimeout: 20 });
      let said = 0;
      const bus = losing(createMemoryBus(), () => losses[said++ % Math.max(1, losses.length)] ?? false);
      const own = { ...stage, ingest: stage.ingest };
      // At the second server each page takes the memory of another one.
      const feeds = [openFeed(stage, bus), openFeed(stage, bus, stage.database, new HeldPages(1))] as const;
      const start = await feeds[0].reader.now();
      const subscribers = [0, 1, 2].map(() => createSubscriber(stage, start));
      await Promise.all(subscribers.map((one, at) => one.subscribe(feeds[at % 2]!)));
      /** Transactions that are held open, each with what it commits when it is released. */
      const held: { release: () => void; committed: Promise<void> }[] = [];
      for (const [at, one] of steps.entries()) {
        stage.at(at * 7);
        const t = at * 7;
        if (one.does === 'send') {
          await own.send(...Array.from({ length: one.events }, () => ({ type: 'log', user: `user ${one.user}`, t })));
        } else if (one.does === 'beat') await own.beat({ identity: `user ${one.user}` });
        else if (one.does === 'end') await own.send({ type: 'sessionend', user: `user ${one.user}`, t });
        else if (one.does === 'close') await own.close();
        else if (one.does === 'drop') {
          await subscribers[one.who]!.drop();
          await subscribers[one.who]!.subscribe(feeds[one.server]!);
        } else if (one.does === 'hold' && held.length < 2) {
          // An event is stored, and its transaction stays open.
          let release = (): void => {};
          const gate = new Promise<void>((resolve) => (release = resolve));
          const [stored] = await own.send({ type: 'late', t });
          let begun = (): void => {};
          const hasBegun = new Promise<void>((resolve) => (begun = resolve));
          const id = uuidAt(stage.now());
          const committed = stage.database.transaction(async (tx) => {
            await tx.query({
              name: 'test.late',
              text: `INSERT INTO events SELECT project_id, $2, type, source, message, occurred_at, received_at, value, tags,
                       reference_id, version, user_id, session_id, data FROM events WHERE project_id = $1 AND id = $3`,
              values: [stage.projectId, id, stored!.eventId],
            });
            await writeChanges(tx, { events: [{ projectId: stage.projectId, id }], sessions: [] }, stage.now());
            begun();
            await gate;
          });
          held.push({ release, committed });
          await hasBegun;
        } else if (one.does === 'release') {
          const late = held.shift();
          late?.release();
          await late?.committed;
        }
        if (at % 3 === 0)
          for (const { channel, message } of stage.bus.said.splice(0)) await bus.publish(channel, message);
      }
      for (const { release, committed } of held) {
        release();
        await committed;
      }
      await stage.send({ type: 'last', t: steps.length * 7 });
      const isLast = (one: FeedChange): boolean => one.kind === 'EVENT' && one.event.type === 'last';
      await eventually(() => subscribers.every(({ heard }) => heard.some(isLast)));
      for (const one of subscribers) await one.drop();
      const whole = await replay(stage, feeds[0], start);
      for (const { heard, failed } of subscribers) {
        expect(failed).toEqual([]);
        expect(heard.map(({ cursor }) => cursor)).toEqual(whole);
      }
      // What is told is what the rows have: each event once.
      const rows = await stage.database.query<{ id: string }>({
        name: 'test.events',
        text: `SELECT id FROM events WHERE project_id = $1 AND type <> 'the end'`,
        values: [stage.projectId],
      });
      const told = subscribers[0]!.heard.flatMap((one) => (one.kind === 'EVENT' ? one.event.id : []));
      expect(told.toSorted()).toEqual(rows.map(({ id }) => id).toSorted());
      await Promise.all(feeds.map((feed) => feed.close()));
    }),
    { numRuns: 12 },
  );
}, 180_000);

test('a thousand subscribers cost one reader, and one that does not read costs nobody anything and misses nothing', async () => {
  const stage = await createStage(db);
  const asked: Statement[] = [];
  const counting: Database = {
    ...stage.database,
    query: (statement) => {
      asked.push(statement);
      return stage.database.query(statement);
    },
  };
  const bus = createMemoryBus();
  const messages = (heard: readonly FeedChange[]): (string | null)[] =>
    heard.flatMap((one) => (one.kind === 'EVENT' ? one.event.message : []));
  const feed = openFeed(stage, bus, counting);
  const start = await feed.reader.now();
  const many = Array.from({ length: 1_000 }, () => createSubscriber(stage, start));
  const slow = await feed.watch(stage.caller.reach, WHOLE_FEED, { after: null, pay: free });
  for (const one of many) await one.subscribe(feed);
  const say = async (message: string): Promise<void> => {
    await stage.send({ type: 'log', t: 0, message });
    for (const { channel, message: said } of stage.bus.said.splice(0)) await bus.publish(channel, said);
  };
  // Each first reads what is stored for itself. When all get the same object, none does any longer.
  const early: string[] = [];
  await eventually(async () => {
    early.push(`early ${early.length}`);
    await say(early.at(-1)!);
    await eventually(() => many.every(({ heard }) => messages(heard).length === early.length));
    return new Set(many.map(({ heard }) => heard.findLast(({ kind }) => kind === 'EVENT'))).size === 1;
  });
  asked.splice(0);
  const texts = Array.from({ length: 20 }, (_, at) => `event ${at}`);
  for (const message of texts) await say(message);
  const all = [...early, ...texts];
  await eventually(() => many.every(({ heard }) => messages(heard).length === all.length));
  expect(many.every(({ heard }) => JSON.stringify(messages(heard)) === JSON.stringify(all))).toBe(true);
  // All of them get the same object, so it is executed and encoded once.
  const toldLive = many.map(({ heard }) => heard.filter(({ kind }) => kind === 'EVENT').slice(-texts.length));
  for (const at of texts.keys()) expect(new Set(toldLive.map((told) => told[at])).size).toBe(1);
  expect(asked.filter(readsEvents).length).toBeLessThanOrEqual(texts.length);
  for (const text of all) {
    const { value } = (await slow.next()) as { value: FeedChange };
    expect(value).toMatchObject({ kind: 'EVENT', event: { message: text } });
  }
  await feed.close();
}, 120_000);

test('conditions that only the database can decide are asked together, and paid first', async () => {
  const stage = await createStage(db);
  const asked: Statement[] = [];
  const counting: Database = {
    ...stage.database,
    query: (statement) => {
      asked.push(statement);
      return stage.database.query(statement);
    },
  };
  const bus = createMemoryBus();
  const feed = openFeed(stage, bus, counting);
  let paid = 0;
  const watches = await Promise.all(
    Array.from({ length: 40 }, (_, at) =>
      feed.watch(
        stage.caller.reach,
        { ...WHOLE_FEED, kinds: ['EVENT'], events: { search: `needle ${at}` } },
        { after: null, pay: async (rows) => void (paid += rows) },
      ),
    ),
  );
  const found = watches.map((watch) => watch.next());
  await stage.send(...Array.from({ length: 60 }, (_, at) => ({ type: 'log', t: 0, message: `Needle ${at} in hay` })));
  for (const [at, one] of found.entries()) {
    const { value } = (await one) as { value: FeedChange };
    expect(value).toMatchObject({ event: { message: `Needle ${at} in hay` } });
  }
  expect(asked.filter(({ name }) => name === 'events.met').length).toBeLessThanOrEqual(4);
  expect(asked.filter(({ name }) => name === 'feed.events').length).toBe(1);
  expect(paid).toBe(40 * 60);
  await feed.close();
}, 30_000);

test('a key without points left, and a database that is away, cost a subscriber time and no change', async () => {
  const stage = await createStage(db);
  const bus = createMemoryBus();
  let isAway = false;
  let refused = 0;
  const leaving: Database = {
    ...stage.database,
    query(statement) {
      if (!isAway) return stage.database.query(statement);
      refused += 1;
      return Promise.reject(new AppError('UNAVAILABLE', 'It is away.'));
    },
  };
  const feed = openFeed(stage, bus, leaving);
  const start = await feed.reader.now();
  await stage.send({ type: 'before', t: 0 });
  let isPoor = true;
  const watch = await feed.watch(stage.caller.reach, WHOLE_FEED, {
    after: start,
    async pay() {
      if (!isPoor) return;
      isPoor = false;
      throw new AppError('RATE_LIMITED', 'No points are left.', { retryAfter: 0.01 });
    },
  });
  const typeOf = async (): Promise<unknown> => ((await watch.next()).value as { event: { type: string } }).event.type;
  expect(await typeOf()).toBe('before');
  const next = typeOf();
  isAway = true;
  await stage.send({ type: 'away', t: 0 });
  await eventually(() => refused > 2);
  isAway = false;
  expect(await next).toBe('away');
  await feed.close();
});

test('a database that has become another one ends the watches with CURSOR_EXPIRED', async () => {
  const stage = await createStage(db);
  let name = 'first';
  const feed = createFeed({
    database: stage.database,
    naming: async () => `'${name}'`,
    bus: createMemoryBus(),
    clock: stage,
    observe: () => {},
  });
  feed.start();
  const watch = await feed.watch(stage.caller.reach, WHOLE_FEED, { after: null, pay: free });
  const next = watch.next();
  name = 'second';
  await stage.send({ type: 'log', t: 0 });
  await expect(next).rejects.toMatchObject({ code: 'CURSOR_EXPIRED', details: { oldestCursor: expect.any(String) } });
  await feed.close();
});

test('a narrowed reader is told of its users alone, and pays for what is looked at before it is read', async () => {
  const stage = await createStage(db);
  const ada = { projectId: stage.projectId, userIds: [userIdOf(stage.projectId, 'ada')] };
  const asked: Statement[] = [];
  const counting: Database = {
    ...stage.database,
    query: (statement) => {
      asked.push(statement);
      return stage.database.query(statement);
    },
  };
  const feed = openFeed(stage, createMemoryBus(), counting);
  const start = await feed.reader.now();
  const live = await feed.watch(ada, WHOLE_FEED, { after: null, pay: free });
  for (const user of ['ada', 'grace', 'linus'])
    await stage.send(...Array.from({ length: 500 }, () => ({ type: `of ${user}`, user, t: 0 })));
  const erase = createEraseUser({ database: stage.database, bus: stage.bus, clock: stage, observe: () => {} });
  await erase(stage.caller, 'grace');
  await stage.send({ type: 'last of ada', user: 'ada', t: 1 });
  const heard: FeedChange[] = [];
  for await (const change of live) {
    heard.push(change);
    if (change.kind === 'EVENT' && change.event.type === 'last of ada') break;
  }
  const events = heard.flatMap((one) => (one.kind === 'EVENT' ? one.event : []));
  expect(events).toHaveLength(501);
  expect(events.every(({ identity }) => identity === 'ada')).toBe(true);
  expect(heard.map(({ kind }) => kind).filter((kind) => kind !== 'EVENT')).toEqual(['SESSION', 'PRESENCE']);
  // A page reads no more than it has paid for, whatever the filter leaves of it, and says where to go on.
  asked.splice(0);
  let paid = 0;
  const view = createView(ada, { ...WHOLE_FEED, kinds: ['EVENT'], events: { types: ['last of ada'] } });
  const page = await feed.reader.read(view, start, {
    limit: 10,
    async pay(rows) {
      expect(asked.some(readsEvents)).toBe(false);
      paid += rows;
    },
  });
  expect(page).toMatchObject({ changes: [], isMore: true });
  expect(paid).toBeGreaterThanOrEqual(1_000);
  expect(isBefore(start, page.next)).toBe(true);
  await expect(
    feed.reader.read(view, start, { limit: 10, pay: () => Promise.reject(new Error('poor')) }),
  ).rejects.toThrow('poor');
  await feed.close();
});

test('large events are read in smaller parts, and wait for a slow subscriber in the database', async () => {
  const stage = await createStage(db);
  const feed = openFeed(stage, createMemoryBus());
  const start = await feed.reader.now();
  const live = await feed.watch(stage.caller.reach, { ...WHOLE_FEED, kinds: ['EVENT'] }, { after: null, pay: free });
  const large = 'x'.repeat(200_000);
  for (let sent = 0; sent < 60; sent += 6) {
    await stage.send(...Array.from({ length: 6 }, (_, at) => ({ type: `large ${sent + at}`, t: 0, data: { large } })));
  }
  const view = createView(stage.caller.reach, WHOLE_FEED);
  await untilReadable(stage.database);
  const page = await feed.reader.read(view, start, { limit: 100, pay: free });
  expect(page.isMore).toBe(true);
  expect(page.changes.length).toBeGreaterThan(5);
  expect(page.changes.length).toBeLessThan(60);
  for (let at = 0; at < 60; at += 1) {
    const { value } = (await live.next()) as { value: FeedChange };
    expect(value).toMatchObject({ event: { type: `large ${at}` } });
  }
  await feed.close();
});

test('pages of subscribers that do not read are dropped where others need the memory, and read again', async () => {
  const stage = await createStage(db);
  const feed = openFeed(stage, createMemoryBus(), stage.database, new HeldPages(1));
  const start = await feed.reader.now();
  const types = Array.from({ length: 12 }, (_, at) => `log ${at}`);
  for (const type of types) await stage.send({ type, t: 0 });
  await untilReadable(stage.database);
  const events = { ...WHOLE_FEED, kinds: ['EVENT'] } as const;
  let paid = 0;
  const pay = async (): Promise<void> => void (paid += 1);
  const open = () => feed.watch(stage.caller.reach, events, { after: start, pay });
  const watches = [await open(), await open()];
  for (const type of types)
    for (const watch of watches)
      expect(((await watch.next()) as { value: FeedChange }).value).toMatchObject({ event: { type } });
  // Each page is read for one change: its subscriber loses it before it takes the next.
  expect(paid).toBeGreaterThan(2 * types.length);
  await feed.close();
});

test('who has taken nothing for longest loses its pages first; of those who read, anybody', () => {
  let now = 0;
  const pages = new HeldPages(100, () => now);
  const dropped: number[] = [];
  const holders = [0, 1, 2, 3].map((name): PageHolder => ({ dropPages: () => void dropped.push(name) }));
  const [first, second, third, fourth] = holders as [PageHolder, PageHolder, PageHolder, PageHolder];
  for (const holder of [first, second, third]) pages.add(holder, 30);
  now = 6_000;
  for (const holder of [first, third]) pages.taken(holder);
  pages.add(fourth, 30);
  expect(dropped).toEqual([1]);
  // A page that is too large for all of them takes those of all others.
  pages.add(fourth, 200);
  expect(dropped.toSorted()).toEqual([0, 1, 2]);
  pages.release(fourth);
  pages.add(first, 100);
  expect(dropped).toHaveLength(3);
});

test('what waits for a transaction that stays open for more than a day is told when it ends, and none is lost', async () => {
  const stage = await createStage(db);
  const feed = openFeed(stage, createMemoryBus());
  const start = await feed.reader.now();
  let release = (): void => {};
  const gate = new Promise<void>((resolve) => (release = resolve));
  let begun = (): void => {};
  const hasBegun = new Promise<void>((resolve) => (begun = resolve));
  // Somebody's transaction in the same Postgres, not of the server.
  const open = stage.database.transaction(async (tx) => {
    await tx.query({ name: 'test.open', text: 'SELECT pg_current_xact_id()' });
    begun();
    await gate;
  });
  await hasBegun;
  await stage.send({ type: 'early', t: 0 });
  stage.at(26 * HOUR);
  // A reader that has read all that it can, and a subscriber that comes to a server to which nobody has subscribed yet.
  const view = createView(stage.caller.reach, ALL);
  const { changes, next } = await feed.reader.read(view, start, { limit: 100, pay: free });
  expect(changes).toEqual([]);
  const subscriber = createSubscriber(stage, start);
  await subscriber.subscribe(feed);
  await eventually(() => feed.lag > 0);
  release();
  await open;
  await stage.send({ type: 'late', t: 26 * HOUR });
  const types = (told: readonly FeedChange[]) => told.flatMap((one) => (one.kind === 'EVENT' ? one.event.type : []));
  await eventually(() => types(subscriber.heard).includes('late'));
  expect(types(subscriber.heard)).toEqual(['early', 'late']);
  await eventually(async () => {
    const page = await feed.reader.read(view, next, { limit: 100, pay: free });
    return JSON.stringify(types(page.changes)) === JSON.stringify(['early', 'late']);
  });
  await feed.close();
}, 60_000);

test('a subscription for which nothing has come for longer than the feed is kept goes on where the room has lost it', async () => {
  const stage = await createStage(db);
  await stage.database.query({
    name: 'test.days',
    text: 'UPDATE projects SET change_retention_days = 1 WHERE id = $1',
    values: [stage.projectId],
  });
  let isAway = false;
  let looks = 0;
  const leaving: Database = {
    ...stage.database,
    async query(statement) {
      if (isAway && statement.name === 'events.met') throw new AppError('UNAVAILABLE', 'It is away.');
      const rows = await stage.database.query(statement);
      if (statement.name === 'feed.look') looks += 1;
      return rows as never;
    },
  };
  const feed = openFeed(stage, createMemoryBus(), leaving);
  const watch = await feed.watch(
    stage.caller.reach,
    { ...WHOLE_FEED, kinds: ['EVENT'], events: { search: 'needle' } },
    { after: null, pay: free },
  );
  const next = watch.next();
  for (let hour = 0; hour <= 30; hour += 6) {
    stage.at(hour * HOUR);
    const before = looks;
    // The second one has begun at this time.
    await eventually(() => looks >= before + 2);
  }
  isAway = true;
  await stage.send({ type: 'log', message: 'Needle in hay', t: 30 * HOUR });
  expect(await next).toMatchObject({ value: { event: { message: 'Needle in hay' } } });
  await feed.close();
}, 60_000);

test('a room that the bus did not take is offered to it again, and those who come back leave connections to the rooms', async () => {
  const stage = await createStage(db);
  const bus = createMemoryBus();
  let isRefusing = true;
  let taken = 0;
  const refusing: Bus = {
    ...bus,
    subscribe(channel, listener) {
      if (isRefusing) return Promise.reject(new Error('Redis is away.'));
      taken += 1;
      return bus.subscribe(channel, listener);
    },
  };
  // The pages of those who come back do not end: more of them than there are connections.
  let reading = 0;
  let most = 0;
  let release = (): void => {};
  const gate = new Promise<void>((resolve) => (release = resolve));
  const slow: Database = {
    ...stage.database,
    async query(statement) {
      const rows = await stage.database.query(statement);
      if (readsEvents(statement) && (statement.values ?? []).flat().length > 100) {
        reading += 1;
        most = Math.max(most, reading);
        await gate;
        reading -= 1;
      }
      return rows as never;
    },
  };
  const feed = openFeed(stage, refusing, slow);
  const start = await feed.reader.now();
  await stage.send(...Array.from({ length: 120 }, () => ({ type: 'missed', t: 0 })));
  const live = createSubscriber(stage, await feed.reader.now());
  await live.subscribe(feed);
  const back = Array.from({ length: 10 }, () => createSubscriber(stage, start));
  for (const one of back) await one.subscribe(feed);
  isRefusing = false;
  await eventually(() => taken === 1 && reading > 0);
  await stage.send({ type: 'new', t: 0 });
  await eventually(() => live.heard.length > 0);
  expect(most).toBe(3);
  release();
  await eventually(() => back.every(({ heard }) => heard.length === 121));
  await feed.close();
}, 60_000);

test('who catches up reads hardly more of the feed than it is told', async () => {
  const stage = await createStage(db);
  const feed = openFeed(stage, createMemoryBus());
  const from = await feed.reader.now();
  for (let batch = 0; batch < 40; batch += 1)
    await stage.send(...Array.from({ length: 100 }, (_, at) => ({ type: `${batch}: ${at}`, user: 'ada', t: batch })));
  await untilReadable(stage.database);
  stage.observations.length = 0;
  const subscriber = createSubscriber(stage, from, { ...WHOLE_FEED, kinds: ['EVENT'] });
  await subscriber.subscribe(feed);
  await eventually(() => subscriber.heard.length === 4_000);
  const rows = stage.observations.flatMap((one) =>
    one.kind === 'statement' && one.name === 'feed.changes' ? [one.rows] : [],
  );
  // The first page does not know yet how much of it is told. A row has a hundred events.
  expect(rows[0]).toBeGreaterThan(15);
  expect(Math.max(...rows.slice(1))).toBeLessThan(10);
  await feed.close();
});
