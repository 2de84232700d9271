import type { Clock } from '../domain/clock.js';
import type { Observer } from '../observation.js';
import type { Database } from '../store/database.js';
import { dropOldEventKeys, ensurePartitions } from '../store/partitions.js';
import { deleteOldMerges } from '../store/merged-sessions.js';
import { deleteOldEvents, deleteOldSessions, projectsWithRetention } from '../store/retention.js';
import { refreshStatistics } from '../store/statistics.js';
import { createTimedDuty } from './timed-duty.js';

const INTERVAL = 3_600_000;
/** Young tables grow fast; looking costs a millisecond. */
const STATISTICS_INTERVAL = 3_000;
const DAY = 86_400_000;
/** Rows deleted in one transaction: short enough that nobody waits for it. */
const CHUNK = 5_000;

/**
 * Keeps the house: makes the partitions that events will need, drops those that nothing needs any more, and
 * deletes what projects do not want to keep (retentionDays); and keeps the planner's statistics of young tables fresh.
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

  async function runOnce(now: Date): Promise<void> {
    await ensurePartitions(database, now, observe);
    await dropOldEventKeys(database, now);
    for (const { days, ...reach } of await projectsWithRetention(database)) {
      const before = new Date(now.getTime() - days * DAY);
      for (const remove of [deleteOldEvents, deleteOldSessions, deleteOldMerges]) {
        for (let removed = CHUNK; removed === CHUNK && !closed;) removed = await remove(database, reach, before, CHUNK);
      }
    }
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
