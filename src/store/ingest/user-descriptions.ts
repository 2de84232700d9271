import type { Reach } from '../../domain/access.js';
import type { Database, Queryable } from '../database.js';

/**
 * Stores `json` (the text of an object) as `@user_description` in the project's newest event of this reference. If the
 * event has a description already, it keeps that one. Answers whether there is such an event.
 */
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
  // By its id, so that only one partition is read.
  await tx.query({
    name: 'descriptions.toEvent',
    text: `UPDATE events SET data = data || jsonb_build_object('@user_description', $3::jsonb)
           WHERE project_id = $1 AND id = $2 AND NOT data ? '@user_description'`,
    values: [projectId, event.id, json],
  });
  return true;
}

/** Keeps a description until its event is stored, unless another one waits for the same event. */
export async function keepDescription(
  tx: Queryable,
  { projectId }: Reach,
  description: { referenceId: string; keyId: string; json: string; now: Date },
): Promise<void> {
  const { referenceId, keyId, json, now } = description;
  await tx.query({
    name: 'descriptions.keep',
    text: `INSERT INTO user_descriptions (project_id, reference_id, key_id, received_at, data)
           VALUES ($1, $2, $3, $5, $4::jsonb) ON CONFLICT (project_id, reference_id) DO NOTHING`,
    values: [projectId, referenceId, keyId, json, now],
  });
}

/** Drops the oldest waiting descriptions of a key beyond `most`, at most 20 in one call. */
export async function dropBeyond(
  tx: Queryable,
  { projectId }: Reach,
  { keyId, most }: { keyId: string; most: number },
): Promise<void> {
  await tx.query({
    name: 'descriptions.dropBeyond',
    text: `DELETE FROM user_descriptions d USING (
             SELECT project_id, reference_id FROM user_descriptions WHERE project_id = $1 AND key_id = $2
             ORDER BY received_at DESC, reference_id OFFSET $3 LIMIT 20 FOR UPDATE SKIP LOCKED
           ) old WHERE d.project_id = old.project_id AND d.reference_id = old.reference_id`,
    values: [projectId, keyId, most],
  });
}

/**
 * Drops waiting descriptions that name the user: by the identity as any value in them, or as the e-mail address in any
 * letter case.
 */
export async function eraseDescriptions(tx: Queryable, { projectId }: Reach, identity: string): Promise<void> {
  await tx.query({
    name: 'descriptions.erase',
    text: `DELETE FROM user_descriptions WHERE project_id = $1 AND (
             lower(data ->> 'email_address') = lower($2)
             OR jsonb_path_exists(data, '$.** ? (@ == $identity)', jsonb_build_object('identity', $2::text)))`,
    values: [projectId, identity],
  });
}

export interface WaitingDescription {
  readonly projectId: string;
  readonly referenceId: string;
  readonly json: string;
}

/**
 * Deletes up to `limit` descriptions received at or after `since` whose events are stored by now, of all projects, and
 * answers them. Two servers take different ones.
 */
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

/** Drops up to `limit` descriptions received before `before`, of all projects. Answers how many. */
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
