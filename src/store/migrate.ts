import { createHash, randomUUID } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Observer } from '../observation.js';
import type { Database, Queryable } from './database.js';

/** Where the migrations are, from src/store and from dist/store alike. */
const MIGRATIONS = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../prisma/migrations');

/** Any number that no other program on this database locks; it spells "foot" on a telephone. */
const LOCK = 3668;

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

/** The table of `prisma migrate`, so that either may carry on where the other stopped. */
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

/** The oldest Postgres that the statements are written for. */
const OLDEST_POSTGRES = 14;

async function checkVersion(tx: Queryable): Promise<void> {
  const [row] = await tx.query<{ version: string }>({
    name: 'migrate.version',
    text: `SELECT current_setting('server_version_num') AS version`,
  });
  const major = Math.floor(Number(row!.version) / 10_000);
  if (major >= OLDEST_POSTGRES) return;
  throw new MigrationError(
    `The database is a Postgres ${major}; Footsteps needs Postgres ${OLDEST_POSTGRES} or newer. Nothing was changed.`,
  );
}

async function applyMissing(tx: Queryable, migrations: readonly Migration[], observe: Observer): Promise<void> {
  // A migration, and the wait for another server's, may take longer than any statement of a request.
  await tx.query({ name: 'migrate.patience', text: 'SET LOCAL statement_timeout = 0' });
  // Held until the transaction ends, so it works through PgBouncer too; a second server waits here, then finds nothing to do.
  await tx.query({ name: 'migrate.lock', text: 'SELECT pg_advisory_xact_lock($1)', values: [LOCK] });
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
      `The database is newer than this Footsteps: it has the migration ${newer.join(', ')}, which this version does not know. ` +
        'Start the version that made it, or a later one. Nothing was changed.',
    );
  }
  for (const { name, sql, checksum } of migrations) {
    const before = applied.get(name);
    if (before === checksum) continue;
    if (before !== undefined) {
      throw new MigrationError(
        `The migration ${name} was applied to this database with other content than this version has. Nothing was changed.`,
      );
    }
    const start = performance.now();
    await tx.query({ name: 'migrate.apply', text: sql });
    await tx.query({
      name: 'migrate.record',
      text: `INSERT INTO _prisma_migrations (id, checksum, finished_at, migration_name, started_at, applied_steps_count)
             VALUES ($1, $2, clock_timestamp(), $3, now(), 1)`,
      values: [randomUUID(), checksum, name],
    });
    observe({ kind: 'migration.applied', name, milliseconds: performance.now() - start });
  }
}

/** Says in one sentence why the database cannot be used by this version. */
export class MigrationError extends Error {
  override readonly name = 'MigrationError';
}

/**
 * Brings the database to this version: all missing migrations in one transaction under one lock, so that
 * any number of servers may start at once and a crash leaves nothing half done.
 * Throws MigrationError where the database is newer than the code, was migrated with other content, or is too old a Postgres.
 */
export async function migrate(database: Database, observe: Observer, folder = MIGRATIONS): Promise<void> {
  const migrations = await readMigrations(folder);
  await database.transaction(async (tx) => {
    await checkVersion(tx);
    await applyMissing(tx, migrations, observe);
  });
}
