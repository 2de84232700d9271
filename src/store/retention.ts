import type { Reach } from '../domain/access.js';
import { firstUuidAt } from '../domain/event-id.js';
import { lockFreeUsers } from './close-sessions.js';
import type { Database, Queryable } from './database.js';
import { inOrderOfLocks } from './ingest-reads.js';

/** The projects that do not keep everything, with the days they keep. */
export async function projectsWithRetention(database: Database): Promise<(Reach & { days: number })[]> {
  const rows = await database.query<{ projectId: string; days: number }>({
    name: 'retention.projects',
    text: 'SELECT id AS "projectId", retention_days AS days FROM projects WHERE retention_days IS NOT NULL',
  });
  return rows.map((row) => ({ ...row, userIds: null }));
}

/** What a step of deleting did. */
export interface Removed {
  /** Rows that are gone. */
  readonly count: number;
  /** Whether there may be more that another step would delete. */
  readonly more: boolean;
}

/** Those in others' hands are left for the next time: nobody waits for what holds them. */
const stepOf = (count: number, limit: number): Removed => ({ count, more: count === limit });

/** Deletes up to `limit` events that happened before `before`. */
export async function deleteOldEvents(
  database: Database,
  { projectId }: Reach,
  before: Date,
  limit: number,
): Promise<Removed> {
  const rows = await database.query({
    name: 'retention.events',
    text: `DELETE FROM events e USING (
             SELECT id FROM events WHERE project_id = $1 AND id < $2::uuid ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED
           ) old WHERE e.project_id = $1 AND e.id = old.id AND e.id < $2::uuid RETURNING 1`,
    values: [projectId, firstUuidAt(before), limit],
  });
  return stepOf(rows.length, limit);
}

/** Locks those of the users whom nobody else holds, in their order; answers their ids. */
async function lockOwners(tx: Queryable, { projectId }: Reach, userIds: readonly string[]): Promise<string[]> {
  if (userIds.length === 0) return [];
  const users = [...new Set(userIds)].map((userId) => ({ projectId, userId })).toSorted(inOrderOfLocks);
  return (await lockFreeUsers(tx, users)).map(({ userId }) => userId);
}

/** Deletes up to `limit` sessions that ended before `before`, their users locked first, as whoever ends one does. Open ones stay. */
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

/** Forgets up to `limit` sessions that became part of others before `before`. */
export async function deleteOldMerges(
  database: Database,
  { projectId }: Reach,
  before: Date,
  limit: number,
): Promise<Removed> {
  const rows = await database.query({
    name: 'retention.merges',
    text: `DELETE FROM merged_sessions m USING (
             SELECT id FROM merged_sessions WHERE project_id = $1 AND merged_at < $2 ORDER BY merged_at LIMIT $3 FOR UPDATE SKIP LOCKED
           ) old WHERE m.project_id = $1 AND m.id = old.id RETURNING 1`,
    values: [projectId, before, limit],
  });
  return stepOf(rows.length, limit);
}

/**
 * Looks at the next `limit` users after `after`, in the order of their ids, and deletes those of whom nothing is left and
 * nothing was heard since `before`: no session, no event, no end (rule 18). Answers where to go on; null at the end.
 */
export function deleteIdleUsers(
  database: Database,
  reach: Reach,
  { before, after, limit }: { before: Date; after: string; limit: number },
): Promise<string | null> {
  const { projectId } = reach;
  // A user who is locked begins no session: whoever waits for the row plans anew when it is gone.
  const idle = `NOT u.online AND coalesce(u.status_since < $2, true) AND coalesce(u.ends[cardinality(u.ends)] < $2, true)
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

/** Deletes up to `limit` descriptions that have waited for their events since before `before`. */
export async function deleteOldDescriptions(
  database: Database,
  { projectId }: Reach,
  before: Date,
  limit: number,
): Promise<Removed> {
  const rows = await database.query({
    name: 'retention.descriptions',
    text: `DELETE FROM user_descriptions d USING (
             SELECT reference_id FROM user_descriptions WHERE project_id = $1 AND received_at < $2 LIMIT $3 FOR UPDATE SKIP LOCKED
           ) old WHERE d.project_id = $1 AND d.reference_id = old.reference_id RETURNING 1`,
    values: [projectId, before, limit],
  });
  return stepOf(rows.length, limit);
}

/** Deletes up to `limit` entries of the audit logs of all projects that were made before `before`. */
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
