import type { Reach } from '../../domain/access.js';
import type { EventDimension } from '../../domain/breakdown.js';
import { firstUuidAt } from '../../domain/event-id.js';
import type { EventFilter } from '../../domain/filters.js';
import type { Database, Queryable } from '../database.js';
import { Prisma } from '../generated/prisma/client.js';
import { intervalsOf, pointsOf, type SeriesRange } from '../intervals.js';
import { eventDimensionOf, readEventBreakdown, type Breakdown } from './breakdown.js';
import { readEventSeries, readEventTotals, type EventStatsPoint, type EventTotals } from './event-stats.js';
import {
  countUsers,
  fromSums,
  groupsOfRest,
  hasSums,
  MOST_FROM_ROWS,
  piecesOf,
  readGroups,
  restOf,
  unlessTooMany,
  USERS,
  withUsers,
  type Sources,
  type SummedRows,
  type Users,
} from './from-sums.js';
import type { Sql } from './session-filter.js';
import { ALL } from './sums.js';

/** Figures of many events, from stored sums and from the events that are in none (from-sums.ts). */
const { sql, raw, empty } = Prisma;

const EVENTS: SummedRows = {
  name: 'eventSums',
  table: 'event_sums',
  marks: 'event_sum_marks',
  time: { ofRow: 'e.id', ofMark: 'm.added', type: 'uuid', of: firstUuidAt },
  isNamed: 'e.id = m.added',
  isMore: () => raw('false'),
  count: 'events',
  duration: 'NULL::float8',
  async endsOf(tx, { projectId }, { from, to }) {
    const at = (order: string): Sql => sql`(SELECT e.occurred_at FROM events e WHERE e.project_id = ${projectId}::uuid
      ${from ? sql`AND e.id >= ${firstUuidAt(from)}::uuid` : empty} ${to ? sql`AND e.id < ${firstUuidAt(to)}::uuid` : empty}
      ORDER BY e.id ${raw(order)} LIMIT 1)`;
    const { text, values } = sql`SELECT ${at('ASC')} AS first, ${at('DESC')} AS last`;
    const [row] = await tx.query<{ first: Date | null; last: Date | null }>({ name: 'eventSums.ends', text, values });
    const { first, last } = row!;
    // What is after the end is in sums, if they come to there.
    return first && last ? { first, last, next: to ?? null } : null;
  },
  async untilOf(tx, { projectId }) {
    const [row] = await tx.query<{ until: Date }>({
      name: 'eventSums.until',
      text: 'SELECT until FROM event_sum_ends WHERE project_id = $1',
      values: [projectId],
    });
    return row ? row.until.getTime() : -Infinity;
  },
};

/** Rows of `columns` of the events `e` that are in no sum. Each counts once. */
const eventsOfRest = (sources: Sources, columns: Sql): Sql =>
  restOf(sources, sql`SELECT ${columns}, 1 AS n FROM events e WHERE e.project_id = ${sources.reach.projectId}::uuid`);

interface Figures extends Users {
  readonly place: number;
  readonly events: number;
}

/** The figures of each interval. `placeOf` as in Intervals. */
async function readFigures(tx: Queryable, sources: Sources, placeOf: Sql) {
  const columns = sql`${placeOf} AS place, e.user_id`;
  const { text, values } = sql`
  SELECT place, sum(events)::integer AS events, ${USERS}
  FROM (
    SELECT p.place, s.events, s.users, s.user_list, s.user_bits FROM ${piecesOf(sources, ALL)}
    UNION ALL
    SELECT *, NULL FROM (${groupsOfRest(sources, eventsOfRest(sources, columns), 'place', { events: 'n' })}) rest
  ) parts GROUP BY place`;
  return unlessTooMany(await tx.query<Figures>({ name: 'eventSums.figures', text, values }));
}

/**
 * The totals of the events that match (readEventTotals), of many events from sums. Errors: UNAVAILABLE when a search takes too
 * long.
 */
export async function readSummedEventTotals(
  database: Database,
  reach: Reach,
  filter: EventFilter | null,
  mostFromRows = MOST_FROM_ROWS,
): Promise<EventTotals> {
  const asked = { range: filter?.occurredAt ?? {}, mostFromRows };
  const summed =
    hasSums(reach, filter, 'occurredAt') &&
    (await fromSums(database, EVENTS, reach, asked, async (tx, sources) => {
      const found = await readFigures(tx, sources, raw('1'));
      if (!Array.isArray(found)) return found;
      const [figures] = found;
      return { total: figures!.events, users: await countUsers(figures!), earliest: sources.earliest };
    }));
  return summed || readEventTotals(database, reach, filter);
}

/**
 * One point for every interval of the range (readEventSeries), of many events from sums. Errors: UNAVAILABLE when a search takes
 * too long.
 */
export async function readSummedEventSeries(
  database: Database,
  reach: Reach,
  filter: EventFilter | null,
  range: SeriesRange,
  mostFromRows = MOST_FROM_ROWS,
): Promise<EventStatsPoint[]> {
  if (!hasSums(reach, filter, 'occurredAt')) return readEventSeries(database, reach, filter, range);
  const intervals = intervalsOf(range);
  const bounds = [range.from, ...intervals.starts.slice(1)];
  const rows = await fromSums(database, EVENTS, reach, { range, bounds, mostFromRows }, (tx, sources) =>
    readFigures(tx, sources, intervals.placeOf('e.occurred_at')),
  );
  if (!rows) return readEventSeries(database, reach, filter, range);
  const summed = (await withUsers(rows)).map(({ place, events, users }) => ({ place, events, users }));
  return pointsOf<Omit<EventStatsPoint, 'at'>>(intervals, summed, { events: 0, users: 0 });
}

/**
 * The `first` largest groups of the matching events (readEventBreakdown), of many events from sums. Errors: UNAVAILABLE when a
 * search takes too long.
 */
export async function readSummedEventBreakdown(
  database: Database,
  reach: Reach,
  by: EventDimension,
  filter: EventFilter | null,
  first: number,
  mostFromRows = MOST_FROM_ROWS,
): Promise<Breakdown> {
  const asked = { range: filter?.occurredAt ?? {}, by, mostFromRows };
  const summed =
    hasSums(reach, filter, 'occurredAt') &&
    (await fromSums(database, EVENTS, reach, asked, (tx, sources) => {
      const columns = sql`${eventDimensionOf(by)} AS value, e.user_id, NULL::float8 AS duration`;
      return readGroups(tx, sources, by, eventsOfRest(sources, columns), first);
    }));
  return summed || readEventBreakdown(database, reach, by, filter, first);
}
