import type { Clock } from '../../domain/clock.js';
import type { Observer } from '../../observation.js';
import type { Database } from '../../store/database.js';
import {
  askForMinutes,
  MINUTE,
  readSettling,
  settleMinutes,
  transactionHorizon,
} from '../../store/presence/settle-minutes.js';
import { createTimedDuty } from '../timed-duty.js';

/** How often a server looks. Milliseconds. */
const INTERVAL = 15_000;
/**
 * How old a minute must be before it is settled. A statement of ours takes 30 s at most. A change whose transaction is slower is
 * put, and told, after the settled minutes. Milliseconds.
 */
const SETTLED_AFTER = 60_000;
/** What one transaction settles: after a long pause it is not all in one. Milliseconds. */
const STEP = 60 * MINUTE;

/**
 * Settles the minutes that have passed: how many users were online in them (presence_minutes), of all projects. So figures over
 * weeks need not read each change of presence. It runs on every server, and the database lets one at a time do the work.
 */
export interface MinuteSettler {
  /** Settles what can be settled by `now`. A minute that an open transaction may still change waits for the next time. */
  runOnce(now: Date): Promise<void>;
  start(): void;
  close(): Promise<void>;
}

export function createMinuteSettler(deps: { database: Database; clock: Clock; observe: Observer }): MinuteSettler {
  const { database, clock, observe } = deps;
  /** Up to where minutes were asked for, and the transactions that may still add to them (those before `horizon`). */
  let waiting: { readonly until: number; readonly horizon: string } | null = null;

  /** Asks for the minutes that have passed, if all that were asked for are settled. Null: there is nothing to settle. */
  async function ask(now: Date): Promise<{ from: Date; until: Date } | null> {
    const wanted = new Date(Math.floor((now.getTime() - SETTLED_AFTER) / MINUTE) * MINUTE);
    let { settledUntil, askedUntil } = await readSettling(database);
    if (!settledUntil || !askedUntil || (askedUntil <= settledUntil && askedUntil < wanted)) {
      await askForMinutes(database, wanted);
      ({ settledUntil, askedUntil } = await readSettling(database));
    }
    return settledUntil! < askedUntil! ? { from: settledUntil!, until: askedUntil! } : null;
  }

  async function runOnce(now: Date): Promise<void> {
    const asked = await ask(now);
    if (!asked) return;
    const until = asked.until.getTime();
    const horizon = await transactionHorizon(database);
    // The first horizon after asking is enough, and it passes first. A later one that is less is of another database.
    if (waiting?.until !== until || BigInt(horizon) < BigInt(waiting.horizon)) waiting = { until, horizon };
    for (let from = asked.from; from.getTime() < until;) {
      const step = { from, until: new Date(Math.min(from.getTime() + STEP, until)), horizon: waiting.horizon };
      if (!(await database.transaction((tx) => settleMinutes(tx, step)))) return;
      from = step.until;
    }
  }

  const duty = createTimedDuty(
    INTERVAL,
    () => runOnce(clock.now()),
    (error) => observe({ kind: 'task.failed', task: 'minutes', error }),
  );
  return { runOnce, start: () => duty.start(), close: () => duty.close() };
}
