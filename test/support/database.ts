import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { inject } from 'vitest';
import { createPrismaDatabase } from '../../src/adapters/postgres/postgres.js';
import type { Observer } from '../../src/observation.js';
import type { PrismaDatabase, Queryable } from '../../src/store/database.js';
import { eventually } from './app.js';

export interface TestDatabase {
  url: string;
  /** Opens another pool on the same database, as a second server would; it is closed by `drop`. */
  open: (observe?: Observer) => PrismaDatabase;
  /** Begins a transaction on its own connection and runs a statement in it. Returns a function that rolls it back. */
  hold: (text: string) => Promise<() => Promise<void>>;
  drop: () => Promise<void>;
}

/** Makes a database for this test file, a clone of the migrated template. */
export async function createTestDatabase(): Promise<TestDatabase> {
  const name = `footsteps_${process.pid}_${randomBytes(4).toString('hex')}`;
  const admin = new pg.Client({ connectionString: inject('postgresUrl') });
  await admin.connect();
  await admin.query(`CREATE DATABASE ${name} TEMPLATE ${inject('template')} STRATEGY file_copy`);
  const url = new URL(inject('postgresUrl'));
  url.pathname = `/${name}`;
  const opened: PrismaDatabase[] = [];
  return {
    url: url.href,
    open(observe = () => {}) {
      const database = createPrismaDatabase({ url: url.href, poolSize: 10, observe });
      opened.push(database);
      return database;
    },
    async hold(text) {
      const client = new pg.Client({ connectionString: url.href });
      await client.connect();
      await client.query('BEGIN');
      await client.query(text);
      return () => client.end();
    },
    async drop() {
      await Promise.all(opened.map((database) => database.close()));
      await admin.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
      await admin.end();
    },
  };
}

/** Waits until all transactions that write now, also those of other tests in the same Postgres, have ended. */
export async function untilOthersEnd(database: Queryable): Promise<void> {
  const [mine] = await database.query<{ id: string }>({
    name: 'test.transaction',
    text: 'SELECT pg_current_xact_id()::text AS id',
  });
  await eventually(async () => {
    const [row] = await database.query<{ ended: boolean }>({
      name: 'test.ended',
      text: 'SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint >= $1::bigint AS ended',
      values: [mine!.id],
    });
    return row!.ended;
  });
}
