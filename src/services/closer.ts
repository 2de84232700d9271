import { setTimeout } from 'node:timers/promises';
import type { Clock } from '../domain/clock.js';
import type { Observer } from '../observation.js';
import { closeSessions, lockFreeUsers, takeDueSessions, type LookedAt } from '../store/close-sessions.js';
import type { Database, Queryable } from '../store/database.js';
import { flipPresence } from '../store/flip-presence.js';
import { inOrderOfLocks, type UserKey } from '../store/ingest-reads.js';
import type { Bus } from './bus.js';
import { publishChanges, type Changes } from './publish-changes.js';
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
  /** Looks every `interval` from now on. A look that fails is observed; the next one tries again. */
  start(): void;
  /** Ends the schedule and waits for a look under way. */
  close(): Promise<void>;
}

function distinctUsers(sessions: readonly { projectId: string; userId: string | null }[]): UserKey[] {
  const users = new Map<string, UserKey>();
  for (const { projectId, userId } of sessions)
    if (userId) users.set(userKey(projectId, userId), { projectId, userId });
  return [...users.values()].toSorted(inOrderOfLocks);
}

/** Users whose status may differ from their sessions by now, whichever way: settings that have changed may let one come back. */
function suspects(looked: readonly LookedAt[]) {
  const suspects = new Map(
    looked
      .filter((session) => session.userId)
      .toSorted((a, b) => a.lastActivityAt.getTime() - b.lastActivityAt.getTime())
      .map(({ projectId, userId, id, lastActivityAt }) => [
        userKey(projectId, userId!),
        { projectId, userId: userId!, sessionId: id, lastSeenAt: lastActivityAt.getTime() },
      ]),
  );
  return [...suspects.values()].toSorted(inOrderOfLocks);
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
  const users = distinctUsers(due);
  const locked = users.length > 0 ? await lockFreeUsers(tx, users) : [];
  const held = new Set(locked.map(({ projectId, userId }) => userKey(projectId, userId)));
  const ours = due.filter(({ projectId, userId }) => !userId || held.has(userKey(projectId, userId)));
  const looked = ours.length > 0 ? await closeSessions(tx, ours, now) : [];
  const edges = await flipPresence(tx, suspects(looked), now);
  const closed = looked.filter((session) => session.closed);
  return {
    // What others hold is theirs to finish: a look that found nothing free is over.
    isMore: looked.length > 0 && (due.length === BATCH || looked.length < due.length),
    closed: closed.length,
    lag: now.getTime() - due[0]!.dueAt.getTime(),
    changes: {
      edges,
      events: [],
      sessions: closed.map(({ projectId, id }) => ({ projectId, id, kind: 'ENDED' as const })),
    },
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

  const duty = createTimedDuty(
    interval,
    () => runOnce(clock.now()),
    (error) => observe({ kind: 'closer.failed', error }),
  );
  return {
    runOnce,
    start: () => duty.start(),
    close() {
      stopped = true;
      return duty.close();
    },
  };
}
