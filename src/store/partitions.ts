import { KEPT_LONGER } from '../domain/change.js';
import { firstUuidAt } from '../domain/event-id.js';
import { BLOCK } from '../domain/spans.js';
import type { Observer } from '../observation.js';
import { AppError } from '../errors.js';
import { LOCK_NOT_AVAILABLE, sqlStateOf, type Database, type Queryable } from './database.js';
import { changesKeptSince, forgetOutages } from './kept-changes.js';

export const DAY = 86_400_000;
export const WEEK = 7 * DAY;
/** 1970-01-05 was a Monday. */
const FIRST_MONDAY = 4 * DAY;

/** Rule 10 accepts events of the last 3 days. One more day is for clocks that differ. */
const DAYS_BACK = 4;
/**
 * Of the tables by day few are made ahead, because a statement that looks something up in them locks and reads the empty ones too:
 * with 14 days ahead, three quarters of what a read of the feed looked at. A server that misses its hourly check for longer makes
 * what is missing when it writes (withPartitions).
 */
const DAYS_AHEAD = { weeks: 14, days: 2 };

const isoDate = (time: number): string => new Date(time).toISOString().slice(0, 10);
/** The UTC day of an instant (milliseconds since the epoch) as the names of tables contain it: YYYYMMDD. */
export const dayOf = (time: number): string => isoDate(time).replaceAll('-', '');
/** When the week of an events partition begins, read from the partition's name. Milliseconds since the epoch. */
export function startOfWeek(partition: string): number {
  const [, year, month, day] = /^events_(\d{4})(\d\d)(\d\d)$/.exec(partition)!;
  return Date.UTC(Number(year), Number(month) - 1, Number(day));
}

/**
 * Whether a statement failed because there is no partition for a row. Postgres reports that as a check violation
 * (23514) without a constraint name, and the adapter makes UNAVAILABLE of it.
 */
export const isMissingPartition = (error: unknown): boolean =>
  error instanceof AppError && sqlStateOf(error) === '23514';

/** The partitioned tables, and what a partition takes from its table beside the columns. */
const TABLES = {
  events: 'INCLUDING DEFAULTS',
  event_keys: 'INCLUDING DEFAULTS',
  changes: 'INCLUDING DEFAULTS INCLUDING STORAGE',
} as const;

interface Partition {
  table: keyof typeof TABLES;
  name: string;
  from: string;
  to: string;
}

/** The partitions for events that arrive around `now`: events by week, event_keys and changes by day. */
function partitionsAround(now: Date): Partition[] {
  const partitions: Partition[] = [];
  const first = now.getTime() - DAYS_BACK * DAY;
  const lastWeek = now.getTime() + DAYS_AHEAD.weeks * DAY;
  const lastDay = now.getTime() + DAYS_AHEAD.days * DAY;
  for (let week = first - ((first - FIRST_MONDAY) % WEEK); week <= lastWeek; week += WEEK) {
    partitions.push({
      table: 'events',
      name: `events_${dayOf(week)}`,
      from: firstUuidAt(new Date(week)),
      to: firstUuidAt(new Date(week + WEEK)),
    });
  }
  for (let day = first - (first % DAY); day <= lastDay; day += DAY) {
    partitions.push({
      table: 'event_keys',
      name: `event_keys_${dayOf(day)}`,
      from: isoDate(day),
      to: isoDate(day + DAY),
    });
    partitions.push({
      table: 'changes',
      name: `changes_${dayOf(day)}`,
      from: new Date(day).toISOString(),
      to: new Date(day + DAY).toISOString(),
    });
  }
  return partitions;
}

/**
 * Creates the missing partitions for events that arrive around `now`. Returns the range of arrival times that now have
 * partitions: `from` included, `to` not. Safe on several servers at once.
 *
 * A new table is created separately and then attached. So inserts and reads of the other partitions go on; CREATE …
 * PARTITION OF would stop them.
 */
export async function ensurePartitions(
  database: Database,
  now: Date,
  observe: Observer,
): Promise<{ from: Date; to: Date }> {
  const wanted = partitionsAround(now);
  const rows = await database.query<{ name: string }>({
    name: 'partitions.existing',
    text: `SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
           WHERE i.inhparent IN ('events'::regclass, 'event_keys'::regclass, 'changes'::regclass)`,
  });
  const existing = new Set(rows.map((row) => row.name));
  const missing = wanted.filter((partition) => !existing.has(partition.name));
  if (missing.length > 0) {
    await database.transaction(async (tx) => {
      await tx.query({
        name: 'partitions.lock',
        text: `SELECT pg_advisory_xact_lock(hashtext('footsteps.partitions'))`,
      });
      for (const { table, name, from, to } of missing) {
        const [found] = await tx.query({
          name: 'partitions.exists',
          text: `SELECT 1 FROM pg_class WHERE relname = $1`,
          values: [name],
        });
        if (found) continue;
        await tx.query({ name: 'partitions.create', text: `CREATE TABLE ${name} (LIKE ${table} ${TABLES[table]})` });
        await tx.query({
          name: 'partitions.attach',
          text: `ALTER TABLE ${table} ATTACH PARTITION ${name} FOR VALUES FROM ('${from}') TO ('${to}')`,
        });
        observe({ kind: 'partition.created', name });
      }
    });
  }
  return { from: new Date(now.getTime() - DAY), to: new Date(now.getTime() + (DAYS_AHEAD.days - 1) * DAY) };
}

