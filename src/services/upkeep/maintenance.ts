import type { Clock } from '../../domain/clock.js';
import type { Observer } from '../../observation.js';
import type { Database } from '../../store/database.js';
import { dropOldChanges, dropOldEventKeys, dropOldEvents, ensurePartitions } from '../../store/partitions.js';
import {
  deleteIdleDevices,
  deleteIdleUsers,
  deleteOldAuditEntries,
  deleteOldDescriptions,
  deleteOldEvents,
  deleteOldMerges,
  deleteOldMinutes,
  deleteOldPresence,
  deleteOldSessions,
  projectsWithRetention,
  type Removed,
} from '../../store/upkeep/retention.js';
import { DELIVERIES_STAY, MOST_DELIVERIES } from '../../domain/webhook.js';
import { deleteBeyond, deleteOldDeliveries } from '../../store/webhooks/deliveries.js';
import { keepSearchIndexes } from '../../store/sessions/search-indexes.js';
import { refreshStatistics } from '../../store/sessions/statistics.js';
import { catchUpSeen, catchUpSources } from '../../store/upkeep/catch-up.js';
import { createTimedDuty } from '../timed-duty.js';

const INTERVAL = 3_600_000;
/** Young tables grow fast, and a check takes a millisecond. */
const STATISTICS_INTERVAL = 3_000;
/** Building an index uses a core for a while, so it does not begin while a server starts. */
const INDEXES_AFTER = 600_000;
const DAY = 86_400_000;
/** Rows deleted in one transaction: it is so short that nobody waits for it. */
const CHUNK = 5_000;
/** Rows that one transaction brings up to date after a migration: it locks them for about 0.1 s. */
const CATCH_UP_CHUNK = 1_000;
/** How long entries of the audit logs are kept. */
const AUDIT_DAYS = 2 * 365;
/**
 * How often the server looks for users and devices of which nothing is left. It goes through all users of a project: half a
 * minute for each million.
 */
const USERS_INTERVAL = DAY;
/** An id smaller than that of every user. */
const NOBODY = '00000000-0000-0000-0000-000000000000';

/**
 * Maintenance of the database. It makes the partitions that events will need, and drops those that nothing needs any more.
 * It deletes what projects do not keep (retentionDays: events, sessions, waiting descriptions, changes of presence, and users and
 * devices of which nothing is left), and entries of audit logs older than two years. It keeps the planner's statistics of young tables up to date, and
 * the indexes for searches complete. After an update it does what the migrations have left for it (catch-up).
 */
export interface Maintenance {
  /** Safe on several servers at once. */
  runOnce(now: Date): Promise<void>;
  /** Runs now, in the background, and every hour from now on. */
  start(): void;
  close(): Promise<void>;
}

export function createMaintenance(deps: { database: Database; clock: Clock; observe: Observer }): Maintenance {
  const { database, clock, observe } = deps;
  let closed = false;

  /** When users were last looked at. */
  let usersAt = -Infinity;

  async function removeAll(step: () => Promise<Removed>): Promise<void> {
    for (let more = true; more && !closed;) ({ more } = await step());
  }

  async function runOnce(now: Date): Promise<void> {
    const daysAgo = (days: number): Date => new Date(now.getTime() - days * DAY);
    await ensurePartitions(database, now, observe);
    await dropOldEventKeys(database, now);
    await dropOldChanges(database, now);
    for (const catchUp of [catchUpSeen, catchUpSources])
      for (let more = true; more && !closed;) more = await catchUp(database, CATCH_UP_CHUNK);
    await removeAll(() => deleteOldAuditEntries(database, daysAgo(AUDIT_DAYS), CHUNK));
    await removeAll(() => deleteOldDeliveries(database, new Date(now.getTime() - DELIVERIES_STAY), CHUNK));
    await removeAll(() => deleteBeyond(database, MOST_DELIVERIES, CHUNK));
    // Whole weeks first: what is dropped with them need not be deleted row by row.
    await dropOldEvents(database, now);
    const withUsers = Math.abs(now.getTime() - usersAt) >= USERS_INTERVAL;
    for (const { days, ...reach } of await projectsWithRetention(database)) {
      const before = daysAgo(days);
      const removals = [
        deleteOldEvents,
        deleteOldSessions,
        deleteOldMerges,
        deleteOldDescriptions,
        deleteOldPresence,
        deleteOldMinutes,
      ];
      for (const remove of removals) {
        await removeAll(() => remove(database, reach, before, CHUNK));
      }
      if (!withUsers) continue;
      for (let after: string | null = NOBODY; after !== null && !closed;) {
        after = await deleteIdleUsers(database, reach, { before, after, limit: CHUNK });
      }
      for (let after: string | null = ''; after !== null && !closed;) {
        after = await deleteIdleDevices(database, reach, { before, after, limit: CHUNK });
      }
    }
    if (withUsers) usersAt = now.getTime();
  }

  const duty = createTimedDuty(
    INTERVAL,
    () => runOnce(clock.now()),
    (error) => observe({ kind: 'task.failed', task: 'maintenance', error }),
  );
  const statistics = createTimedDuty(
    STATISTICS_INTERVAL,
    () => refreshStatistics(database),
    (error) => observe({ kind: 'task.failed', task: 'statistics', error }),
  );
  const stop = new AbortController();
  const indexes = createTimedDuty(
    INTERVAL,
    () => keepSearchIndexes(database, clock.now(), stop.signal),
    (error) => {
      if (!closed) observe({ kind: 'task.failed', task: 'search indexes', error });
    },
  );
  return {
    runOnce,
    start() {
      duty.start(0);
      statistics.start();
      indexes.start(INDEXES_AFTER);
    },
    async close() {
      closed = true;
      stop.abort();
      await Promise.all([duty.close(), statistics.close(), indexes.close()]);
    },
  };
}
