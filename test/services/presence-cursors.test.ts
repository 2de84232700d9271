import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createMemoryBus } from '../../src/adapters/memory-bus.js';
import { readPresenceCursor, writePresenceCursor, type PresencePlace } from '../../src/domain/presence-cursor.js';
import { readSnapshot, type PresenceUpdate } from '../../src/domain/presence.js';
import { createIngest } from '../../src/services/ingest/ingest.js';
import { PRESENCE_LIMITS } from '../../src/services/presence/presence-limits.js';
import { createPresence } from '../../src/services/presence/watch-presence.js';
import { AppError } from '../../src/errors.js';
import { pauseAfter } from '../../src/services/presence/online-count.js';
import { createEraseUser } from '../../src/services/projects/erase-user.js';
import type { Database } from '../../src/store/database.js';
import { connect, createProject, eventually, listen, post } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { openDoors, type Doors } from '../support/doors.js';
import { SENDER, createRecordingBus, createStage, toIncoming, type Stage } from '../support/stage.js';

/** What has changed since a cursor: exactly that, whatever ran when the cursor was made. */

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});
afterAll(() => db.drop());

/** So many users online, without their sessions. */
async function fill(stage: Stage, count: number): Promise<void> {
  await stage.database.query({
    name: 'test.fill',
    text: `INSERT INTO users (project_id, id, identity, online_sessions, status_since, presence_version, presence_transaction)
           SELECT $1, gen_random_uuid(), 'user ' || n, 1, now(), 1, pg_current_xact_id()::text::bigint
           FROM generate_series(1, $2) n`,
    values: [stage.projectId, count],
  });
}

/** A server that watches, whose statements are noted, and one that tells it what it ingests. */
function open(stage: Stage, limits = PRESENCE_LIMITS, change: (database: Database) => Database = (same) => same) {
  const statements: string[] = [];
  const database = change(db.open((seen) => seen.kind === 'statement' && statements.push(seen.name)));
  const bus = createMemoryBus();
  const deps = { database, bus, clock: stage, observe: () => {} };
  const ingest = createIngest(deps);
  const presence = createPresence({ ...deps, limits });
  const read = (name: string): number => statements.filter((one) => one === name).length;
  return {
    bus,
    read,
    presence,
    erase: createEraseUser(deps),
    send: (user: string, type = 'log') =>
      ingest.ingestEvents(stage.caller, [toIncoming({ user, type, t: 0 }, stage.time)], SENDER),
    async close() {
      await presence.close();
      await ingest.close();
    },
  };
}

/** Changes a database: its statements, also those in transactions, go through `query`. */
const changeQueries =
  (query: (database: Database, statement: Parameters<Database['query']>[0]) => Promise<unknown[]>) =>
  (database: Database): Database => {
    const changed = (of: Database): Database => ({
      ...of,
      query: (statement) => query(of, statement) as Promise<never[]>,
      transaction: (work) => of.transaction((tx) => work(changed(tx as Database))),
    });
    return changed(database);
  };

async function pull(updates: AsyncIterator<PresenceUpdate>): Promise<PresenceUpdate> {
  const { value, done } = await updates.next();
  if (done) throw new Error('It has ended.');
  return value;
}

const placeOf = ({ cursor }: PresenceUpdate): PresencePlace => readPresenceCursor(cursor)!;
const told = ({ kind, users }: PresenceUpdate): string[] => [
  kind,
  ...users.map(({ identity, status }) => `${identity} ${status}`).toSorted(),
];

test('a snapshot of many comes in parts, which all who come soon share; what changed meanwhile follows', async () => {
  const stage = await createStage(db);
  await fill(stage, 25_000);
  const server = open(stage, { ...PRESENCE_LIMITS, reuse: 600_000 });
  const first = await server.presence.watch(stage.caller.reach);
  const parts = [await pull(first), await pull(first), await pull(first)];
  expect(parts.map(({ kind, users, hasMore }) => [kind, users.length, hasMore])).toEqual([
    ['SNAPSHOT', 10_000, true],
    ['SNAPSHOT', 10_000, true],
    ['SNAPSHOT', 5_000, false],
  ]);
  expect(new Set(parts.flatMap(({ users }) => users.map(({ identity }) => identity))).size).toBe(25_000);
  await server.send('ada');
  expect(told(await pull(first))).toEqual(['DIFF', 'ada ONLINE']);
  const second = await server.presence.watch(stage.caller.reach);
  for (const part of parts) expect(await pull(second)).toBe(part);
  expect(told(await pull(second))).toEqual(['DIFF', 'ada ONLINE']);
  expect(server.read('presence.snapshot')).toBe(1);
  // Who has seen a part has not seen the rest.
  expect(parts.slice(0, 2).map(({ cursor }) => readPresenceCursor(cursor))).toEqual([null, null]);
  const again = await server.presence.watch(stage.caller.reach, { after: placeOf(parts[2]!) });
  expect(told(await pull(again))).toEqual(['DIFF', 'ada ONLINE']);
  await server.close();
});

