import { EVENT_DIMENSIONS, type EventDimension } from '../../domain/breakdown.js';
import { firstUuidAt, timeIn } from '../../domain/event-id.js';
import { BLOCK, DAY, startOfSpan } from '../../domain/spans.js';
import type { Database, Queryable } from '../database.js';
import { ALL, PAGE, sumsOf, type Counted } from './sums.js';

/**
 * What is stored of events (event_sums), by the time at which they happened.
 *
 * An event of the newest hours adds no mark, or each insert would write one. Instead there are no sums from a moment on, which is
 * stored for each project (event_sum_ends) and moves on block by block (moveEnds). Before it, what is true of all sums is true of
 * those of events: a block without a mark has the sums of its events. After it, the events are read.
 *
 * A mark that an insert adds names the event (`added`): it is the usual change of the past. If all marks of a block do so, its sums are
 * those of its other events, and nothing else has changed.
 *
 * So the moment may only pass a block when every event that has added no mark for it is seen and when the block has got a mark. The
 * trigger leaves out the mark of an event that is younger than half an hour (UNMARKED in the migration) by Postgres' clock at the
 * insert, when the transaction has its id. The moment stays an hour behind that clock (BEHIND), and whoever moves it waits until all
 * transactions have ended that had an id by then. Half an hour is left for a clock that is set back.
 */

/** How far behind the clock the sums end at least. Milliseconds. */
const BEHIND = 3_600_000;

interface Stored {
  readonly events: number;
}

interface Happened extends Counted {
  readonly id: string;
}

const TAG = 'TAG';
const DIMENSIONS = Object.entries(EVENT_DIMENSIONS) as [EventDimension, { readonly column: string }][];
/** Columns of a row by their place among DIMENSIONS. */
const COLUMNS = DIMENSIONS.map(([dimension, { column }], index) =>
  dimension === TAG ? `nullif(e.${column}, '{}') AS "${index}"` : `e.${column} AS "${index}"`,
).join(', ');

function figures() {
  let events = 0;
  return {
    add(): void {
      events += 1;
    },
    addStored(stored: Stored): void {
      events += stored.events;
    },
    stored: (): Stored => ({ events }),
  };
}

/** The moment from which on a project `p` has no sums, as SQL. */
const UNTIL = '(SELECT n.until FROM event_sum_ends n WHERE n.project_id = p.id)';

/** The events of the sums are told apart by their ids, as in filters: they are made from times. */
export const EVENT_SUMS = sumsOf<Happened, string, Stored>({
  name: 'eventSums',
  table: 'event_sums',
  marks: 'event_sum_marks',
  dimensions: DIMENSIONS.map(([dimension]) => dimension),
  columns: ['events'],
  count: 'events',
  duration: null,
  until: UNTIL,
  denseFrom: Infinity,
  figures,
  // No event has this id: it is of another version.
  before: (block) => firstUuidAt(block).replace('-7000-8', '-7000-0'),
  placeOf: ({ id }) => id,
  async rowsAfter(tx, { projectId }, end, after) {
    const rows = await tx.query<
      { id: string; userId: string | null } & { readonly [index: number]: string | null | readonly string[] }
    >({
      name: 'eventSums.events',
      text: `SELECT e.id, e.user_id AS "userId", ${COLUMNS}
             FROM events e WHERE e.project_id = $1 AND e.id > $2::uuid AND e.id < $3::uuid ORDER BY e.id LIMIT ${PAGE}`,
      values: [projectId, after, firstUuidAt(end)],
    });
    return rows.map((row) => ({
      id: row.id,
      at: timeIn(row.id),
      userId: row.userId,
      // A client may have sent the same tag twice.
      values: DIMENSIONS.map((_, index) => {
        const value = row[index]!;
        return typeof value === 'string' || value === null ? value : [...new Set(value)];
      }),
    }));
  },
});

/** Up to where the sums may go now. */
export interface NextEnd {
  readonly until: Date;
  /** All transactions with a smaller id must have ended before. */
  readonly transaction: string;
}

/** Where the sums of events should end, as of `now` or, if that is earlier, of Postgres' clock. */
export async function nextEnd(database: Queryable, now: Date): Promise<NextEnd> {
  const [row] = await database.query<{ at: Date; transaction: string }>({
    name: 'eventSums.nextEnd',
    // The time of the statement is earlier than its id. So whoever has added no mark before that time has a smaller id. (The end of
    // a snapshot would not do: it is after the last transaction that has ended, and others may be under way beyond it.)
    text: `SELECT least($1, statement_timestamp()) AS at, pg_current_xact_id()::text AS transaction`,
    values: [now],
  });
  const { at, transaction } = row!;
  return { until: new Date(startOfSpan(at.getTime() - BEHIND, BLOCK)), transaction };
}

