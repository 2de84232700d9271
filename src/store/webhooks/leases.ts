import type { Reach } from '../../domain/access.js';
import { LEASE, type DisabledReason } from '../../domain/webhook.js';
import type { Queryable } from '../database.js';
import { plainArray } from '../parameters.js';

/**
 * Who has which webhook. A run of a server has a webhook until `due_at`, by the id in `lease`. Each write of a run names its
 * lease and does nothing if the run has lost it: after a change by a caller, or because it took too long. A lease that a change
 * has taken away stays in `revoked_lease` as long as its run may still be sending: until the run says that it is over, or
 * `due_at`. Nobody takes the webhook before that.
 */

/** A webhook, as a run of a server has it. */
export interface LeasedWebhook {
  readonly projectId: string;
  readonly id: string;
  readonly lease: string;
  readonly url: string;
  readonly query: string;
  readonly variables: Record<string, unknown>;
  readonly secret: Buffer;
  readonly secretBefore: Buffer | null;
  readonly secretBeforeUntil: Date | null;
  readonly cursor: string;
  readonly messageId: string | null;
  readonly messageUntil: string | null;
  readonly waitingSince: Date | null;
  readonly failures: number;
  readonly troubles: number;
  /** The project's limit in points a minute; null: the server's. */
  readonly rateLimit: number | null;
}

/** The most due webhooks that a look compares. Those of full projects are left out before. */
const COMPARED = 200;

/**
 * Takes up to `places` webhooks of all projects that are due, the longest due first: of a project at most `ofProject`, less
 * those of it that this server has (`had`). Each has a lease for LEASE milliseconds. Rows that others lock are passed over.
 * Reads a range of webhooks_due: with 100,000 webhooks of which 1,000 are due, 4 ms.
 */
export function takeDueWebhooks(
  database: Queryable,
  {
    now,
    places,
    ofProject,
    had,
  }: { now: Date; places: number; ofProject: number; had: readonly { projectId: string; count: number }[] },
): Promise<LeasedWebhook[]> {
  return database.query<LeasedWebhook>({
    name: 'webhooks.take',
    text: `WITH had AS (SELECT * FROM unnest($4::uuid[], $5::integer[]) h (project_id, count)),
           due AS (
             SELECT project_id, id, due_at FROM webhooks
             WHERE enabled AND due_at <= $1 AND project_id <> ALL (ARRAY(SELECT project_id FROM had WHERE count >= $3))
             ORDER BY due_at LIMIT ${COMPARED}
           ), ranked AS (
             SELECT d.*, row_number() OVER (PARTITION BY d.project_id ORDER BY d.due_at) + coalesce(h.count, 0) AS place
             FROM due d LEFT JOIN had h USING (project_id)
           ), taken AS (
             SELECT w.project_id, w.id FROM ranked r JOIN webhooks w ON w.project_id = r.project_id AND w.id = r.id
             WHERE r.place <= $3 AND w.enabled AND w.due_at <= $1
             ORDER BY r.due_at LIMIT $2 FOR UPDATE OF w SKIP LOCKED
           )
           UPDATE webhooks w SET lease = gen_random_uuid(), revoked_lease = NULL, due_at = $1::timestamptz + $6 * interval '1 ms'
           FROM taken t JOIN projects p ON p.id = t.project_id
           WHERE w.project_id = t.project_id AND w.id = t.id
           RETURNING w.project_id AS "projectId", w.id, w.lease, w.url, w.query, w.variables, w.secret,
             w.secret_before AS "secretBefore", w.secret_before_until AS "secretBeforeUntil", w.cursor, w.message_id AS "messageId",
             w.message_until AS "messageUntil", w.waiting_since AS "waitingSince", w.failures, w.troubles, p.rate_limit AS "rateLimit"`,
    values: [
      now,
      places,
      ofProject,
      plainArray(had.map(({ projectId }) => projectId)),
      plainArray(had.map(({ count }) => count)),
      LEASE,
    ],
  });
}

/** A message that is about to be sent. */
export interface PreparedMessage {
  readonly messageId: string;
  /** The cursor of its last change. */
  readonly until: string;
  /** When its first change was stored. */
  readonly since: Date;
}

/**
 * Writes down a message before it is sent, so that another server repeats it under the same id if this one dies, and renews
 * the lease from `now` on. False: the run has lost its lease, and must not send.
 */
