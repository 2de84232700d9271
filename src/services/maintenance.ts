import type { Clock } from '../domain/clock.js';
import type { Observer } from '../observation.js';
import type { Database } from '../store/database.js';
import { dropOldEventKeys, ensurePartitions } from '../store/partitions.js';

const INTERVAL = 3_600_000;

/** Keeps the partitions: makes those that events will need, drops those that nothing needs any more. */
export interface Maintenance {
  /** Safe on several servers at once. */
  runOnce(now: Date): Promise<void>;
  /** Runs every hour from now on. */
  start(): void;
  close(): Promise<void>;
}

export function createMaintenance(deps: { database: Database; clock: Clock; observe: Observer }): Maintenance {
  const { database, clock, observe } = deps;
  let timer: NodeJS.Timeout | null = null;
  let closed = false;
  let running: Promise<void> = Promise.resolve();

  async function runOnce(now: Date): Promise<void> {
    await ensurePartitions(database, now, observe);
    await dropOldEventKeys(database, now);
  }

  function schedule(): void {
    if (closed) return;
    timer = setTimeout(() => {
      running = runOnce(clock.now())
        .catch((error: unknown) => observe({ kind: 'task.failed', task: 'maintenance', error }))
        .then(schedule);
    }, INTERVAL);
  }

  return {
    runOnce,
    start: schedule,
    async close() {
      closed = true;
      if (timer) clearTimeout(timer);
      await running;
      if (timer) clearTimeout(timer);
    },
  };
}