/**
 * Runs `work`, whose rows are of the time `now`. If there is no partition for them, makes it, and runs `work` again. `work` must
 * be one transaction.
 */
export async function withPartitions<Result>(
  database: Database,
  now: Date,
  observe: Observer,
  work: () => Promise<Result>,
): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    if (!isMissingPartition(error)) throw error;
  }
  await ensurePartitions(database, now, observe);
  return work();
}

/** Rule 25 remembers ids for 3 days. Older days are kept for events that arrive around midnight. */
const EVENT_KEY_DAYS = 5;

/**
 * DROP TABLE needs an exclusive lock for an instant. Writers of events must not queue behind it for longer than this.
 */
const DROP_PATIENCE = '2s';

interface Droppable {
  readonly table: Partition['table'];
  readonly name: string;
  /** Checks again under the lock, when nobody else can write. False: the partition stays. */
  readonly isStillFree?: (tx: Queryable) => Promise<boolean>;
  /** Is done with it, under the lock. */
  readonly beside?: (tx: Queryable) => Promise<unknown>;
}

/** Drops a partition. Returns false when the partition was in use; the next run tries again. */
async function drop(database: Database, { table, name, isStillFree, beside }: Droppable): Promise<boolean> {
  try {
    await database.transaction(async (tx) => {
      await tx.query({ name: 'partitions.patience', text: `SET LOCAL lock_timeout = '${DROP_PATIENCE}'` });
      // The parent first: ingest locks in the same order.
      await tx.query({ name: 'partitions.lockParent', text: `LOCK TABLE ONLY ${table} IN ACCESS EXCLUSIVE MODE` });
      if (isStillFree && !(await isStillFree(tx))) return;
      await beside?.(tx);
      await tx.query({ name: 'partitions.drop', text: `DROP TABLE IF EXISTS ${name}` });
    });
    return true;
  } catch (error) {
    if (sqlStateOf(error) !== LOCK_NOT_AVAILABLE) throw error;
    return false;
  }
}

/**
 * Drops the partitions of events that contain nothing to keep. Their events belong to projects whose retention has
 * ended for the whole week, or to no project. Partitions that can still receive events stay. Stops at the first
 * partition that is in use.
 */
export async function dropOldEvents(database: Database, now: Date): Promise<void> {
  const newest = `events_${dayOf(now.getTime() - DAYS_BACK * DAY - WEEK)}`;
  const rows = await database.query<{ name: string }>({
    name: 'partitions.oldEvents',
    text: `SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
           WHERE i.inhparent = 'events'::regclass AND c.relname ~ '^events_[0-9]{8}$' AND c.relname < $1 ORDER BY c.relname`,
    values: [newest],
  });
  for (const { name } of rows) {
    const end = new Date(startOfWeek(name) + WEEK);
    // One look-up in the partition's primary key for each project.
    const isFree = async (queryable: Queryable): Promise<boolean> => {
      const kept = await queryable.query({
        name: 'partitions.kept',
        text: `SELECT FROM projects p
               WHERE (p.retention_days IS NULL OR $1::timestamptz > $2::timestamptz - make_interval(days => p.retention_days))
                 AND EXISTS (SELECT FROM ${name} e WHERE e.project_id = p.id) LIMIT 1`,
        values: [end, now],
      });
      return kept.length === 0;
    };
    // No trigger sees these events go. Blocks without sums need no mark.
    const beside = (tx: Queryable): Promise<unknown> =>
      tx.query({
        name: 'partitions.markSums',
        text: `INSERT INTO event_sum_marks (project_id, block) SELECT p.id, s.start FROM projects p CROSS JOIN LATERAL (
                 SELECT start FROM event_sums WHERE project_id = p.id AND dimension = 'ALL' AND seconds = ${BLOCK}
                   AND start >= $1::timestamptz AND start < $2
               ) s`,
        values: [new Date(startOfWeek(name)), end],
      });
    if ((await isFree(database)) && !(await drop(database, { table: 'events', name, isStillFree: isFree, beside })))
      return;
  }
}

/** Drops the partitions of a table by day that are before a day. Stops at the first that is in use: the next run tries again. */
async function dropDaysBefore(database: Database, table: 'event_keys' | 'changes', time: number): Promise<void> {
  const rows = await database.query<{ name: string }>({
    name: 'partitions.oldDays',
    text: `SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
           WHERE i.inhparent = $1::regclass AND c.relname < $2 ORDER BY c.relname`,
    values: [table, `${table}_${dayOf(time)}`],
  });
  for (const { name } of rows) if (!(await drop(database, { table, name }))) return;
}

/** Drops the partitions of event_keys whose ids are too old to be repeated (rule 25). */
export function dropOldEventKeys(database: Database, now: Date): Promise<void> {
  return dropDaysBefore(database, 'event_keys', now.getTime() - EVENT_KEY_DAYS * DAY);
}

/**
 * Drops the days of the feed that no project keeps any more: the longest `change_retention_days` of all projects decides, without
 * the outages of the service (kept-changes.ts). A reader leaves out by itself what its own project does not keep.
 */
export async function dropOldChanges(database: Database, now: Date): Promise<void> {
  const since = await changesKeptSince(database, null, now);
  if (since !== null) await dropDaysBefore(database, 'changes', since - KEPT_LONGER);
  await forgetOutages(database, now);
}