test('changes come in parts too, and the cursor of a part is where they began', async () => {
  const stage = await createStage(db);
  const server = open(stage, { ...PRESENCE_LIMITS, part: 2 });
  const before = placeOf(await pull(await server.presence.watch(stage.caller.reach)));
  for (const user of ['ada', 'bob', 'cyd']) await server.send(user);
  const watch = await server.presence.watch(stage.caller.reach, { after: before });
  const parts = [await pull(watch), await pull(watch)];
  expect(parts.map(({ kind, users, hasMore }) => [kind, users.length, hasMore])).toEqual([
    ['DIFF', 2, true],
    ['DIFF', 1, false],
  ]);
  expect(placeOf(parts[0]!)).toEqual(before);
  const rest = await server.presence.watch(stage.caller.reach, { after: placeOf(parts[1]!) });
  expect(told(await pull(rest))).toEqual(['DIFF']);
  await server.close();
});

test('a cursor goes on for whomever it is asked, for some users too', async () => {
  const stage = await createStage(db);
  const server = open(stage);
  await server.send('ada');
  const { reach } = stage.caller;
  const after = placeOf(await pull(await server.presence.watch(reach)));
  await server.send('ada', 'sessionend');
  await server.send('bob');
  const views = [null, ['bob', 'cyd'], ['cyd']].map((identities) =>
    server.presence.watch(reach, { identities, after }),
  );
  const updates = await Promise.all((await Promise.all(views)).map(pull));
  expect(updates.map(told)).toEqual([['DIFF', 'ada OFFLINE', 'bob ONLINE'], ['DIFF', 'bob ONLINE'], ['DIFF']]);
  expect(server.read('presence.snapshot')).toBe(1);
  await server.close();
});

test('a transaction that was open when a cursor was made, and while others committed, is told when it commits', async () => {
  const stage = await createStage(db);
  // The stage's bus only records: nobody hears what it is told. So only looks find it.
  const server = open(stage);
  let release = (): void => {};
  const released = new Promise<void>((resolve) => (release = resolve));
  let isHeld = false;
  const late = createIngest({
    database: {
      ...stage.database,
      transaction: (work) =>
        stage.database.transaction(async (tx) => {
          const result = await work(tx);
          isHeld = true;
          await released;
          return result;
        }),
    },
    bus: createRecordingBus(),
    clock: stage,
    observe: () => {},
  });
  const sent = late.ingestEvents(stage.caller, [toIncoming({ user: 'late' }, stage.time)], SENDER);
  await eventually(() => isHeld);
  const live = await server.presence.watch(stage.caller.reach);
  const before = placeOf(await pull(live));
  await server.send('ada');
  expect(told(await pull(live))).toEqual(['DIFF', 'ada ONLINE']);
  // Far longer than a repair by time could look back.
  for (let at = 0; at < 3; at += 1) {
    stage.at(60 * at);
    await server.presence.repair();
  }
  await server.send('bob');
  const { cursor } = await pull(live);
  release();
  await sent;
  await server.presence.repair();
  expect(told(await pull(live))).toEqual(['DIFF', 'late ONLINE']);
  const resumed = [before, readPresenceCursor(cursor)!].map((after) =>
    server.presence.watch(stage.caller.reach, { after }),
  );
  const [fromBefore, fromLater] = await Promise.all((await Promise.all(resumed)).map(pull));
  expect(told(fromBefore!)).toEqual(['DIFF', 'ada ONLINE', 'bob ONLINE', 'late ONLINE']);
  expect(told(fromLater!)).toContain('late ONLINE');
  expect(told(fromLater!)).not.toContain('ada ONLINE');
  await server.close();
  await late.close();
});

