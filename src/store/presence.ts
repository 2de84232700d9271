import type { Reach } from '../domain/access.js';
import { userIdOf } from '../domain/identity.js';
import type { PresenceEdge, PresenceStatus, UserPresence } from '../domain/presence.js';
import type { Database } from './database.js';
import { Prisma } from './generated/prisma/client.js';
import { toPage, type Page, type Rows } from './keyset.js';
import { countsAt } from './online-until.js';

const { sql, raw, empty } = Prisma;

/**
 * A user's presence from their row and sessions (rule 28): the status is the one that was published last,
 * so that what is read here and what subscribers are told are one. `now` is when sessions are counted; the last one
 * counts until its lapse is published, up to a look of the closer later, so that both say the same.
 */
const presenceColumns = (now: Date) => sql`u.id AS "userId", u.identity, u.name,
  CASE WHEN u.online THEN 'ONLINE' ELSE 'OFFLINE' END AS status, u.status_since AS since,
  coalesce(n.last_activity_at, (
    SELECT max(s.last_activity_at) FROM (
      SELECT last_activity_at FROM sessions
      WHERE project_id = u.project_id AND user_id = u.id ORDER BY started_at DESC LIMIT 5
    ) s)) AS "lastSeenAt",
  CASE WHEN u.online THEN greatest(n.sessions, 1) ELSE 0 END AS "onlineSessions"
  FROM users u CROSS JOIN LATERAL (
    SELECT (count(*) FILTER (WHERE ${raw(countsAt('t.at'))}))::integer AS sessions, max(s.last_activity_at) AS last_activity_at
    FROM sessions s CROSS JOIN (SELECT ${now}::timestamptz AS at) t WHERE s.project_id = u.project_id AND s.user_id = u.id AND s.live
  ) n`;

interface PresenceRow extends UserPresence {
  readonly userId: string;
}

const toPresence = ({ identity, name, status, since, lastSeenAt, onlineSessions }: PresenceRow): UserPresence => ({
  identity,
  name,
  status,
  since,
  lastSeenAt,
  onlineSessions,
});

const neverSeen = (identity: string): UserPresence => ({
  identity,
  name: null,
  status: 'OFFLINE',
  since: null,
  lastSeenAt: null,
  onlineSessions: 0,
});

/** The identities within reach, trimmed, each once, with their user ids. */
function withinReach(reach: Reach, identities: readonly string[]): Map<string, string> {
  const ids = new Map(
    identities.map((identity) => identity.trim()).map((identity) => [userIdOf(reach.projectId, identity), identity]),
  );
  if (!reach.userIds) return ids;
  const allowed = new Set(reach.userIds);
  return new Map([...ids].filter(([id]) => allowed.has(id)));
}

/** One presence for each identity within reach, in the order asked; OFFLINE since null for one never seen. */
export async function presenceOf(
  database: Database,
  reach: Reach,
  identities: readonly string[],
  now: Date,
): Promise<UserPresence[]> {
  const ids = withinReach(reach, identities);
  if (ids.size === 0) return [];
  const query = sql`SELECT ${presenceColumns(now)} WHERE u.project_id = ${reach.projectId}::uuid AND u.id = ANY(${[...ids.keys()]}::uuid[])`;
  const rows = await database.query<PresenceRow>({ name: 'presence.of', text: query.text, values: query.values });
  const found = new Map(rows.map((row) => [row.userId, toPresence(row)]));
  return [...ids].map(([id, identity]) => found.get(id) ?? neverSeen(identity));
}

/** What the list of presence is narrowed to; null: any. */
export interface PresenceFilter {
  readonly status: PresenceStatus | null;
}

const listConditions = (reach: Reach, { status }: PresenceFilter) => sql`u.project_id = ${reach.projectId}::uuid
  ${reach.userIds ? sql`AND u.id = ANY(${reach.userIds}::uuid[])` : empty}
  ${status === 'ONLINE' ? raw('AND u.online') : empty} ${status === 'OFFLINE' ? raw('AND NOT u.online') : empty}`;

