import type { Reach } from '../../domain/access.js';
import type { Queryable } from '../database.js';

/**
 * A session that absorbed others may itself have been merged later, and so on. The statement follows such a chain only
 * this far.
 */
const LONGEST_CHAIN = 1_000;

/**
 * For ids of merged sessions (rule 27): the id of the session that each one is part of now, by the id asked for.
 * Sessions that were never merged, or are out of reach, are not in the answer. (A session that was nobody's when it was
 * merged may have become anybody's since: whoever reads the session asks for its reach again.)
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
             WHERE project_id = $1 AND id = ANY($2::uuid[]) AND ($3::uuid[] IS NULL OR user_id IS NULL OR user_id = ANY($3))
             UNION ALL
             SELECT c.asked, m.session_id, c.length + 1 FROM chain c
             JOIN merged_sessions m ON m.project_id = $1 AND m.id = c.id WHERE c.length < ${LONGEST_CHAIN}
           )
           SELECT DISTINCT ON (asked) asked, id FROM chain ORDER BY asked, length DESC`,
    values: [projectId, ids, userIds],
  });
  return new Map(rows.map(({ asked, id }) => [asked, id]));
}
