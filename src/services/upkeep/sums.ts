import { setTimeout } from 'node:timers/promises';
import type { Clock } from '../../domain/clock.js';
import type { Observer } from '../../observation.js';
import type { Database } from '../../store/database.js';
import { EVENT_SUMS, moveEnds, nextEnd, projectsElsewhere } from '../../store/sessions/event-sums.js';
import { SESSION_SUMS } from '../../store/sessions/session-sums.js';
import { withSumsLock, type MarkedBlock, type Sums as Kind } from '../../store/sessions/sums.js';
import { createTimedDuty } from '../timed-duty.js';

/** How often a server looks. A block that changes all the time is made this often at most. Milliseconds. */
const INTERVAL = 300_000;
/**
 * How long ago a block must have begun before it is made: an hour after its end most of its sessions have ended. Until then they
 * are read themselves. Milliseconds.
 */
const AFTER = 4 * 3_600_000;

/** How long a run waits for transactions that may have stored events without a mark, and how often it looks. Milliseconds. */
const WAIT = 10_000;
const LOOK = 100;

const KINDS = [
  { task: 'session sums', kind: SESSION_SUMS },
  { task: 'event sums', kind: EVENT_SUMS },
] as const;

/**
 * Makes the stored figures of sessions and events, of all projects: the blocks of time in which something has changed since the last
 * time, and those that the sums of events have come to. It runs on every server, and the database lets one at a time do the work.
 * After an update, this is also how what was there gets its sums, the latest first.
 */
export interface Sums {
  /** Makes what is marked, as of `now`. When the service is closed meanwhile, it ends early. */
  runOnce(now: Date): Promise<void>;
  start(): void;
  close(): Promise<void>;
}

export function createSums(deps: {
  database: Database;
  clock: Clock;
  observe: Observer;
  /** Whether events wait for this server. Then it rests after each block as long as the block took. */
  isBusy?: () => boolean;
}): Sums {
  const { database, clock, observe, isBusy = () => false } = deps;
  const closing = new AbortController();
  const stop = closing.signal;
  const failed = (task: string, error: unknown): void => observe({ kind: 'task.failed', task, error });

  /**
   * Moves the ends of the sums of events on, of one project after the other: 9,000 steps by an index where three years are new to
   * it. If transactions are under way for too long, the next run does it.
   */
  async function moveAllEnds(now: Date): Promise<void> {
    const next = await nextEnd(database, now);
    let waited = 0;
    for (const project of await projectsElsewhere(database, next)) {
      try {
        while (!(await moveEnds(database, [project], next))) {
          if (waited >= WAIT) return;
          waited += LOOK;
          await setTimeout(LOOK, null, { signal: stop });
        }
        stop.throwIfAborted();
      } catch (error) {
        if (stop.aborted) throw error;
        // The other projects go on.
        failed('event sums', error);
      }
    }
  }

  async function runOnce(now: Date): Promise<void> {
    const before = new Date(now.getTime() - AFTER);
    const work = withSumsLock(database, async () => {
      await moveAllEnds(now).catch((error: unknown) => {
        if (!stop.aborted) failed('event sums', error);
      });
      // Each project has its turn, a block at a time. What is marked meanwhile in a later block waits for the next run.
      let turns: { task: string; kind: Kind; marked: MarkedBlock }[] = [];
      for (const { task, kind } of KINDS)
        for (const marked of await kind.latestMarked(database, before)) turns.push({ task, kind, marked });
      while (turns.length > 0) {
        const next: typeof turns = [];
        for (const turn of turns) {
          const { task, kind, marked } = turn;
          try {
            const begun = performance.now();
            await kind.thinMarks(database, marked, stop);
            await kind.make(database, marked, stop);
            if (isBusy()) await setTimeout(performance.now() - begun, null, { signal: stop });
            for (const later of await kind.latestMarked(database, new Date(marked.block), marked.reach))
              next.push({ ...turn, marked: later });
          } catch (error) {
            if (stop.aborted) return;
            // The other projects go on. This one has its next turn in the next run.
            failed(task, error);
          }
        }
        turns = next;
      }
    });
    await work.catch((error: unknown) => {
      if (!stop.aborted) throw error;
    });
  }

  const duty = createTimedDuty(
    INTERVAL,
    () => runOnce(clock.now()),
    (error) => failed('sums', error),
  );
  return {
    runOnce,
    start: () => duty.start(),
    async close() {
      closing.abort();
      await duty.close();
    },
  };
}
