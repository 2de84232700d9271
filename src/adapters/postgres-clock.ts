import type { Clock } from '../domain/clock.js';
import type { Observer } from '../observation.js';
import type { Database } from '../store/database.js';

/** So long, and the time of a few round trips, an error of Postgres' clock, or a machine that has slept, is believed at most. */
const INTERVAL = 15_000;
const TRIPS = 4;
/** A measurement that is earlier by no more than this makes the clock wait for it; anything more is an error that has been mended. */
const MOST_WAITING = 1_000;

export interface PostgresClock extends Clock {
  close(): Promise<void>;
}

/**
 * A clock that agrees with Postgres', and so with every other server's, whatever the machine's own says, and however that
 * jumps: it is monotonic time, and the difference of Postgres' to that, which is measured at the start and every
 * `interval` milliseconds, at the middle of the quickest round trip. It goes back only where Postgres' has by more than
 * a second.
 */
export async function createPostgresClock(
  database: Database,
  observe: Observer,
  { interval = INTERVAL, monotonic = () => performance.now() } = {},
): Promise<PostgresClock> {
  let offset = 0;
  let latest = 0;
  let closed = false;
  let timer: NodeJS.Timeout | null = null;
  let measuring: Promise<void> = Promise.resolve();

  /** The quickest of a few round trips errs least: a busy machine makes any one of them slow, and lopsided. */
  async function measure(): Promise<void> {
    let quickest = Infinity;
    let found = offset;
    for (let trip = 0; trip < TRIPS; trip += 1) {
      const before = monotonic();
      const [row] = await database.query<{ now: Date }>({ name: 'clock.now', text: 'SELECT clock_timestamp() AS now' });
      const after = monotonic();
      if (after - before >= quickest) continue;
      quickest = after - before;
      found = row!.now.getTime() - (before + after) / 2;
    }
    offset = found;
  }

  function schedule(): void {
    if (closed) return;
    timer = setTimeout(() => {
      measuring = measure()
        .catch((error: unknown) => observe({ kind: 'task.failed', task: 'clock', error }))
        .then(schedule);
    }, interval);
  }

  await measure();
  schedule();
  return {
    now() {
      const measured = Math.round(monotonic() + offset);
      if (measured > latest || latest - measured > MOST_WAITING) latest = measured;
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
