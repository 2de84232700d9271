import { afterAll, beforeAll, expect, test } from 'vitest';
import { migrate, MigrationError } from '../../src/store/upkeep/migrate.js';
import { dropOldEventKeys, ensurePartitions } from '../../src/store/partitions.js';
import { Prisma } from '../../src/store/generated/prisma/client.js';
import type { Database } from '../../src/store/database.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { readdirSync, readFileSync } from 'node:fs';

let db: TestDatabase;
let database: Database;
beforeAll(async () => {
  db = await createTestDatabase();
  database = db.open();
});
afterAll(() => db.drop());

const query = <Row>(text: string): Promise<Row[]> => database.query<Row>({ name: 'test', text });

/** Folders; beside them lies the lock file. */
const MIGRATIONS = readdirSync(new URL('../../prisma/migrations', import.meta.url)).filter((name) =>
  /^\d/.test(name),
).length;

/** What each Prisma type is in Postgres, here. */
const TYPES: Record<string, string> = {
  String: 'text',
  Boolean: 'boolean',
  Int: 'integer',
  BigInt: 'bigint',
  Float: 'double precision',
  Bytes: 'bytea',
  Json: 'jsonb',
  DateTime: 'timestamp with time zone',
  'db.Uuid': 'uuid',
  'db.Date': 'date',
  'db.VarBit': 'bit varying',
  SessionStartPolicy: 'session_start_policy',
  SessionEndReason: 'session_end_reason',
  BotPolicy: 'bot_policy',
  PresenceCause: 'presence_cause',
};

/** Columns as prisma/schema.prisma writes them: "table.column type null". */
function modelled(): string[] {
  const text = readFileSync(new URL('../../prisma/schema.prisma', import.meta.url), 'utf8');
  return [...text.matchAll(/^model (\w+) \{\n([\s\S]*?)^\}/gm)].flatMap(([, , body]) => {
    const table = /@@map\("(\w+)"\)/.exec(body!)![1]!;
    // Prisma knows no list that may be null: Unsupported("text[]")?.
    const fields = body!.matchAll(/^ {2}(\w+)\s+(\w+)(?:\("\w+(?=\[\]))?(\[\])?(?:"\))?(\?)?(.*)$/gm);
    return [...fields].map(([, name, type, list, optional, rest]) => {
      const column = /@map\("(\w+)"\)/.exec(rest!)?.[1] ?? name;
      const native = /@(db\.(?:Uuid|Date|VarBit)\b)/.exec(rest!)?.[1];
      return `${table}.${column} ${list ? 'ARRAY' : TYPES[native ?? type!]} ${optional ? 'null' : 'not null'}`;
    });
  });
}

test('prisma/schema.prisma says what the migrations make', async () => {
  const rows = await query<{ column: string }>(
    `SELECT table_name || '.' || column_name || ' ' || CASE WHEN data_type = 'USER-DEFINED' THEN udt_name ELSE data_type END
            || CASE WHEN is_nullable = 'YES' THEN ' null' ELSE ' not null' END AS column
     FROM information_schema.columns
     WHERE table_schema = 'public' AND table_name !~ '^_prisma' AND table_name !~ '_\\d{8}$'`,
  );
  const expected = modelled();
  expect(expected.length).toBeGreaterThan(60);
  expect(rows.map(({ column }) => column).toSorted()).toEqual(expected.toSorted());
  // Prisma's client was generated from the same file.
  expect(Object.keys(Prisma.ModelName)).toHaveLength(27);
});

test('every table starts with project_id, and so does every primary and unique key', async () => {
  const tables = await query<{ name: string; first: string }>(
    `SELECT c.relname AS name, a.attname AS first FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = 1
     WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname NOT IN ('installation', 'pulse', 'outage', 'long_outages', 'presence_settling', 'catch_ups', 'projects', '_prisma_migrations')`,
  );
  expect(tables.length).toBeGreaterThan(5);
  expect(tables.filter(({ first }) => first !== 'project_id')).toEqual([]);
  const keys = await query<{ name: string; first: string }>(
    `SELECT i.indexrelid::regclass::text AS name, a.attname AS first
     FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
     WHERE i.indisunique AND c.relnamespace = 'public'::regnamespace AND c.relname NOT IN ('installation', 'pulse', 'outage', 'long_outages', 'presence_settling', 'catch_ups', 'projects', '_prisma_migrations')`,
  );
  expect(keys.length).toBeGreaterThan(5);
  expect(keys.filter(({ first }) => first !== 'project_id')).toEqual([]);
});

test('migrations run once, however many servers start; changed or unknown ones stop the start', async () => {
  const servers = [db.open(), db.open(), db.open()];
  await query('DROP SCHEMA public CASCADE');
  await query('CREATE SCHEMA public');
  await Promise.all(servers.map((server) => migrate(server, () => {})));
  expect(await query('SELECT migration_name FROM _prisma_migrations')).toHaveLength(MIGRATIONS);
  await query(`UPDATE _prisma_migrations SET checksum = 'other'`);
  await expect(migrate(database, () => {})).rejects.toThrow(MigrationError);
  await query(`UPDATE _prisma_migrations SET migration_name = '29991231_future'`);
  await expect(migrate(database, () => {})).rejects.toThrow(/newer than this version of Footsteps.*29991231_future/);
});

test('partitions are made ahead by several servers at once, and old ids are dropped', async () => {
  const at = new Date('2027-03-10T10:00:00Z');
  await query('DROP SCHEMA public CASCADE');
  await query('CREATE SCHEMA public');
  await migrate(database, () => {});
  await Promise.all([db.open(), db.open(), db.open()].map((server) => ensurePartitions(server, at, () => {})));
  const names = async (parent: string) =>
    (
      await query<{ name: string }>(
        `SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = '${parent}'::regclass`,
      )
    )
      .map(({ name }) => name)
      .toSorted();
  expect(await names('events')).toEqual(['events_20270301', 'events_20270308', 'events_20270315', 'events_20270322']);
  expect(await names('event_keys')).toHaveLength(7);
  await dropOldEventKeys(database, new Date('2027-03-15T10:00:00Z'));
  expect((await names('event_keys'))[0]).toBe('event_keys_20270310');
});
