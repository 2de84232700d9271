import { setTimeout } from 'node:timers/promises';
import type { Clock } from '../../domain/clock.js';
import type { Observer } from '../../observation.js';
import type { Database } from '../../store/database.js';
import { EVENT_SUMS, moveEnds, nextEnd, projectsElsewhere } from '../../store/sessions/event-sums.js';
import { SESSION_SUMS } from '../../store/sessions/session-sums.js';
import { withSumsLock, type MarkedBlock, type Sums as Kind, type Waits } from '../../store/sessions/sums.js';
import { createTimedDuty } from '../timed-duty.js';

/** How often a server looks. A block that changes all the time is made this often at most. Milliseconds. */
const INTERVAL = 300_000;
/**
 * How long ago a block must have begun before it is made, however few marks it has: an hour after its end most of its sessions have
 * ended. Until then it is made when many marks wait in it. Milliseconds.
 */
const AFTER = 4 * 3_600_000;
/**
 * One look in so many, the first and then one an hour, takes what else waits. Most changes of older blocks are a few late events,
 * which an answer reads beside the sums, and a large project has some in each block of three days.
 */
const WHOLE_EVERY = 12;

/** How long a run waits for transactions that may have stored events without a mark, and how often it looks. Milliseconds. */
const WAIT = 10_000;
const LOOK = 100;

const KINDS = [
  { task: 'session sums', kind: SESSION_SUMS },
  { task: 'event sums', kind: EVENT_SUMS },
] as const;

/** A block of a project that is to be made. */
interface Turn {
  readonly task: string;
  readonly kind: Kind;
  readonly marked: MarkedBlock;
  /** Which blocks of the look that found it wait. */
  readonly waits: Waits;
}

const nameOf = ({ task, marked: { reach } }: Turn): string => `${task} ${reach.projectId}`;

/**
 * Makes the stored figures of sessions and events, of all projects: the blocks of time in which something has changed since the last
 * time, and those that the sums of events have come to. It runs on every server, and the database lets one at a time do the work.
 * After an update, this is also how what was there gets its sums, the latest first, with new changes in between.
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
  /** Milliseconds that have passed since some moment, whatever becomes of the clock. */
  passed?: () => number;
}): Sums {
  const { database, clock, observe, isBusy = () => false, passed = () => performance.now() } = deps;
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

  /** Makes a marked block. Answers the next one of the project, which is earlier. */
  async function makeBlock(turn: Turn): Promise<Turn | null> {
    const { kind, marked, waits } = turn;
    const begun = performance.now();
    await kind.thinMarks(database, marked, stop);
    await kind.make(database, marked, stop);
    if (isBusy()) await setTimeout(performance.now() - begun, null, { signal: stop });
    const [earlier] = await kind.latestMarked(database, new Date(marked.block), marked.reach, waits);
    return earlier ? { ...turn, marked: earlier } : null;
  }

  let looks = 0;

  /** Moves the ends, and finds the latest marked block of each project and kind, as of `now`. What cannot be found is left out. */
  async function look(now: Date): Promise<Turn[]> {
    await moveAllEnds(now).catch((error: unknown) => {
      if (!stop.aborted) failed('event sums', error);
    });
    const waits = { settled: new Date(now.getTime() - AFTER), isNamed: looks % WHOLE_EVERY > 0 };
    looks += 1;
    const turns: Turn[] = [];
    for (const { task, kind } of KINDS)
      try {
        for (const marked of await kind.latestMarked(database, now, null, waits))
          turns.push({ task, kind, marked, waits });
      } catch (error) {
        stop.throwIfAborted();
        failed(task, error);
      }
    return turns;
  }

  async function runOnce(now: Date): Promise<void> {
    const work = withSumsLock(database, async (check) => {
      // Each project has its turn, a block at a time, from its latest block on down.
      const down = await look(now);
      // To where each project has come. The blocks above have been made, or failed.
      const places = new Map(down.map((turn) => [nameOf(turn), turn.marked.block]));
      // What is marked above meanwhile does not wait until a project has come all the way down, which takes hours after an update.
      // Every INTERVAL all begin at the top again, down to these places, also if some have not come there since the last time: what
      // they have left is marked, so they come to it again. The two take turns, so each has half of the blocks.
      let again: Turn[] = [];
      const isAbove = (turn: Turn): boolean => turn.marked.block > (places.get(nameOf(turn)) ?? -Infinity);
      const begun = passed();
      let looked = begun;

      /** Begins at the top again. Who waits for a turn keeps it, so nobody waits longer than until all others had theirs. */
      async function beginAgain(at: number): Promise<void> {
        const tops = await look(new Date(now.getTime() + at - begun));
        const above = new Map(tops.filter(isAbove).map((turn) => [nameOf(turn), turn]));
        const waiting = new Set(again.map(nameOf));
        again = [
          ...again.map((turn) => above.get(nameOf(turn)) ?? turn),
          ...[...above.values()].filter((turn) => !waiting.has(nameOf(turn))),
        ];
      }

      async function takeTurn(turns: Turn[], isAgain: boolean): Promise<void> {
        const turn = turns.shift();
        if (!turn) return;
        await check();
        try {
          const next = await makeBlock(turn);
          if (next && (!isAgain || isAbove(next))) turns.push(next);
          if (isAgain) return;
          if (next) places.set(nameOf(next), next.marked.block);
          else places.delete(nameOf(turn));
        } catch (error) {
          stop.throwIfAborted();
          // The other projects go on. This one has its next turn in the next run.
          failed(turn.task, error);
        }
      }

      while (down.length > 0 || again.length > 0) {
        const at = passed();
        // When nothing is left to go down to, the run ends: the next one begins at the top anyway, also with those that failed.
        if (down.length > 0 && at >= looked + INTERVAL) {
          looked = at;
          await beginAgain(at);
        }
        await takeTurn(again, true);
        await takeTurn(down, false);
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
