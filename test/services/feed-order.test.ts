import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createMemoryBus } from '../../src/adapters/memory-bus.js';
import { readFeedCursor } from '../../src/domain/feed-cursor.js';
import { userIdOf } from '../../src/domain/identity.js';
import {
  createView,
  entriesFrom,
  WHOLE_FEED,
  type FeedChange,
  type FeedFilter,
} from '../../src/services/feed/feed-view.js';
import { createFeedReader } from '../../src/services/feed/read-feed.js';
import { createFeed } from '../../src/services/feed/watch-feed.js';
import { createIngest } from '../../src/services/ingest/ingest.js';
import { createEraseUser } from '../../src/services/projects/erase-user.js';
import { writeErasure } from '../../src/store/change-rows.js';
import type { Database, Queryable } from '../../src/store/database.js';
import { createNaming } from '../../src/store/database-name.js';
import type { ChangeRow } from '../../src/store/feed/read-changes.js';
import { eventually } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { createStage, SENDER, toIncoming, type Stage, type StageEvent } from '../support/stage.js';
import { untilReadable } from '../support/webhooks.js';

/** The feed where transactions overtake each other, and where readers begin beyond what can be read. */

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});
afterAll(() => db.drop());

const free = async (): Promise<void> => {};
const DAY = 86_400;

/** A transaction that has done `first`, and does `last` and commits when it is let go. */
async function held(stage: Stage, first: (tx: Queryable) => Promise<unknown>, last: typeof first = free) {
  let open = (): void => {};
  const gate = new Promise<void>((resolve) => (open = resolve));
  let done: Promise<void> = gate;
  await new Promise<void>((resolve) => {
    done = stage.database.transaction(async (tx) => {
      await first(tx);
      resolve();
      await gate;
      await last(tx);
    });
  });
  return () => {
    open();
    return done;
  };
}

/** The changes of a watch, as they come. */
function listen(watch: AsyncIterableIterator<FeedChange>): { heard: FeedChange[]; failed: unknown[] } {
  const heard: FeedChange[] = [];
  const failed: unknown[] = [];
  void (async () => {
    try {
      for await (const change of watch) heard.push(change);
    } catch (error) {
      failed.push(error);
    }
  })();
  return { heard, failed };
}