/** The projects whose sums end elsewhere. */
export async function projectsElsewhere(database: Queryable, { until }: NextEnd): Promise<string[]> {
  const rows = await database.query<{ id: string }>({
    name: 'eventSums.elsewhere',
    text: `SELECT p.id FROM projects p LEFT JOIN event_sum_ends n ON n.project_id = p.id
           WHERE n.until IS DISTINCT FROM $1 ORDER BY p.id`,
    values: [until],
  });
  return rows.map(({ id }) => id);
}

/** SQL: the first event or sum from an instant on, and before $2, as the block that it is in. Null: there is none. */
const nextBlock = (project: string, from: string): string => `(SELECT least(
    (SELECT event_block(e.id) FROM events e
     WHERE e.project_id = ${project} AND e.id >= event_id_at(${from}) AND e.id < event_id_at($2) ORDER BY e.id LIMIT 1),
    (SELECT s.start FROM event_sums s
     WHERE s.project_id = ${project} AND s.dimension = '${ALL}' AND s.seconds = ${BLOCK} AND s.start >= ${from} AND s.start < $2
     ORDER BY s.start LIMIT 1)
  ) AS block)`;

/**
 * Moves the ends of these projects, if all that must have ended has; answers whether. Of the blocks that it passes those with events
 * get a mark. So has the last block of each day that is now over and has events: its day is to be made. Sums are looked for
 * too, because an end may also move back, after a clock was wrong.
 *
 * One snapshot. If two do it at once, one of them fails.
 */
export function moveEnds(
  database: Database,
  projectIds: readonly string[],
  { until, transaction }: NextEnd,
): Promise<boolean> {
  return database.transaction(async (tx) => {
    await tx.query({ name: 'eventSums.snapshot', text: 'SET TRANSACTION ISOLATION LEVEL REPEATABLE READ' });
    const [row] = await tx.query<{ haveEnded: boolean }>({
      name: 'eventSums.haveEnded',
      text: `SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint >= $1::bigint AS "haveEnded"`,
      values: [transaction],
    });
    if (!row!.haveEnded) return false;
    // From block to block by indexes, so no event is read. From the start of the day on in which the sums ended.
    const found = await tx.query<{ id: string; since: Date; block: Date }>({
      name: 'eventSums.passed',
      text: `WITH RECURSIVE asked AS (
               SELECT k.id, coalesce(n.until, 'epoch') AS since
               FROM unnest($1::uuid[]) k (id) LEFT JOIN event_sum_ends n ON n.project_id = k.id
             ), blocks AS (
               SELECT a.id, a.since, b.block FROM asked a
               CROSS JOIN LATERAL ${nextBlock('a.id', `date_bin('1 day', a.since, 'epoch')`)} b WHERE b.block IS NOT NULL
               UNION ALL
               SELECT a.id, a.since, b.block FROM blocks a
               CROSS JOIN LATERAL ${nextBlock('a.id', `a.block + interval '${BLOCK} seconds'`)} b WHERE b.block IS NOT NULL
             ) SELECT * FROM blocks`,
      values: [projectIds, until],
    });
    const marks = new Map<string, { id: string; block: number }>();
    const mark = (id: string, block: number): void => void marks.set(`${id} ${block}`, { id, block });
    for (const { id, since, block } of found) {
      if (block >= since) mark(id, block.getTime());
      const endOfDay = startOfSpan(block.getTime(), DAY) + DAY * 1_000;
      if (endOfDay > since.getTime() && endOfDay <= until.getTime()) mark(id, endOfDay - BLOCK * 1_000);
    }
    const added = [...marks.values()];
    await tx.query({
      name: 'eventSums.mark',
      text: 'INSERT INTO event_sum_marks (project_id, block) SELECT * FROM unnest($1::uuid[], $2::timestamptz[])',
      values: [added.map(({ id }) => id), added.map(({ block }) => new Date(block).toISOString())],
    });
    await tx.query({
      name: 'eventSums.move',
      text: `INSERT INTO event_sum_ends (project_id, until) SELECT id, $2 FROM unnest($1::uuid[]) k (id)
             ON CONFLICT (project_id) DO UPDATE SET until = excluded.until`,
      values: [projectIds, until],
    });
    return true;
  });
}
