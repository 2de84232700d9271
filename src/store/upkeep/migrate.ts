import { createHash, randomUUID } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { AppError } from '../../errors.js';
import type { Observer } from '../../observation.js';
import { LOCK_NOT_AVAILABLE, sqlStateOf, type Database, type Queryable } from '../database.js';
import { holdLock } from '../hold-lock.js';

/** The folder of the migrations. The path is right from src/store and from dist/store. */
const MIGRATIONS = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../../prisma/migrations');

/**
 * The number of the advisory lock. No other program on this database may use it. On a telephone keypad it spells
 * "foot".
 */
const LOCK = '3668';
/** How long a server waits before it tries again: to get this lock, and to get those of tables. Milliseconds. */
const INTERVAL = 100;
const TABLE_INTERVAL = 1_000;
/**
 * How long a migration waits for the lock of a table. Whatever comes after it waits behind it: if a dump reads the table for an hour,
 * everybody else who wants to read it waits as long. So it gives up soon, lets the others go, and tries again.
 */
const TABLE_PATIENCE = '2s';

/**
 * The first line of a file whose statements must run one at a time and outside a transaction, as CREATE INDEX
 * CONCURRENTLY requires.
 */
const CONCURRENTLY = /^-- CONCURRENTLY\b/;
/**
 * In such a file, a semicolon at the end of a line ends a statement. The rest after the last one contains only
 * comments.
 */
const END_OF_STATEMENT = /;[ \t]*$/m;

interface Migration {
  name: string;
  sql: string;
  checksum: string;
}

async function readMigrations(folder: string): Promise<Migration[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  const names = entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  return Promise.all(
    names.toSorted().map(async (name) => {
      const sql = await readFile(path.join(folder, name, 'migration.sql'), 'utf8');
      return { name, sql, checksum: createHash('sha256').update(sql).digest('hex') };
    }),
  );
}

/** The table of `prisma migrate`, so that either tool can continue after the other. */
const HISTORY = `
  CREATE TABLE IF NOT EXISTS _prisma_migrations (
    id                  varchar(36) PRIMARY KEY,
    checksum            varchar(64) NOT NULL,
    finished_at         timestamptz,
    migration_name      varchar(255) NOT NULL,
    logs                text,
    rolled_back_at      timestamptz,
    started_at          timestamptz NOT NULL DEFAULT now(),
    applied_steps_count integer NOT NULL DEFAULT 0
  )`;

/** The oldest version of Postgres that the statements work on. */
const OLDEST_POSTGRES = 14;

async function checkVersion(tx: Queryable): Promise<void> {
  const [row] = await tx.query<{ version: string }>({
    name: 'migrate.version',
    text: `SELECT current_setting('server_version_num') AS version`,
  });
  const major = Math.floor(Number(row!.version) / 10_000);
  if (major >= OLDEST_POSTGRES) return;
  throw new MigrationError(
    `The database runs Postgres ${major}. Footsteps needs Postgres ${OLDEST_POSTGRES} or newer. Nothing was changed.`,
  );
}

/** The first missing migration; null if the database is at this version. Throws MigrationError. */
async function findMissing(tx: Queryable, migrations: readonly Migration[]): Promise<Migration | null> {
  await tx.query({ name: 'migrate.history', text: HISTORY });
  const rows = await tx.query<{ name: string; checksum: string }>({
    name: 'migrate.applied',
    text: `SELECT migration_name AS name, checksum FROM _prisma_migrations
           WHERE rolled_back_at IS NULL AND finished_at IS NOT NULL`,
  });
  const applied = new Map(rows.map((row) => [row.name, row.checksum]));
  const known = new Set(migrations.map((migration) => migration.name));
  const newer = [...applied.keys()].filter((name) => !known.has(name)).toSorted();
  if (newer.length > 0) {
    throw new MigrationError(
      `The database is newer than this version of Footsteps. It has migrations that this version does not know: ${newer.join(', ')}. ` +
        'Start the version that applied them, or a later one. Nothing was changed.',
    );
  }
  const changed = migrations.find(({ name, checksum }) => (applied.get(name) ?? checksum) !== checksum);
  if (changed) {
    throw new MigrationError(
      `The migration ${changed.name} was applied to this database with other content than in this version. Nothing was changed.`,
    );
  }
  return migrations.find(({ name }) => !applied.has(name)) ?? null;
}

