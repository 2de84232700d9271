import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Reach } from '../../src/domain/access.js';
import { firstUuidAt, uuidAt } from '../../src/domain/event-id.js';
import type { EventFilter } from '../../src/domain/filters.js';
import type { Database, Statement } from '../../src/store/database.js';
import { ALL_IDS, searchEvents } from '../../src/store/sessions/event-search.js';
import { countEvents, listEvents } from '../../src/store/sessions/events.js';
import { dropOldEvents, ensurePartitions } from '../../src/store/partitions.js';
import { keepSearchIndexes, searchRanges } from '../../src/store/sessions/search-indexes.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

/** A small week of events, and two with 20 MB each: the past one, and the current one up to Thursday noon. */
const DAY = 86_400_000;
const now = new Date(Date.UTC(2026, 10, 26, 12));
const small = Date.UTC(2026, 10, 9);
const past = Date.UTC(2026, 10, 16);
const current = Date.UTC(2026, 10, 23);
const DAYS = ['23', '24', '25'].map((day) => `events_20261123_search_202611${day}`);
const PAST = 'events_20261116_search';

let db: TestDatabase;
let database: Database;
const projectId = randomUUID();
const reach: Reach = { projectId, userIds: null };
const never = new AbortController().signal;
const run = <Row>(text: string, values: unknown[] = []) => database.query<Row>({ name: 'test', text, values });
const keep = (at = now, stop = never, on = database) => keepSearchIndexes(on, at, stop);
const indexes = async (): Promise<string[]> =>
  (
    await run<{ name: string }>(
      `SELECT relname AS name FROM pg_class WHERE relkind = 'i' AND relname ~ '^events_[0-9]+_search' ORDER BY 1`,
    )
  ).map(({ name }) => name);
const add = (at: number, message: string, source: string | null = null) =>
  run(
    `INSERT INTO events (project_id, id, type, source, message, occurred_at, received_at) VALUES ($1, $2, 'log', $3, $4, $5, now())`,
    [projectId, uuidAt(at), source, message, new Date(at)],
  );

beforeAll(async () => {
  db = await createTestDatabase();
  database = db.open();
  for (const at of [small + 4 * DAY, past + 4 * DAY, +now]) await ensurePartitions(database, new Date(at), () => {});
  await run(`INSERT INTO projects (id, name, created_at, retention_days) VALUES ($1, 'Big', now(), 30)`, [projectId]);
  for (const [from, to, count] of [
    [small, past, 100],
    [past, current, 20_000],
    [current, +now, 20_000],
  ] as const) {
    await run(
      `INSERT INTO events (project_id, id, type, source, message, occurred_at, received_at, data)
       SELECT $1, (substr(ms, 1, 8) || '-' || substr(ms, 9, 4) || '-7000-8000-' || lpad(n::text, 12, '0'))::uuid, 'log', '/page/' || n,
              'Said ' || md5(n::text), at, at, jsonb_build_object('text', repeat(md5(n::text), 24))
       FROM (SELECT n, at, lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') AS ms
             FROM (SELECT n, $2::timestamptz + ($3::timestamptz - $2::timestamptz) * (n::float8 / ($4::integer + 1)) AS at
                   FROM generate_series(1, $4::integer) n) x) y`,
      [projectId, new Date(from), new Date(to), count],
    );
  }
  // One in each part of the time, some in one part.
  for (const [at, message] of [
    [small + DAY, 'ÅNGSTRÖM 0'],
    [past, 'Ångström 1'],
    [past + 6.9 * DAY, 'ångström 2'],
    [current, 'ÅngSTRÖM 3'],
    [current + 0.5 * DAY, 'Ångström 4'],
    [current + DAY, 'Ångström 5'],
    [current + 3.4 * DAY, 'Ångström 6'],
  ] as const)
    await add(at, message);
  await add(current + 2.5 * DAY, 'nothing', '/Ångström/7');
  await run('VACUUM ANALYZE events');
}, 180_000);
afterAll(() => db.drop());

/** How a search and its pages answer, forwards and backwards. */
async function found(filter: EventFilter, limit = 50): Promise<string[]> {
  const names: string[][] = [];
  for (const backwards of [false, true]) {
    const pages: string[][] = [];
    for (let place: string | null = null, more = true; more;) {
      const page = { limit, after: backwards ? null : place, before: backwards ? place : null, backwards };
      const read = await listEvents(database, reach, filter, page);
      pages.push(read.rows.map(({ source, message }) => source ?? message!));
      place = (backwards ? read.rows[0] : read.rows.at(-1))?.id ?? null;
      ({ more } = read);
    }
    names.push((backwards ? pages.toReversed() : pages).flat());
  }
  expect(names[0]).toEqual(names[1]);
  expect(await countEvents(database, reach, filter)).toBe(names[0]!.length);
  return names[0]!.map((name) => name.replaceAll('/', '').slice(-1));
}

