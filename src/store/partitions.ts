import { firstUuidAt } from '../domain/event-id.js';
import type { Observer } from '../observation.js';
import { AppError } from '../errors.js';
import { sqlStateOf, type Database, type Queryable } from './database.js';

const DAY = 86_400_000;
const WEEK = 7 * DAY;
/** 1970-01-05 was a Monday. */
const FIRST_MONDAY = 4 * DAY;

/** Rule 10 takes events of the last 3 days; a day more for clocks that disagree. */
const DAYS_BACK = 4;
/** Far enough ahead that a server may miss its hourly look for a fortnight. */
const DAYS_AHEAD = 14;

const isoDate = (time: number): string => new Date(time).toISOString().slice(0, 10);

/** Whether a row found no partition: the adapter tells a check that has no name as UNAVAILABLE. */
export const isMissingPartition = (error: unknown): boolean =>
  error instanceof AppError && sqlStateOf(error) === '23514';

interface Partition {
  table: 'events' | 'event_keys';
  name: string;
  from: string;
  to: string;
}

/** The partitions that events arriving around `now` need: events by week, event_keys by day. */
function partitionsAround(now: Date): Partition[] {
  const partitions: Partition[] = [];
  const first = now.getTime() - DAYS_BACK * DAY;
  const last = now.getTime() + DAYS_AHEAD * DAY;
  for (let week = first - ((first - FIRST_MONDAY) % WEEK); week <= last; week += WEEK) {
    partitions.push({
      table: 'events',
      name: `events_${isoDate(week).replaceAll('-', '')}`,
      from: firstUuidAt(new Date(week)),
      to: firstUuidAt(new Date(week + WEEK)),
    });
  }
  for (let day = first - (first % DAY); day <= last; day += DAY) {
    partitions.push({
      table: 'event_keys',
      name: `event_keys_${isoDate(day).replaceAll('-', '')}`,
      from: isoDate(day),
      to: isoDate(day + DAY),
    });
  }
  return partitions;
}

/**
 * Makes the partitions that are missing for events arriving around `now`, and answers the span of arrival
 * times that are now covered. Safe on several servers at once. A new table is built aside and attached,
 * which lets inserts and reads of the other partitions go on (CREATE … PARTITION OF would stop them).
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
           WHERE i.inhparent IN ('events'::regclass, 'event_keys'::regclass)`,
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
        await tx.query({ name: 'partitions.create', text: `CREATE TABLE ${name} (LIKE ${table} INCLUDING DEFAULTS)` });
        await tx.query({
          name: 'partitions.attach',
          text: `ALTER TABLE ${table} ATTACH PARTITION ${name} FOR VALUES FROM ('${from}') TO ('${to}')`,
        });
        observe({ kind: 'partition.created', name });
      }
    });
  }
  return { from: new Date(now.getTime() - DAY), to: new Date(now.getTime() + (DAYS_AHEAD - 7) * DAY) };
}

/** Rule 25 remembers ids for 3 days; the day before is kept for those that arrive around midnight. */
const EVENT_KEY_DAYS = 5;

/** Dropping a partition needs its table to itself for an instant; whoever writes events must not queue behind that. */
const DROP_PATIENCE = '2s';
const LOCK_NOT_AVAILABLE = '55P03';

interface Droppable {
  readonly table: Partition['table'];
  readonly name: string;
  /** Asked again when nobody else can write; false: it stays. */
  readonly isStillFree?: (tx: Queryable) => Promise<boolean>;
}

/** Drops a partition. Answers false where it was in use: another time will do. */
async function drop(database: Database, { table, name, isStillFree }: Droppable): Promise<boolean> {
  try {
    await database.transaction(async (tx) => {
      await tx.query({ name: 'partitions.patience', text: `SET LOCAL lock_timeout = '${DROP_PATIENCE}'` });
      // The parent first, as ingest takes them.
      await tx.query({ name: 'partitions.lockParent', text: `LOCK TABLE ONLY ${table} IN ACCESS EXCLUSIVE MODE` });
      if (isStillFree && !(await isStillFree(tx))) return;
      await tx.query({ name: 'partitions.drop', text: `DROP TABLE IF EXISTS ${name}` });
    });
    return true;
  } catch (error) {
    if (sqlStateOf(error) !== LOCK_NOT_AVAILABLE) throw error;
    return false;
  }
}

/**
 * Drops the partitions of events in which nothing is that must be kept: what lies in them is of projects whose retention is
 * over for the whole week, or of none. Partitions that events may still come into stay.
 */
export async function dropOldEvents(database: Database, now: Date): Promise<void> {
  const newest = `events_${isoDate(now.getTime() - DAYS_BACK * DAY - WEEK).replaceAll('-', '')}`;
  const rows = await database.query<{ name: string }>({
    name: 'partitions.oldEvents',
    text: `SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
           WHERE i.inhparent = 'events'::regclass AND c.relname ~ '^events_[0-9]{8}$' AND c.relname < $1 ORDER BY c.relname`,
    values: [newest],
  });
  for (const { name } of rows) {
    const [, year, month, day] = /(\d{4})(\d\d)(\d\d)$/.exec(name)!;
    const end = new Date(Date.UTC(Number(year), Number(month) - 1, Number(day)) + WEEK);
    // One look into the partition's key for each project.
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
    if ((await isFree(database)) && !(await drop(database, { table: 'events', name, isStillFree: isFree }))) return;
  }
}

/** Drops the partitions of event_keys that no event can repeat any more; what is in use is left for the next time. */
export async function dropOldEventKeys(database: Database, now: Date): Promise<void> {
  const oldest = `event_keys_${isoDate(now.getTime() - EVENT_KEY_DAYS * DAY).replaceAll('-', '')}`;
  const rows = await database.query<{ name: string }>({
    name: 'partitions.oldEventKeys',
    text: `SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
           WHERE i.inhparent = 'event_keys'::regclass AND c.relname < $1 ORDER BY c.relname`,
    values: [oldest],
  });
  for (const { name } of rows) if (!(await drop(database, { table: 'event_keys', name }))) return;
}
