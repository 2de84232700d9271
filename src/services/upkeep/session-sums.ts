import { setTimeout } from 'node:timers/promises';
import type { Clock } from '../../domain/clock.js';
import type { Observer } from '../../observation.js';
import type { Database } from '../../store/database.js';
import {
  latestMarked,
  makeSums,
  thinMarks,
  withSumsLock,
  type MarkedBlock,
} from '../../store/sessions/session-sums.js';
import { createTimedDuty } from '../timed-duty.js';

/** How often a server looks. A block that changes all the time is made this often at most. Milliseconds. */
const INTERVAL = 300_000;
/**
 * How long ago a block must have begun before it is made: an hour after its end most of its sessions have ended. Until then they
 * are read themselves. Milliseconds.
 */
const AFTER = 4 * 3_600_000;

/**
 * Makes the stored figures of sessions, of all projects: the blocks of time in which sessions have changed since the last time. It
 * runs on every server, and the database lets one at a time do the work. After an update, this is also how the sessions that were
 * there get their sums, the latest first.
 */
export interface SessionSums {
  /** Makes what is marked, as of `now`. When the service is closed meanwhile, it ends early. */
  runOnce(now: Date): Promise<void>;
  start(): void;
  close(): Promise<void>;
}

export function createSessionSums(deps: {
  database: Database;
  clock: Clock;
  observe: Observer;
  /** Whether events wait for this server. Then it rests after each block as long as the block took. */
  isBusy?: () => boolean;
}): SessionSums {
  const { database, clock, observe, isBusy = () => false } = deps;
  const closing = new AbortController();
  const stop = closing.signal;
  const onError = (error: unknown): void => observe({ kind: 'task.failed', task: 'session sums', error });

  async function runOnce(now: Date): Promise<void> {
    const before = new Date(now.getTime() - AFTER);
    const work = withSumsLock(database, async () => {
      // Each project has its turn, a block at a time. What is marked meanwhile in a later block waits for the next run.
      let turns = await latestMarked(database, before);
      while (turns.length > 0) {
        const next: MarkedBlock[] = [];
        for (const turn of turns) {
          try {
            const begun = performance.now();
            await thinMarks(database, turn, stop);
            await makeSums(database, turn, stop);
            if (isBusy()) await setTimeout(performance.now() - begun, null, { signal: stop });
            next.push(...(await latestMarked(database, new Date(turn.block), turn.reach)));
          } catch (error) {
            if (stop.aborted) return;
            // The other projects go on. This one has its next turn in the next run.
            onError(error);
          }
        }
        turns = next;
      }
    });
    await work.catch((error: unknown) => {
      if (!stop.aborted) throw error;
    });
  }

  const duty = createTimedDuty(INTERVAL, () => runOnce(clock.now()), onError);
  return {
    runOnce,
    start: () => duty.start(),
    async close() {
      closing.abort();
      await duty.close();
    },
  };
}
