import type { Reach } from '../domain/access.js';
import type { Database } from './database.js';
import type { ApiKey } from './generated/prisma/client.js';

/** A key as authentication needs it. */
export interface KnownKey {
  readonly projectId: string;
  readonly id: string;
  readonly hash: Buffer;
  readonly scopes: string[];
  readonly revokedAt: Date | null;
}

/** Finds a key by its SHA-256: the one look-up that cannot know its project, as the key says it. */
export async function findKeyByHash(database: Database, hash: Buffer): Promise<KnownKey | null> {
  const [key] = await database.query<KnownKey>({
    name: 'keys.byHash',
    text: `SELECT project_id AS "projectId", id, hash, scopes, revoked_at AS "revokedAt" FROM api_keys WHERE hash = $1`,
    values: [hash],
  });
  return key ?? null;
}

/** Whether a key of the project is good; null where there is none. For tokens, which name the key that made them. */
export async function findKeyById(database: Database, { projectId }: Reach, id: string): Promise<KnownKey | null> {
  const [key] = await database.query<KnownKey>({
    name: 'keys.byId',
    text: `SELECT project_id AS "projectId", id, hash, scopes, revoked_at AS "revokedAt" FROM api_keys
           WHERE project_id = $1 AND id = $2`,
    values: [projectId, id],
  });
  return key ?? null;
}

/** The project's keys, the oldest first. */
export function listKeys({ prisma }: Database, { projectId }: Reach): Promise<ApiKey[]> {
  return prisma.apiKey.findMany({ where: { projectId }, orderBy: [{ createdAt: 'asc' }, { id: 'asc' }] });
}

export function getKey({ prisma }: Database, { projectId }: Reach, id: string): Promise<ApiKey | null> {
  return prisma.apiKey.findUnique({ where: { projectId_id: { projectId, id } } });
}

export function addKey(
  { prisma }: Database,
  { projectId }: Reach,
  key: Pick<ApiKey, 'id' | 'name' | 'prefix' | 'hash' | 'scopes' | 'createdAt'>,
): Promise<ApiKey> {
  return prisma.apiKey.create({ data: { ...key, projectId } });
}

/** Revokes a key once: a repeated call keeps the first time. Null where the project has no such key. */
export async function revokeKey(database: Database, reach: Reach, id: string, now: Date): Promise<ApiKey | null> {
  await database.prisma.apiKey.updateMany({
    where: { projectId: reach.projectId, id, revokedAt: null },
    data: { revokedAt: now },
  });
  return getKey(database, reach, id);
}

export async function touchKey(database: Database, { projectId }: Reach, id: string, now: Date): Promise<void> {
  await database.query({
    name: 'keys.touch',
    text: `UPDATE api_keys SET last_used_at = $3 WHERE project_id = $1 AND id = $2 AND (last_used_at IS NULL OR last_used_at < $3)`,
    values: [projectId, id, now],
  });
}
