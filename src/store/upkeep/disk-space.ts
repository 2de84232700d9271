import type { Database } from '../database.js';

/** Resolves if the disk of the database has room for 700 kB; otherwise rejects with Postgres' error. */
export async function tryDiskSpace(database: Database): Promise<void> {
  await database.transaction(async (tx) => {
    await tx.query({ name: 'health.memory', text: `SET LOCAL work_mem = '64kB'` });
    // This result does not fit into work_mem. So Postgres writes it to a temporary file, but to no table and no log.
    await tx.query({ name: 'health.disk', text: 'SELECT count(*) FROM generate_series(1, 50000)' });
  });
}
