import { randomBytes } from 'node:crypto';
import type { Clock } from '../domain/clock.js';
import { hashSecret, newOperatorKey } from '../domain/secret.js';
import type { Database } from '../store/database.js';
import { ensureInstallation, setOperatorKeyHash } from '../store/installation.js';

export interface Secrets {
  readonly operatorKeyHash: Uint8Array;
  readonly tokenSecret: Uint8Array;
  /** The operator key that was made just now, to be shown once; null where there was one already. */
  readonly newOperatorKey: string | null;
}

/**
 * The installation's secrets: from the environment where given, else the stored ones, else made now and
 * stored (the operator key as its hash alone).
 */
export async function openInstallation(deps: {
  database: Database;
  clock: Clock;
  operatorKey: string | null;
  tokenSecret: string | null;
}): Promise<Secrets> {
  const { database, clock, operatorKey, tokenSecret } = deps;
  const made = operatorKey === null ? newOperatorKey() : null;
  const installation = await ensureInstallation(
    database,
    { operatorKeyHash: made === null ? null : hashSecret(made), tokenSecret: randomBytes(32) },
    clock.now(),
  );
  const secret = tokenSecret === null ? installation.tokenSecret : Buffer.from(tokenSecret);
  if (operatorKey !== null) {
    return { operatorKeyHash: hashSecret(operatorKey), tokenSecret: secret, newOperatorKey: null };
  }
  if (installation.operatorKeyHash && !installation.made) {
    return { operatorKeyHash: installation.operatorKeyHash, tokenSecret: secret, newOperatorKey: null };
  }
  // A database that was always started with OPERATOR_KEY has none of its own yet.
  if (!installation.operatorKeyHash) await setOperatorKeyHash(database, hashSecret(made!));
  return { operatorKeyHash: hashSecret(made!), tokenSecret: secret, newOperatorKey: made };
}
