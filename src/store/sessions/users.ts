import type { Reach } from '../../domain/access.js';
import type { UserFilter, UserOrder } from '../../domain/filters.js';
import { userIdOf } from '../../domain/identity.js';
import type { Database } from '../database.js';
import { Prisma } from '../generated/prisma/client.js';
import { toPage, type Page, type Rows } from '../keyset.js';
import { TOLD_ONLINE } from '../presence/told-online.js';
import { FIRST_SEEN, LAST_SEEN } from '../seen.js';
import { containsPart, sessionConditions, type Sql } from './session-filter.js';
import { findSearched, findUsers, type Found } from './session-search.js';

const { sql, raw, join, empty } = Prisma;

/** When a user was first and last seen (store/seen). */
export interface Seen {
  readonly firstSeenAt: Date;
  readonly lastSeenAt: Date;
}

export interface UserRow {
  readonly identity: string;
  readonly name: string | null;
  /** Undefined: not read yet. */
  readonly seen?: Seen;
}

/** A user of a list: with the id, which is the second part of its place. */
export interface ListedUser extends UserRow {
  readonly userId: string;
  readonly seen: Seen;
}

const idsOf = ({ projectId, userIds }: Reach, identities: readonly string[]): string[] =>
  identities.map((identity) => userIdOf(projectId, identity.trim())).filter((id) => !userIds || userIds.includes(id));

/**
 * The `data` that the application sent for the users with these identities, by identity. Users that are out of reach or
 * have no data are left out.
 */
export async function readUserData(
  database: Database,
  reach: Reach,
  identities: readonly string[],
): Promise<Map<string, Record<string, unknown>>> {
  const rows = await database.query<{ identity: string; data: Record<string, unknown> }>({
    name: 'users.data',
    text: `SELECT identity, data FROM users WHERE project_id = $1 AND id = ANY($2::uuid[]) AND data IS NOT NULL`,
    values: [reach.projectId, idsOf(reach, identities)],
  });
  return new Map(rows.map(({ identity, data }) => [identity, data]));
}

const SEEN = `${FIRST_SEEN} AS "firstSeenAt", coalesce(${LAST_SEEN}, ${FIRST_SEEN}) AS "lastSeenAt"`;

type Row = { readonly userId: string; readonly identity: string; readonly name: string | null } & Seen;
const toUser = ({ userId, identity, name, firstSeenAt, lastSeenAt }: Row): ListedUser => ({
  userId,
  identity,
  name,
  seen: { firstSeenAt, lastSeenAt },
});

/** The users with these ids that are within reach, with when they were seen; in no particular order. */
export async function usersByIds(
  database: Database,
  { projectId, userIds }: Reach,
  ids: readonly string[],
): Promise<ListedUser[]> {
  const rows = await database.query<Row>({
    name: 'users.byIds',
    text: `SELECT u.id AS "userId", u.identity, u.name, ${SEEN} FROM users u
           WHERE u.project_id = $1 AND u.id = ANY($2::uuid[])`,
    values: [projectId, userIds ? ids.filter((id) => userIds.includes(id)) : ids],
  });
  return rows.map(toUser);
}

/** The users with these identities that the project has seen and that are within reach, by identity. */
export async function usersByIdentities(
  database: Database,
  reach: Reach,
  identities: readonly string[],
): Promise<Map<string, ListedUser>> {
  const users = await usersByIds(database, reach, idsOf(reach, identities));
  return new Map(users.map((user) => [user.identity, user]));
}

/** The user with this identity. Null if the project has never seen the identity, or if it is out of reach. */
export async function findUser(database: Database, reach: Reach, identity: string): Promise<UserRow | null> {
  const [id] = idsOf(reach, [identity]);
  if (id === undefined) return null;
  const [user] = await database.query<UserRow>({
    name: 'users.find',
    text: 'SELECT identity, name FROM users WHERE project_id = $1 AND id = $2',
    values: [reach.projectId, id],
  });
  return user ?? null;
}

/** The place of a user in a list: the time that the list is ordered by (ISO text), and the user's id. */
export type UserPlace = readonly [at: string, id: string];

export const userPlace = ({ userId, seen }: ListedUser, { field }: UserOrder): UserPlace => [
  (field === 'FIRST_SEEN_AT' ? seen.firstSeenAt : seen.lastSeenAt).toISOString(),
  userId,
];

/** What the searches of a filter have found, before the list is read. */
interface Searched {
  /** Users by `search`; null: no search, or too many to list. */
  readonly userIds: readonly string[] | null;
  /** Of the search in the filter of their sessions. */
  readonly sessions: Found | null;
}

