import type { Reach } from '../../domain/access.js';
import type { Beside, PresenceAgain } from '../../domain/presence.js';
import type { Queryable } from '../database.js';
import { Prisma } from '../generated/prisma/client.js';
import { PRESENCE, toPresence, type Row } from './read-presence.js';
import { TOLD_ONLINE } from './told-online.js';

const { sql, raw, empty } = Prisma;

type CurrentRow = Row & { version: string; transaction: string };

const toAgain = (row: CurrentRow, beside: Beside, readFrom: number): PresenceAgain => ({
  userId: row.userId,
  presence: toPresence(row),
  version: Number(row.version),
  transaction: row.transaction,
  beside,
  readFrom,
});

const VERSIONED = raw('u.presence_version AS version, u.presence_transaction AS transaction');

/**
 * Reads which of the sessions count as online. Returns each of them with the current presence of its user, to be sent again
 * because a device of the user has changed.
 */
export async function presenceOfSessions(
  database: Queryable,
  { projectId }: Reach,
  sessionIds: readonly string[],
): Promise<{ sessionId: string; user: PresenceAgain }[]> {
  const readFrom = performance.now();
  // OFFSET 0 makes Postgres read the sessions by their ids first, and then the users by theirs. Without it the planner read all
  // of 100,000 users for 1,000 sessions. That took 23 of 39 ms, and grows with the number of users.
  const query = sql`SELECT s.id AS "sessionId", p.* FROM (
      SELECT s.id, s.user_id FROM unnest(${sessionIds}::uuid[]) k (id)
      CROSS JOIN LATERAL (
        SELECT s.id, s.user_id FROM sessions s
        WHERE s.project_id = ${projectId}::uuid AND s.id = k.id AND s.live AND ${raw(TOLD_ONLINE)} OFFSET 0
      ) s
      OFFSET 0
    ) s
    CROSS JOIN LATERAL (SELECT ${VERSIONED}, ${PRESENCE} WHERE u.project_id = ${projectId}::uuid AND u.id = s.user_id OFFSET 0) p`;
  const rows = await database.query<CurrentRow & { sessionId: string }>({
    name: 'presence.ofSessions',
    text: query.text,
    values: query.values,
  });
  return rows.map((row) => ({ sessionId: row.sessionId, user: toAgain(row, 'devices', readFrom) }));
}

/**
 * The users to read: these, or at most `limit` of everybody after one user id (null: from the start), in the order of their
 * ids.
 */
export type Round = { readonly userIds: readonly string[] } | { readonly after: string | null; readonly limit: number };

/**
 * Reads the current presence of those users of the round that are online, because they may have been seen again. A round of
 * everybody is in the order of the ids.
 */
export async function presenceOfOnline(
  database: Queryable,
  { projectId }: Reach,
  round: Round,
): Promise<PresenceAgain[]> {
  const readFrom = performance.now();
  const which =
    'userIds' in round
      ? sql`AND u.id = ANY(${round.userIds}::uuid[])`
      : sql`${round.after === null ? empty : sql`AND u.id > ${round.after}::uuid`} ORDER BY u.id LIMIT ${round.limit}::integer`;
  const query = sql`SELECT ${VERSIONED}, ${PRESENCE}
    WHERE u.project_id = ${projectId}::uuid AND u.online_sessions > 0 ${which}`;
  const rows = await database.query<CurrentRow>({ name: 'presence.ofOnline', text: query.text, values: query.values });
  return rows.map((row) => toAgain(row, 'lastSeenAt', readFrom));
}