test('the changes of a user are told in their order, also if an older transaction came to the user later', async () => {
  const stage = await createStage(db);
  const reader = createFeedReader({ database: stage.database, naming: createNaming(stage.database), clock: stage });
  const names = ['ada', 'grace', 'edsger'].toSorted((a, b) =>
    userIdOf(stage.projectId, a) < userIdOf(stage.projectId, b) ? -1 : 1,
  );
  const [, middle, last] = names as [string, string, string];
  for (const type of ['log', 'sessionend']) await stage.send(...names.map((user) => ({ type, user, t: 0 })));
  const start = await reader.now();
  stage.at(10);
  const other = createIngest({ database: stage.database, bus: stage.bus, clock: stage, observe: () => {} });
  const sendElsewhere = (event: StageEvent) =>
    other.ingestEvents(stage.caller, [toIncoming(event, stage.time)], SENDER);
  const release = await held(stage, (tx) =>
    tx.query({
      name: 'test.hold',
      text: 'SELECT FROM users WHERE id = $1 FOR UPDATE',
      values: [userIdOf(stage.projectId, middle)],
    }),
  );
  // It has a number, and waits for the user in the middle.
  const sent = stage.send(...names.map((user) => ({ type: 'log', user, t: 10 })));
  await eventually(async () => {
    const waiting = await stage.database.query({
      name: 'test.waiting',
      text: `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
    });
    return waiting.length > 0;
  });
  await sendElsewhere({ type: 'log', user: last, deviceId: 'device-of-hers', t: 10 });
  await release();
  await sent;
  const view = createView(stage.caller.reach, { ...WHOLE_FEED, kinds: ['PRESENCE'], identities: [last] });
  const told: unknown[] = [];
  let next = start;
  // A transaction of another test may hold the feed back.
  await eventually(async () => {
    const page = await reader.read(view, next, { limit: 100, pay: free });
    next = page.next;
    told.push(...page.changes.map((change) => change.kind === 'PRESENCE' && change.onlineSessions));
    return told.length >= 2;
  });
  expect(told).toEqual([1, 2]);
});

test('whoever comes back by a late event while they are erased is told after the erasure', async () => {
  const stage = await createStage(db, { inactivityTimeout: 300 });
  const reader = createFeedReader({ database: stage.database, naming: createNaming(stage.database), clock: stage });
  const names = ['ada', 'grace', 'edsger'].toSorted((a, b) =>
    userIdOf(stage.projectId, a) < userIdOf(stage.projectId, b) ? -1 : 1,
  );
  const [, middle, last] = names as [string, string, string];
  await stage.send({ type: 'log', user: last, t: 0 });
  const start = await reader.now();
  stage.at(3_000);
  // Another transaction is adding the user in the middle.
  const release = await held(stage, (tx) =>
    tx.query({
      name: 'test.hold',
      text: 'INSERT INTO users (project_id, id, identity) VALUES ($1, $2, $3)',
      values: [stage.projectId, userIdOf(stage.projectId, middle), middle],
    }),
  );
  // These events are so old that nobody is online by them. Their transaction has a number, and waits.
  const sent = stage.send(...names.map((user) => ({ type: 'late', user, t: 1_000 })));
  await eventually(async () => {
    const waiting = await stage.database.query({
      name: 'test.waiting',
      text: `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
    });
    return waiting.length > 0;
  });
  const erase = createEraseUser({ database: stage.database, bus: stage.bus, clock: stage, observe: () => {} });
  await erase(stage.caller, last);
  await release();
  await sent;
  const view = createView(stage.caller.reach, WHOLE_FEED);
  const told: string[] = [];
  let next = start;
  // A transaction of another test may hold the feed back.
  await eventually(async () => {
    const page = await reader.read(view, next, { limit: 100, pay: free });
    next = page.next;
    for (const change of page.changes) {
      if (change.kind === 'ERASURE') told.push('ERASURE');
      if (change.kind === 'SESSION' && change.session.identity === last) told.push(change.change);
    }
    return told.includes('ERASURE') && told.includes('STARTED');
  });
  expect(told).toEqual(['ERASURE', 'STARTED']);
});

test('a read ends where it is told to, within a row too', async () => {
  const stage = await createStage(db);
  const reader = createFeedReader({ database: stage.database, naming: createNaming(stage.database), clock: stage });
  const start = await reader.now();
  await stage.send(...[1, 2, 3, 4].map((at) => ({ type: `event ${at}`, t: 0 })));
  await untilReadable(stage.database);
  const view = createView(stage.caller.reach, WHOLE_FEED);
  const { changes } = await reader.read(view, start, { limit: 100, pay: free });
  expect(changes).toHaveLength(4);
  for (const [at, { place }] of changes.entries()) {
    const page = await reader.read(view, start, { limit: 100, pay: free, until: place });
    expect(page).toMatchObject({ changes: { length: at + 1 }, isMore: false, next: place });
  }
});

test('a page is full although most of what happened is not told, and although it begins within a row', async () => {
  const stage = await createStage(db);
  const reader = createFeedReader({ database: stage.database, naming: createNaming(stage.database), clock: stage });
  await stage.send({ type: 'first', user: 'ada', t: 0 });
  const start = await reader.now();
  // Each of them also changes the session, which is not told.
  for (let at = 1; at <= 60; at += 1) await stage.send({ type: `one ${at}`, user: 'ada', t: at });
  for (let batch = 0; batch < 3; batch += 1)
    await stage.send(
      ...Array.from({ length: 50 }, (_, at) => ({ type: `of ${batch}: ${at}`, user: 'ada', t: 100 + at })),
    );
  await untilReadable(stage.database);
  const view = createView(stage.caller.reach, { ...WHOLE_FEED, kinds: ['EVENT'], sessionChanges: null });
  const pages: number[] = [];
  for (let place = start, isMore = true; isMore;) {
    const page = await reader.read(view, place, { limit: 30, pay: free });
    pages.push(page.changes.length);
    ({ next: place, isMore } = page);
  }
  expect(pages.reduce((sum, count) => sum + count)).toBe(210);
  expect(new Set(pages.slice(0, 7))).toEqual(new Set([30]));
});

