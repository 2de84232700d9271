import type { Database } from '../database.js';
import type { Naming } from '../database-name.js';

/**
 * Empties the feed if its rows come from another Postgres cluster, because a dump was restored: their transactions are numbers of
 * that cluster. Those above this one's numbers could not be read for a long time, and would then be told as new. Cursors of the
 * other cluster have expired anyway (CURSOR_EXPIRED). Call it before anybody reads or writes the feed; the installation must have
 * its row. Of several servers that start at a time, the first does it. If the role may not ask for the cluster's name, nothing is
 * done.
 */
export async function dropForeignChanges(database: Database, naming: Naming): Promise<void> {
  const name = await naming();
  await database.transaction(async (tx) => {
    const [row] = await tx.query<{ before: string | null; now: string | null }>({
      name: 'feed.cluster',
      text: `SELECT i.cluster AS before, CASE WHEN d.name LIKE '%.%.%.%' THEN split_part(d.name, '.', 1) END AS now
             FROM installation i CROSS JOIN (SELECT ${name} AS name) d WHERE i.id FOR UPDATE OF i`,
    });
    const { before, now } = row!;
    if (now === null || now === before) return;
    if (before !== null) await tx.query({ name: 'feed.empty', text: 'TRUNCATE changes' });
    await tx.query({ name: 'feed.setCluster', text: 'UPDATE installation SET cluster = $1 WHERE id', values: [now] });
  });
}
