import type { Reach } from '../../domain/access.js';
import { firstUuidAt } from '../../domain/event-id.js';
import type { EventFilter } from '../../domain/filters.js';
import type { Database, Statement } from '../database.js';
import { ALL_IDS, searchEvents } from './event-search.js';
import { eventConditions, type EventConditions } from './event-filter.js';
import { Prisma } from '../generated/prisma/client.js';
import { toPage, type Page, type Rows } from '../keyset.js';
import type { EventRow, Instant } from '../rows.js';
import type { IdRange } from './search-indexes.js';
import type { Sql } from './session-filter.js';

const { sql, raw, empty } = Prisma;

/** The SQL expression for each field of a row. */
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
/** The columns of these fields, from `events e` and, for fields of the user, `users u`. */
export const selectEvents = (fields: readonly EventField[]): Sql =>
  raw(fields.map((field) => `${COLUMNS[field]} AS "${field}"`).join(', '));
/** Whether the field is of the event's user. */
export const isOfUser = (field: EventField): boolean => COLUMNS[field].startsWith('u.');
const EVENT_COLUMNS = selectEvents(EVENT_FIELDS.filter((field) => !isOfUser(field)));
const USER_COLUMNS = selectEvents(EVENT_FIELDS.filter(isOfUser));
/** Joins only the users of a page's rows, never a scan of all users. */
const OWN_USER = raw(`LEFT JOIN LATERAL (
  SELECT identity, name FROM users WHERE project_id = e.project_id AND id = e.user_id LIMIT 1) u ON true`);

/** The place of an event in a list: its id, which is made from its time. */
export type EventPlace = string;

function bounds({ after, before }: Page<EventPlace>, newestFirst: boolean): Sql {
  const [later, earlier] = newestFirst ? [raw('<'), raw('>')] : [raw('>'), raw('<')];
  return sql`${after ? sql`AND e.id ${later} ${after}::uuid` : empty} ${before ? sql`AND e.id ${earlier} ${before}::uuid` : empty}`;
}

const within = ({ from, to }: IdRange): Sql =>
  sql`${from === null ? empty : sql`AND e.id >= ${from}::uuid`} ${to === null ? empty : sql`AND e.id < ${to}::uuid`}`;

/** The range of ids outside which nothing can match. */
function rangeOf({ occurredAt }: EventFilter, page: Page<EventPlace> | null): IdRange {
  const from = [occurredAt?.from && firstUuidAt(occurredAt.from), page?.before?.toLowerCase()];
  const to = [occurredAt?.to && firstUuidAt(occurredAt.to), page?.after?.toLowerCase()];
  const known = (ids: readonly (string | null | undefined)[]): string[] => ids.filter((id) => id != null).toSorted();
  return { from: known(from).at(-1) ?? null, to: known(to)[0] ?? null };
}

/** A page of events, newest first. Errors: UNAVAILABLE when a search takes too long (searchEvents). */
export async function listEvents(
  database: Database,
  reach: Reach,
  filter: EventFilter | null,
  page: Page<EventPlace>,
): Promise<Rows<EventRow>> {
  const direction = raw(page.backwards ? 'ASC' : 'DESC');
  const wanted = page.limit + 1;
  const statement = (range: IdRange, limit: number): Statement => {
    const { text, values } = sql`
      SELECT e.*, ${USER_COLUMNS} FROM (
        SELECT ${EVENT_COLUMNS}, e.project_id, e.user_id FROM events e
        WHERE ${eventConditions(reach, filter)} ${bounds(page, true)} ${within(range)}
        ORDER BY e.id ${direction} LIMIT ${limit}::integer
      ) e ${OWN_USER} ORDER BY e.id ${direction}`;
    return { name: 'events.list', text, values };
  };
  if (!filter?.search) return toPage(await database.query<EventRow>(statement(ALL_IDS, wanted)), page);
  const rows: EventRow[] = [];
  await searchEvents(database, { ...rangeOf(filter, page), newestFirst: !page.backwards }, async (range, query) => {
    rows.push(...(await query<EventRow>(statement(range, wanted - rows.length))));
    return rows.length < wanted;
  });
  return toPage(rows, page);
}

/**
 * The number of events that match. Called only when a client asks for the number, because Postgres reads all matching
 * events. Errors: UNAVAILABLE when a search takes too long (searchEvents).
 */
export async function countEvents(database: Database, reach: Reach, filter: EventFilter | null): Promise<number> {
  const statement = (range: IdRange): Statement => {
    const { text, values } = sql`
      SELECT count(*)::integer AS count FROM events e WHERE ${eventConditions(reach, filter)} ${within(range)}`;
    return { name: 'events.count', text, values };
  };
  if (!filter?.search) return (await database.query<{ count: number }>(statement(ALL_IDS)))[0]!.count;
  let total = 0;
  await searchEvents(database, { ...rangeOf(filter, null), newestFirst: true }, async (range, query) => {
    total += (await query<{ count: number }>(statement(range)))[0]!.count;
    return true;
  });
  return total;
}

/** The events with these ids that are within reach. They are ordered by id, and so by time. */
export async function eventsByIds(database: Database, reach: Reach, ids: readonly string[]): Promise<EventRow[]> {
  const query = sql`SELECT ${EVENT_COLUMNS}, ${USER_COLUMNS} FROM events e ${OWN_USER}
    WHERE ${eventConditions(reach, null)} AND e.id = ANY(${ids}::uuid[]) ORDER BY e.id`;
  return database.query<EventRow>({ name: 'events.byIds', text: query.text, values: query.values });
}

