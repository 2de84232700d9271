import type { Reach } from '../../domain/access.js';
import type { SessionFilter } from '../../domain/filters.js';
import type { Database } from '../database.js';
import { Prisma } from '../generated/prisma/client.js';
import { anywhere } from './session-filter.js';

const { sql } = Prisma;

/**
 * The users whose identity or name contains the text, by the index of user_search; null if more than 1,000 do: then reading
 * the list in its order soon finds enough.
 */
export async function findUsers(database: Database, { projectId }: Reach, text: string): Promise<string[] | null> {
  const query = sql`SELECT user_id AS id FROM user_search
    WHERE text LIKE ${anywhere(text)} AND project_id = ${projectId}::uuid LIMIT ${MOST_FOUND + 1}::integer`;
  const rows = await database.query<{ id: string }>({ name: 'search.users', text: query.text, values: query.values });
  return rows.length > MOST_FOUND ? null : rows.map(({ id }) => id);
}

/** What a search has found: users (all their sessions match), and sessions found by their keys. */
export interface Found {
  readonly userIds: readonly string[];
  readonly sessionIds: readonly string[];
}

/** If more users or sessions are found, they are not listed one by one. */
const MOST_FOUND = 1_000;
/** Keys contain only these characters (SESSION_KEY), so the keys are not searched for anything else. */
const IN_KEYS = /^[A-Za-z0-9-]+$/;

/**
 * Looks up the text that a filter searches for. A rare text is found by an index, and its sessions by theirs. Returns
 * null if the filter has no search. Also null if more than 1,000 are found: then reading the list in its order soon
 * finds enough.
 */
export async function findSearched(
  database: Database,
  reach: Reach,
  filter: SessionFilter | null,
): Promise<Found | null> {
  if (!filter?.search) return null;
  const { projectId } = reach;
  const userIds = await findUsers(database, reach, filter.search);
  if (userIds === null) return null;
  if (!IN_KEYS.test(filter.search)) return { userIds, sessionIds: [] };
  const query =
    // Searches only the index of the keys, and reads the rows of the matches. Keys are ASCII, so the "C" collation is
    // enough for small letters.
    sql`SELECT s.id FROM (
          SELECT key FROM sessions WHERE project_id = ${projectId}::uuid AND key IS NOT NULL AND lower(key COLLATE "C") LIKE ${anywhere(filter.search)}
          LIMIT ${MOST_FOUND + 1}::integer
        ) k JOIN sessions s ON s.project_id = ${projectId}::uuid AND s.key = k.key`;
  const rows = await database.query<{ id: string }>({ name: 'search.keys', text: query.text, values: query.values });
  return rows.length > MOST_FOUND ? null : { userIds, sessionIds: rows.map(({ id }) => id) };
}
