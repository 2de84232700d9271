import { setTimeout } from 'node:timers/promises';
import type { Clock } from '../../domain/clock.js';
import type { Observer } from '../../observation.js';
import { lockFreeUsers, takeDueSessions } from '../../store/ingest/close-sessions.js';
import type { Database, Queryable } from '../../store/database.js';
import { withPartitions } from '../../store/partitions.js';
import type { Bus } from '../bus.js';
import { retryLostRaces } from '../lost-race.js';
import { judgeSessions, usersOf } from './judge-sessions.js';
import { publishChanges, type Changes } from '../publish-changes.js';
import { noticeReturn } from '../pulse.js';
import { userKey } from './sessionize.js';
import { createTimedDuty } from '../timed-duty.js';

/** Sessions that one transaction checks: it is so short that an ingest batch which meets it hardly waits. */
const BATCH = 1_000;
/** Batches at the same time where more than one is due: Postgres gives each a core. */
const LANES = 2;

interface CloserResult {
  /** Sessions closed for inactivity (rule 20). */
  readonly closed: number;
  /** Users who went offline (rule 21). */
  readonly lapsed: number;
}

/** Closes inactive sessions, and publishes presence that has lapsed. It runs on every server. */
export interface Closer {
  /** Checks every session that is due by `now`, in batches. Safe at the same time on any number of servers. */
  runOnce(now: Date): Promise<CloserResult>;
  /** Records an outage if the service was away until now, and then checks what is due. */
  tick(): Promise<void>;
  /** Ticks every `interval` from now on. A tick that fails is observed; the next tick tries again. */
  start(): void;
  /** Ends the schedule, and waits for a tick that is under way. */
  close(): Promise<void>;
}

/** What a batch found and did. */
interface Looked {
  /** Whether another batch makes sense: this one was full, or others held some of its sessions. */
  readonly isMore: boolean;
  readonly closed: number;
  /** How late the longest due session was. Milliseconds. */
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
    // Sessions that others hold are left to them: if nothing was free, this run ends.
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
  /** Milliseconds between ticks. */
  interval: number;
  /** Whether other work waits for the database. Then the closer rests after each batch for as long as the batch took. */
  isBusy?: () => boolean;
}): Closer {
  const { database, bus, clock, observe, interval, isBusy = () => false } = deps;
  let stopped = false;

  async function closeBatch(now: Date): Promise<Looked> {
    const once = () => withPartitions(database, now, observe, () => database.transaction((tx) => look(tx, now)));
    const result = await retryLostRaces(once, (reason, attempt) =>
      observe({ kind: 'batch.retried', reason: `closer: ${reason}`, attempt }),
    );
    publishChanges(bus, observe, result.changes);
    return result;
  }

  async function runOnce(now: Date): Promise<CloserResult> {
    const start = performance.now();
    let closed = 0;
    let lapsed = 0;
    let lag = 0;
    // Most runs find few sessions, or none.
    for (let lanes = 1; ; lanes = isBusy() ? 1 : LANES) {
      const begun = performance.now();
      const batches = await Promise.allSettled(Array.from({ length: lanes }, () => closeBatch(now)));
      let isMore = false;
      for (const batch of batches) {
        if (batch.status === 'rejected') throw batch.reason;
        const result = batch.value;
        closed += result.closed;
        lag = Math.max(lag, result.lag);
        lapsed += result.changes.edges.filter(({ edge }) => edge.presence.status === 'OFFLINE').length;
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
    // Taken before noticeReturn: no session is checked as of a time later than the one up to which outages are known.
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