/** An event, with what is needed to decide who may see it. */
export interface WatchedEventRow extends EventRow {
  /** The user of the event's session if the event itself has no user; otherwise null. */
  readonly sessionUserId: string | null;
}

/**
 * The events with these ids that meet at least one of the conditions in `any`, ordered by id. `any` null: all events of
 * the project.
 */
export async function watchedEvents(
  database: Database,
  projectId: string,
  ids: readonly string[],
  any: readonly EventConditions[] | null,
): Promise<WatchedEventRow[]> {
  const met = ({ reach, filter }: EventConditions): Sql => sql`(${eventConditions(reach, filter)})`;
  const wanted = any ? sql`AND (${Prisma.join(any.map(met), ' OR ')})` : empty;
  const query = sql`SELECT ${EVENT_COLUMNS}, ${USER_COLUMNS},
      CASE WHEN e.user_id IS NULL THEN (
        SELECT s.user_id FROM sessions s WHERE s.project_id = e.project_id AND s.id = e.session_id) END AS "sessionUserId"
    FROM events e ${OWN_USER}
    WHERE e.project_id = ${projectId}::uuid AND e.id = ANY(${ids}::uuid[]) ${wanted} ORDER BY e.id`;
  return database.query<WatchedEventRow>({ name: 'events.watched', text: query.text, values: query.values });
}

/**
 * Tells which filters each event meets. Returns, by event id, one answer for each filter, in the order of the filters.
 * Events that do not exist are left out.
 */
export async function metFilters(
  database: Database,
  projectId: string,
  ids: readonly string[],
  filters: readonly EventFilter[],
): Promise<Map<string, readonly (boolean | null)[]>> {
  const reach: Reach = { projectId, userIds: null };
  const answers = filters.map((filter) => sql`(${eventConditions(reach, filter)})`);
  const sorted = ids.toSorted();
  // The range lets Postgres leave out the partitions without these ids, also where the plan does not know them.
  const query = sql`SELECT e.id, ARRAY[${Prisma.join(answers)}]::boolean[] AS met FROM events e
    WHERE e.project_id = ${projectId}::uuid AND e.id = ANY(${ids}::uuid[])
      AND e.id >= ${sorted[0]}::uuid AND e.id <= ${sorted.at(-1)}::uuid`;
  const rows = await database.query<{ id: string; met: readonly (boolean | null)[] }>({
    name: 'events.met',
    text: query.text,
    values: query.values,
  });
  return new Map(rows.map(({ id, met }) => [id, met]));
}

/** A session whose events are to be read. All its events lie between `startedAt` and `lastActivityAt`. */
export interface EventParent {
  readonly id: string;
  readonly startedAt: Date;
  readonly lastActivityAt: Date;
}

const ids = (parents: readonly EventParent[]): string[] => parents.map(({ id }) => id);
const lows = (parents: readonly EventParent[]): string[] => parents.map(({ startedAt }) => firstUuidAt(startedAt));
const highs = (parents: readonly EventParent[]): string[] =>
  parents.map(({ lastActivityAt }) => firstUuidAt(new Date(lastActivityAt.getTime() + 1)));

/** The sessions, each with the range of ids of its events, so that Postgres reads only the partitions of that time. */
const parentRows = (parents: readonly EventParent[]): Sql =>
  sql`unnest(${ids(parents)}::uuid[], ${lows(parents)}::uuid[], ${highs(parents)}::uuid[]) p (session_id, low, high)`;

/** Events as columns: for each field that was read, the values of all events as JSON has them. Null: no events. */
export type ColumnsOfEvents = { readonly [Field in EventField]?: readonly unknown[] | null };

/** The page of one session: for each field, the column's values. Null: the page is empty. */
type ColumnsRow = { readonly parentId: string } & ColumnsOfEvents;

const UTC = '+00:00';

/** Reads a timestamptz as Postgres writes it into JSON: in the time zone of the connection, without trailing zeros. */
const instantOf = (text: string): Instant =>
  text.length === 23 + UTC.length && text.endsWith(UTC) ? `${text.slice(0, 23)}Z` : new Date(text);

/** The prototype of a row: fields that were not read exist and are undefined. */
const UNREAD: object = Object.fromEntries(EVENT_FIELDS.map((field) => [field, undefined]));

/** Makes rows of the columns. */
export function eventsOfColumns(columns: ColumnsOfEvents, fields: readonly EventField[]): EventRow[] {
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
 * Reads a page of events, oldest first, for each of several sessions, in one statement. Returns the pages by session
 * id. For each session there is one LATERAL read with its own LIMIT; place and filter apply to each session. Only
 * `fields` are read; the other fields are undefined.
 *
 * A page of fifty sessions has a thousand events, and most of the cost is bringing them into JavaScript. So each
 * session is one row whose columns are JSON arrays, which the engine's own parser reads. That costs a third of a
 * thousand rows of the driver. Postgres writes an array of one type quickly; json_agg of whole rows takes three times
 * as long. Planning takes longer than running, so the usual statement (without a filter) is prepared.
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
        SELECT ${selectEvents(fields)} FROM events e ${fields.some(isOfUser) ? OWN_USER : empty}
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
  return new Map(rows.map((row) => [row.parentId, toPage(eventsOfColumns(row, fields), page)]));
}

/** The number of matching events of each session, by session id. */
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
