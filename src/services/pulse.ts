import type { Observer } from '../observation.js';
import type { Database } from '../store/database.js';
import { beat, GAP } from '../store/pulse.js';
import { createTimedDuty } from './timed-duty.js';

/** Milliseconds between beats, of all servers together: half of what is an outage. */
const INTERVAL = 1_000;

/** Says in the database, once a second, that there is a server whose doors are open. */
export interface Pulse {
  /** Beats from now on. A beat that fails is no news: the closer, which asks as often, says so. */
  start(): void;
  close(): Promise<void>;
}

async function beatOnce(database: Database, observe: Observer, age: number): Promise<void> {
  const away = await beat(database, age, null);
  if (away !== null) observe({ kind: 'service.returned', milliseconds: away });
}

/**
 * Notes, before anybody is judged, that no server was there until now, where that is so. Whoever counted as online
 * then has had nobody to speak to, and is given time to (domain/online).
 */
export const noticeReturn = (database: Database, observe: Observer): Promise<void> => beatOnce(database, observe, GAP);

export function createPulse({ database, observe }: { database: Database; observe: Observer }): Pulse {
  const duty = createTimedDuty(
    INTERVAL,
    () => beatOnce(database, observe, INTERVAL),
    () => {},
  );
  return { start: () => duty.start(0), close: () => duty.close() };
}
