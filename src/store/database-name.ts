import { randomUUID } from 'node:crypto';
import { sqlStateOf, type Database } from './database.js';

/**
 * The name of the database: the cluster, its timeline, the database and the table. An ordinary role may read it in Postgres 14
 * and later.
 */
const NAME = `(SELECT system_identifier FROM pg_control_system()) || '.' || left(pg_walfile_name(pg_current_wal_lsn()), 8) || '.' ||
  (SELECT oid FROM pg_database WHERE datname = current_database()) || '.' || 'users'::regclass::oid`;

/**
 * The SQLSTATE classes of a Postgres that lacks these functions, or does not let the role call them. Class 55 is not among them:
 * a standby has no name only until it takes over.
 */
const CANNOT_SAY = /^(42|0A)/;

async function howToName(database: Database, own: string): Promise<string> {
  try {
    await database.query({ name: 'database.name', text: `SELECT ${NAME}` });
    return NAME;
  } catch (error) {
    if (!CANNOT_SAY.test(sqlStateOf(error))) throw error;
    return `'${own}'`;
  }
}

/** Returns the SQL expression that names the database. Rejects if Postgres cannot be reached, or is a standby. */
export type Naming = () => Promise<string>;

/**
 * Makes a Naming. Another cluster, a standby that took over, and a restored copy have other names. If the role may not ask for the
 * name, it is a name of this process alone: a client with a cursor of another process then begins anew. The answer is found one
 * time; after a failure the next caller tries again.
 */
export function createNaming(database: Database): Naming {
  const own = randomUUID();
  let named: Promise<string> | null = null;
  return () => {
    named ??= howToName(database, own);
    named.catch(() => (named = null));
    return named;
  };
}
