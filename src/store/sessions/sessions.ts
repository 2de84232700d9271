import type { Reach } from '../../domain/access.js';
import type { SessionFilter, SessionOrder, SessionOrderField } from '../../domain/filters.js';
import type { Database, Queryable } from '../database.js';
import { Prisma } from '../generated/prisma/client.js';
import { toPage, type Page, type Rows } from '../keyset.js';
import type { SessionRow } from '../rows.js';
import { sessionConditions, type Sql } from './session-filter.js';
import { findSearched, type Found } from './session-search.js';

const { sql, raw, empty } = Prisma;

const COLUMNS =
  raw(`s.id, s.key, s.user_id AS "userId", s.device_id AS "deviceId", s.started_at AS "startedAt", s.last_activity_at AS "lastActivityAt",
  s.ended_at AS "endedAt", s.end_reason AS "endReason", s.explicit_start AS "explicitStart", s.event_count AS "eventCount", s.error_count AS "errorCount",
  s.entry_source AS "entrySource", s.exit_source AS "exitSource", s.version, s.browser_name AS "browserName", s.browser_version AS "browserVersion", s.os_name AS "osName",
  s.os_version AS "osVersion", s.device, s.ip_address AS "ipAddress",
  s.is_bot AS "isBot", s.country, s.region, s.city, s.data, u.identity, u.name AS "userName"`);

/** Joins every session with its user: for conditions on the user, and for counting. */
export const WITH_USERS = raw('sessions s LEFT JOIN users u ON u.project_id = s.project_id AND u.id = s.user_id');
/** Joins only the users of a page's rows, never a scan of all users. */
const WITH_OWN_USER = raw(`sessions s LEFT JOIN LATERAL (
  SELECT identity, name FROM users WHERE project_id = s.project_id AND id = s.user_id LIMIT 1) u ON true`);
const pageFrom = (filter: SessionFilter | null, found: Found | null): Sql =>
  filter?.search && !found ? WITH_USERS : WITH_OWN_USER;

/**
 * The place of a session in a list: the value that the list is ordered by, and the session's id. The value is an
 * instant as ISO text, a duration in milliseconds, or a count.
 */
export type SessionPlace = readonly [value: string | number, id: string];

interface Ordering {
  /** What open sessions and ended sessions are ordered by. The expression for ended sessions has an index. */
  readonly open: string;
  readonly ended: string;
  /** Writes the value of a place as SQL. */
  readonly value: (value: string | number) => Sql;
  readonly placeOf: (row: SessionRow) => string | number;
}

const ORDERINGS: Record<SessionOrderField, Ordering> = {
  STARTED_AT: {
    open: 's.started_at',
    ended: 's.started_at',
    value: (value) => sql`${value}::timestamptz`,
    placeOf: (row) => row.startedAt.toISOString(),
  },
  LAST_ACTIVITY_AT: {
    open: 's.last_activity_at',
    ended: 's.ended_at',
    value: (value) => sql`${value}::timestamptz`,
    placeOf: (row) => row.lastActivityAt.toISOString(),
  },
  DURATION: {
    open: '(s.last_activity_at - s.started_at)',
    ended: '(s.ended_at - s.started_at)',
    value: (value) => sql`${value}::float8 * interval '1 millisecond'`,
    placeOf: (row) => row.lastActivityAt.getTime() - row.startedAt.getTime(),
  },
  EVENT_COUNT: {
    open: 's.event_count',
    ended: 's.ended_event_count',
    value: (value) => sql`${value}::integer`,
    placeOf: (row) => row.eventCount,
  },
};

export const sessionPlace = (row: SessionRow, { field }: SessionOrder): SessionPlace => [
  ORDERINGS[field].placeOf(row),
  row.id,
];

/**
 * A page of sessions. The list by start time reads an index. For the other orders, the values of open sessions change
 * and have no index: Postgres sorts the open sessions in memory, and reads the ended ones from their index. Each of the
 * two parts has its own LIMIT.
 */
