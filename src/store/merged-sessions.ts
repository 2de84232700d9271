import type { Reach } from '../domain/access.js';
import type { Queryable } from './database.js';

/** A session that took others in may have been merged in its turn, and so on; so far such a chain is followed. */
const LONGEST_CHAIN = 1_000;

/**
 * What became of those of these sessions that were merged (rule 27): the session that each is part of now, by its id. Ids of
 * sessions that were never merged, or are out of reach, are not in the answer.
 */
export async function mergedSessions(
  database: Queryable,
  { projectId, userIds }: Reach,
  ids: readonly string[],
): Promise<Map<string, string>> {
  const rows = await database.query<{ asked: string; id: string }>({
    name: 'sessions.merged',
    text: `WITH RECURSIVE chain (asked, id, length) AS (
             SELECT id, session_id, 1 FROM merged_sessions
             WHERE project_id = $1 AND id = ANY($2::uuid[]) AND ($3::uuid[] IS NULL OR user_id = ANY($3))
             UNION ALL
             SELECT c.asked, m.session_id, c.length + 1 FROM chain c
             JOIN merged_sessions m ON m.project_id = $1 AND m.id = c.id WHERE c.length < ${LONGEST_CHAIN}
           )
           SELECT DISTINCT ON (asked) asked, id FROM chain ORDER BY asked, length DESC`,
    values: [projectId, ids, userIds],
  });
  return new Map(rows.map(({ asked, id }) => [asked, id]));
}