/** Starting a server cannot be cancelled. */
const NEVER = new AbortController().signal;

/**
 * Runs the statements of a file one after the other, outside `tx`. Before each statement it checks that `tx` still
 * holds the lock.
 */
async function applyConcurrently(database: Database, tx: Queryable, sql: string): Promise<void> {
  const isStatement = (text: string): boolean => text.replaceAll(/^\s*--.*$/gm, '').trim() !== '';
  const statements = sql.split(END_OF_STATEMENT).filter(isStatement);
  for (const text of statements) {
    await tx.query({ name: 'migrate.holding', text: 'SELECT 1' });
    await database.apart({ name: 'migrate.apart', text }, NEVER);
  }
}

async function apply(database: Database, tx: Queryable, { name, sql, checksum }: Migration): Promise<void> {
  // A migration may take longer than a statement of a request.
  await tx.query({ name: 'migrate.patience', text: 'SET LOCAL statement_timeout = 0' });
  if (CONCURRENTLY.test(sql)) await applyConcurrently(database, tx, sql);
  else {
    await tx.query({ name: 'migrate.tablePatience', text: `SET LOCAL lock_timeout = '${TABLE_PATIENCE}'` });
    await tx.query({ name: 'migrate.apply', text: sql });
  }
  await tx.query({
    name: 'migrate.record',
    text: `INSERT INTO _prisma_migrations (id, checksum, finished_at, migration_name, started_at, applied_steps_count)
           VALUES ($1, $2, clock_timestamp(), $3, now(), 1)`,
    values: [randomUUID(), checksum, name],
  });
}

/** The message of Postgres or of the socket. */
function reasonOf(error: unknown): string {
  const said = error instanceof AppError ? error.cause : error;
  return said instanceof Error ? said.message : String(said);
}

/**
 * Applies the first missing migration in a transaction of its own. 'busy': another server holds the lock. 'locked': another transaction
 * holds the lock of a table.
 */
async function applyNext(
  database: Database,
  migrations: readonly Migration[],
  observe: Observer,
): Promise<'applied' | 'busy' | 'locked' | 'done'> {
  const start = performance.now();
  let name = '';
  try {
    const result = await database.transaction(async (tx) => {
      if (!(await holdLock(tx, 'migrate', LOCK))) return 'busy';
      const migration = await findMissing(tx, migrations);
      if (!migration) return 'done';
      name = migration.name;
      await apply(database, tx, migration);
      return 'applied';
    });
    if (result === 'applied') observe({ kind: 'migration.applied', name, milliseconds: performance.now() - start });
    return result;
  } catch (error) {
    if (name === '') throw error;
    if (sqlStateOf(error) === LOCK_NOT_AVAILABLE) {
      const message = `The migration ${name} waits for a lock that another transaction holds, and tries again. pg_stat_activity shows who: a dump, an open console, another program.`;
      observe({ kind: 'migration.waits', name, message });
      return 'locked';
    }
    const message = `The migration ${name} failed: ${reasonOf(error)}. The migrations before it stay applied. Correct the cause, then start Footsteps again.`;
    throw new MigrationError(message, { cause: error });
  }
}

/** The message says why this version cannot use the database. */
export class MigrationError extends Error {
  override readonly name = 'MigrationError';
}

/**
 * Brings the database to this version. Each missing migration runs in a transaction of its own, together with its row
 * in the history, so a crash leaves nothing of an unfinished one. A file whose first line is `-- CONCURRENTLY` runs its
 * statements outside the transaction. Its row is written last, so after a crash the file runs again from its beginning;
 * it must be written for that. Several servers may start at the same time. A migration that cannot get the lock of a table begins
 * again, until it gets it; the log says so.
 *
 * Throws MigrationError if the database is newer than the code, if a migration was applied with other content, if
 * Postgres is too old, or if a migration fails; the message names the migration.
 */
export async function migrate(database: Database, observe: Observer, folder = MIGRATIONS): Promise<void> {
  await checkVersion(database);
  const migrations = await readMigrations(folder);
  for (;;) {
    const result = await applyNext(database, migrations, observe);
    if (result === 'done') return;
    if (result === 'busy') await pause(INTERVAL);
    if (result === 'locked') await pause(TABLE_INTERVAL);
  }
}
