import type { Clock } from '../domain/clock.js';
import type { Observer } from '../observation.js';
import type { Database } from '../store/database.js';
import { dropOldEventKeys, ensurePartitions } from '../store/partitions.js';
import { deleteOldEvents, deleteOldSessions, projectsWithRetention } from '../store/retention.js';
import { createTimedDuty } from './timed-duty.js';

const INTERVAL = 3_600_000;
const DAY = 86_400_000;
/** Rows deleted in one transaction: short enough that nobody waits for it. */
const CHUNK = 5_000;

/**
 * Keeps the house: makes the partitions that events will need, drops those that nothing needs any more, and
 * deletes what projects do not want to keep (retentionDays).
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
      for (const remove of [deleteOldEvents, deleteOldSessions]) {
        for (let removed = CHUNK; removed === CHUNK && !closed;) removed = await remove(database, reach, before, CHUNK);
      }
    }
  }

  const duty = createTimedDuty(
    INTERVAL,
    () => runOnce(clock.now()),
    (error) => observe({ kind: 'task.failed', task: 'maintenance', error }),
  );
  return {
    runOnce,
    start: () => duty.start(0),
    close() {
      closed = true;
      return duty.close();
    },
  };
}
