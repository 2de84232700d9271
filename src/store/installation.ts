import type { Database } from './database.js';

/** What an installation keeps for itself: one row, of no project. */
export interface Installation {
  /** SHA-256; null where no operator key was made here: it comes from the environment. */
  readonly operatorKeyHash: Buffer | null;
  readonly tokenSecret: Buffer;
}

/**
 * The installation's row, made with the proposed token secret where there is none yet. Several servers may ask
 * at once: all get the row of the first.
 */
export async function ensureInstallation(
  database: Database,
  proposed: { tokenSecret: Buffer },
  now: Date,
): Promise<Installation> {
  await database.query({
    name: 'installation.add',
    text: `INSERT INTO installation (id, token_secret, created_at) VALUES (true, $1, $2) ON CONFLICT DO NOTHING`,
    values: [proposed.tokenSecret, now],
  });
  const [row] = await database.query<Installation>({
    name: 'installation.read',
    text: 'SELECT operator_key_hash AS "operatorKeyHash", token_secret AS "tokenSecret" FROM installation',
  });
  return row!;
}

export async function setOperatorKeyHash(database: Database, hash: Buffer): Promise<void> {
  await database.query({
    name: 'installation.setOperatorKey',
    text: 'UPDATE installation SET operator_key_hash = $1',
    values: [hash],
  });
}

/** Whether anybody has made a project in this installation yet. */
export async function hasProjects(database: Database): Promise<boolean> {
  const rows = await database.query({ name: 'installation.projects', text: 'SELECT 1 FROM projects LIMIT 1' });
  return rows.length > 0;
}
