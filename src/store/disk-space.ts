import type { Database } from './database.js';

/** Beyond what a sort may keep in memory, so that it writes a megabyte to the disk, and to no table or log. */
const SPILL = `SELECT max(length(text)) FROM (
  SELECT repeat(md5(n::text), 32) AS text FROM generate_series(1, 1000) n ORDER BY 1 OFFSET 0) spilled`;

/** Resolves where the database's disk takes a megabyte more; rejects with what Postgres says otherwise. */
export async function tryDiskSpace(database: Database): Promise<void> {
  await database.transaction(async (tx) => {
    await tx.query({ name: 'health.memory', text: `SET LOCAL work_mem = '64kB'` });
    await tx.query({ name: 'health.disk', text: SPILL });
  });
}