/** A page of users with their presence, in the order of their ids. */
export async function listPresence(
  database: Database,
  reach: Reach,
  filter: PresenceFilter,
  page: Page<string>,
  now: Date,
): Promise<Rows<{ userId: string; presence: UserPresence }>> {
  const direction = raw(page.backwards ? 'DESC' : 'ASC');
  const { after, before } = page;
  const query = sql`SELECT ${presenceColumns(now)} WHERE ${listConditions(reach, filter)}
    ${after ? sql`AND u.id > ${after}::uuid` : empty} ${before ? sql`AND u.id < ${before}::uuid` : empty}
    ORDER BY u.id ${direction} LIMIT ${page.limit + 1}::integer`;
  const rows = await database.query<PresenceRow>({ name: 'presence.list', text: query.text, values: query.values });
  const { rows: users, more } = toPage(rows, page);
  return { rows: users.map((row) => ({ userId: row.userId, presence: toPresence(row) })), more };
}

export async function countPresence(database: Database, reach: Reach, filter: PresenceFilter): Promise<number> {
  const query = sql`SELECT count(*)::integer AS count FROM users u WHERE ${listConditions(reach, filter)}`;
  const [row] = await database.query<{ count: number }>({
    name: 'presence.count',
    text: query.text,
    values: query.values,
  });
  return row!.count;
}

export interface PresenceSnapshot {
  readonly users: readonly UserPresence[];
  /** `pg_current_snapshot()` of the statement that read it: an edge is in here exactly if isVisible(edge.transaction, snapshot). */
  readonly snapshot: string;
}

/**
 * Who is online (identities null), or the state of these users, at one moment that edges can be compared
 * with: one statement reads both the users and Postgres' snapshot (rule 30).
 */
export async function presenceSnapshot(
  database: Database,
  reach: Reach,
  identities: readonly string[] | null,
  now: Date,
): Promise<PresenceSnapshot> {
  const ids = identities && withinReach(reach, identities);
  const which = ids
    ? sql`u.project_id = ${reach.projectId}::uuid AND u.id = ANY(${[...ids.keys()]}::uuid[])`
    : listConditions(reach, { status: 'ONLINE' });
  // The left join keeps the snapshot where nobody matches.
  const query = sql`SELECT pg_current_snapshot()::text AS snapshot, p.* FROM (SELECT 1) one
    LEFT JOIN (SELECT ${presenceColumns(now)} WHERE ${which}) p ON true`;
  const rows = await database.query<PresenceRow & { snapshot: string }>({
    name: 'presence.snapshot',
    text: query.text,
    values: query.values,
  });
  const users = rows.filter((row) => row.userId !== null);
  const { snapshot } = rows[0]!;
  if (!ids) return { snapshot, users: users.map(toPresence) };
  const found = new Map(users.map((row) => [row.userId, toPresence(row)]));
  return { snapshot, users: [...ids].map(([id, identity]) => found.get(id) ?? neverSeen(identity)) };
}

/**
 * The latest edge of each user of these projects whose status changed at or after `since`: what a publisher
 * that died between commit and publish has left unsaid. A range of the index users_status_since each.
 */
export async function recentEdges(
  database: Database,
  reaches: readonly Reach[],
  since: Date,
  now: Date,
): Promise<{ projectId: string; edge: PresenceEdge }[]> {
  const query = sql`SELECT u.project_id AS "projectId", u.presence_version AS version, u.presence_transaction AS transaction,
      ${presenceColumns(now)}
    WHERE u.project_id = ANY(${reaches.map(({ projectId }) => projectId)}::uuid[]) AND u.status_since >= ${since}`;
  const rows = await database.query<PresenceRow & { projectId: string; version: string; transaction: string }>({
    name: 'presence.recent',
    text: query.text,
    values: query.values,
  });
  return rows.map((row) => ({
    projectId: row.projectId,
    edge: {
      userId: row.userId,
      presence: toPresence(row),
      version: Number(row.version),
      previous: null,
      transaction: row.transaction,
      sessionId: null,
    },
  }));
}
