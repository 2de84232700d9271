import type { Reach } from '../../domain/access.js';
import { userIdOf } from '../../domain/identity.js';
import type { PresenceStatus, UserPresence } from '../../domain/presence.js';
import type { Database } from '../database.js';
import { Prisma } from '../generated/prisma/client.js';
import { toPage, type Page, type Rows } from '../keyset.js';
import { LAST_SEEN } from '../seen.js';

const { sql, raw, empty } = Prisma;

/**
 * A user's presence (rule 28). The row of the user holds what was published last. So a query and a subscription give the same
 * presence. The time when the user was last seen is read from the user's sessions.
 */
const STATUS = `u.id AS "userId", u.identity, u.name,
  CASE WHEN u.online_sessions > 0 THEN 'ONLINE' ELSE 'OFFLINE' END AS status, u.status_since AS since,
  u.online_sessions AS "onlineSessions"`;
export const PRESENCE = raw(`${STATUS}, ${LAST_SEEN} AS "lastSeenAt" FROM users u`);

/** The same columns for `presence-moments`. lastSeenAt is apart: it costs a read of the sessions of each user (18 µs). */
export const PRESENCE_COLUMNS = { status: raw(STATUS), lastSeen: raw(LAST_SEEN) };

export interface Row extends UserPresence {
  readonly userId: string;
}

export const toPresence = ({ identity, name, status, since, lastSeenAt, onlineSessions }: Row): UserPresence => ({
  identity,
  name,
  status,
  since,
  lastSeenAt,
  onlineSessions,
});

/** The presence of a user from whom no event has come yet. */
export const neverSeen = (identity: string): UserPresence => ({
  identity,
  name: null,
  status: 'OFFLINE',
  since: null,
  lastSeenAt: null,
  onlineSessions: 0,
});

/** Returns the identities that are within reach, trimmed, each once, by user id. */
export function withinReach(reach: Reach, identities: readonly string[]): Map<string, string> {
  const ids = new Map(
    identities.map((identity) => identity.trim()).map((identity) => [userIdOf(reach.projectId, identity), identity]),
  );
  if (!reach.userIds) return ids;
  const allowed = new Set(reach.userIds);
  return new Map([...ids].filter(([id]) => allowed.has(id)));
}

/** Reads the presence of each identity within reach, in the given order. A user who was never seen is OFFLINE, `since` null. */
export async function presenceOf(
  database: Database,
  reach: Reach,
  identities: readonly string[],
): Promise<UserPresence[]> {
  const ids = withinReach(reach, identities);
  if (ids.size === 0) return [];
  const query = sql`SELECT ${PRESENCE} WHERE u.project_id = ${reach.projectId}::uuid AND u.id = ANY(${[...ids.keys()]}::uuid[])`;
  const rows = await database.query<Row>({ name: 'presence.of', text: query.text, values: query.values });
  const found = new Map(rows.map((row) => [row.userId, toPresence(row)]));
  return [...ids].map(([id, identity]) => found.get(id) ?? neverSeen(identity));
}

/** The filter of the list of presence. `status` null: any status. */
export interface PresenceFilter {
  readonly status: PresenceStatus | null;
}

const listConditions = (reach: Reach, { status }: PresenceFilter) => sql`u.project_id = ${reach.projectId}::uuid
  ${reach.userIds ? sql`AND u.id = ANY(${reach.userIds}::uuid[])` : empty}
  ${status === 'ONLINE' ? raw('AND u.online_sessions > 0') : empty} ${status === 'OFFLINE' ? raw('AND u.online_sessions = 0') : empty}`;

/** Reads a page of the users within reach with their presence, in the order of their ids. */
export async function listPresence(
  database: Database,
  reach: Reach,
  filter: PresenceFilter,
  page: Page<string>,
): Promise<Rows<{ userId: string; presence: UserPresence }>> {
  const direction = raw(page.backwards ? 'DESC' : 'ASC');
  const { after, before } = page;
  const query = sql`SELECT ${PRESENCE} WHERE ${listConditions(reach, filter)}
    ${after ? sql`AND u.id > ${after}::uuid` : empty} ${before ? sql`AND u.id < ${before}::uuid` : empty}
    ORDER BY u.id ${direction} LIMIT ${page.limit + 1}::integer`;
  const rows = await database.query<Row>({ name: 'presence.list', text: query.text, values: query.values });
  const { rows: users, more } = toPage(rows, page);
  return { rows: users.map((row) => ({ userId: row.userId, presence: toPresence(row) })), more };
}

/** Counts the users within reach that match the filter. */
export async function countPresence(database: Database, reach: Reach, filter: PresenceFilter): Promise<number> {
  const query = sql`SELECT count(*)::integer AS count FROM users u WHERE ${listConditions(reach, filter)}`;
  const [row] = await database.query<{ count: number }>({
    name: 'presence.count',
    text: query.text,
    values: query.values,
  });
  return row!.count;
}
