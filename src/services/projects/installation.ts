import { randomBytes } from 'node:crypto';
import type { Clock } from '../../domain/clock.js';
import { hashSecret, newOperatorKey } from '../../domain/secret.js';
import type { PrismaDatabase } from '../../store/database.js';
import { ensureInstallation, hasProjects, setOperatorKeyHash } from '../../store/projects/installation.js';
import type { Projects } from './projects.js';

export interface Secrets {
  /** A UUID that tells this installation from others on the same Redis. */
  readonly name: string;
  readonly operatorKeyHash: Uint8Array;
  readonly tokenSecret: Uint8Array;
  /** An operator key that was made just now, or null. It is lost with this process unless welcome() stores its hash. */
  readonly newOperatorKey: string | null;
}

/**
 * The installation's name and secrets. A secret comes from the environment if given there, else from the database; else it
 * is made.
 */
export async function openInstallation(deps: {
  database: PrismaDatabase;
  clock: Clock;
  operatorKey: string | null;
  tokenSecret: string | null;
}): Promise<Secrets> {
  const { database, clock, operatorKey } = deps;
  const stored = await ensureInstallation(database, { tokenSecret: randomBytes(32) }, clock.now());
  const tokenSecret = deps.tokenSecret === null ? stored.tokenSecret : Buffer.from(deps.tokenSecret);
  const own = { name: stored.name, tokenSecret };
  if (operatorKey !== null) return { ...own, operatorKeyHash: hashSecret(operatorKey), newOperatorKey: null };
  if (stored.operatorKeyHash) return { ...own, operatorKeyHash: stored.operatorKeyHash, newOperatorKey: null };
  const made = newOperatorKey();
  return { ...own, operatorKeyHash: hashSecret(made), newOperatorKey: made };
}

/** Keys that are shown once, because only their hashes are stored. Null: no such key was made. */
export interface Welcome {
  readonly operatorKey: string | null;
  readonly projectKey: string | null;
}

/**
 * Makes a first project if there is none, and stores the hash of a new operator key. Call it when the server listens: if
 * the start fails before that, no key is stored that nobody has seen.
 */
export async function welcome(
  { database, projects }: { database: PrismaDatabase; projects: Projects },
  { newOperatorKey: operatorKey }: Pick<Secrets, 'newOperatorKey'>,
): Promise<Welcome> {
  const projectKey = (await hasProjects(database)) ? null : (await projects.create({ name: 'My project' })).key;
  if (operatorKey !== null) await setOperatorKeyHash(database, hashSecret(operatorKey));
  return { operatorKey, projectKey };
}
