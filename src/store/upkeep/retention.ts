import type { Reach } from '../../domain/access.js';
import { firstUuidAt } from '../../domain/event-id.js';
import { lockFreeUsers } from '../ingest/close-sessions.js';
import type { Database, Queryable } from '../database.js';
import { inOrderOfLocks } from '../lock-order.js';

/** The projects that limit how long data is kept, each with its number of days. */
export async function projectsWithRetention(database: Database): Promise<(Reach & { days: number })[]> {
  const rows = await database.query<{ projectId: string; days: number }>({
    name: 'retention.projects',
    text: 'SELECT id AS "projectId", retention_days AS days FROM projects WHERE retention_days IS NOT NULL',
  });
  return rows.map((row) => ({ ...row, userIds: null }));
}

/** The result of one step of deleting. */
export interface Removed {
  /** The number of deleted rows. */
  readonly count: number;
  /** Whether another step may delete more. */
  readonly more: boolean;
}

/** Rows that others have locked are skipped until the next run, so that no statement waits for them. */
const stepOf = (count: number, limit: number): Removed => ({ count, more: count === limit });

/**
 * A function that deletes up to `limit` rows of a project whose `column` is before a time, the oldest first. `table` has the
 * primary key (project_id, `key`). `boundOf`: the value of the column at that time.
 */
function deleteRows(
  { name, table, key, column, type }: { name: string; table: string; key: string; column: string; type: string },
  boundOf: (before: Date) => string | Date,
) {
  // The bound stands outside too, so that Postgres leaves out the partitions behind it.
  const text = `DELETE FROM ${table} r USING (
      SELECT ${key} FROM ${table} WHERE project_id = $1 AND ${column} < $2::${type} ORDER BY ${column} LIMIT $3 FOR UPDATE SKIP LOCKED
    ) old WHERE r.project_id = $1 AND r.${key} = old.${key} AND r.${column} < $2::${type} RETURNING 1`;
  return async (database: Database, { projectId }: Reach, before: Date, limit: number): Promise<Removed> => {
    const rows = await database.query({ name, text, values: [projectId, boundOf(before), limit] });
    return stepOf(rows.length, limit);
  };
}
const asIs = (before: Date): Date => before;

/** Deletes up to `limit` events that happened before `before`. */
export const deleteOldEvents = deleteRows(
  { name: 'retention.events', table: 'events', key: 'id', column: 'id', type: 'uuid' },
  firstUuidAt,
);

/** Locks the users that nobody else has locked, in the order of locks. Returns their ids. */
async function lockOwners(tx: Queryable, { projectId }: Reach, userIds: readonly string[]): Promise<string[]> {
  if (userIds.length === 0) return [];
  const users = [...new Set(userIds)].map((userId) => ({ projectId, userId })).toSorted(inOrderOfLocks);
  return (await lockFreeUsers(tx, users)).map(({ userId }) => userId);
}

/**
 * Deletes up to `limit` sessions that ended before `before`. Open sessions stay. Locks their users first, as every
 * statement does that ends a session.
 */
export function deleteOldSessions(database: Database, reach: Reach, before: Date, limit: number): Promise<Removed> {
  const { projectId } = reach;
  return database.transaction(async (tx) => {
    const old = await tx.query<{ id: string; userId: string | null }>({
      name: 'retention.oldSessions',
      text: `SELECT id, user_id AS "userId" FROM sessions
             WHERE project_id = $1 AND ended_at < $2 AND NOT live ORDER BY ended_at LIMIT $3`,
      values: [projectId, before, limit],
    });
    const held = new Set(
      await lockOwners(
        tx,
        reach,
        old.flatMap(({ userId }) => userId ?? []),
      ),
    );
    const ours = old.filter(({ userId }) => userId === null || held.has(userId)).map(({ id }) => id);
    const gone = await tx.query({
      name: 'retention.sessions',
      text: `DELETE FROM sessions s USING (
               SELECT id FROM sessions
               WHERE project_id = $1 AND id = ANY($3::uuid[]) AND ended_at < $2 AND NOT live ORDER BY id FOR UPDATE SKIP LOCKED
             ) old WHERE s.project_id = $1 AND s.id = old.id RETURNING 1`,
      values: [projectId, before, ours],
    });
    return { count: gone.length, more: old.length === limit && gone.length > 0 };
  });
}

/**
 * Deletes up to `limit` changes of presence that were before `before`. Who was online later is still known: it is what the next
 * changes say.
 */
export const deleteOldPresence = deleteRows(
  { name: 'retention.presence', table: 'presence_changes', key: 'id', column: 'id', type: 'uuid' },
  firstUuidAt,
);

/** Deletes up to `limit` settled minutes that began before `before`. */
export const deleteOldMinutes = deleteRows(
  { name: 'retention.minutes', table: 'presence_minutes', key: 'minute', column: 'minute', type: 'timestamptz' },
  asIs,
);

