import type { Reach } from '../domain/access.js';
import type { Database, Queryable } from './database.js';

/** Adds `json` (an object's text) to the data of the project's newest event of this reference. Answers whether there is one. */
export async function describeEvent(
  tx: Queryable,
  { projectId }: Reach,
  referenceId: string,
  json: string,
): Promise<boolean> {
  const [event] = await tx.query<{ id: string }>({
    name: 'descriptions.findEvent',
    text: 'SELECT id FROM events WHERE project_id = $1 AND reference_id = $2 ORDER BY id DESC LIMIT 1',
    values: [projectId, referenceId],
  });
  if (!event) return false;
  // By its id, so that one partition is asked.
  const rows = await tx.query({
    name: 'descriptions.toEvent',
    text: 'UPDATE events SET data = data || $3::jsonb WHERE project_id = $1 AND id = $2 RETURNING 1',
    values: [projectId, event.id, json],
  });
  return rows.length > 0;
}

/** Keeps a description until its event is here. Answers false where `most` others of the project wait already. */
export async function keepDescription(
  tx: Queryable,
  { projectId }: Reach,
  description: { referenceId: string; json: string; now: Date; most: number },
): Promise<boolean> {
  const { referenceId, json, now, most } = description;
  const rows = await tx.query({
    name: 'descriptions.keep',
    text: `INSERT INTO user_descriptions (project_id, reference_id, received_at, data)
           SELECT $1, $2, $4, $3::jsonb
           WHERE (SELECT count(*) FROM (SELECT 1 FROM user_descriptions WHERE project_id = $1 LIMIT $5) waiting) < $5
           ON CONFLICT (project_id, reference_id)
             DO UPDATE SET data = user_descriptions.data || EXCLUDED.data, received_at = EXCLUDED.received_at
           RETURNING 1`,
    values: [projectId, referenceId, json, now, most],
  });
  return rows.length > 0;
}

export interface WaitingDescription {
  readonly projectId: string;
  readonly referenceId: string;
  readonly json: string;
}

/** Takes out up to `limit` descriptions received since then whose events are here by now, of all projects. Two servers take different ones. */
export function takeDescriptions(tx: Queryable, since: Date, limit: number): Promise<WaitingDescription[]> {
  return tx.query<WaitingDescription>({
    name: 'descriptions.take',
    text: `WITH ready AS (
             SELECT d.project_id, d.reference_id FROM user_descriptions d
             WHERE d.received_at >= $1 AND EXISTS (
               SELECT 1 FROM events e WHERE e.project_id = d.project_id AND e.reference_id = d.reference_id)
             LIMIT $2 FOR UPDATE OF d SKIP LOCKED)
           DELETE FROM user_descriptions d USING ready r
           WHERE d.project_id = r.project_id AND d.reference_id = r.reference_id
           RETURNING d.project_id AS "projectId", d.reference_id AS "referenceId", d.data::text AS json`,
    values: [since, limit],
  });
}

/** Drops up to `limit` of what has waited since before then, of all projects. Answers how many. */
export async function dropDescriptions(database: Database, before: Date, limit: number): Promise<number> {
  const rows = await database.query({
    name: 'descriptions.drop',
    text: `DELETE FROM user_descriptions d USING (
             SELECT project_id, reference_id FROM user_descriptions WHERE received_at < $1
             ORDER BY received_at LIMIT $2 FOR UPDATE SKIP LOCKED
           ) old WHERE d.project_id = old.project_id AND d.reference_id = old.reference_id RETURNING 1`,
    values: [before, limit],
  });
  return rows.length;
}
