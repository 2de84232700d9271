import type { Reach } from '../../domain/access.js';
import type { BotPolicy } from '../../domain/project.js';
import type { Database, PrismaQueryable, Queryable } from '../database.js';
import type { ApiKey } from '../generated/prisma/client.js';
import { lockProject } from '../lock-project.js';

/** A key with what authentication needs, and with its project's settings about who may come in. */
export interface KnownKey {
  readonly projectId: string;
  readonly id: string;
  readonly hash: Buffer;
  readonly scopes: string[];
  readonly revokedAt: Date | null;
  readonly storeIpAddress: boolean;
  readonly bots: BotPolicy;
  readonly allowedOrigins: string[];
  readonly rateLimit: number | null;
  readonly clientSettingsVersion: number;
}

/**
 * How to find a key: by the SHA-256 of its text. For a token: by the project and the id of the key that made the token.
 */
export type KeyQuery = { readonly hash: Buffer } | { readonly projectId: string; readonly id: string };

/**
 * Finds keys in one statement; keys that do not exist are left out. This is the only look-up without a project, because
 * the key tells the project.
 */
export async function findKeys(database: Database, queries: readonly KeyQuery[]): Promise<KnownKey[]> {
  const hashes = queries.flatMap((query) => ('hash' in query ? [query.hash] : []));
  const ids = queries.flatMap((query) => ('id' in query ? [query] : []));
  return database.query<KnownKey>({
    name: 'keys.find',
    prepared: true,
    text: `SELECT k.project_id AS "projectId", k.id, k.hash, k.scopes, k.revoked_at AS "revokedAt", p.store_ip_address AS "storeIpAddress", p.bots,
                  p.allowed_origins AS "allowedOrigins", p.client_settings_version AS "clientSettingsVersion", p.rate_limit AS "rateLimit"
           FROM (SELECT * FROM api_keys WHERE hash = ANY($1::bytea[])
                 UNION ALL
                 SELECT k.* FROM unnest($2::uuid[], $3::uuid[]) w (project_id, id)
                 JOIN api_keys k ON k.project_id = w.project_id AND k.id = w.id) k
           JOIN projects p ON p.id = k.project_id`,
    values: [hashes, ids.map(({ projectId }) => projectId), ids.map(({ id }) => id)],
  });
}

/** A revoked key. The fields are also its place in the order of all revoked keys. */
export interface RevokedKey {
  readonly revokedAt: Date;
  readonly projectId: string;
  readonly id: string;
}

/** The keys of all projects that were revoked after this place, in order; at most `limit`. */
export function keysRevokedAfter(database: Queryable, after: RevokedKey, limit: number): Promise<RevokedKey[]> {
  return database.query<RevokedKey>({
    name: 'keys.revokedAfter',
    text: `SELECT revoked_at AS "revokedAt", project_id AS "projectId", id FROM api_keys
           WHERE revoked_at IS NOT NULL AND (revoked_at, project_id, id) > ($1::timestamptz, $2::uuid, $3::uuid)
           ORDER BY revoked_at, project_id, id LIMIT $4`,
    values: [after.revokedAt, after.projectId, after.id, limit],
  });
}

/** All keys of the project, revoked ones too, oldest first. */
export function listKeys(database: PrismaQueryable, { projectId }: Reach): Promise<ApiKey[]> {
  return database.prisma('keys.list', ({ apiKey }) =>
    apiKey.findMany({ where: { projectId }, orderBy: [{ createdAt: 'asc' }, { id: 'asc' }] }),
  );
}

/** Null if the project has no such key. */
export function getKey(database: PrismaQueryable, { projectId }: Reach, id: string): Promise<ApiKey | null> {
  return database.prisma('keys.get', ({ apiKey }) => apiKey.findUnique({ where: { projectId_id: { projectId, id } } }));
}

/** A project has at most this many keys, revoked ones included, because all of them are listed at once. */
export const MOST_KEYS = 250;
/**
 * A revoked key is kept at least this long, so that every server and every client can see that it is revoked.
 * Milliseconds.
 */
const REVOKED_STAYS = 86_400_000;

/**
 * Returns whether there is room for one more key at `now`. If there are MOST_KEYS, deletes the key that was revoked
 * first, if that was at least a day ago.
 */
async function makeRoom(tx: PrismaQueryable, { projectId }: Reach, now: Date): Promise<boolean> {
  const count = await tx.prisma('keys.count', ({ apiKey }) => apiKey.count({ where: { projectId } }));
  if (count < MOST_KEYS) return true;
  const gone = await tx.prisma('keys.revokedFirst', ({ apiKey }) =>
    apiKey.findFirst({
      where: { projectId, revokedAt: { lt: new Date(now.getTime() - REVOKED_STAYS) } },
      orderBy: [{ revokedAt: 'asc' }, { id: 'asc' }],
      select: { id: true },
    }),
  );
  if (!gone) return false;
  await tx.prisma('keys.makeRoom', ({ apiKey }) =>
    apiKey.delete({ where: { projectId_id: { projectId, id: gone.id } } }),
  );
  return true;
}

/**
 * Adds a key, after makeRoom. Returns FULL if there is no room, null if the project does not exist. Locks the project's
 * row first: of two calls at once, the second counts the key of the first.
 */
export async function addKey(
  tx: PrismaQueryable,
  reach: Reach,
  key: Pick<ApiKey, 'id' | 'name' | 'prefix' | 'hash' | 'scopes' | 'createdAt'>,
): Promise<ApiKey | 'FULL' | null> {
  if (!(await lockProject(tx, reach))) return null;
  if (!(await makeRoom(tx, reach, key.createdAt))) return 'FULL';
  return tx.prisma('keys.add', ({ apiKey }) => apiKey.create({ data: { ...key, projectId: reach.projectId } }));
}

/**
 * Revokes a key and returns it. Returns null if the project has no such key, or if it is revoked already. The last
 * valid key with MANAGE is returned unchanged (`revokedAt` null). Locks the project's row first: of two calls at once,
 * the second sees the change of the first.
 */
export async function revokeKey(tx: PrismaQueryable, reach: Reach, id: string, now: Date): Promise<ApiKey | null> {
  const { projectId } = reach;
  const its = { projectId_id: { projectId, id } };
  await lockProject(tx, reach);
  const key = await tx.prisma('keys.good', ({ apiKey }) => apiKey.findUnique({ where: { ...its, revokedAt: null } }));
  if (!key) return null;
  if (key.scopes.includes('MANAGE')) {
    const others = { projectId, id: { not: id }, revokedAt: null, scopes: { has: 'MANAGE' } };
    const other = await tx.prisma('keys.others', ({ apiKey }) =>
      apiKey.findFirst({ where: others, select: { id: true } }),
    );
    if (!other) return key;
  }
  return tx.prisma('keys.revoke', ({ apiKey }) => apiKey.update({ where: its, data: { revokedAt: now } }));
}

/** Records when a key was last used. Does nothing if a later use is recorded already. */
export async function touchKey(database: PrismaQueryable, { projectId }: Reach, id: string, now: Date): Promise<void> {
  await database.prisma('keys.touch', ({ apiKey }) =>
    apiKey.updateMany({
      where: { projectId, id, OR: [{ lastUsedAt: null }, { lastUsedAt: { lt: now } }] },
      data: { lastUsedAt: now },
    }),
  );
}
