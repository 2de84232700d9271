import { firstUuidAt } from '../domain/event-id.js';
import type { Observer } from '../observation.js';
import { AppError } from '../errors.js';
import { sqlStateOf, type Database } from './database.js';

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

/** Drops the partitions of event_keys that no event can repeat any more; what is in use is left for the next time. */
export async function dropOldEventKeys(database: Database, now: Date): Promise<void> {
  const oldest = `event_keys_${isoDate(now.getTime() - EVENT_KEY_DAYS * DAY).replaceAll('-', '')}`;
  const rows = await database.query<{ name: string }>({
    name: 'partitions.oldEventKeys',
    text: `SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
           WHERE i.inhparent = 'event_keys'::regclass AND c.relname < $1 ORDER BY c.relname`,
    values: [oldest],
  });
  for (const { name } of rows) {
    try {
      await database.transaction(async (tx) => {
        await tx.query({ name: 'partitions.patience', text: `SET LOCAL lock_timeout = '${DROP_PATIENCE}'` });
        await tx.query({ name: 'partitions.drop', text: `DROP TABLE IF EXISTS ${name}` });
      });
    } catch (error) {
      if (sqlStateOf(error) !== LOCK_NOT_AVAILABLE) throw error;
      return;
    }
  }
}
