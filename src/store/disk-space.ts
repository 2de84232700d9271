import type { Database } from './database.js';

/** Resolves where the database's disk takes 700 kB more; rejects with what Postgres says otherwise. */
export async function tryDiskSpace(database: Database): Promise<void> {
  await database.transaction(async (tx) => {
    await tx.query({ name: 'health.memory', text: `SET LOCAL work_mem = '64kB'` });
    // More rows than that holds go to a temporary file, and to no table or log.
    await tx.query({ name: 'health.disk', text: 'SELECT count(*) FROM generate_series(1, 50000)' });
  });
}
