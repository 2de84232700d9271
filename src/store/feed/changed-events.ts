import type { Reach } from '../../domain/access.js';
import type { Queryable } from '../database.js';
import { Prisma } from '../generated/prisma/client.js';
import type { EventRow } from '../rows.js';
import { eventConditions, type EventConditions } from '../sessions/event-filter.js';
import {
  EVENT_FIELDS,
  eventsOfColumns,
  isOfUser,
  selectEvents,
  type ColumnsOfEvents,
  type EventField,
} from '../sessions/events.js';

const { sql, raw, empty, join } = Prisma;

/** An event, with what is needed to decide who may see it. */
export interface ChangedEventRow extends EventRow {
  /** The user of the event's session if the event itself has no user; otherwise null. */
  readonly sessionUserId: string | null;
}

const columnsOf = (fields: readonly string[]) =>
  raw(fields.map((field) => `json_agg(e."${field}") AS "${field}"`).join(', '));
const COLUMNS = columnsOf([...EVENT_FIELDS, 'sessionUserId']);
const FIELDS = selectEvents(EVENT_FIELDS);
const USER = sql`LEFT JOIN LATERAL (
  SELECT identity, name FROM users WHERE project_id = e.project_id AND id = e.user_id LIMIT 1
) u ON true`;

/** The events of the project with these ids, as `e`. */
function eventsWith(projectId: string, ids: readonly string[]) {
  let [first, last] = [ids[0]!, ids[0]!];
  for (const id of ids) {
    if (id < first) first = id;
    if (id > last) last = id;
  }
  return sql`(
    SELECT * FROM events WHERE project_id = ${projectId}::uuid AND id = ANY(${ids}::uuid[])
      AND id >= ${first}::uuid AND id <= ${last}::uuid OFFSET 0
  ) e`;
}

const isMet = ({ reach, filter }: EventConditions) => sql`(${eventConditions(reach, filter)})`;
/** Whether the conditions leave out nothing. */
const isWide = ({ reach, filter }: EventConditions): boolean => !reach.userIds && !filter;

/**
 * Reads those of the events with these ids that still exist and meet at least one of the conditions in `any`, by id. `any` null:
 * all. They are found by their keys first, whatever the conditions, so the cost follows the number of ids. The range of the ids
 * lets Postgres leave out the partitions without them. The events come as columns of JSON, which costs a third of as many rows.
 */
export async function changedEvents(
  database: Queryable,
  { projectId }: Reach,
  any: readonly EventConditions[] | null,
  ids: readonly string[],
): Promise<Map<string, ChangedEventRow>> {
  if (ids.length === 0) return new Map();
  const isAll = !any || any.some(isWide);
  const query = sql`SELECT ${COLUMNS} FROM (
      SELECT ${FIELDS}, CASE WHEN e.user_id IS NULL THEN (
        SELECT s.user_id FROM sessions s WHERE s.project_id = e.project_id AND s.id = e.session_id) END AS "sessionUserId"
      FROM ${eventsWith(projectId, ids)} ${USER}
      ${isAll ? empty : sql`WHERE ${join(any.map(isMet), ' OR ')}`}
    ) e`;
  const [columns] = await database.query<ColumnsOfEvents & { sessionUserId: (string | null)[] | null }>({
    name: 'feed.events',
    text: query.text,
    values: query.values,
    prepared: isAll,
  });
  const { sessionUserId } = columns!;
  const events = eventsOfColumns(columns!, EVENT_FIELDS).map((event, index) =>
    Object.assign(event, { sessionUserId: sessionUserId![index]! }),
  );
  return new Map(events.map((event) => [event.id, event]));
}

/**
 * Reads those of the events with these ids that still exist and meet the conditions, by id: of each of them these fields, and the
 * id. The other fields are undefined. Of 16 fields a subscriber asks for some five: they take half of Postgres and a third of the
 * server. The conditions decide in SQL alone who gets what. Statements of all fields, which pages and webhooks read, have a name of
 * their own: only so many texts of a name are prepared, and each selection is a text.
 */
export async function askedEvents(
  database: Queryable,
  projectId: string,
  conditions: EventConditions,
  ids: readonly string[],
  asked: readonly EventField[],
): Promise<Map<string, EventRow>> {
  if (ids.length === 0) return new Map();
  const fields = EVENT_FIELDS.filter((field) => field === 'id' || asked.includes(field));
  const isAll = isWide(conditions);
  const query = sql`SELECT ${columnsOf(fields)} FROM (
      SELECT ${selectEvents(fields)} FROM ${eventsWith(projectId, ids)} ${fields.some(isOfUser) ? USER : empty}
      ${isAll ? empty : sql`WHERE ${isMet(conditions)}`}
    ) e`;
  const [columns] = await database.query<ColumnsOfEvents>({
    name: fields.length === EVENT_FIELDS.length ? 'feed.wholeEvents' : 'feed.askedEvents',
    text: query.text,
    values: query.values,
    prepared: isAll,
  });
  return new Map(eventsOfColumns(columns!, fields).map((event) => [event.id, event]));
}
