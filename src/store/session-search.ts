import type { Reach } from '../domain/access.js';
import type { SessionFilter } from '../domain/filters.js';
import type { Database } from './database.js';
import { Prisma } from './generated/prisma/client.js';
import { anywhere } from './session-filter.js';

const { sql } = Prisma;

/** What a search has found: sessions of these users, and these sessions, by their keys. */
export interface Found {
  readonly userIds: readonly string[];
  readonly sessionIds: readonly string[];
}

/** More users or sessions than these are not named one by one. */
const MOST_FOUND = 1_000;
/** What stands in no key is not looked for there (SESSION_KEY). */
const IN_KEYS = /^[A-Za-z0-9-]+$/;

/**
 * Looks up what a filter searches for: whom few bear is found by an index, and their sessions by theirs. Null where nothing
 * is searched for, and where so many are found that a list which is read in its order soon comes by enough of them.
 */
export async function findSearched(
  database: Database,
  { projectId }: Reach,
  filter: SessionFilter | null,
): Promise<Found | null> {
  if (!filter?.search) return null;
  const part = anywhere(filter.search);
  const find = async (name: string, query: Prisma.Sql): Promise<string[]> => {
    const rows = await database.query<{ id: string }>({ name, text: query.text, values: query.values });
    return rows.map(({ id }) => id);
  };
  const userIds = await find(
    'search.users',
    sql`SELECT user_id AS id FROM user_search WHERE text LIKE ${part} AND project_id = ${projectId}::uuid LIMIT ${MOST_FOUND + 1}::integer`,
  );
  if (userIds.length > MOST_FOUND) return null;
  if (!IN_KEYS.test(filter.search)) return { userIds, sessionIds: [] };
  const sessionIds = await find(
    'search.keys',
    // From the index of the keys alone; rows are read of those that match. Of ASCII the plainest rules know small letters too.
    sql`SELECT s.id FROM (
          SELECT key FROM sessions WHERE project_id = ${projectId}::uuid AND key IS NOT NULL AND lower(key COLLATE "C") LIKE ${part}
          LIMIT ${MOST_FOUND + 1}::integer
        ) k JOIN sessions s ON s.project_id = ${projectId}::uuid AND s.key = k.key`,
  );
  return sessionIds.length > MOST_FOUND ? null : { userIds, sessionIds };
}
