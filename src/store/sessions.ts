import type { Reach } from '../domain/access.js';
import type { SessionFilter, SessionOrder, SessionOrderField } from '../domain/filters.js';
import type { Database } from './database.js';
import { Prisma } from './generated/prisma/client.js';
import { toPage, type Page, type Rows } from './keyset.js';
import type { SessionRow } from './rows.js';
import { sessionConditions, type Sql } from './session-filter.js';
import { findSearched, type Found } from './session-search.js';

const { sql, raw, empty } = Prisma;

const COLUMNS =
  raw(`s.id, s.key, s.user_id AS "userId", s.started_at AS "startedAt", s.last_activity_at AS "lastActivityAt",
  s.ended_at AS "endedAt", s.end_reason AS "endReason", s.event_count AS "eventCount", s.error_count AS "errorCount",
  s.version, s.browser_name AS "browserName", s.browser_version AS "browserVersion", s.os_name AS "osName",
  s.os_version AS "osVersion", s.device, s.ip_address AS "ipAddress",
  s.is_bot AS "isBot", s.country, s.region, s.city, s.data, u.identity, u.name AS "userName"`);

/** Every session with its user, as one join: for conditions on the user, and for counting. */
const WITH_USERS = raw('sessions s LEFT JOIN users u ON u.project_id = s.project_id AND u.id = s.user_id');
/** The user of each row of a page alone: never a scan of all users. */
const WITH_OWN_USER = raw(`sessions s LEFT JOIN LATERAL (
  SELECT identity, name FROM users WHERE project_id = s.project_id AND id = s.user_id LIMIT 1) u ON true`);
const pageFrom = (filter: SessionFilter | null, found: Found | null): Sql =>
  filter?.search && !found ? WITH_USERS : WITH_OWN_USER;

/** Where a session stands in a list: the value it is ordered by (an instant as ISO text, milliseconds, or a count), and its id. */
export type SessionPlace = readonly [value: string | number, id: string];

interface Ordering {
  /** What open sessions are ordered by, and ended ones: the second stands in an index. */
  readonly open: string;
  readonly ended: string;
  /** A place's value as SQL. */
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
 * A page of sessions. Newest-first walks the index; in the other orders the open sessions, whose values
 * move and stand in no index, are sorted in memory, and the ended ones come from theirs. Each part has its LIMIT.
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

/** How many sessions match. Asked only where somebody wants to know: it reads them all. */
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

/** The sessions of these ids that are within reach, in no order. */
export async function sessionsByIds(database: Database, reach: Reach, ids: readonly string[]): Promise<SessionRow[]> {
  const query = sql`SELECT ${COLUMNS} FROM ${WITH_OWN_USER} WHERE ${sessionConditions(reach, null, null)} AND s.id = ANY(${ids}::uuid[])`;
  return database.query<SessionRow>({ name: 'sessions.byIds', text: query.text, values: query.values });
}