/** Deletes the ids of up to `limit` sessions that were merged into others before `before`. */
export const deleteOldMerges = deleteRows(
  { name: 'retention.merges', table: 'merged_sessions', key: 'id', column: 'merged_at', type: 'timestamptz' },
  asIs,
);

/**
 * Checks the next `limit` users after the id `after`, in the order of ids. Deletes those who have no session and no
 * event, and of whom nothing was heard since `before`: no change of status, no `sessionend` event (rule 18), no name.
 * Returns the id to continue after; null at the end.
 */
export function deleteIdleUsers(
  database: Database,
  reach: Reach,
  { before, after, limit }: { before: Date; after: string; limit: number },
): Promise<string | null> {
  const { projectId } = reach;
  // A locked user cannot start a session: ingest waits for the row, and plans again if it is gone.
  const idle = `u.online_sessions = 0 AND coalesce(u.status_since < $2, true) AND coalesce(u.ends[cardinality(u.ends)] < $2, true)
    AND coalesce(u.name_at < $2, true)
    AND NOT EXISTS (SELECT FROM sessions s WHERE s.project_id = u.project_id AND s.user_id = u.id)
    AND NOT EXISTS (SELECT FROM events e WHERE e.project_id = u.project_id AND e.user_id = u.id)`;
  return database.transaction(async (tx) => {
    const users = await tx.query<{ id: string; idle: boolean }>({
      name: 'retention.users',
      text: `SELECT u.id, ${idle} AS idle FROM (
               SELECT * FROM users WHERE project_id = $1 AND id > $3 ORDER BY id LIMIT $4
             ) u ORDER BY u.id`,
      values: [projectId, before, after, limit],
    });
    const found = users.filter((user) => user.idle).map(({ id }) => id);
    const held = await lockOwners(tx, reach, found);
    if (held.length > 0) {
      await tx.query({
        name: 'retention.idleUsers',
        text: `DELETE FROM users u WHERE u.project_id = $1 AND u.id = ANY($3::uuid[]) AND ${idle}`,
        values: [projectId, before, held],
      });
    }
    return users.length === limit ? users.at(-1)!.id : null;
  });
}

/**
 * Checks the next `limit` devices after the id `after`, in the order of ids. Deletes those that have no session, and that
 * have sent no `sessionend` event alone since `before` (rule 18). Returns the id to continue after; null at the end. A device
 * that is deleted too early is only added again by its next event: its row is a lock, and those that are locked are skipped.
 */
export async function deleteIdleDevices(
  database: Database,
  { projectId }: Reach,
  { before, after, limit }: { before: Date; after: string; limit: number },
): Promise<string | null> {
  const [row] = await database.query<{ count: number; last: string | null }>({
    name: 'retention.idleDevices',
    text: `WITH looked AS (
             SELECT id FROM devices WHERE project_id = $1 AND id > $3 ORDER BY id LIMIT $4
           ), idle AS (
             SELECT d.id FROM looked k JOIN devices d ON d.project_id = $1 AND d.id = k.id
             WHERE coalesce(d.ends[cardinality(d.ends)] < $2, true)
               AND NOT EXISTS (SELECT FROM sessions s WHERE s.project_id = $1 AND s.device_id = d.id)
             ORDER BY d.id FOR UPDATE OF d SKIP LOCKED
           ), gone AS (
             DELETE FROM devices d USING idle i WHERE d.project_id = $1 AND d.id = i.id
           )
           SELECT count(*)::integer AS count, max(id) AS last FROM looked`,
    values: [projectId, before, after, limit],
  });
  return row!.count === limit ? row!.last : null;
}

/** Deletes up to `limit` descriptions that were received before `before` and still wait for their events. */
export const deleteOldDescriptions = deleteRows(
  {
    name: 'retention.descriptions',
    table: 'user_descriptions',
    key: 'reference_id',
    column: 'received_at',
    type: 'timestamptz',
  },
  asIs,
);

/** Deletes up to `limit` entries made before `before`, from the audit logs of all projects. */
export async function deleteOldAuditEntries(database: Database, before: Date, limit: number): Promise<Removed> {
  const rows = await database.query({
    name: 'retention.audit',
    text: `DELETE FROM audit_log a USING (
             SELECT p.id AS project_id, o.id FROM projects p CROSS JOIN LATERAL (
               SELECT id FROM audit_log WHERE project_id = p.id AND id < $1::uuid ORDER BY id LIMIT $2
             ) o LIMIT $2
           ) old WHERE a.project_id = old.project_id AND a.id = old.id RETURNING 1`,
    values: [firstUuidAt(before), limit],
  });
  return stepOf(rows.length, limit);
}