async function search(database: Database, reach: Reach, filter: UserFilter | null): Promise<Searched> {
  return {
    userIds: filter?.search ? await findUsers(database, reach, filter.search) : null,
    sessions: await findSearched(database, reach, filter?.sessions ?? null),
  };
}

const all = (conditions: readonly Sql[]): Sql => join(conditions, ' AND ');

function inRange(key: Sql, range: UserFilter['firstSeenAt']): Sql[] {
  return [...(range?.from ? [sql`${key} >= ${range.from}`] : []), ...(range?.to ? [sql`${key} < ${range.to}`] : [])];
}

/** The column itself, which has an index. */
const FIRST_STORED = raw('u.first_seen_at');

/** The lists of ids that a user must be in. None: the list goes through all users of the project. */
function idConditions(reach: Reach, filter: UserFilter | null, { userIds }: Searched): Sql[] {
  const lists = [
    reach.userIds,
    filter?.identities?.map((identity) => userIdOf(reach.projectId, identity.trim())),
    userIds,
  ];
  return lists.flatMap((ids) => (ids ? [sql`u.id = ANY(${ids}::uuid[])`] : []));
}

/** The most users of a range of first_seen_at who are sorted in memory. */
const MOST_SORTED = 10_000;

/** Whether at most `most` users were first seen in the range, by the index of first_seen_at. */
async function areFewNew(
  database: Database,
  { projectId }: Reach,
  range: UserFilter['firstSeenAt'],
  most: number,
): Promise<boolean> {
  const conditions = [sql`u.project_id = ${projectId}::uuid`, ...inRange(FIRST_STORED, range)];
  const query = sql`SELECT count(*)::integer AS count FROM (
    SELECT FROM users u WHERE ${all(conditions)} LIMIT ${most + 1}::integer) few`;
  const [found] = await database.query<{ count: number }>({
    name: 'users.new',
    text: query.text,
    values: query.values,
  });
  return found!.count <= most;
}

/** The other conditions on `users u`, but for when they were seen. */
function otherConditions(reach: Reach, filter: UserFilter | null, searched: Searched): Sql[] {
  if (!filter) return [];
  const { dataContains, sessions } = filter;
  return [
    ...(filter.search && !searched.userIds ? [containsPart(['u.identity', 'u.name'], filter.search)] : []),
    ...(filter.status === 'OFFLINE' ? [sql`u.online_sessions = 0`] : []),
    ...(dataContains ? [sql`u.data @> ${JSON.stringify(dataContains)}::jsonb`] : []),
    ...(sessions
      ? [
          sql`EXISTS (SELECT FROM sessions s WHERE s.user_id = u.id
            AND ${sessionConditions(reach, sessions, searched.sessions)})`,
        ]
      : []),
  ];
}

const ONLINE = sql`u.online_sessions > 0`;
const FIRST = raw(FIRST_SEEN);
const LAST = raw(`coalesce(${LAST_SEEN}, ${FIRST_SEEN})`);
/** Whether a live session was active later than all sessions that have ended. */
const LIVE_LATER = raw(`SELECT FROM sessions l WHERE l.project_id = u.project_id AND l.user_id = u.id AND l.live
  AND l.last_activity_at > u.last_seen_at`);
/** Of a user's live sessions: whether one was published as online. So it is known before the row of the user is read. */
const TOLD = raw(`coalesce(bool_or(${TOLD_ONLINE}), false)`);

/** How a page of users is read. */
interface Reading {
  readonly descending: boolean;
  /** One row more than the page has. */
  readonly limit: number;
  /** The conditions for the page's cursors. */
  readonly between: (key: Sql, id: Sql) => Sql[];
  /** Of `users u`: those of the project, and the filter but for lists of ids, ONLINE, and when they were last seen. */
  readonly conditions: readonly Sql[];
}

const ordered = (key: Sql, id: Sql, { descending, limit }: Reading): Sql => {
  const direction = raw(descending ? 'DESC' : 'ASC');
  return sql`ORDER BY ${key} ${direction}, ${id} ${direction} LIMIT ${limit}::integer`;
};
const columns = (first: Sql, last: Sql): Sql =>
  sql`SELECT u.id AS "userId", u.identity, u.name, ${first} AS "firstSeenAt", ${last} AS "lastSeenAt"`;

/** Few users, who are read by their ids and sorted in memory. */
function listFew(ids: readonly Sql[], isFirst: boolean, filter: UserFilter | null, reading: Reading): Sql {
  const [first, last, id] = [raw('t.first'), raw('t.last'), raw('u.id')];
  const key = isFirst ? first : last;
  const few = [...reading.conditions, ...ids, ...(filter?.status === 'ONLINE' ? [ONLINE] : [])];
  const conditions = [...inRange(last, filter?.lastSeenAt), ...reading.between(key, id), sql`true`];
  return sql`${columns(first, last)} FROM (SELECT * FROM users u WHERE ${all(few)} OFFSET 0) u
    CROSS JOIN LATERAL (SELECT ${FIRST} AS first, ${LAST} AS last OFFSET 0) t
    WHERE ${all(conditions)} ${ordered(key, id, reading)}`;
}

