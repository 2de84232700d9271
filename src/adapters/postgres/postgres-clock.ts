import type { Clock } from '../../domain/clock.js';
import type { Observer } from '../../observation.js';
import type { Database } from '../../store/database.js';

/**
 * Milliseconds between measurements. The clock follows an error of Postgres' clock, or of a machine that has slept, for
 * at most this time and a few round trips.
 */
const INTERVAL = 15_000;
const TRIPS = 4;
/**
 * Milliseconds. If a measurement is earlier than the clock by at most this, the clock stands still until it is reached.
 * If it is earlier by more, an error was corrected, and the clock goes back.
 */
const MOST_WAITING = 1_000;

export interface PostgresClock extends Clock {
  close(): Promise<void>;
}

/**
 * A clock that agrees with Postgres' clock, and so with the clocks of all servers. The machine's own clock, and its
 * jumps, have no influence. The clock is monotonic time plus the offset of Postgres' clock to it. The offset is
 * measured at the start and every `interval` milliseconds, at the middle of the quickest round trip. The clock goes
 * back only if Postgres' clock went back by more than a second.
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

  /**
   * Uses the quickest of a few round trips, because it has the smallest error. On a busy machine any single round trip
   * may be slow, and slower in one direction.
   */
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
