import type { Database } from './database.js';

/** What an installation keeps for itself: one row, of no project. */
export interface Installation {
  /** SHA-256; null where the operator key comes from the environment. */
  readonly operatorKeyHash: Buffer | null;
  readonly tokenSecret: Buffer;
}

/**
 * The installation's row; made of what is proposed where there is none yet. Several servers may ask at
 * once: all get the row of the first. `made` says whether it was this call.
 */
export async function ensureInstallation(
  database: Database,
  proposed: Installation,
  now: Date,
): Promise<Installation & { made: boolean }> {
  const made = await database.query({
    name: 'installation.add',
    text: `INSERT INTO installation (id, operator_key_hash, token_secret, created_at) VALUES (true, $1, $2, $3)
           ON CONFLICT DO NOTHING RETURNING 1`,
    values: [proposed.operatorKeyHash, proposed.tokenSecret, now],
  });
  const [row] = await database.query<Installation>({
    name: 'installation.read',
    text: 'SELECT operator_key_hash AS "operatorKeyHash", token_secret AS "tokenSecret" FROM installation',
  });
  return { ...row!, made: made.length > 0 };
}

export async function setOperatorKeyHash(database: Database, hash: Buffer): Promise<void> {
  await database.query({
    name: 'installation.setOperatorKey',
    text: 'UPDATE installation SET operator_key_hash = $1',
    values: [hash],
  });
}
