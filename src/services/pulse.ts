import type { Observer } from '../observation.js';
import type { Database } from '../store/database.js';
import { beat, GAP } from '../store/pulse.js';
import { createTimedDuty } from './timed-duty.js';

/** Milliseconds between beats, of all servers together: half of the gap that is an outage. */
const INTERVAL = 1_000;
/**
 * A pulse younger than this is left alone: another server has just moved it. Half of the interval, because timers are not
 * exact: with the whole of it, a beat 999 ms after the last one would be left out, and the next, 2,001 ms after, would be an
 * outage that was none. Milliseconds.
 */
export const FRESH = INTERVAL / 2;

/** Writes to the database once a second that there is a server which accepts requests. */
export interface Pulse {
  /** Beats from now on. A failed beat is not observed: the closer asks the database as often, and reports failures. */
  start(): void;
  close(): Promise<void>;
}

async function beatOnce(database: Database, observe: Observer, age: number): Promise<void> {
  const away = await beat(database, age, null);
  if (away !== null) observe({ kind: 'service.returned', milliseconds: away });
}

/**
 * Records an outage if no server was running until now. Call it before any session is checked. Users who counted as online
 * when the outage began had no server to send to; they get time to do so (domain/online).
 */
export const noticeReturn = (database: Database, observe: Observer): Promise<void> => beatOnce(database, observe, GAP);

export function createPulse({ database, observe }: { database: Database; observe: Observer }): Pulse {
  const duty = createTimedDuty(
    INTERVAL,
    () => beatOnce(database, observe, FRESH),
    () => {},
  );
  return { start: () => duty.start(0), close: () => duty.close() };
}
