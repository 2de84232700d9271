import type { Reach } from '../domain/access.js';
import { firstUuidAt } from '../domain/event-id.js';
import type { EventFilter } from '../domain/filters.js';
import type { Database } from './database.js';
import { eventConditions, type EventConditions } from './event-filter.js';
import { Prisma } from './generated/prisma/client.js';
import { toPage, type Page, type Rows } from './keyset.js';
import type { EventRow, Instant } from './rows.js';
import type { Sql } from './session-filter.js';

const { sql, raw, empty } = Prisma;

/** What each field of a row is read from. */
const COLUMNS: { readonly [Field in keyof EventRow]: string } = {
  id: 'e.id',
  type: 'e.type',
  source: 'e.source',
  message: 'e.message',
  occurredAt: 'e.occurred_at',
  receivedAt: 'e.received_at',
  value: 'e.value',
  tags: 'e.tags',
  referenceId: 'e.reference_id',
  version: 'e.version',
  userId: 'e.user_id',
  sessionId: 'e.session_id',
  data: 'e.data',
  identity: 'u.identity',
  userName: 'u.name',
};
export type EventField = keyof EventRow;
export const EVENT_FIELDS = Object.keys(COLUMNS) as readonly EventField[];
const select = (fields: readonly EventField[]): Sql =>
  raw(fields.map((field) => `${COLUMNS[field]} AS "${field}"`).join(', '));
const ofUser = (field: EventField): boolean => COLUMNS[field].startsWith('u.');
const EVENT_COLUMNS = select(EVENT_FIELDS.filter((field) => !ofUser(field)));
const USER_COLUMNS = select(EVENT_FIELDS.filter(ofUser));
/** The user of each row of a page alone: never a scan of all users. */
const OWN_USER = raw(`LEFT JOIN LATERAL (
  SELECT identity, name FROM users WHERE project_id = e.project_id AND id = e.user_id LIMIT 1) u ON true`);

/** Where an event stands in a list: its id, which is made from its time. */
export type EventPlace = string;

function bounds({ after, before }: Page<EventPlace>, newestFirst: boolean): Sql {
  const [later, earlier] = newestFirst ? [raw('<'), raw('>')] : [raw('>'), raw('<')];
  return sql`${after ? sql`AND e.id ${later} ${after}::uuid` : empty} ${before ? sql`AND e.id ${earlier} ${before}::uuid` : empty}`;
}

/** A page of events, newest first. */
export async function listEvents(
  database: Database,
  reach: Reach,
  filter: EventFilter | null,
  page: Page<EventPlace>,
): Promise<Rows<EventRow>> {
  const direction = raw(page.backwards ? 'ASC' : 'DESC');
  const query = sql`
    SELECT e.*, ${USER_COLUMNS} FROM (
      SELECT ${EVENT_COLUMNS}, e.project_id, e.user_id FROM events e
      WHERE ${eventConditions(reach, filter)} ${bounds(page, true)}
      ORDER BY e.id ${direction} LIMIT ${page.limit + 1}::integer
    ) e ${OWN_USER} ORDER BY e.id ${direction}`;
  return toPage(await database.query<EventRow>({ name: 'events.list', text: query.text, values: query.values }), page);
}

/** How many events match. Asked only where somebody wants to know: it reads them all. */
export async function countEvents(database: Database, reach: Reach, filter: EventFilter | null): Promise<number> {
  const query = sql`SELECT count(*)::integer AS count FROM events e WHERE ${eventConditions(reach, filter)}`;
  const [row] = await database.query<{ count: number }>({
    name: 'events.count',
    text: query.text,
    values: query.values,
  });
  return row!.count;
}

/** The events of these ids that are within reach, in the order of their ids, which is that of their times. */
export async function eventsByIds(database: Database, reach: Reach, ids: readonly string[]): Promise<EventRow[]> {
  const query = sql`SELECT ${EVENT_COLUMNS}, ${USER_COLUMNS} FROM events e ${OWN_USER}
    WHERE ${eventConditions(reach, null)} AND e.id = ANY(${ids}::uuid[]) ORDER BY e.id`;
  return database.query<EventRow>({ name: 'events.byIds', text: query.text, values: query.values });
}

/** An event with what tells who may see it, and whom it matches. */
export interface WatchedEventRow extends EventRow {
  /** Whose its session is, where the event itself names nobody. */
  readonly sessionUserId: string | null;
  /** For each of the conditions that were asked about, whether it holds. */
  readonly matches: readonly (boolean | null)[];
}

/**
 * The events of these ids, in the order of their ids, for many watches in one statement: those that meet `any` of the
 * conditions (null: all of the project), each with the answer to `each` of the others.
 */
export async function watchedEvents(
  database: Database,
  projectId: string,
  ids: readonly string[],
  { any, each }: { any: readonly EventConditions[] | null; each: readonly EventConditions[] },
): Promise<WatchedEventRow[]> {
  const met = ({ reach, filter }: EventConditions): Sql => sql`(${eventConditions(reach, filter)})`;
  const answers = each.length > 0 ? Prisma.join(each.map(met)) : empty;
  const wanted = any ? sql`AND (${Prisma.join(any.map(met), ' OR ')})` : empty;
  const query = sql`SELECT ${EVENT_COLUMNS}, ${USER_COLUMNS}, ARRAY[${answers}]::boolean[] AS matches,
      CASE WHEN e.user_id IS NULL THEN (
        SELECT s.user_id FROM sessions s WHERE s.project_id = e.project_id AND s.id = e.session_id) END AS "sessionUserId"
    FROM events e ${OWN_USER}
    WHERE e.project_id = ${projectId}::uuid AND e.id = ANY(${ids}::uuid[]) ${wanted} ORDER BY e.id`;
  return database.query<WatchedEventRow>({ name: 'events.watched', text: query.text, values: query.values });
}