/** The statements of a search, and what indexes and how many rows of tables the plan of each reads. */
async function plansOf(filter: EventFilter): Promise<{ index: string[]; rows: number }[]> {
  const noted: Statement[] = [];
  await listEvents(
    {
      ...database,
      transaction: (work) =>
        database.transaction((tx) =>
          work({
            query(statement) {
              if (statement.name === 'events.list') noted.push(statement);
              return tx.query(statement);
            },
          }),
        ),
    },
    reach,
    filter,
    { limit: 50, after: null, before: null, backwards: false },
  );
  const plans: { index: string[]; rows: number }[] = [];
  for (const { text, values } of noted) {
    const lines = await run<{ 'QUERY PLAN': string }>(`EXPLAIN (ANALYZE, TIMING OFF) ${text}`, [...values!]);
    const plan = lines.map((line) => line['QUERY PLAN']).join('\n');
    plans.push({
      index: [
        ...new Set(
          [...plan.matchAll(/Index (?:Only )?Scan (?:Backward )?(?:on|using) (events\w+)/g)].map((m) => m[1]!),
        ),
      ],
      rows: [...plan.matchAll(/Rows Removed by (?:Filter|Index Recheck): (\d+)/g)].reduce(
        (sum, m) => sum + Number(m[1]),
        0,
      ),
    });
  }
  return plans;
}

const ALL = ['6', '7', '5', '4', '3', '2', '1', '0'];

