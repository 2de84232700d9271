import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Observation } from '../../src/observation.js';
import type { PrismaDatabase } from '../../src/store/database.js';
import { migrate, MigrationError } from '../../src/store/upkeep/migrate.js';
import { eventually } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

let db: TestDatabase;
let database: PrismaDatabase;
let folder: string;
let observations: Observation[];

beforeEach(async () => {
  db = await createTestDatabase();
  observations = [];
  database = db.open((observation) => observations.push(observation));
  folder = await mkdtemp(path.join(tmpdir(), 'footsteps-test-migrations-'));
  await query('DROP SCHEMA public CASCADE');
  await query('CREATE SCHEMA public');
});
afterEach(async () => {
  await db.drop();
  await rm(folder, { recursive: true });
});

const query = <Row>(text: string): Promise<Row[]> => database.query<Row>({ name: 'test', text });

async function write(name: string, sql: string): Promise<void> {
  await mkdir(path.join(folder, name), { recursive: true });
  await writeFile(path.join(folder, name, 'migration.sql'), sql);
}

const applied = async () =>
  (await query<{ name: string }>('SELECT migration_name AS name FROM _prisma_migrations ORDER BY finished_at')).map(
    ({ name }) => name,
  );
const tables = async () =>
  (await query<{ name: string }>(`SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'`))
    .map(({ name }) => name)
    .toSorted();
const statements = (name: string) =>
  observations.filter((observation) => observation.kind === 'statement' && observation.name === name).length;

const THINGS =
  'CREATE TABLE things (id integer, kind integer);\nINSERT INTO things SELECT n, n % 7 FROM generate_series(1, 20000) n;\n';
const INDEX = `-- CONCURRENTLY
-- Half an index that a crash has left is dropped; this one's name holds a semicolon in no line's end.
DROP INDEX CONCURRENTLY IF EXISTS things_id;
CREATE UNIQUE INDEX CONCURRENTLY things_id
  ON things (id); 
-- Nothing follows.
`;
const validity = () =>
  query<{ indisvalid: boolean }>(`SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('things_id')`);

test('one that fails says its name, and nothing of it stays; what came before it does', async () => {
  await write('1_things', THINGS);
  await write('2_wrong', 'CREATE TABLE others (id integer);\nSELECT 1 / 0;\n');
  await write('3_later', 'CREATE TABLE later (id integer);');
  await expect(migrate(database, () => {}, folder)).rejects.toThrow(
    /^The migration 2_wrong failed: division by zero\. The migrations before it stay applied\./,
  );
  expect(await applied()).toEqual(['1_things']);
  expect(await tables()).toEqual(['_prisma_migrations', 'things']);
  await write('2_wrong', 'CREATE TABLE others (id integer);');
  await migrate(database, () => {}, folder);
  expect(await applied()).toEqual(['1_things', '2_wrong', '3_later']);
});

test('marks and sums that are there stay what they are, and what ends from then on is named', async () => {
  const ours = new URL('../../prisma/migrations/', import.meta.url);
  const names = readdirSync(ours).filter((entry) => /^\d/.test(entry));
  const sqlOf = (name: string) => readFileSync(new URL(`${name}/migration.sql`, ours), 'utf8');
  const isNew = (name: string) => name >= '20261128010000';
  for (const name of names.filter((one) => !isNew(one))) await write(name, sqlOf(name));
  await migrate(database, () => {}, folder);
  const id = '11111111-1111-4111-8111-111111111111';
  const add = (count: number) =>
    query(`INSERT INTO sessions (project_id, id, started_at, last_activity_at, ended_at, end_reason, online_until, live, event_count,
                                 ended_event_count)
           SELECT '${id}', gen_random_uuid(), at, at, at, 'INACTIVITY', at, false, 1, 1
           FROM generate_series(1, ${count}) n, LATERAL (SELECT timestamptz '2026-11-20' + n * interval '1 s' AS at) k`);
  const marks = () =>
    query(
      `SELECT to_jsonb(m) ->> 'added' IS NOT NULL AS "isNamed", count(*)::integer FROM session_sum_marks m GROUP BY 1 ORDER BY 1`,
    );
  await add(500);
  expect(await marks()).toEqual([{ isNamed: false, count: 1 }]);
  await query(`INSERT INTO session_sums (project_id, dimension, seconds, start, place, sessions, with_errors, duration, users)
               VALUES ('${id}', 'ALL', 10800, '2026-11-20', 0, 500, 0, 0, 0)`);
  for (const name of names.filter(isNew)) await write(name, sqlOf(name));
  // Whoever changes sessions meanwhile has no lock that it waits for.
  const free = await db.hold(`UPDATE sessions SET live = false WHERE project_id = '${id}'`);
  await migrate(database, () => {}, folder);
  await free();
  await add(3);
  await query(`UPDATE sessions SET error_count = 1 WHERE started_at = (SELECT max(started_at) FROM sessions)`);
  expect(await marks()).toEqual([
    { isNamed: false, count: 1 },
    { isNamed: true, count: 4 },
  ]);
  expect(await query('SELECT sessions, all_values FROM session_sums')).toEqual([{ sessions: 500, all_values: null }]);
});

test('a connection that is lost within a file takes back that file alone', async () => {
  await write('1_things', THINGS);
  await write('2_killed', 'CREATE TABLE others (id integer);\nSELECT pg_terminate_backend(pg_backend_pid());\n');
  await expect(migrate(database, () => {}, folder)).rejects.toThrow(MigrationError);
  await expect(migrate(database, () => {}, folder)).rejects.toThrow(/2_killed failed: terminating connection/);
  expect(await applied()).toEqual(['1_things']);
  expect(await tables()).toEqual(['_prisma_migrations', 'things']);
  await write('2_killed', 'CREATE TABLE others (id integer);');
  await migrate(database, () => {}, folder);
  expect(await applied()).toEqual(['1_things', '2_killed']);
});

