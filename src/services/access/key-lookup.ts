import { findKeys, type KeyQuery, type KnownKey } from '../../store/access/api-keys.js';
import type { Database } from '../../store/database.js';
import { joinReads } from '../joined-reads.js';

const nameOf = (query: KeyQuery): string =>
  'hash' in query ? query.hash.toString('base64') : `${query.projectId} ${query.id}`;

/**
 * Looks up keys in the database for every request. So a revoked key stops working on every server as soon as its
 * revocation is committed. Requests are joined: one statement runs at a time, however many requests there are.
 */
export const createKeyLookup = (database: Database): ((query: KeyQuery) => Promise<KnownKey | null>) =>
  joinReads(async (queries) => {
    // Most requests of one moment use the same key.
    const different = new Map(queries.map((query) => [nameOf(query), query]));
    const keys = await findKeys(database, [...different.values()]);
    const known = new Map<string, KnownKey>();
    for (const key of keys) {
      const { hash, projectId, id } = key;
      known.set(nameOf({ hash }), key).set(nameOf({ projectId, id }), key);
    }
    return queries.map((query) => known.get(nameOf(query)) ?? null);
  });