export async function listSessions(
  database: Database,
  reach: Reach,
  filter: SessionFilter | null,
  order: SessionOrder,
  page: Page<SessionPlace>,
): Promise<Rows<SessionRow>> {
  const ordering = ORDERINGS[order.field];
  const descending = (order.direction === 'DESC') !== page.backwards;
  const direction = raw(descending ? 'DESC' : 'ASC');
  const [later, earlier] = order.direction === 'DESC' ? [raw('<'), raw('>')] : [raw('>'), raw('<')];
  const found = await findSearched(database, reach, filter);
  const conditions = sessionConditions(reach, filter, found);
  const part = (expression: string, which: Sql): Sql => {
    const key = raw(expression);
    const { after, before } = page;
    return sql`SELECT ${COLUMNS}, ${key} AS place FROM ${pageFrom(filter, found)} WHERE ${conditions}${which}
      ${after ? sql`AND (${key}, s.id) ${later} (${ordering.value(after[0])}, ${after[1]}::uuid)` : empty}
      ${before ? sql`AND (${key}, s.id) ${earlier} (${ordering.value(before[0])}, ${before[1]}::uuid)` : empty}
      ORDER BY ${key} ${direction}, s.id ${direction} LIMIT ${raw(String(page.limit + 1))}`;
  };
  const query =
    order.field === 'STARTED_AT'
      ? part(ordering.open, empty)
      : sql`SELECT * FROM (
          (${part(ordering.open, raw(' AND s.ended_at IS NULL'))})
          UNION ALL
          (${part(ordering.ended, raw(' AND s.ended_at IS NOT NULL'))})
        ) both_parts ORDER BY place ${direction}, id ${direction} LIMIT ${page.limit + 1}::integer`;
  const rows = await database.query<SessionRow>({
    name: `sessions.list.${order.field}`,
    text: query.text,
    values: query.values,
    prepared: filter === null && order.field === 'STARTED_AT',
  });
  return toPage(rows, page);
}

/**
 * The number of sessions that match. Called only when a client asks for the number, because Postgres reads all matching
 * sessions.
 */
export async function countSessions(database: Database, reach: Reach, filter: SessionFilter | null): Promise<number> {
  const found = await findSearched(database, reach, filter);
  const query = sql`SELECT count(*)::integer AS count FROM ${WITH_USERS} WHERE ${sessionConditions(reach, filter, found)}`;
  const [row] = await database.query<{ count: number }>({
    name: 'sessions.count',
    text: query.text,
    values: query.values,
  });
  return row!.count;
}

/** The sessions with these ids that are within reach, in no particular order. */
export async function sessionsByIds(database: Queryable, reach: Reach, ids: readonly string[]): Promise<SessionRow[]> {
  const query = sql`SELECT ${COLUMNS} FROM ${WITH_OWN_USER} WHERE ${sessionConditions(reach, null, null)} AND s.id = ANY(${ids}::uuid[])`;
  return database.query<SessionRow>({ name: 'sessions.byIds', text: query.text, values: query.values });
}

/**
 * The session of the same user before each of these sessions, by start and at one instant by id; by the id of the later
 * session. Sessions that are their user's first, nobody's or out of reach have none. One step of the index sessions_user for
 * each.
 */
export async function previousSessions(
  database: Database,
  reach: Reach,
  ids: readonly string[],
): Promise<Map<string, SessionRow>> {
  const query = sql`SELECT n.id AS "nextId", p.* FROM sessions n CROSS JOIN LATERAL (
      SELECT ${COLUMNS} FROM ${WITH_OWN_USER}
      WHERE ${sessionConditions(reach, null, null)} AND s.user_id = n.user_id AND (s.started_at, s.id) < (n.started_at, n.id)
      ORDER BY s.started_at DESC, s.id DESC LIMIT 1
    ) p WHERE n.project_id = ${reach.projectId}::uuid AND n.id = ANY(${ids}::uuid[])`;
  const rows = await database.query<SessionRow & { nextId: string }>({
    name: 'sessions.previous',
    text: query.text,
    values: query.values,
  });
  return new Map(rows.map(({ nextId, ...row }) => [nextId, row]));
}

/** The first of `sessions f`, in the order of ingest-reads: where two begin at one instant, the one that has ended first. */
const FIRST = raw(`ORDER BY f.started_at, coalesce(f.ended_at, 'infinity'::timestamptz), f.id LIMIT 1`);

/**
 * Which of these sessions are the first of what tells them apart (rules 1 to 3): a session with a key always; else the first
 * one of its user on its device (or of its user without a device); of a session of nobody, the first one of its device,
 * whoever's. Only sessions that are still stored count. One step of the index sessions_near or sessions_device for each.
 */
export async function firstSessions(database: Database, reach: Reach, ids: readonly string[]): Promise<Set<string>> {
  const query = sql`SELECT s.id FROM sessions s
    WHERE ${sessionConditions(reach, null, null)} AND s.id = ANY(${ids}::uuid[]) AND CASE
      WHEN s.key IS NOT NULL THEN true
      WHEN s.user_id IS NULL THEN s.id = (
        SELECT f.id FROM sessions f WHERE f.project_id = s.project_id AND f.device_id = s.device_id AND f.key IS NULL ${FIRST})
      ELSE s.id = (
        SELECT f.id FROM sessions f WHERE f.project_id = s.project_id AND f.key IS NULL
          AND coalesce(f.user_id, '00000000-0000-0000-0000-000000000000'::uuid) = s.user_id
          AND coalesce(f.device_id, '') = coalesce(s.device_id, '') ${FIRST})
      END`;
  const rows = await database.query<{ id: string }>({ name: 'sessions.first', text: query.text, values: query.values });
  return new Set(rows.map(({ id }) => id));
}
