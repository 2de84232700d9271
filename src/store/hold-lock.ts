import type { Queryable } from './database.js';

/**
 * Tries to take an advisory lock and to hold it until the transaction ends, however long the transaction is idle. The
 * lock protects work that runs outside the transaction (`Database.apart`). It also works through a pooler. Returns
 * whether this transaction got the lock. If not, the caller tries again later. `key`: a number, or SQL that computes a
 * number.
 *
 * This function does not wait for the lock, because CREATE INDEX CONCURRENTLY waits for every snapshot. A statement
 * that waits for the lock has a snapshot. The two would wait for each other, and Postgres does not detect that. The
 * transaction that holds the lock has no snapshot between its statements if it sends them without values. A statement
 * with values leaves its portal open, and the portal keeps its snapshot.
 */
export async function holdLock(tx: Queryable, name: string, key: string): Promise<boolean> {
  await tx.query({ name: `${name}.patience`, text: 'SET LOCAL idle_in_transaction_session_timeout = 0' });
  const [row] = await tx.query<{ isOurs: boolean }>({
    name: `${name}.lock`,
    text: `SELECT pg_try_advisory_xact_lock(${key}) AS "isOurs"`,
  });
  return row!.isOurs;
}
