import type { Reach } from '../../domain/access.js';
import { userIdOf } from '../../domain/identity.js';
import type { Database } from '../database.js';

/** Which of the texts are keys of the project's sessions, and which are identities of its users. */
export async function findSubjects(
  database: Database,
  { projectId }: Reach,
  texts: readonly string[],
): Promise<{ keys: Set<string>; identities: Set<string> }> {
  const rows = await database.query<{ text: string; isKey: boolean; isUser: boolean }>({
    name: 'heartbeats.subjects',
    text: `SELECT w.text,
                  -- In the order of its index: if thousands of sessions share one key, the planner would otherwise read all rows.
                  (SELECT true FROM sessions s WHERE s.project_id = $1 AND s.key = w.text
                   ORDER BY s.project_id, s.key, s.namesake LIMIT 1) IS NOT NULL AS "isKey",
                  EXISTS (SELECT 1 FROM users u WHERE u.project_id = $1 AND u.id = w.user_id) AS "isUser"
           FROM unnest($2::text[], $3::uuid[]) w (text, user_id)`,
    values: [projectId, texts, texts.map((text) => userIdOf(projectId, text))],
  });
  return {
    keys: new Set(rows.filter(({ isKey }) => isKey).map(({ text }) => text)),
    identities: new Set(rows.filter(({ isUser }) => isUser).map(({ text }) => text)),
  };
}
