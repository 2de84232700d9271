import { randomBytes } from 'node:crypto';
import type { Clock } from '../domain/clock.js';
import { hashSecret, newOperatorKey } from '../domain/secret.js';
import type { Database } from '../store/database.js';
import { ensureInstallation, hasProjects, setOperatorKeyHash } from '../store/installation.js';
import type { Projects } from './projects.js';

export interface Secrets {
  readonly operatorKeyHash: Uint8Array;
  readonly tokenSecret: Uint8Array;
  /** An operator key made just now, and lost with this process unless welcome keeps it; null where there was one. */
  readonly newOperatorKey: string | null;
}

/** The installation's secrets: from the environment where given, else the stored ones, else made now. */
export async function openInstallation(deps: {
  database: Database;
  clock: Clock;
  operatorKey: string | null;
  tokenSecret: string | null;
}): Promise<Secrets> {
  const { database, clock, operatorKey } = deps;
  const stored = await ensureInstallation(database, { tokenSecret: randomBytes(32) }, clock.now());
  const tokenSecret = deps.tokenSecret === null ? stored.tokenSecret : Buffer.from(deps.tokenSecret);
  if (operatorKey !== null) return { operatorKeyHash: hashSecret(operatorKey), tokenSecret, newOperatorKey: null };
  if (stored.operatorKeyHash) return { operatorKeyHash: stored.operatorKeyHash, tokenSecret, newOperatorKey: null };
  const made = newOperatorKey();
  return { operatorKeyHash: hashSecret(made), tokenSecret, newOperatorKey: made };
}

/** What is shown once, since only its hash is kept. null: nothing of the kind was made. */
export interface Welcome {
  readonly operatorKey: string | null;
  readonly projectKey: string | null;
}

/**
 * Makes a first project where there is none, and keeps the hash of a new operator key. Call it when the server
 * listens, so that a start that failed before does not swallow keys that nobody has seen.
 */
export async function welcome(
  { database, projects }: { database: Database; projects: Projects },
  { newOperatorKey: operatorKey }: Secrets,
): Promise<Welcome> {
  const projectKey = (await hasProjects(database)) ? null : (await projects.create({ name: 'My project' })).key;
  if (operatorKey !== null) await setOperatorKeyHash(database, hashSecret(operatorKey));
  return { operatorKey, projectKey };
}