describe('what is over gets an index', () => {
  beforeEach(async () => {
    for (const name of await indexes()) await run(`DROP INDEX ${name}`);
  });

  test('each day of the week, then the week; small ones none; what is found does not depend on it', async () => {
    expect(await searchRanges(database)).toEqual([ALL_IDS]);
    expect(await found({ search: 'ångSTRÖM' })).toEqual(ALL);
    expect(await keep()).toEqual([...DAYS, PAST]);
    expect(await indexes()).toEqual([PAST, ...DAYS]);
    const edges = [past, current, current + DAY, current + 2 * DAY, current + 3 * DAY].map((at) => firstUuidAt(at));
    expect((await searchRanges(database)).map(({ from }) => from)).toEqual([null, ...edges]);
    for (const limit of [50, 3, 1]) expect(await found({ search: 'ångSTRÖM' }, limit)).toEqual(ALL);
    const occurredAt = { from: new Date(past + 1), to: new Date(current + 2 * DAY) };
    expect(await found({ search: 'ÅNG', occurredAt }, 2)).toEqual(['5', '4', '3', '2']);
    expect(await found({ search: 'ÅNG', types: ['error'] })).toEqual([]);
    // A part of two letters, and one that all have.
    expect(await found({ search: 'öm' })).toEqual(ALL);
    expect(await countEvents(database, reach, { search: 'SAID' })).toBe(40_100);
    expect(await keep()).toEqual([]);
    expect(await keep(new Date(current + 7 * DAY))).toEqual(['events_20261123_search']);
    expect(await indexes()).toEqual([PAST, 'events_20261123_search']);
    expect(await found({ search: 'ångSTRÖM' }, 3)).toEqual(ALL);
  });

  test('what is rare is found by index, in all but the hours since midnight and small weeks', async () => {
    await keep();
    const today = { index: ['events_20261123_pkey'] };
    const [first, ...rest] = await plansOf({ search: 'ångström' });
    expect(first).toMatchObject(today);
    expect(first!.rows).toBeLessThan(20_000 / 6);
    expect(rest.slice(0, -1).map(({ index }) => index)).toEqual([...DAYS.toReversed().map((name) => [name]), [PAST]]);
    for (const { rows } of rest) expect(rows).toBeLessThanOrEqual(100);
    // What many have is found in the first range already.
    const many = await plansOf({ search: 'Said' });
    expect(many).toHaveLength(1);
    expect(many[0]).toMatchObject(today);
    expect(many[0]!.rows).toBeLessThanOrEqual(1);
    // A time that is asked for leaves the others out.
    const of = { from: new Date(current + DAY), to: new Date(current + 2 * DAY) };
    expect((await plansOf({ search: 'ångström', occurredAt: of })).map(({ index }) => index)).toEqual([[DAYS[1]]]);
  });

  test('events that come late are found, too', async () => {
    await keep();
    await add(current + 1.25 * DAY, 'a latecomer 1');
    await add(past + 3 * DAY, 'a latecomer 2');
    expect(await found({ search: 'LATEcomer' })).toEqual(['1', '2']);
  });

  test('what arrives today enters none of them', async () => {
    await keep();
    const entries = () =>
      run(`SELECT relname, pg_relation_size(oid) FROM pg_class WHERE relname ~ '^events_20261123_search' ORDER BY 1`);
    const before = await entries();
    await run(
      `INSERT INTO events (project_id, id, type, message, occurred_at, received_at)
       SELECT gen_random_uuid(), ($1 || lpad(n::text, 12, '0'))::uuid, 'log', repeat(md5(n::text), 8), now(), now() FROM generate_series(1, 2000) n`,
      [firstUuidAt(now).slice(0, 24)],
    );
    expect(await entries()).toEqual(before);
  });

  test('what a crash left half built is dropped and built again', async () => {
    // Types are not unique, so that it stays as it is: invalid.
    await expect(
      database.apart(
        { name: 'test', text: `CREATE UNIQUE INDEX CONCURRENTLY ${DAYS[0]} ON events_20261123 (type)` },
        never,
      ),
    ).rejects.toMatchObject({ code: '23505' });
    expect(await indexes()).toEqual([DAYS[0]]);
    // Postgres tells the error first, and shows the build until it has cleared up.
    const building = () => run(`SELECT FROM pg_stat_progress_create_index WHERE relid = 'events_20261123'::regclass`);
    await expect.poll(async () => (await building()).length, { timeout: 10_000 }).toBe(0);
    expect(await searchRanges(database)).toEqual([ALL_IDS]);
    expect(await keep()).toEqual([...DAYS, PAST]);
    expect(await found({ search: 'ångström' })).toEqual(ALL);
  });

  test('a week whose index cannot be built keeps no other from having its own', async () => {
    await run(`CREATE TABLE ${DAYS[0]} ()`);
    await expect(keep()).rejects.toMatchObject({ code: '42P07' });
    await run(`DROP TABLE ${DAYS[0]}`);
    expect(await indexes()).toEqual([PAST]);
    expect(await keep()).toEqual(DAYS);
  });

  test('of several servers one builds; another goes on where one stops; writers and readers do not wait', async () => {
    const other = db.open();
    const free = await db.hold(
      `UPDATE events_20261123 SET version = '1' WHERE project_id = '${projectId}' AND message = 'Ångström 4'`,
    );
    const stop = new AbortController();
    const first = keep(now, stop.signal);
    const isBuilding = () =>
      run(`SELECT FROM pg_stat_progress_create_index WHERE relid = 'events_20261123'::regclass AND lockers_total > 0`);
    await expect.poll(async () => (await isBuilding()).length, { timeout: 10_000 }).toBe(1);
    expect(await keep(now, never, other)).toEqual([]);
    await add(current + 0.6 * DAY, 'while it is built 1');
    expect(await found({ search: 'while it is BUILT' })).toEqual(['1']);
    stop.abort();
    await expect(first).rejects.toThrow();
    // Postgres knows nothing of it yet, and may still bring it to its end: nobody else touches that partition meanwhile.
    expect(await isBuilding()).toHaveLength(1);
    expect(await keep(now, never, other)).toEqual([PAST]);
    await free();
    const complete = async (): Promise<string[]> => {
      await keep(now, never, other);
      return indexes();
    };
    await expect.poll(complete, { timeout: 20_000 }).toEqual([PAST, ...DAYS]);
    expect(await found({ search: 'while it is BUILT' })).toEqual(['1']);
  });

  test('a search that takes too long ends, and says what would help', async () => {
    await keep();
    const free = await db.hold('LOCK TABLE events_20261116 IN ACCESS EXCLUSIVE MODE');
    let looks = 0;
    const search = searchEvents(database, { ...ALL_IDS, newestFirst: true, patience: 200 }, async (range, query) => {
      looks += 1;
      await query({
        name: 'test',
        text: `SELECT FROM events WHERE id >= $1 AND id < $2 LIMIT 1`,
        values: [range.from ?? firstUuidAt(0), range.to ?? firstUuidAt(now)],
      });
      return true;
    });
    await expect(search).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      details: { field: 'filter.search' },
      message: expect.stringContaining('occurredAt') as string,
    });
    await free();
    expect(looks).toBe(5);
  });
});

test('an index goes with its week', async () => {
  await keep();
  expect(await indexes()).toContain(PAST);
  await dropOldEvents(database, new Date(+now + 60 * DAY));
  expect(await indexes()).toEqual([]);
});

test('a server without pg_trgm goes without', async () => {
  const plain = await createTestDatabase();
  const own = plain.open();
  await own.query({ name: 'test', text: 'DROP EXTENSION pg_trgm CASCADE' });
  expect(await keepSearchIndexes(own, now, never)).toEqual([]);
  expect(await countEvents(own, reach, { search: 'x' })).toBe(0);
  await plain.drop();
});