/**
 * The list by first_seen_at, in the order of its index. Users who are online are found by theirs and sorted; then those are
 * listed too whose time maintenance has not written yet.
 */
function listByFirstSeen(filter: UserFilter | null, reading: Reading): Sql {
  const isOnline = filter?.status === 'ONLINE';
  const key = isOnline ? FIRST : FIRST_STORED;
  const conditions = [
    ...reading.conditions,
    isOnline ? ONLINE : sql`${FIRST_STORED} IS NOT NULL`,
    ...inRange(LAST, filter?.lastSeenAt),
    ...reading.between(key, raw('u.id')),
  ];
  return sql`${columns(key, LAST)} FROM users u WHERE ${all(conditions)} ${ordered(key, raw('u.id'), reading)}`;
}

/**
 * The users `id` who have live sessions, with the time `last` of the latest activity in these. Of users whose status is asked
 * for only those of this status.
 */
function liveUsers({ projectId }: Reach, status: UserFilter['status']): Sql {
  const told = status === 'ONLINE' ? sql`HAVING ${TOLD}` : status === 'OFFLINE' ? sql`HAVING NOT ${TOLD}` : empty;
  return sql`SELECT s.user_id AS id, max(s.last_activity_at) AS last FROM sessions s
    WHERE s.project_id = ${projectId}::uuid AND s.live AND s.user_id IS NOT NULL GROUP BY s.user_id ${told}`;
}

/**
 * The list by when users were last seen, of those who were first seen in a short range: they are read by the index of
 * first_seen_at, put together with all live sessions, and sorted in memory. (Grouped and not joined, because a plan that
 * expects few of them would look through all live sessions for each.)
 */
function listNewByLastSeen({ projectId }: Reach, filter: UserFilter, reading: Reading): Sql {
  const [last, id] = [raw('max(b.last)'), raw('b.id')];
  const conditions = [...reading.conditions, ...(filter.status === 'ONLINE' ? [ONLINE] : [])];
  const found = [
    raw('bool_or(b.is_new)'),
    sql`${last} IS NOT NULL`,
    ...inRange(last, filter.lastSeenAt),
    ...reading.between(last, id),
  ];
  return sql`${columns(FIRST, raw('n.last'))} FROM (
      SELECT b.id, ${last} AS last FROM (
        SELECT u.id, u.last_seen_at AS last, true AS is_new FROM users u WHERE ${all(conditions)}
        UNION ALL
        SELECT s.user_id, s.last_activity_at, false FROM sessions s WHERE s.project_id = ${projectId}::uuid AND s.live
      ) b GROUP BY b.id HAVING ${all(found)} ${ordered(last, id, reading)}
    ) n CROSS JOIN LATERAL (
      SELECT * FROM users u WHERE u.project_id = ${projectId}::uuid AND u.id = n.id OFFSET 0
    ) u ${ordered(raw('n.last'), raw('n.id'), reading)}`;
}

/**
 * The list by when users were last seen, in two parts, each with its own LIMIT. Each user is in one of them.
 *
 * The first part has the users of whom a live session was active last. Their last activity changes with each heartbeat and is
 * in no index, so all live sessions of the project are read and sorted in memory, and then the users until the page is full.
 *
 * The second part has all others, by the index of last_seen_at. It ends where the first part does, if that is a full page: so
 * the users who are left out, because they are in the first part, are not read one by one. A user who is online was active
 * in a live session, so of these it reads only what is later than the earliest live session.
 *
 * Both see one snapshot of Postgres, and the value that orders is the value that is shown.
 */
