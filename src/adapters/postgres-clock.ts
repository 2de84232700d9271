import type { Clock } from '../domain/clock.js';
import type { Observer } from '../observation.js';
import type { Database } from '../store/database.js';

const INTERVAL = 60_000;
const TRIPS = 4;

export interface PostgresClock extends Clock {
  close(): Promise<void>;
}

/**
 * A clock that agrees with Postgres', and so with every other server's, however wrong the machine's own is:
 * the difference is measured at the start and every minute, at the middle of the quickest round trip. It never
 * goes back.
 */
export async function createPostgresClock(database: Database, observe: Observer): Promise<PostgresClock> {
  let offset = 0;
  let latest = 0;
  let closed = false;
  let timer: NodeJS.Timeout | null = null;
  let measuring: Promise<void> = Promise.resolve();

  /** The quickest of a few round trips errs least: a busy machine makes any one of them slow, and lopsided. */
  async function measure(): Promise<void> {
    let quickest = Infinity;
    for (let trip = 0; trip < TRIPS; trip += 1) {
      const before = Date.now();
      const [row] = await database.query<{ now: Date }>({ name: 'clock.now', text: 'SELECT clock_timestamp() AS now' });
      const after = Date.now();
      if (after - before >= quickest) continue;
      quickest = after - before;
      offset = row!.now.getTime() - (before + after) / 2;
    }
  }

  function schedule(): void {
    if (closed) return;
    timer = setTimeout(() => {
      measuring = measure()
        .catch((error: unknown) => observe({ kind: 'task.failed', task: 'clock', error }))
        .then(schedule);
    }, INTERVAL);
  }

  await measure();
  schedule();
  return {
    now() {
      latest = Math.max(latest, Math.round(Date.now() + offset));
      return new Date(latest);
    },
    async close() {
      closed = true;
      if (timer) clearTimeout(timer);
      await measuring;
      if (timer) clearTimeout(timer);
    },
  };
}
