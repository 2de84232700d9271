import { PLACE_STAYS } from '../../domain/webhook.js';
import type { Queryable } from '../database.js';
import { plainArray } from '../parameters.js';

/** The place of an idle webhook in the order of all of them. */
export interface IdleWebhook {
  readonly projectId: string;
  readonly id: string;
}

/** Makes the webhooks of these projects due that wait for a change. Returns whether there are any. */
export async function wakeWebhooks(database: Queryable, projectIds: readonly string[], now: Date): Promise<boolean> {
  const rows = await database.query({
    name: 'webhooks.wake',
    text: `UPDATE webhooks w SET due_at = $2 FROM (
             SELECT project_id, id FROM webhooks WHERE enabled AND due_at IS NULL AND project_id = ANY ($1::uuid[])
             ORDER BY project_id, id FOR UPDATE SKIP LOCKED
           ) idle WHERE w.project_id = idle.project_id AND w.id = idle.id RETURNING 1`,
    values: [plainArray(projectIds), now],
  });
  return rows.length > 0;
}

/**
 * Compares the next `limit` idle webhooks of all projects, after one of them (null: from the first on), with the feed. Makes
 * those due that have something to read: a row from their place on, below the oldest transaction that is still under way. Also
 * makes a few of those due whose place is old (PLACE_STAYS), although they have nothing to read. Returns the webhook to continue
 * after (null: all have been compared), and whether any webhook waits for a change.
 *
 * One look into the primary key of `changes` for each, in the days from its place on: 11 ms for 1,000
 * of 100,000 webhooks, with 1,000,000 rows in `changes`. Those to wake are looked up and locked one by one, and written where they
 * were found: as joins, Postgres planned two scans of all webhooks. (One that is changed in that moment is woken by the next call.)
 */
export async function wakeReadyWebhooks(
  database: Queryable,
  after: IdleWebhook | null,
  limit: number,
  now: Date,
): Promise<{ after: IdleWebhook | null; areAny: boolean }> {
  const [row] = await database.query<{ compared: number; projectId: string; id: string }>({
    name: 'webhooks.wakeReady',
    text: `WITH idle AS MATERIALIZED (
             SELECT project_id, id, place_transaction, place_part, place_at FROM webhooks
             WHERE enabled AND due_at IS NULL AND (project_id, id) > ($1::uuid, $2::uuid)
             ORDER BY project_id, id LIMIT $3
           ), ready AS MATERIALIZED (
             SELECT i.project_id, i.id FROM idle i CROSS JOIN LATERAL (
               SELECT c.transaction FROM changes c
               WHERE c.project_id = i.project_id AND c.at >= least(i.place_at, $4) - interval '1 day'
                 AND (c.transaction, c.part) >= (i.place_transaction, i.place_part)
               ORDER BY c.transaction, c.part LIMIT 1
             ) first WHERE first.transaction < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
             UNION (SELECT project_id, id FROM idle WHERE place_at < $4::timestamptz - interval '1 ms' * $5 LIMIT $6)
           ), free AS MATERIALIZED (
             SELECT w.place FROM ready r CROSS JOIN LATERAL (
               SELECT ctid AS place FROM webhooks WHERE project_id = r.project_id AND id = r.id AND enabled AND due_at IS NULL
               FOR UPDATE SKIP LOCKED
             ) w
           ), woken AS (
             UPDATE webhooks SET due_at = $4 WHERE ctid = ANY (ARRAY(SELECT place FROM free))
           )
           SELECT (SELECT count(*) FROM idle)::integer AS compared, project_id AS "projectId", id FROM idle
           ORDER BY project_id DESC, id DESC LIMIT 1`,
    values: [after?.projectId ?? NONE, after?.id ?? NONE, limit, now, PLACE_STAYS, MOST_OLD],
  });
  const isFull = row?.compared === limit;
  return {
    after: isFull ? { projectId: row.projectId, id: row.id } : null,
    areAny: row !== undefined || after !== null,
  };
}

/** The most webhooks with an old place that a look makes due. Those with something to read shall not wait for them. */
const MOST_OLD = 20;
/** An id smaller than that of every webhook. */
const NONE = '00000000-0000-0000-0000-000000000000';
