import { setTimeout } from 'node:timers/promises';
import type { Clock } from '../domain/clock.js';
import type { Observer } from '../observation.js';
import { lockFreeUsers, takeDueSessions } from '../store/close-sessions.js';
import type { Database, Queryable } from '../store/database.js';
import type { Bus } from './bus.js';
import { judgeSessions, usersOf } from './judge-sessions.js';
import { publishChanges, type Changes } from './publish-changes.js';
import { noticeReturn } from './pulse.js';
import { userKey } from './sessionize.js';
import { createTimedDuty } from './timed-duty.js';

/** Sessions a transaction looks at: short enough that an ingest which meets it hardly waits. */
const BATCH = 1_000;
/** Batches at once where there is more than one: Postgres gives each a core. */
const LANES = 2;

interface CloserResult {
  /** Sessions closed for inactivity (rule 20). */
  readonly closed: number;
  /** Users who went offline (rule 21). */
  readonly lapsed: number;
}

/** Closes what is inactive and publishes presence that has lapsed; runs on every server. */
export interface Closer {
  /** One look: everything due by `now`, in batches. Safe at the same time on any number of servers. */
  runOnce(now: Date): Promise<CloserResult>;
  /** Notes whether the service was away until now, and looks. */
  tick(): Promise<void>;
  /** Ticks every `interval` from now on. A look that fails is observed; the next one tries again. */
  start(): void;
  /** Ends the schedule and waits for a look under way. */
  close(): Promise<void>;
}

/** What a batch found and did. */
interface Looked {
  /** Whether another look is worth it: it was a whole batch, or somebody else held some of it. */
  readonly isMore: boolean;
  readonly closed: number;
  /** How late the latest of it was. Milliseconds. */
  readonly lag: number;
  readonly changes: Changes;
}

async function look(tx: Queryable, now: Date): Promise<Looked> {
  const due = await takeDueSessions(tx, now, BATCH);
  if (due.length === 0) return { isMore: false, closed: 0, lag: 0, changes: { edges: [], sessions: [], events: [] } };
  const users = usersOf(due);
  const locked = users.length > 0 ? await lockFreeUsers(tx, users) : [];
  const held = new Set(locked.map(({ projectId, userId }) => userKey(projectId, userId)));
  const ours = due.filter(({ projectId, userId }) => !userId || held.has(userKey(projectId, userId)));
  const { looked, closed, changes } = await judgeSessions(tx, ours, now);
  return {
    // What others hold is theirs to finish: a look that found nothing free is over.
    isMore: looked > 0 && (due.length === BATCH || looked < due.length),
    closed,
    lag: now.getTime() - due[0]!.dueAt.getTime(),
    changes,
  };
}

export function createCloser(deps: {
  database: Database;
  bus: Bus;
  clock: Clock;
  observe: Observer;
  /** Milliseconds between looks. */
  interval: number;
  /** Whether somebody waits for the database: then the closer rests after each batch as long as that took. */
  isBusy?: () => boolean;
}): Closer {
  const { database, bus, clock, observe, interval, isBusy = () => false } = deps;
  let stopped = false;

  async function closeBatch(now: Date): Promise<Looked> {
    const result = await database.transaction((tx) => look(tx, now));
    publishChanges(bus, observe, result.changes, now);
    return result;
  }

  async function runOnce(now: Date): Promise<CloserResult> {
    const start = performance.now();
    let closed = 0;
    let lapsed = 0;
    let lag = 0;
    // Most looks find little, or nothing.
    for (let lanes = 1; ; lanes = isBusy() ? 1 : LANES) {
      const begun = performance.now();
      const batches = await Promise.allSettled(Array.from({ length: lanes }, () => closeBatch(now)));
      let isMore = false;
      for (const batch of batches) {
        if (batch.status === 'rejected') throw batch.reason;
        const result = batch.value;
        closed += result.closed;
        lag = Math.max(lag, result.lag);
        lapsed += result.changes.edges.length;
        isMore ||= result.isMore;
      }
      if (!isMore || stopped) break;
      if (isBusy()) await setTimeout(performance.now() - begun);
    }
    if (closed + lapsed > 0)
      observe({ kind: 'closer.finished', closed, lapsed, milliseconds: performance.now() - start, lag });
    return { closed, lapsed };
  }

  async function tick(): Promise<void> {
    // Taken first: whatever happens in between, nobody is judged as of a later time than it was noticed.
    const now = clock.now();
    await noticeReturn(database, observe);
    await runOnce(now);
  }

  const duty = createTimedDuty(interval, tick, (error) => observe({ kind: 'closer.failed', error }));
  return {
    runOnce,
    tick,
    start: () => duty.start(),
    close() {
      stopped = true;
      return duty.close();
    },
  };
}
