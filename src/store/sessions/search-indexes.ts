import { firstUuidAt } from '../../domain/event-id.js';
import type { Database, Queryable } from '../database.js';
import { holdLock } from '../hold-lock.js';
import { dayOf, startOfWeek, DAY, WEEK } from '../partitions.js';

/**
 * The indexes for searches of events. To enter an event into such an index costs two and a half to six times as much as
 * to store the event. So no index covers the time in which new events arrive. When a day is over, it gets its own partial
 * index on the partition of its week. When a week is over, it gets one index of the whole partition, and the indexes of
 * its days are dropped. Only late events are entered into these indexes.
 */

/** A range of event ids: `from` is included, `to` is not. Null: no bound. */
export interface IdRange {
  readonly from: string | null;
  readonly to: string | null;
}

interface SearchIndex {
  readonly name: string;
  /** Milliseconds since the epoch: `from` is included, `to` is not. */
  readonly from: number;
  readonly to: number;
}

/** The name of the index of a partition's whole week, or of one day of it. */
const nameOf = (partition: string, day?: number): string =>
  day === undefined ? `${partition}_search` : `${partition}_search_${dayOf(day)}`;
const NAMES = /^(events_\d{8})_search(?:_(\d{4})(\d\d)(\d\d))?$/;

/** Reads the time range of an index from its name. Null: the name is not that of a search index. */
function indexNamed(name: string): SearchIndex | null {
  const [, partition, year, month, day] = NAMES.exec(name) ?? [];
  if (partition === undefined) return null;
  if (year === undefined) return { name, from: startOfWeek(partition), to: startOfWeek(partition) + WEEK };
  const from = Date.UTC(Number(year), Number(month) - 1, Number(day));
  return { name, from, to: from + DAY };
}

/**
 * Divides the ids of all events into ranges, oldest first, which a search reads one after the other. A range has one
 * index of its own, or none. There is one single range if there is no index.
 */
export async function searchRanges(queryable: Queryable): Promise<IdRange[]> {
  const rows = await queryable.query<{ name: string }>({
    name: 'search.indexes',
    text: `SELECT c.relname AS name FROM pg_class c JOIN pg_index x ON x.indexrelid = c.oid
           WHERE c.relname >= 'events_0' AND c.relname < 'events_a' AND c.relname ~ $1 AND x.indisvalid`,
    values: [NAMES.source],
  });
  const found = rows.flatMap(({ name }) => indexNamed(name) ?? []);
  const edges = [...new Set(found.flatMap(({ from, to }) => [from, to]))].toSorted((one, other) => one - other);
  const ids = [null, ...edges.map((at) => firstUuidAt(at)), null];
  return ids.slice(1).map((to, at) => ({ from: ids[at]!, to }));
}

/** Size in bytes. A smaller partition (about 40,000 events) is read just as quickly without an index. */
const SMALLEST = 8_000_000;

/** The indexes that a partition of this size should have at `now`. */
function wantedIndexes(partition: string, bytes: number, now: number): SearchIndex[] {
  if (bytes < SMALLEST) return [];
  const from = startOfWeek(partition);
  if (from + WEEK <= now) return [{ name: nameOf(partition), from, to: from + WEEK }];
  const days: SearchIndex[] = [];
  for (let day = from; day + DAY <= now; day += DAY)
    days.push({ name: nameOf(partition, day), from: day, to: day + DAY });
  return days;
}

interface PartitionRow {
  readonly name: string;
  /** A number as text. */
  readonly bytes: string;
  readonly valid: readonly string[];
  readonly invalid: readonly string[];
}