test.each<[string, (place: PresencePlace) => PresencePlace | null]>([
  ['of another database', (place) => ({ ...place, database: `${place.database}0` })],
  ['older than 12 hours', (place) => ({ ...place, at: place.at - 12 * 3_600_000 })],
  ['of a time to come', (place) => ({ ...place, at: place.at + 60_000 })],
  ['from a future that was lost', (place) => ({ ...place, snapshot: '900000000:900000000:' })],
  ['of nothing', () => null],
])('with a cursor %s one begins anew', async (_name, change) => {
  const stage = await createStage(db);
  const server = open(stage);
  await server.send('ada');
  const place = placeOf(await pull(await server.presence.watch(stage.caller.reach)));
  const after = readPresenceCursor(writePresenceCursor(change(place)))!;
  for (const identities of [null, ['ada']]) {
    const watch = await server.presence.watch(stage.caller.reach, { identities, after });
    expect(told(await pull(watch))).toEqual(['SNAPSHOT', 'ada ONLINE']);
  }
  await server.close();
});

test('where a user was erased whom a cursor has not seen go, one begins anew; those who heard it go on', async () => {
  const stage = await createStage(db);
  const server = open(stage);
  await server.send('ada');
  await server.send('bob');
  const live = await server.presence.watch(stage.caller.reach);
  const after = placeOf(await pull(live));
  await server.erase(stage.caller, 'ada');
  expect(told(await pull(live))).toEqual(['DIFF', 'ada OFFLINE']);
  await server.presence.repair();
  await server.presence.repair();
  await server.send('cyd');
  const update = await pull(live);
  expect(told(update)).toEqual(['DIFF', 'cyd ONLINE']);
  const [anew, on] = [after, placeOf(update)].map((place) =>
    server.presence.watch(stage.caller.reach, { after: place }),
  );
  expect(told(await pull(await anew!))).toEqual(['SNAPSHOT', 'bob ONLINE', 'cyd ONLINE']);
  expect(told(await pull(await on!))[0]).toBe('DIFF');
  await server.close();
});

test('an erasure that nobody was told of has every view begin anew', async () => {
  const stage = await createStage(db);
  const server = open(stage);
  await server.send('ada');
  await server.send('bob');
  const live = await server.presence.watch(stage.caller.reach);
  expect((await pull(live)).users).toHaveLength(2);
  const next = pull(live);
  // On a server that dies before it can say so.
  const deps = { database: stage.database, bus: createRecordingBus(), clock: stage, observe: () => {} };
  await createEraseUser(deps)(stage.caller, 'ada');
  await server.presence.repair();
  await server.presence.repair();
  expect(told(await next)).toEqual(['SNAPSHOT', 'bob ONLINE']);
  await server.close();
});

test('an erasure that is heard late, after the return of the user was found, has nobody begin anew', async () => {
  const stage = await createStage(db);
  const server = open(stage);
  await server.send('ada');
  const live = await server.presence.watch(stage.caller.reach);
  await pull(live);
  // On a server whose bus is slow.
  const late = createRecordingBus();
  await createEraseUser({ database: stage.database, bus: late, clock: stage, observe: () => {} })(stage.caller, 'ada');
  stage.at(1);
  await stage.send({ user: 'ada', t: 1 });
  await server.presence.repair();
  expect(told(await pull(live))).toEqual(['DIFF', 'ada ONLINE']);
  for (const { channel, message } of late.said) await server.bus.publish(channel, message);
  await server.presence.repair();
  await server.presence.repair();
  await server.send('cyd');
  expect(told(await pull(live))).toEqual(['DIFF', 'cyd ONLINE']);
  await server.close();
});

test('a gap whose start cannot be read at first stays a gap, and is not charged', async () => {
  const stage = await createStage(db);
  let failures = 0;
  let charged = 0;
  const server = open(
    stage,
    PRESENCE_LIMITS,
    changeQueries((database, statement) => {
      if (statement.name !== 'presence.since' || failures > 0) return database.query(statement);
      failures += 1;
      return Promise.reject(new Error('The connection is lost.'));
    }),
  );
  await server.send('ada');
  await server.send('bob');
  const live = await server.presence.watch(stage.caller.reach, { charge: async () => void (charged += 1) });
  await pull(live);
  const next = pull(live);
  const deps = { database: stage.database, bus: createRecordingBus(), clock: stage, observe: () => {} };
  await createEraseUser(deps)(stage.caller, 'ada');
  await server.presence.repair();
  await server.presence.repair();
  await eventually(() => failures === 1);
  await server.presence.repair();
  expect(told(await next)).toEqual(['SNAPSHOT', 'bob ONLINE']);
  expect(charged).toBe(1);
  await server.close();
});

