import type { Reach } from '../../domain/access.js';
import {
  EVENT_DIMENSIONS,
  SESSION_DIMENSIONS,
  type EventDimension,
  type SessionDimension,
} from '../../domain/breakdown.js';
import type { EventFilter, SessionFilter } from '../../domain/filters.js';
import type { Database } from '../database.js';
import { Prisma } from '../generated/prisma/client.js';
import { eventConditions } from './event-filter.js';
import { readSearched } from './event-search.js';
import { sessionConditions, type Sql } from './session-filter.js';
import { findSearched } from './session-search.js';
import { DURATION } from './session-stats.js';
import { WITH_USERS } from './sessions.js';

const { sql, raw } = Prisma;

export interface BreakdownGroup {
  /** Null: those that have none. */
  readonly value: string | null;
  readonly count: number;
  readonly users: number;
  /** Seconds; null for events. */
  readonly averageDuration: number | null;
}

export interface Breakdown {
  readonly groups: readonly BreakdownGroup[];
  /** The sum of the counts of all groups, those beyond the first ones too. */
  readonly totalCount: number;
}

/** Largest first; groups of the same size by their values. */
export const LARGEST_FIRST = raw('count DESC, value COLLATE "C"');

/**
 * The statement of a breakdown. `rows` has the columns value, user_id and duration. Grouping by user first lets Postgres
 * count users without sorting all rows. At least one row is returned, also without any group.
 */
const statementOf = (rows: Sql, first: number): Sql => sql`
  WITH groups AS MATERIALIZED (
    SELECT value, sum(n)::integer AS count, count(user_id)::integer AS users, sum(duration) / sum(n)::float8 AS "averageDuration"
    FROM (SELECT value, user_id, count(*) AS n, sum(duration) AS duration FROM (${rows}) r GROUP BY value, user_id) m
    GROUP BY value
  )
  SELECT t."totalCount", g.* FROM (SELECT coalesce(sum(count), 0)::integer AS "totalCount" FROM groups) t
  LEFT JOIN (SELECT * FROM groups ORDER BY ${LARGEST_FIRST} LIMIT ${first}::integer) g ON true
  ORDER BY ${LARGEST_FIRST}`;

type Row = { readonly totalCount: number } & (BreakdownGroup | { readonly count: null });

function breakdownOf(rows: readonly Row[]): Breakdown {
  const groups = rows.flatMap((row) => {
    if (row.count === null) return [];
    const { value, count, users, averageDuration } = row;
    return [{ value, count, users, averageDuration }];
  });
  return { groups, totalCount: rows[0]!.totalCount };
}

/** What sessions `s` are grouped by, as a text. */
export const dimensionOf = (by: SessionDimension): Sql => raw(`s.${SESSION_DIMENSIONS[by].column}::text`);

/** The `first` largest groups of the matching sessions. `totalCount` is the number of these sessions. */
export async function readSessionBreakdown(
  database: Database,
  reach: Reach,
  by: SessionDimension,
  filter: SessionFilter | null,
  first: number,
): Promise<Breakdown> {
  const found = await findSearched(database, reach, filter);
  const { text, values } = statementOf(
    sql`SELECT ${dimensionOf(by)} AS value, s.user_id, ${DURATION} AS duration
        FROM ${WITH_USERS} WHERE ${sessionConditions(reach, filter, found)}`,
    first,
  );
  return breakdownOf(await database.query<Row>({ name: `breakdown.sessions.${by}`, text, values }));
}

/**
 * SQL: an event `e` is one row for each of its tags. A client may have sent the same tag twice, which counts
 * once. To ask for different ones is dear, and most events have two tags at most.
 */
const TAGS = `unnest(CASE
  WHEN cardinality(e.tags) = 0 THEN '{NULL}'
  WHEN cardinality(e.tags) = 1 OR cardinality(e.tags) = 2 AND e.tags[1] <> e.tags[2] THEN e.tags
  ELSE ARRAY(SELECT DISTINCT unnest(e.tags)) END)`;

/** What events `e` are grouped by. */
export const eventDimensionOf = (by: EventDimension): Sql =>
  raw(by === 'TAG' ? TAGS : `e.${EVENT_DIMENSIONS[by].column}`);

/**
 * The `first` largest groups of the matching events. `totalCount` is the number of these events; by TAG, an event with
 * several tags counts once for each. Errors: UNAVAILABLE when a search takes too long.
 */
export async function readEventBreakdown(
  database: Database,
  reach: Reach,
  by: EventDimension,
  filter: EventFilter | null,
  first: number,
): Promise<Breakdown> {
  const { text, values } = statementOf(
    sql`SELECT ${eventDimensionOf(by)} AS value, e.user_id, NULL::float8 AS duration FROM events e WHERE ${eventConditions(reach, filter)}`,
    first,
  );
  return breakdownOf(await readSearched<Row>(database, filter, { name: `breakdown.events.${by}`, text, values }));
}