/** The partitions on which nobody is building an index at the moment, newest first, each with its search indexes. */
function partitionsAtRest(database: Database): Promise<PartitionRow[]> {
  return database.query<PartitionRow>({
    name: 'search.partitions',
    text: `SELECT c.relname AS name, pg_relation_size(c.oid) AS bytes,
                  coalesce(array_agg(i.relname::text) FILTER (WHERE x.indisvalid), '{}') AS valid,
                  coalesce(array_agg(i.relname::text) FILTER (WHERE NOT x.indisvalid), '{}') AS invalid
           FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid
           LEFT JOIN (pg_index x JOIN pg_class i ON i.oid = x.indexrelid AND i.relname ~ $1) ON x.indrelid = c.oid
           WHERE h.inhparent = 'events'::regclass AND c.relname ~ '^events_[0-9]{8}$'
             AND NOT EXISTS (
               SELECT FROM pg_stat_progress_create_index p WHERE p.relid = c.oid AND p.datname = current_database())
           GROUP BY c.oid ORDER BY c.relname DESC`,
    values: [NAMES.source],
  });
}

/**
 * Builds and drops indexes until one partition has those that it should have. Adds the names of the indexes that it
 * builds to `built`.
 */
async function keepPartition(
  database: Database,
  { name: partition, bytes, valid, invalid }: PartitionRow,
  now: Date,
  { place, stop, built }: { place: string; stop: AbortSignal; built: string[] },
): Promise<void> {
  const drop = (name: string): Promise<unknown> =>
    database.apart({ name: 'search.drop', text: `DROP INDEX CONCURRENTLY IF EXISTS ${name}` }, stop);
  for (const name of invalid) if (!stop.aborted) await drop(name);
  const wanted = wantedIndexes(partition, Number(bytes), now.getTime());
  for (const { name, from, to } of wanted.filter((index) => !valid.includes(index.name))) {
    if (stop.aborted) return;
    const isPart = name !== nameOf(partition);
    await database.apart(
      {
        name: 'search.build',
        text: `CREATE INDEX CONCURRENTLY ${name} ON ${partition} USING gin (
                 in_small_letters(source) ${place}.gin_trgm_ops, in_small_letters(message) ${place}.gin_trgm_ops)
               WITH (gin_pending_list_limit = 512)
               ${isPart ? `WHERE id >= '${firstUuidAt(from)}' AND id < '${firstUuidAt(to)}'` : ''}`,
      },
      stop,
    );
    // ANALYZE also counts how often each part of a text occurs, which the planner needs for this index.
    await database.query({ name: 'search.analyze', text: `ANALYZE (SKIP_LOCKED) ${partition}` });
    built.push(name);
  }
  const covered = wanted.length === 1 && wanted[0]!.name === nameOf(partition);
  if (covered) for (const name of valid) if (name !== nameOf(partition) && !stop.aborted) await drop(name);
}

/**
 * Builds the indexes that are missing at `now`, one after the other, until `stop`. Drops the indexes that a crash left
 * half built, and those of days whose week has its own index. Readers and writers do not wait for it. Safe on several
 * servers: one builds, the others find nothing to do. Returns the names of the indexes that were built: none if pg_trgm
 * is not installed. If one partition fails, the others still get their indexes; then the function throws the first
 * error.
 */
export function keepSearchIndexes(database: Database, now: Date, stop: AbortSignal): Promise<string[]> {
  return database.transaction(async (tx) => {
    if (!(await holdLock(tx, 'search', `hashtext('footsteps.search')`))) return [];
    const [trigrams] = await tx.query<{ place: string }>({
      name: 'search.trigrams',
      text: `SELECT quote_ident(n.nspname) AS place FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
             WHERE e.extname = 'pg_trgm'`,
    });
    if (!trigrams) return [];
    const { place } = trigrams;
    const built: string[] = [];
    let failure: { readonly error: unknown } | null = null;
    for (const partition of await partitionsAtRest(database)) {
      try {
        await keepPartition(database, partition, now, { place, stop, built });
      } catch (error) {
        if (stop.aborted) throw error;
        failure ??= { error };
      }
    }
    if (failure) throw failure.error;
    return built;
  });
}
