import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { inject } from 'vitest';
import { createPrismaDatabase } from '../../src/adapters/postgres/postgres.js';
import type { Observer } from '../../src/observation.js';
import type { PrismaDatabase } from '../../src/store/database.js';

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