test.each<[string, number, number]>([
  ['is fresh', 600_000, 3],
  ['is held by all who may hold one', 0, 2],
])('after a change of the database nobody gets a snapshot of the old one, though it %s', async (_name, reuse, held) => {
  const stage = await createStage(db);
  let isOther = false;
  const server = open(
    stage,
    { ...PRESENCE_LIMITS, part: 1, reuse, held },
    changeQueries(async (database, statement) => {
      const rows = await database.query<{ database: string }>(statement);
      if (!isOther || statement.name !== 'presence.moment') return rows;
      return rows.map((row) => ({ ...row, database: `${row.database}0` }));
    }),
  );
  await server.send('ada');
  await server.send('bob');
  // They stay in the middle of their snapshots.
  for (let at = 0; at < held; at += 1) {
    await pull(await server.presence.watch(stage.caller.reach));
    await server.presence.repair();
  }
  const read = server.read('presence.snapshot');
  expect(read).toBe(reuse > 0 ? 1 : held);
  const live = await server.presence.watch(stage.caller.reach);
  for (let at = 0; at < 2; at += 1) expect((await pull(live)).kind).toBe('SNAPSHOT');
  const next = pull(live);
  isOther = true;
  await server.presence.repair();
  expect((await next).kind).toBe('SNAPSHOT');
  await pull(live);
  const after = pull(live);
  await server.send('cyd');
  expect(told(await after)).toEqual(['DIFF', 'cyd ONLINE']);
  expect(server.read('presence.snapshot')).toBe(read + 1);
  await server.close();
});