test('several servers at once: each file is applied once, those that run concurrently too', async () => {
  await write('1_things', THINGS);
  await write('2_index', INDEX);
  await write('3_later', 'CREATE TABLE later (id integer);');
  const servers = [database, ...[1, 2, 3].map(() => db.open((observation) => observations.push(observation)))];
  await Promise.all(servers.map((server) => migrate(server, (observation) => observations.push(observation), folder)));
  expect(await applied()).toEqual(['1_things', '2_index', '3_later']);
  expect(await validity()).toEqual([{ indisvalid: true }]);
  expect(statements('migrate.apart')).toBe(2);
  expect(observations.filter(({ kind }) => kind === 'migration.applied')).toHaveLength(3);
});

test('a server that comes while an index is built waits without a snapshot, so that the index comes to its end', async () => {
  await write('1_things', THINGS);
  await migrate(database, () => {}, folder);
  await write('2_index', INDEX);
  // Somebody's transaction that the index has to wait for.
  const free = await db.hold('UPDATE things SET kind = 8 WHERE id = 1');
  const building = migrate(database, () => {}, folder);
  const second = db.open((observation) => observations.push(observation));
  try {
    while (
      (
        await query(
          `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%CREATE UNIQUE INDEX%' AND wait_event_type = 'Lock'`,
        )
      ).length === 0
    );
    observations.length = 0;
    const waiting = migrate(second, () => {}, folder);
    while (statements('migrate.lock') < 3) await query('SELECT 1');
    await free();
    await Promise.all([building, waiting]);
  } finally {
    await free();
  }
  expect(await applied()).toEqual(['1_things', '2_index']);
  expect(await validity()).toEqual([{ indisvalid: true }]);
});

test('one that cannot get the lock of a table lets others go on, says so, and is applied when the lock is free', async () => {
  await write('1_things', THINGS);
  await migrate(database, () => {}, folder);
  await write('2_more', 'ALTER TABLE things ADD more integer;');
  const free = await db.hold('SELECT count(*) FROM things');
  const migrating = migrate(database, (observation) => observations.push(observation), folder);
  const waits = () => observations.filter(({ kind }) => kind === 'migration.waits');
  try {
    await eventually(() => waits().length > 0);
    expect(waits()[0]).toMatchObject({ name: '2_more', message: expect.stringContaining('pg_stat_activity') });
    // Nobody waits behind it now.
    expect(await query('SELECT count(*)::int AS count FROM things')).toEqual([{ count: 20_000 }]);
    expect(await applied()).toEqual(['1_things']);
  } finally {
    await free();
  }
  await migrating;
  expect(await applied()).toEqual(['1_things', '2_more']);
});

test('an index that could not be made is made by the next start', async () => {
  await write('1_things', `${THINGS}INSERT INTO things VALUES (1, 1);\n`);
  await write('2_index', INDEX);
  await expect(migrate(database, () => {}, folder)).rejects.toThrow(/2_index failed: could not create unique index/);
  expect(await validity()).toEqual([{ indisvalid: false }]);
  expect(await applied()).toEqual(['1_things']);
  await query('DELETE FROM things WHERE kind = 1 AND id = 1');
  await migrate(database, () => {}, folder);
  expect(await validity()).toEqual([{ indisvalid: true }]);
  expect(await applied()).toEqual(['1_things', '2_index']);
});

test('a server whose lock is lost while an index is built goes no further', async () => {
  await write('1_things', THINGS);
  await migrate(database, () => {}, folder);
  await write('2_index', `${INDEX}CREATE INDEX CONCURRENTLY things_kind ON things (kind);\n`);
  const free = await db.hold('UPDATE things SET kind = 8 WHERE id = 1');
  const failure = migrate(database, () => {}, folder).then(
    () => null,
    (error: unknown) => error,
  );
  try {
    while (
      (
        await query(
          `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%CREATE UNIQUE INDEX%' AND wait_event_type = 'Lock'`,
        )
      ).length === 0
    );
    await query(`SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = 3668
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`);
  } finally {
    await free();
  }
  expect(String(await failure)).toMatch(/2_index failed/);
  expect(statements('migrate.apart')).toBe(2);
  expect(await applied()).toEqual(['1_things']);
  await migrate(database, () => {}, folder);
  expect(await applied()).toEqual(['1_things', '2_index']);
});

/** What a migration makes concurrently, and does not drop before. */
function halfRepeatable(sql: string): string[] {
  const made = [...sql.matchAll(/CREATE (?:UNIQUE )?INDEX CONCURRENTLY (\w+)/g)].map(([, name]) => name!);
  return made.filter((name) => !sql.includes(`DROP INDEX CONCURRENTLY IF EXISTS ${name};`));
}

test('what migrations make concurrently they drop before, so that they may run again', () => {
  expect(halfRepeatable(INDEX)).toEqual([]);
  expect(halfRepeatable('CREATE INDEX CONCURRENTLY x ON things (id);')).toEqual(['x']);
  const ours = new URL('../../prisma/migrations/', import.meta.url);
  const names = readdirSync(ours).filter((entry) => /^\d/.test(entry));
  expect(names.length).toBeGreaterThan(10);
  for (const name of names)
    expect(halfRepeatable(readFileSync(new URL(`${name}/migration.sql`, ours), 'utf8'))).toEqual([]);
});
