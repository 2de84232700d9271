import type { Clock } from '../domain/clock.js';
import type { Observer } from '../observation.js';
import type { Database } from '../store/database.js';
import { dropOldEventKeys, dropOldEvents, ensurePartitions } from '../store/partitions.js';
import {
  deleteIdleUsers,
  deleteOldAuditEntries,
  deleteOldDescriptions,
  deleteOldEvents,
  deleteOldMerges,
  deleteOldSessions,
  projectsWithRetention,
  type Removed,
} from '../store/retention.js';
import { refreshStatistics } from '../store/statistics.js';
import { createTimedDuty } from './timed-duty.js';

const INTERVAL = 3_600_000;
/** Young tables grow fast; looking costs a millisecond. */
const STATISTICS_INTERVAL = 3_000;
const DAY = 86_400_000;
/** Rows deleted in one transaction: short enough that nobody waits for it. */
const CHUNK = 5_000;
/** Of what was done to projects. */
const AUDIT_DAYS = 2 * 365;
/** Users that nothing is left of are looked for among all of a project's: half a minute a million. */
const USERS_INTERVAL = DAY;
/** Before every user's id. */
const NOBODY = '00000000-0000-0000-0000-000000000000';

/**
 * Keeps the house: makes the partitions that events will need, drops those that nothing needs any more, and
 * deletes what projects do not want to keep (retentionDays: events, sessions, what waits for events, and users of whom nothing
 * is left), and two years' old entries of audit logs; and keeps the planner's statistics of young tables fresh.
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

  /** When users were looked at last. */
  let usersAt = -Infinity;

  async function removeAll(step: () => Promise<Removed>): Promise<void> {
    for (let more = true; more && !closed;) ({ more } = await step());
  }

  async function runOnce(now: Date): Promise<void> {
    const daysAgo = (days: number): Date => new Date(now.getTime() - days * DAY);
    await ensurePartitions(database, now, observe);
    await dropOldEventKeys(database, now);
    await removeAll(() => deleteOldAuditEntries(database, daysAgo(AUDIT_DAYS), CHUNK));
    // Whole weeks first: what goes with them need not be deleted row by row.
    await dropOldEvents(database, now);
    const withUsers = Math.abs(now.getTime() - usersAt) >= USERS_INTERVAL;
    for (const { days, ...reach } of await projectsWithRetention(database)) {
      const before = daysAgo(days);
      for (const remove of [deleteOldEvents, deleteOldSessions, deleteOldMerges, deleteOldDescriptions]) {
        await removeAll(() => remove(database, reach, before, CHUNK));
      }
      if (!withUsers) continue;
      for (let after: string | null = NOBODY; after !== null && !closed;) {
        after = await deleteIdleUsers(database, reach, { before, after, limit: CHUNK });
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
  return {
    runOnce,
    start() {
      duty.start(0);
      statistics.start();
    },
    async close() {
      closed = true;
      await Promise.all([duty.close(), statistics.close()]);
    },
  };
}