/** A session as the reading of its events needs it: no event of it lies outside its time. */
export interface EventParent {
  readonly id: string;
  readonly startedAt: Date;
  readonly lastActivityAt: Date;
}

const ids = (parents: readonly EventParent[]): string[] => parents.map(({ id }) => id);
const lows = (parents: readonly EventParent[]): string[] => parents.map(({ startedAt }) => firstUuidAt(startedAt));
const highs = (parents: readonly EventParent[]): string[] =>
  parents.map(({ lastActivityAt }) => firstUuidAt(new Date(lastActivityAt.getTime() + 1)));

/** The parents with the range of ids their events lie in, so that only the partitions of that time are read. */
const parentRows = (parents: readonly EventParent[]): Sql =>
  sql`unnest(${ids(parents)}::uuid[], ${lows(parents)}::uuid[], ${highs(parents)}::uuid[]) p (session_id, low, high)`;

/** A column's values of a session's page, by field; null: the page is empty. */
type ColumnsRow = { readonly parentId: string } & { readonly [Field in EventField]?: readonly unknown[] | null };

const UTC = '+00:00';

/** As Postgres writes a timestamptz into JSON: in its session's zone, without trailing zeros. */
const instantOf = (text: string): Instant =>
  text.length === 23 + UTC.length && text.endsWith(UTC) ? `${text.slice(0, 23)}Z` : new Date(text);

/** What a row of which some fields were read has of the others: they are there, and undefined. */
const UNREAD: object = Object.fromEntries(EVENT_FIELDS.map((field) => [field, undefined]));

/** The rows that the columns hold. */
function toRows(columns: ColumnsRow, fields: readonly EventField[]): EventRow[] {
  const rows = Array.from(
    columns[fields[0]!] ?? [],
    () => Object.create(UNREAD) as { -readonly [Field in EventField]: unknown },
  );
  for (const field of fields) {
    const values = columns[field]!;
    const isTime = field === 'occurredAt' || field === 'receivedAt';
    for (const [at, row] of rows.entries()) row[field] = isTime ? instantOf(values[at] as string) : values[at];
  }
  return rows as EventRow[];
}

/**
 * A page of events, oldest first, for each of several sessions, in one statement: each session is one LATERAL read with
 * its LIMIT, `after` and filter included. By session id. Of the rows only `fields` are read, the others are undefined.
 *
 * A page of fifty sessions has a thousand events, and most of what it costs is bringing them into JavaScript. So each
 * session is one row, whose columns are JSON arrays that the engine's own parser reads: a third of what a thousand
 * rows of the driver's cost, and Postgres writes a column of one type quickly (json_agg of whole rows takes it three
 * times as long). Planning anew takes longer than running, so the usual statement is prepared.
 */
export async function listSessionEvents(
  database: Database,
  reach: Reach,
  parents: readonly EventParent[],
  filter: EventFilter | null,
  page: Page<EventPlace>,
  fields: readonly EventField[] = EVENT_FIELDS,
): Promise<Map<string, Rows<EventRow>>> {
  const direction = raw(page.backwards ? 'DESC' : 'ASC');
  const columns = raw(fields.map((field) => `json_agg(e."${field}") AS "${field}"`).join(', '));
  const query = sql`
    SELECT p.session_id AS "parentId", c.* FROM ${parentRows(parents)}
    CROSS JOIN LATERAL (
      SELECT ${columns} FROM (
        SELECT ${select(fields)} FROM events e ${fields.some(ofUser) ? OWN_USER : empty}
        WHERE ${eventConditions(reach, filter)} AND e.session_id = p.session_id AND e.id >= p.low AND e.id < p.high
          ${bounds(page, false)}
        ORDER BY e.id ${direction} LIMIT ${page.limit + 1}::integer
      ) e
    ) c`;
  const rows = await database.query<ColumnsRow>({
    name: 'events.listOfSessions',
    text: query.text,
    values: query.values,
    prepared: filter === null,
  });
  return new Map(rows.map((row) => [row.parentId, toPage(toRows(row, fields), page)]));
}

/** How many events of each session match; by session id. */
export async function countSessionEvents(
  database: Database,
  reach: Reach,
  parents: readonly EventParent[],
  filter: EventFilter | null,
): Promise<Map<string, number>> {
  const query = sql`SELECT p.session_id AS id, n.count FROM ${parentRows(parents)}
    CROSS JOIN LATERAL (
      SELECT count(*)::integer AS count FROM events e
      WHERE ${eventConditions(reach, filter)} AND e.session_id = p.session_id AND e.id >= p.low AND e.id < p.high
    ) n`;
  const rows = await database.query<{ id: string; count: number }>({
    name: 'events.countOfSessions',
    text: query.text,
    values: query.values,
  });
  return new Map(rows.map(({ id, count }) => [id, count]));
}