test('a view follows the sessions that watched ones have become, from then on, however often it hears of an entry', () => {
  const row = (transaction: number, sessions: ChangeRow['sessions']): ChangeRow => ({
    transaction,
    part: 0,
    at: new Date(0),
    sessions,
    events: [],
    presence: [],
    erased: [],
  });
  const entries = [
    row(1, [{ id: 'a', kind: 'STARTED' }]),
    row(2, [{ id: 'b', kind: 'STARTED' }]),
    row(3, [{ id: 'x', kind: 'STARTED' }]),
    row(4, [
      { id: 'b', kind: 'MERGED' },
      { id: 'a', kind: 'UPDATED' },
      { id: 'x', kind: 'UPDATED' },
    ]),
    row(5, [{ id: 'a', kind: 'ENDED' }]),
  ].flatMap((one) => entriesFrom(one, 0));
  const filter: FeedFilter = { ...WHOLE_FEED, sessionChanges: ['STARTED', 'UPDATED', 'ENDED', 'MERGED'] };
  const reach = { projectId: randomUUID(), userIds: null };
  const view = createView(reach, { ...filter, sessionIds: ['b'] });
  const shown = (from: number, by = view): string[] =>
    entries.slice(from).flatMap((entry) => (by.wants(entry) ? `${entry.change} ${entry.id}` : []));
  const all = ['STARTED b', 'MERGED b', 'UPDATED a', 'ENDED a'];
  expect(shown(0)).toEqual(all);
  // A page that was too large is read again.
  for (const from of [0, 3, 2, 5, 1, 0]) expect(shown(from)).toEqual(all.slice(from < 2 ? 0 : from < 4 ? 1 : 3));
  // A page can end between the two entries of a merge.
  const cut = createView(reach, { ...filter, sessionIds: ['b'] });
  for (const entry of entries.slice(0, 4)) cut.wants(entry);
  expect(shown(4, cut.copy())).toEqual(['UPDATED a', 'ENDED a']);
  // What it remembers has a limit.
  const long = createView(reach, { ...filter, sessionIds: ['0'] });
  const short = long.name.length;
  for (let at = 0; at < 3_000; at += 1) {
    const [gone, became] = entriesFrom(
      row(at, [
        { id: String(at), kind: 'MERGED' },
        { id: String(at + 1), kind: 'UPDATED' },
      ]),
      0,
    );
    expect([long.wants(gone!), long.wants(became!)]).toEqual([true, true]);
  }
  expect(long.name.length - short).toBeLessThan(100_000);
});

test('a room in which nothing happens looks at the last days alone', async () => {
  const stage = await createStage(db);
  let since = new Date(0);
  const database: Database = {
    ...stage.database,
    query(statement) {
      if (statement.name === 'feed.look') since = statement.values!.at(-1) as Date;
      return stage.database.query(statement);
    },
  };
  const naming = createNaming(stage.database);
  const feed = createFeed({ database, naming, bus: createMemoryBus(), clock: stage, observe: () => {} });
  feed.start();
  const { heard } = listen(await feed.watch(stage.caller.reach, WHOLE_FEED, { after: null, pay: free }));
  await eventually(() => since.getTime() > 0);
  stage.at(20 * DAY);
  await eventually(() => since >= stage.time(19 * DAY));
  await stage.send({ type: 'log', t: 20 * DAY });
  await eventually(() => heard.length > 0);
  await feed.close();
});

