import type { Reach } from '../domain/access.js';
import { firstUuidAt } from '../domain/event-id.js';
import type { Database } from './database.js';

/** The projects that do not keep everything, with the days they keep. */
export async function projectsWithRetention(database: Database): Promise<(Reach & { days: number })[]> {
  const rows = await database.query<{ projectId: string; days: number }>({
    name: 'retention.projects',
    text: 'SELECT id AS "projectId", retention_days AS days FROM projects WHERE retention_days IS NOT NULL',
  });
  return rows.map((row) => ({ ...row, userIds: null }));
}

/** Deletes up to `limit` events that happened before `before`; answers how many. */
export async function deleteOldEvents(
  database: Database,
  { projectId }: Reach,
  before: Date,
  limit: number,
): Promise<number> {
  const rows = await database.query({
    name: 'retention.events',
    text: `DELETE FROM events e USING (
             SELECT id FROM events WHERE project_id = $1 AND id < $2::uuid ORDER BY id LIMIT $3
           ) old WHERE e.project_id = $1 AND e.id = old.id AND e.id < $2::uuid RETURNING 1`,
    values: [projectId, firstUuidAt(before), limit],
  });
  return rows.length;
}

/** Deletes up to `limit` sessions that ended before `before`; answers how many. Open ones stay. */
export async function deleteOldSessions(
  database: Database,
  { projectId }: Reach,
  before: Date,
  limit: number,
): Promise<number> {
  const rows = await database.query({
    name: 'retention.sessions',
    text: `DELETE FROM sessions s USING (
             SELECT id FROM sessions WHERE project_id = $1 AND ended_at < $2 AND NOT live ORDER BY ended_at LIMIT $3
           ) old WHERE s.project_id = $1 AND s.id = old.id AND s.ended_at < $2 RETURNING 1`,
    values: [projectId, before, limit],
  });
  return rows.length;
}