test('a standby that takes over is asked for its name again', async () => {
  const stage = await createStage(db);
  let isStandby = true;
  const server = open(
    stage,
    PRESENCE_LIMITS,
    changeQueries((database, statement) => {
      if (!isStandby || statement.name !== 'database.name') return database.query(statement);
      // What Postgres says to it during recovery.
      return database.query({
        name: 'test.standby',
        text: `DO $$ BEGIN RAISE EXCEPTION 'recovery is in progress' USING ERRCODE = '55000'; END $$`,
      });
    }),
  );
  await expect(server.presence.watch(stage.caller.reach)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  isStandby = false;
  const other = open(stage);
  const places = [server, other].map(async ({ presence }) =>
    placeOf(await pull(await presence.watch(stage.caller.reach))),
  );
  const [mine, known] = await Promise.all(places);
  expect(mine!.database).toBe(known!.database);
  await server.close();
  await other.close();
});

test.each([
  [15, 1_000],
  [100, 2_000],
  [60_000, 10_000],
  [null, 1_000],
])('after a count of %s ms the next one comes in %i ms at the earliest', (took, pause) => {
  expect(pauseAfter(took)).toBe(pause);
});

test('how many are online: now, and when it changes, for a narrowed reach too; one count for all who ask', async () => {
  const stage = await createStage(db);
  const server = open(stage);
  await server.send('ada');
  const { reach } = stage.caller;
  const counts = await Promise.all([1, 2, 3].map(() => server.presence.count(reach)));
  for (const count of counts) expect((await count.next()).value).toEqual({ online: 1 });
  expect(server.read('presence.count')).toBe(1);
  const next = counts.map((count) => count.next());
  await server.send('bob');
  await server.send('cyd');
  for (const one of next) expect([2, 3]).toContain((await one).value.online);
  await server.send('ada', 'sessionend');
  await server.send('bob', 'sessionend');
  await server.send('cyd', 'sessionend');
  for (const count of counts) while ((await count.next()).value.online > 0);
  await Promise.all(counts.map((count) => count.return!()));
  await server.close();
});

test('viewers who are slow are told the same, wherever each of them was', async () => {
  const stage = await createStage(db);
  const server = open(stage, { ...PRESENCE_LIMITS, reuse: 0 });
  const quick = await server.presence.watch(stage.caller.reach);
  await pull(quick);
  const slow: AsyncIterableIterator<PresenceUpdate>[] = [];
  for (let at = 0; at < 100; at += 1) {
    // Each change is a frame of its own.
    const next = pull(quick);
    await server.send(`user ${at}`);
    await next;
    // As happens every 2 seconds: from there on nobody's start has seen anything.
    if (at === 50) await server.presence.repair();
    if (at > 20) continue;
    const watch = await server.presence.watch(stage.caller.reach);
    await pull(watch);
    slow.push(watch);
  }
  const firsts = await Promise.all(slow.map(pull));
  const seconds = await Promise.all(slow.map(pull));
  expect(new Set(firsts).size).toBe(slow.length);
  expect(new Set(seconds).size).toBe(1);
  for (const [at, first] of firsts.entries()) expect(first.users).toHaveLength(96 - (at + 1));
  expect(seconds[0]!.users).toHaveLength(4);
  await server.close();
});

test('a slow viewer whose start cannot be paid for keeps what it shows, and has it after a look', async () => {
  const stage = await createStage(db);
  const server = open(stage, { ...PRESENCE_LIMITS, kept: 1 });
  let refused = 0;
  let isPoor = false;
  async function charge(): Promise<void> {
    if (!isPoor) return;
    refused += 1;
    throw new AppError('RATE_LIMITED', 'Later.');
  }
  const slow = await server.presence.watch(stage.caller.reach, { charge });
  const quick = await server.presence.watch(stage.caller.reach);
  for (const watch of [slow, quick]) await pull(watch);
  for (const user of ['ada', 'bob']) {
    const next = pull(quick);
    await server.send(user);
    await next;
  }
  isPoor = true;
  const next = pull(slow);
  await eventually(() => refused === 1);
  await server.presence.repair();
  await eventually(() => refused === 2);
  isPoor = false;
  // The look after it had been refused again.
  await eventually(async () => {
    await server.presence.repair();
    return Promise.race([next.then(() => true), new Promise<boolean>((resolve) => setImmediate(resolve, false))]);
  });
  expect(told(await next)).toEqual(['DIFF', 'ada ONLINE', 'bob ONLINE']);
  await server.close();
});

test('who cannot pay for a start tries less and less often, and takes no snapshot from those who can', async () => {
  const stage = await createStage(db);
  const limits = { ...PRESENCE_LIMITS, part: 1, kept: 1, changed: 1, held: 1, reuse: 600_000 };
  const server = open(stage, limits);
  let refused = 0;
  async function charge(): Promise<void> {
    refused += 1;
    if (refused > 1) throw new AppError('RATE_LIMITED', 'Later.');
  }
  const slow = await server.presence.watch(stage.caller.reach, { charge });
  const quick = await server.presence.watch(stage.caller.reach);
  for (const watch of [slow, quick]) await pull(watch);
  for (const user of ['ada', 'bob']) {
    const next = pull(quick);
    await server.send(user);
    await next;
  }
  const next = pull(slow);
  refused = 1;
  await eventually(() => refused === 2);
  const other = await server.presence.watch(stage.caller.reach);
  await pull(other);
  const read = server.read('presence.snapshot');
  const tries = [1, 3, 7, 15];
  for (let repair = 1; repair <= 15; repair += 1) {
    await server.presence.repair();
    await eventually(() => refused === 2 + tries.filter((at) => at <= repair).length);
  }
  expect(server.read('presence.snapshot')).toBe(read);
  expect((await pull(other)).kind).toBe('SNAPSHOT');
  await slow.return!();
  await next.catch(() => {});
  await server.close();
});

/** Sees the rows of each page that is read. */
function countingPages() {
  const pages: number[] = [];
  const change = changeQueries(async (database, statement) => {
    const rows = await database.query(statement);
    if (statement.name === 'presence.page') pages.push(rows.length);
    return rows;
  });
  return { pages, change };
}

test('changes are paid before they are read, and outside of a transaction; a made-up cursor reads what it can pay', async () => {
  const stage = await createStage(db);
  const { pages, change } = countingPages();
  let transactions = 0;
  const server = open(stage, PRESENCE_LIMITS, (database) => {
    const changed = change(database);
    return {
      ...changed,
      async transaction(work) {
        transactions += 1;
        try {
          return await changed.transaction(work);
        } finally {
          transactions -= 1;
        }
      },
    };
  });
  const { reach } = stage.caller;
  const place = placeOf(await pull(await server.presence.watch(reach)));
  await fill(stage, 3_000);
  pages.length = 0;
  const resume = async (snapshot: string, most: number) => {
    const paid: number[] = [];
    async function charge(users: number): Promise<void> {
      expect(transactions).toBe(0);
      if (paid.reduce((sum, one) => sum + one, users) > most) throw new AppError('RATE_LIMITED', 'Later.');
      paid.push(users);
    }
    const started = server.presence.watch(reach, { after: { ...place, snapshot }, charge });
    const kind = await started.then(pull).then(
      (update) => update.kind,
      (error: AppError) => error.code,
    );
    return { kind, paid };
  };
  expect(await resume(place.snapshot, Infinity)).toEqual({ kind: 'DIFF', paid: [50, 50, 100, 200, 400, 800, 1_600] });
  // Each try reads anew what it has paid for. A page has 2,000 at most.
  expect(pages).toEqual([50, 100, 200, 400, 800, 1_600, 2_000, 1_000]);
  pages.length = 0;
  // Everything that ever changed.
  expect((await resume('3:3:', 0)).kind).toBe('RATE_LIMITED');
  expect(pages).toEqual([]);
  expect((await resume('4:4:', 500)).kind).toBe('RATE_LIMITED');
  expect(pages).toEqual([50, 100, 200, 400]);
  await server.close();
});

test('of those who share a read one pays for it; if it cannot, the next one does', async () => {
  const stage = await createStage(db);
  const { pages, change } = countingPages();
  const server = open(stage, PRESENCE_LIMITS, change);
  const { reach } = stage.caller;
  const after = placeOf(await pull(await server.presence.watch(reach)));
  await fill(stage, 120);
  pages.length = 0;
  const paid: number[][] = [];
  const kinds = [60, 0, Infinity, Infinity].map(async (most, at) => {
    const own: number[] = (paid[at] = []);
    async function charge(users: number): Promise<void> {
      if (own.reduce((sum, one) => sum + one, users) > most) throw new AppError('RATE_LIMITED', 'Later.');
      own.push(users);
    }
    const watch = await server.presence.watch(reach, { after, charge });
    return (await pull(watch)).users.length;
  });
  expect(await Promise.allSettled(kinds)).toMatchObject([
    { status: 'rejected' },
    { status: 'rejected' },
    { status: 'fulfilled', value: 120 },
    { status: 'fulfilled', value: 120 },
  ]);
  expect(paid).toEqual([[50], [], [50, 100], [120]]);
  expect(pages).toEqual([50, 100, 120]);
  await server.close();
});

test('a hundred different cursors wait for their reads; the others get a snapshot that they share', async () => {
  const stage = await createStage(db);
  const server = open(stage);
  const { reach } = stage.caller;
  await server.send('ada');
  const place = placeOf(await pull(await server.presence.watch(reach)));
  const { xmax } = readSnapshot(place.snapshot);
  const cursors = Array.from({ length: 140 }, (_, at) => ({ ...place, snapshot: `${xmax - at}:${xmax - at}:` }));
  for (const identities of [null, ['ada', 'bob']]) {
    const before = [server.read('presence.since'), server.read('presence.snapshot')] as const;
    const watches = await Promise.all(cursors.map((after) => server.presence.watch(reach, { after, identities })));
    const updates = await Promise.all(watches.map(pull));
    expect(updates.filter(({ kind }) => kind === 'SNAPSHOT')).toHaveLength(40);
    expect(server.read('presence.since') - before[0]).toBe(100);
    expect(server.read('presence.snapshot') - before[1]).toBeLessThanOrEqual(1);
    await Promise.all(watches.map((watch) => watch.return!()));
    // Nobody waits any more.
    const watch = await server.presence.watch(reach, { after: cursors[139]!, identities });
    expect((await pull(watch)).kind).toBe('DIFF');
  }
  await server.close();
});

describe('over both doors', () => {
  let doors: Doors;
  let key: string;
  beforeAll(async () => {
    doors = await openDoors(db);
    key = await createProject(doors.url);
    const [{ id }] = (await db.open().query<{ id: string }>({
      name: 'test.project',
      text: 'SELECT id FROM projects ORDER BY created_at DESC, id LIMIT 1',
    })) as [{ id: string }];
    const stage = { projectId: id, database: db.open() } as Stage;
    await fill(stage, 2_500);
  });
  afterAll(() => doors.close());

  const statements = (name: string): number =>
    doors.observations.filter((seen) => seen.kind === 'statement' && seen.name === name).length;
  const QUERY = `subscription ($after: String, $seen: Boolean = false) {
    presence: userPresence(after: $after) { kind here: users { identity } cursor hasMore ...more }
  }
  fragment more on PresenceUpdate { users { status lastSeenAt @include(if: $seen) onlineSessions } }`;

  test('an update of many is told whole, whatever its lists are called', async () => {
    const client = connect(doors.url, key);
    const listening = listen(client, QUERY);
    const [{ kind, here, users, hasMore, cursor }] = await listening.until((heard) => heard.length === 1);
    expect([kind, hasMore, here.length, users.length]).toEqual(['SNAPSHOT', false, 2_500, 2_500]);
    expect(new Set(here.map(({ identity }: { identity: string }) => identity)).size).toBe(2_500);
    expect(new Set(users.map((user: object) => JSON.stringify(user)))).toEqual(
      new Set(['{"status":"ONLINE","onlineSessions":1}']),
    );
    await post(doors.url, key, 'mutation { ingestEvents(events: [{ user: { identity: "ada" } }]) { accepted } }');
    const resumed = listen(client, QUERY, { after: cursor });
    const [diff] = await resumed.until((heard) => heard.length === 1);
    expect([diff.kind, diff.here]).toEqual(['DIFF', [{ identity: 'ada' }]]);
    await client.dispose();
  });

  test('when users were last seen is read where it is asked for', async () => {
    const query = (fields: string) =>
      `subscription { userPresence(identities: ["ada", "nobody"]) { users { ${fields} } } }`;
    await post(doors.url, key, 'mutation { ingestEvents(events: [{ user: { identity: "ada" } }]) { accepted } }');
    const client = connect(doors.url, key);
    const before = statements('presence.lastSeen');
    await listen(client, query('identity')).until((heard) => heard.length === 1);
    expect(statements('presence.lastSeen') - before).toBe(0);
    const [{ users }] = await listen(client, query('identity lastSeenAt')).until((heard) => heard.length === 1);
    expect(users).toEqual([
      { identity: 'ada', lastSeenAt: expect.stringMatching(/Z$/) },
      { identity: 'nobody', lastSeenAt: null },
    ]);
    expect(statements('presence.lastSeen') - before).toBe(1);
    await client.dispose();
  });

  test.each(
    [
      'x',
      '',
      '["a","1:2:x",3]',
      '["a","1:2:",-1]',
      '["a","1:2:",1.5]',
      '["a","1:2:",1e300]',
      '["a","3:2:",1]',
      '["a","3:9:2",1]',
    ].map((place) =>
      place.startsWith('[') ? Buffer.from(`["presence since",${place}]`).toString('base64url') : place,
    ),
  )('what is no cursor is refused: %s', async (after) => {
    const client = connect(doors.url, key);
    const listening = listen(client, QUERY, { after });
    await listening.ended;
    expect(JSON.stringify(listening.errors)).toContain('INVALID_CURSOR');
    await client.dispose();
  });

  test('how many are online, over GraphQL', async () => {
    const client = connect(doors.url, key);
    const listening = listen(client, 'subscription { onlineCount }');
    const [count] = await listening.until((heard) => heard.length === 1);
    await post(doors.url, key, 'mutation { ingestEvents(events: [{ user: { identity: "bob" } }]) { accepted } }');
    expect((await listening.until((heard) => heard.length === 2))[1]).toBe(count + 1);
    const token = await post(
      doors.url,
      key,
      'mutation { createAccessToken(scopes: [PRESENCE], identities: ["bob", "nobody"]) { token } }',
    );
    const narrowed = connect(doors.url, token.data.createAccessToken.token);
    expect(await listen(narrowed, 'subscription { onlineCount }').until((heard) => heard.length === 1)).toEqual([1]);
    await narrowed.dispose();
    await client.dispose();
  });
});