export async function prepareMessage(
  database: Queryable,
  { projectId }: Pick<Reach, 'projectId'>,
  { id, lease }: Pick<LeasedWebhook, 'id' | 'lease'>,
  { messageId, until, since }: PreparedMessage,
  now: Date,
): Promise<boolean> {
  const rows = await database.query({
    name: 'webhooks.prepare',
    text: `UPDATE webhooks SET message_id = $4, message_until = $5, waiting_since = $6, due_at = $7::timestamptz + $8 * interval '1 ms'
           WHERE project_id = $1 AND id = $2 AND lease = $3 RETURNING 1`,
    values: [projectId, id, lease, messageId, until, since, now, LEASE],
  });
  return rows.length > 0;
}

/** The place in the feed from which on a webhook waits: the next row that it has not seen, and a time that is not after it. */
export interface IdlePlace {
  readonly transaction: number;
  readonly part: number;
  readonly at: Date;
}

/** What a run leaves behind. */
export interface Outcome {
  /** Everything up to here was taken. The message under way is over. Null: it stays as it is. */
  readonly cursor: string | null;
  readonly failures: number;
  readonly troubles: number;
  /** When to look again. A place: when the project has a change from there on. Null: never, because it is disabled. */
  readonly next: Date | IdlePlace | null;
  /** Whether the run goes on with the next message, with the same lease until `next`. */
  readonly goesOn: boolean;
  readonly disabled: DisabledReason | null;
}

/** An attempt to deliver a message, as it is kept. */
export interface Attempt {
  readonly id: string;
  readonly at: Date;
  readonly messageId: string;
  readonly attempt: number;
  readonly status: number | null;
  readonly error: string | null;
  readonly milliseconds: number;
  readonly changes: number;
}

/**
 * Writes down what came of a run's step, and its attempt if there was one. False, and nothing is written: the run has lost its
 * lease.
 */
export async function settleWebhook(
  database: Queryable,
  { projectId }: Pick<Reach, 'projectId'>,
  { id, lease }: Pick<LeasedWebhook, 'id' | 'lease'>,
  { cursor, failures, troubles, next, goesOn, disabled }: Outcome,
  attempt: Attempt | null,
): Promise<boolean> {
  const dueAt = next instanceof Date ? next : null;
  const place = next instanceof Date ? null : next;
  const rows = await database.query({
    name: 'webhooks.settle',
    text: `WITH settled AS (
             UPDATE webhooks SET
               cursor = coalesce($4, cursor),
               message_id = CASE WHEN $4::text IS NULL THEN message_id END,
               message_until = CASE WHEN $4::text IS NULL THEN message_until END,
               waiting_since = CASE WHEN $4::text IS NULL THEN waiting_since END,
               failures = $5, troubles = $6, due_at = $7, lease = CASE WHEN $8 THEN lease END,
               enabled = $9::text IS NULL, disabled_reason = $9,
               place_transaction = $18, place_part = $19, place_at = $20
             WHERE project_id = $1 AND id = $2 AND lease = $3 RETURNING project_id, id
           ), added AS (
             INSERT INTO webhook_deliveries (project_id, id, webhook_id, at, message_id, attempt, status, error, milliseconds, changes)
             SELECT project_id, $10::uuid, id, $11, $12, $13, $14, $15, $16, $17 FROM settled WHERE $10::uuid IS NOT NULL
           )
           SELECT FROM settled`,
    values: [
      projectId,
      id,
      lease,
      cursor,
      failures,
      troubles,
      dueAt,
      goesOn,
      disabled,
      attempt?.id ?? null,
      attempt?.at ?? null,
      attempt?.messageId ?? null,
      attempt?.attempt ?? null,
      attempt?.status ?? null,
      attempt?.error ?? null,
      attempt?.milliseconds ?? null,
      attempt?.changes ?? null,
      place?.transaction ?? null,
      place?.part ?? null,
      place?.at ?? null,
    ],
  });
  return rows.length > 0;
}

/**
 * Makes a webhook due now that a caller has changed while this run had it (changeWebhook). The run calls this when it is over: so
 * two runs never send at once, however often it was changed.
 */
export async function makeDue(
  database: Queryable,
  { projectId }: Pick<Reach, 'projectId'>,
  { id, lease }: Pick<LeasedWebhook, 'id' | 'lease'>,
  now: Date,
): Promise<void> {
  await database.query({
    name: 'webhooks.makeDue',
    text: `UPDATE webhooks SET due_at = $4, revoked_lease = NULL
           WHERE project_id = $1 AND id = $2 AND revoked_lease = $3 AND due_at > $4`,
    values: [projectId, id, lease, now],
  });
}