test('a subscriber that begins beyond an open transaction takes nothing from the others', async () => {
  const stage = await createStage(db);
  const naming = createNaming(stage.database);
  let looks = 0;
  const database: Database = {
    ...stage.database,
    query(statement) {
      if (statement.name === 'feed.look') looks += 1;
      return stage.database.query(statement);
    },
  };
  const feed = createFeed({ database, naming, bus: createMemoryBus(), clock: stage, observe: () => {} });
  feed.start();
  /** Two looks from now have begun, so one of them has ended. */
  const looked = (): Promise<void> => {
    const before = looks;
    return eventually(() => looks >= before + 2);
  };
  const name = await naming();
  const { reach } = stage.caller;
  const late = userIdOf(stage.projectId, 'late');
  await stage.send({ type: 'log', user: 'ada', t: 0 });
  const release = await held(
    stage,
    (tx) => tx.query({ name: 'test.number', text: 'SELECT pg_current_xact_id()' }),
    (tx) => writeErasure(tx, reach, late, stage.now(), name),
  );
  const erase = createEraseUser({ database: stage.database, bus: stage.bus, clock: stage, observe: () => {} });
  const { cursor } = await erase(stage.caller, 'ada');
  const early = listen(await feed.watch(reach, WHOLE_FEED, { after: readFeedCursor(cursor)!, pay: free }));
  await looked();
  const other = listen(await feed.watch(reach, WHOLE_FEED, { after: null, pay: free }));
  await looked();
  await release();
  await stage.send({ type: 'after', t: 0 });
  const isAfter = (change: FeedChange): boolean => change.kind === 'EVENT' && change.event.type === 'after';
  await eventually(() => early.heard.some(isAfter) && other.heard.some(isAfter));
  expect(other.heard.map((change) => (change.kind === 'ERASURE' ? change.userId : change.kind))).toEqual([
    late,
    'EVENT',
  ]);
  // In the order of the feed the late transaction is before the cursor.
  expect(early.heard.map(({ kind }) => kind)).toEqual(['EVENT']);
  await feed.close();
});

test('who reads from the oldest change on has an hour to get ahead of what is dropped', async () => {
  const stage = await createStage(db);
  const reader = createFeedReader({ database: stage.database, naming: createNaming(stage.database), clock: stage });
  for (const t of [0, 1, 2]) {
    stage.at(t);
    await stage.send({ type: 'log', user: `user ${t}`, t });
  }
  stage.at(7 * DAY);
  const view = createView(stage.caller.reach, { ...WHOLE_FEED, kinds: ['EVENT'] });
  let next = await reader.oldest(stage.caller.reach);
  // A transaction of another test may hold the feed back.
  await eventually(async () => {
    const page = await reader.read(view, next, { limit: 1, pay: free });
    next = page.next;
    return page.changes.length === 1;
  });
  stage.at(7 * DAY + 600);
  await expect(reader.check(stage.caller.reach, next)).resolves.toBeUndefined();
  stage.at(7 * DAY + 3_610);
  await expect(reader.check(stage.caller.reach, next)).rejects.toMatchObject({ code: 'CURSOR_EXPIRED' });
});

test('a subscriber so slow that its changes are dropped is told so', async () => {
  const stage = await createStage(db);
  const naming = createNaming(stage.database);
  const feed = createFeed({
    database: stage.database,
    naming,
    bus: createMemoryBus(),
    clock: stage,
    observe: () => {},
  });
  feed.start();
  const start = await feed.reader.now();
  await stage.send({ type: 'log', user: 'ada', t: 0 });
  const watch = await feed.watch(stage.caller.reach, WHOLE_FEED, { after: start, pay: free });
  stage.at(9 * DAY);
  await stage.database.query({
    name: 'test.drop',
    text: 'DELETE FROM changes WHERE project_id = $1',
    values: [stage.projectId],
  });
  await expect(watch.next()).rejects.toMatchObject({ code: 'CURSOR_EXPIRED' });
  await feed.close();
});

test('a token has as many different views as the limit says, whichever of its users they name', async () => {
  const stage = await createStage(db);
  const identities = Array.from({ length: 101 }, (_, number) => `user ${number}`);
  const reach = {
    projectId: stage.projectId,
    userIds: identities.map((identity) => userIdOf(stage.projectId, identity)),
  };
  const feed = createFeed({
    database: stage.database,
    naming: createNaming(stage.database),
    bus: createMemoryBus(),
    clock: stage,
    observe: () => {},
  });
  const watch = (identity: string) =>
    feed.watch(reach, { ...WHOLE_FEED, identities: [identity] }, { after: null, pay: free });
  for (const identity of identities.slice(0, 100)) await watch(identity);
  await expect(watch(identities[100]!)).rejects.toMatchObject({ code: 'RATE_LIMITED' });
  await feed.close();
});
