import type { EventFilter } from '../../domain/filters.js';
import { AppError } from '../../errors.js';
import { sqlStateOf, type Database, type Queryable, type Statement } from '../database.js';
import { searchRanges, type IdRange } from './search-indexes.js';

export const ALL_IDS: IdRange = { from: null, to: null };

/**
 * The time limit of a whole search, in milliseconds. In that time a search reads some millions of events of the day
 * that has no index yet.
 */
const PATIENCE = 10_000;
const QUERY_CANCELED = '57014';

/**
 * Searches events range by range, in the order of the list. `look` runs one statement for a range and returns whether
 * to go on. `from` and `to` bound the ids that can match. Errors: UNAVAILABLE when the search takes longer than
 * `patience` (default ten seconds).
 *
 * The planner plans each range separately. For rare texts it uses the range's index. For frequent texts it reads in the
 * order of the list, because enough matches come soon. When enough matches are among the newest events, older ranges
 * are not read.
 */
export function searchEvents(
  database: Database,
  { from, to, newestFirst, patience = PATIENCE }: IdRange & { newestFirst: boolean; patience?: number },
  look: (range: IdRange, query: <Row>(statement: Statement) => Promise<Row[]>) => Promise<boolean>,
): Promise<void> {
  return withPatience(database, patience, async (tx, query) => {
    const ranges = (await searchRanges(tx)).filter(
      (range) =>
        (from === null || range.to === null || range.to > from) &&
        (to === null || range.from === null || range.from < to),
    );
    for (const range of newestFirst ? ranges.toReversed() : ranges) if (!(await look(range, query))) return;
  });
}

/**
 * Runs a statement that needs all matching events at once, such as a count of their users. With a search it has the same
 * time limit and the same error as searchEvents.
 */
export function readSearched<Row>(
  database: Database,
  filter: EventFilter | null,
  statement: Statement,
): Promise<Row[]> {
  if (!filter?.search) return database.query<Row>(statement);
  return withPatience(database, PATIENCE, (_tx, query) => query<Row>(statement));
}

/** Runs `work`, whose statements together have `patience` milliseconds. */
async function withPatience<Result>(
  database: Database,
  patience: number,
  work: (tx: Queryable, query: <Row>(statement: Statement) => Promise<Row[]>) => Promise<Result>,
): Promise<Result> {
  const until = performance.now() + patience;
  try {
    return await database.transaction((tx) =>
      work(tx, async <Row>(statement: Statement) => {
        const left = Math.max(1, Math.ceil(until - performance.now()));
        const limit = tx.query({ name: 'search.patience', text: `SET LOCAL statement_timeout = ${left}` });
        return (await Promise.all([tx.query<Row>(statement), limit]))[0];
      }),
    );
  } catch (error) {
    if (sqlStateOf(error) !== QUERY_CANCELED) throw error;
    const message =
      'The search takes too long. Choose a shorter time range (filter.occurredAt), or add another condition to the filter.';
    throw new AppError('UNAVAILABLE', message, { field: 'filter.search' }, { cause: error });
  }
}
