import type { Reach } from '../domain/access.js';
import type { BotPolicy } from '../domain/project.js';
import type { Database, Queryable } from './database.js';
import type { ApiKey } from './generated/prisma/client.js';

/** A key as authentication needs it, and what its project says of who may come in. */
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

/** How a key is asked for: by the SHA-256 of its text, or, for a token, by the project and id of the key that made it. */
export type KeyQuery = { readonly hash: Buffer } | { readonly projectId: string; readonly id: string };

/** The keys asked for, in one statement: the one look-up that cannot know its project, as the key says it. */
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

/** The ids of all keys revoked at or after `since`, of every project. */
export async function keysRevokedSince(database: Database, since: Date): Promise<string[]> {
  const rows = await database.query<{ id: string }>({
    name: 'keys.revokedSince',
    text: 'SELECT id FROM api_keys WHERE revoked_at >= $1',
    values: [since],
  });
  return rows.map(({ id }) => id);
}

/** The project's keys, the oldest first. */
export function listKeys({ prisma }: Database, { projectId }: Reach): Promise<ApiKey[]> {
  return prisma.apiKey.findMany({ where: { projectId }, orderBy: [{ createdAt: 'asc' }, { id: 'asc' }] });
}

export function getKey({ prisma }: Database, { projectId }: Reach, id: string): Promise<ApiKey | null> {
  return prisma.apiKey.findUnique({ where: { projectId_id: { projectId, id } } });
}

const COLUMNS = `project_id AS "projectId", id, name, prefix, hash, scopes, created_at AS "createdAt", last_used_at AS "lastUsedAt",
  revoked_at AS "revokedAt"`;

/** Null where there is no such project. */
export async function addKey(
  tx: Queryable,
  { projectId }: Reach,
  key: Pick<ApiKey, 'id' | 'name' | 'prefix' | 'hash' | 'scopes' | 'createdAt'>,
): Promise<ApiKey | null> {
  const [row] = await tx.query<ApiKey>({
    name: 'keys.add',
    text: `INSERT INTO api_keys (project_id, id, name, prefix, hash, scopes, created_at)
           SELECT id, $2, $3, $4, $5, $6, $7 FROM projects WHERE id = $1
           RETURNING ${COLUMNS}`,
    values: [projectId, key.id, key.name, key.prefix, Buffer.from(key.hash), key.scopes, key.createdAt],
  });
  return row ?? null;
}

/**
 * Revokes a key. Null where the project has no such key that is good; as it is, not revoked, where it is the last good one
 * with MANAGE. The project's row is locked first, so that of two revocations at once the second sees the first.
 */
export async function revokeKey(tx: Queryable, { projectId }: Reach, id: string, now: Date): Promise<ApiKey | null> {
  const [, [row]] = await Promise.all([
    tx.query({
      name: 'keys.lockProject',
      text: 'SELECT FROM projects WHERE id = $1 FOR NO KEY UPDATE',
      values: [projectId],
    }),
    tx.query<ApiKey>({
      name: 'keys.revoke',
      text: `UPDATE api_keys k SET revoked_at = CASE WHEN 'MANAGE' <> ALL (k.scopes) OR EXISTS (
                 SELECT FROM api_keys o WHERE o.project_id = $1 AND o.id <> $2 AND o.revoked_at IS NULL AND 'MANAGE' = ANY (o.scopes)
               ) THEN $3::timestamptz END
             WHERE k.project_id = $1 AND k.id = $2 AND k.revoked_at IS NULL RETURNING ${COLUMNS}`,
      values: [projectId, id, now],
    }),
  ]);
  return row ?? null;
}

export async function touchKey(database: Database, { projectId }: Reach, id: string, now: Date): Promise<void> {
  await database.query({
    name: 'keys.touch',
    text: `UPDATE api_keys SET last_used_at = $3 WHERE project_id = $1 AND id = $2 AND (last_used_at IS NULL OR last_used_at < $3)`,
    values: [projectId, id, now],
  });
}