function listByLastSeen(reach: Reach, filter: UserFilter | null, reading: Reading): Sql {
  const { status, lastSeenAt, firstSeenAt } = filter ?? {};
  const { projectId } = reach;
  const { descending, limit, between, conditions } = reading;
  const online = status === 'ONLINE' ? [ONLINE] : [];
  const [live, ended] = [raw('o.last'), raw('u.last_seen_at')];
  const earliest = sql`u.last_seen_at >= (SELECT min(last) FROM live)`;
  const end = descending
    ? sql`u.last_seen_at >= coalesce((SELECT min("lastSeenAt") FROM live_page HAVING count(*) = ${limit}::integer), '-infinity')`
    : sql`u.last_seen_at <= coalesce((SELECT max("lastSeenAt") FROM live_page HAVING count(*) = ${limit}::integer), 'infinity')`;
  const inLive = [...inRange(live, lastSeenAt), ...between(live, raw('o.id')), sql`true`];
  const inEnded = [
    ...conditions,
    ...online,
    raw('u.last_seen_at IS NOT NULL'),
    sql`NOT EXISTS (${LIVE_LATER})`,
    ...(online.length > 0 ? [earliest] : []),
    end,
    // Nobody was last seen before they were first seen.
    ...(firstSeenAt?.from ? inRange(ended, { from: firstSeenAt.from }) : []),
    ...inRange(ended, lastSeenAt),
    ...between(ended, raw('u.id')),
  ];
  const direction = raw(descending ? 'DESC' : 'ASC');
  return sql`
    WITH live AS (${liveUsers(reach, status)}), live_page AS MATERIALIZED (
      ${columns(FIRST, live)} FROM (
        SELECT * FROM live o WHERE ${all(inLive)} ORDER BY o.last ${direction}, o.id ${direction} OFFSET 0
      ) o CROSS JOIN LATERAL (
        SELECT * FROM users u WHERE u.project_id = ${projectId}::uuid AND u.id = o.id OFFSET 0
      ) u
      WHERE ${all([...conditions, ...online, raw('(u.last_seen_at IS NULL OR u.last_seen_at < o.last)')])}
      ${ordered(live, raw('o.id'), reading)}
    )
    SELECT * FROM (
      (SELECT * FROM live_page)
      UNION ALL
      (${columns(FIRST, ended)} FROM users u WHERE ${all(inEnded)} ${ordered(ended, raw('u.id'), reading)})
    ) both_parts ${ordered(raw('"lastSeenAt"'), raw('"userId"'), reading)}`;
}

/**
 * A page of users. Few users (listed by their ids, or found by a search) are read first, and so are up to `mostSorted` who were
 * first seen in the range of the filter.
 */
export async function listUsers(
  database: Database,
  reach: Reach,
  filter: UserFilter | null,
  order: UserOrder,
  page: Page<UserPlace>,
  mostSorted = MOST_SORTED,
): Promise<Rows<ListedUser>> {
  const searched = await search(database, reach, filter);
  const isFirst = order.field === 'FIRST_SEEN_AT';
  const ids = idConditions(reach, filter, searched);
  const [later, earlier] = order.direction === 'DESC' ? [raw('<'), raw('>')] : [raw('>'), raw('<')];
  const reading: Reading = {
    descending: (order.direction === 'DESC') !== page.backwards,
    limit: page.limit + 1,
    between: (key, id) => [
      ...(page.after ? [sql`(${key}, ${id}) ${later} (${page.after[0]}::timestamptz, ${page.after[1]}::uuid)`] : []),
      ...(page.before
        ? [sql`(${key}, ${id}) ${earlier} (${page.before[0]}::timestamptz, ${page.before[1]}::uuid)`]
        : []),
    ],
    conditions: [
      sql`u.project_id = ${reach.projectId}::uuid`,
      ...otherConditions(reach, filter, searched),
      ...inRange(FIRST_STORED, filter?.firstSeenAt),
    ],
  };
  let query: Sql;
  if (ids.length > 0) query = listFew(ids, isFirst, filter, reading);
  else if (isFirst) query = listByFirstSeen(filter, reading);
  else if (filter?.firstSeenAt && (await areFewNew(database, reach, filter.firstSeenAt, mostSorted)))
    query = listNewByLastSeen(reach, filter, reading);
  else query = listByLastSeen(reach, filter, reading);
  const rows = await database.query<Row>({
    name: `users.list.${order.field}`,
    text: query.text,
    values: query.values,
    prepared: filter === null && ids.length === 0,
  });
  return toPage(rows.map(toUser), page);
}

/** The number of users that match. Called only when a client asks for it, because Postgres reads all of them. */
export async function countUsers(database: Database, reach: Reach, filter: UserFilter | null): Promise<number> {
  const searched = await search(database, reach, filter);
  const conditions = [
    sql`u.project_id = ${reach.projectId}::uuid`,
    ...idConditions(reach, filter, searched),
    ...(filter?.status === 'ONLINE' ? [ONLINE] : []),
    ...otherConditions(reach, filter, searched),
    ...inRange(FIRST_STORED, filter?.firstSeenAt),
    ...inRange(LAST, filter?.lastSeenAt),
  ];
  const query = sql`SELECT count(*)::integer AS count FROM users u WHERE ${all(conditions)}`;
  const [row] = await database.query<{ count: number }>({
    name: 'users.count',
    text: query.text,
    values: query.values,
  });
  return row!.count;
}
