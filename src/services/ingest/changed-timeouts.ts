import { setTimeout } from 'node:timers/promises';
import type { Reach } from '../../domain/access.js';
import type { Clock } from '../../domain/clock.js';
import type { Observer } from '../../observation.js';
import {
  giveProjectBack,
  lockOpenSessions,
  readOpenSessions,
  takeStaleProject,
  type OpenSession,
  type StaleProject,
} from '../../store/ingest/changed-timeouts.js';
import type { Database, Queryable } from '../../store/database.js';
import { withPartitions } from '../../store/partitions.js';
import { lockUsers } from '../../store/ingest/ingest-reads.js';
import type { Bus } from '../bus.js';
import { judgeSessions, usersOf, type Judged } from './judge-sessions.js';
import { retryLostRaces } from '../lost-race.js';
import { publishChanges } from '../publish-changes.js';
import { userKey } from './sessionize.js';
import { createTimedDuty } from '../timed-duty.js';

/** Sessions in one transaction: it is so short that an ingest batch which meets it hardly waits. */
const BATCH = 1_000;
/**
 * Batches that a caller who changes a timeout waits for (on a busy machine one takes 0.1 to 0.5 s). The rest follows in the
 * background.
 */
const AT_ONCE = 2;
/**
 * How long a server holds a project that it took. Then any server may take it: the first may have crashed. Milliseconds.
 */
const LEASE = 30_000;
/**
 * So long after a change, every statement that had read the old timeouts has ended (a statement may take 30 s). A last pass
 * then finds what such statements wrote behind the first pass. Milliseconds.
 */
const SETTLED = 60_000;

/**
 * Brings the open sessions of a project up to date with its timeouts after a change (rule 20). It works in bounded batches;
 * in each it checks sessions as the closer does. The work that is left is recorded in the project's row, so that any server
 * can go on with it.
 */
export interface ChangedTimeouts {
  /** Goes through the first two batches of one project's sessions. If that fails, the schedule tries again. */
  reach(reach: Reach): Promise<void>;
  /** Goes through the sessions of every project that waits for it. Safe at the same time on any number of servers. */
  runOnce(): Promise<void>;
  /** Runs every `interval` from now on. */
  start(): void;
  close(): Promise<void>;
}

export function createChangedTimeouts(deps: {
  database: Database;
  bus: Bus;
  clock: Clock;
  observe: Observer;
  /** Milliseconds. */
  interval: number;
  /** Whether other work waits for the database. Then this work rests after each batch for as long as the batch took. */
  isBusy?: () => boolean;
}): ChangedTimeouts {
  const { database, bus, clock, observe, interval, isBusy = () => false } = deps;
  let stopped = false;

  async function bringInStep(sessions: readonly OpenSession[]): Promise<void> {
    const now = clock.now();
    const work = async (tx: Queryable): Promise<Judged> => {
      const users = usersOf(sessions);
      const locked = users.length > 0 ? await lockUsers(tx, users) : [];
      const held = new Set(locked.map(({ projectId, userId }) => userKey(projectId, userId)));
      const ids = sessions.map(({ id }) => id);
      const open = await lockOpenSessions(tx, sessions[0]!, ids);
      // A session that has got its user meanwhile was planned by another transaction.
      const ours = open.filter(({ projectId, userId }) => !userId || held.has(userKey(projectId, userId)));
      return judgeSessions(tx, ours, now);
    };
    const { changes } = await withPartitions(database, now, observe, () => database.transaction(work));
    publishChanges(bus, observe, changes);
  }

  /**
   * Goes through the sessions of a project that this server has taken until `until`, and extends that time after each
   * batch. Null: another server has taken the project since, or its timeouts have changed again.
   */
  async function walk(
    project: StaleProject,
    batches: number,
    until: Date,
  ): Promise<{ isWhole: boolean; until: Date } | null> {
    let last: OpenSession | null = null;
    let held = until;
    for (let batch = 0; batch < batches && !stopped; batch += 1) {
      const begun = performance.now();
      const sessions: OpenSession[] = await readOpenSessions(database, project, last, BATCH, clock.now());
      const stale = sessions.filter((session) => session.stale);
      if (stale.length > 0) {
        await retryLostRaces(
          () => bringInStep(stale),
          (reason, attempt) => observe({ kind: 'batch.retried', reason: `timeouts: ${reason}`, attempt }),
        );
      }
      if (sessions.length < BATCH) return { isWhole: true, until: held };
      last = sessions.at(-1)!;
      if (batches === Infinity && isBusy()) await setTimeout(performance.now() - begun);
      const longer = new Date(clock.now().getTime() + LEASE);
      if (!(await giveProjectBack(database, project, held, longer))) return null;
      held = longer;
    }
    return { isWhole: false, until: held };
  }

  /** Answers whether a project was waiting. */
  async function takeOne(reach: Reach | null, batches: number): Promise<boolean> {
    const now = clock.now();
    const until = new Date(now.getTime() + LEASE);
    const project = await takeStaleProject(database, reach, now, until);
    if (!project) return false;
    const walked = await walk(project, batches, until);
    if (!walked) return true;
    const settledAt = new Date(project.changedAt.getTime() + SETTLED);
    const again = now < settledAt ? settledAt : null;
    await giveProjectBack(database, project, walked.until, walked.isWhole ? again : now);
    return true;
  }

  async function runOnce(): Promise<void> {
    while (!stopped && (await takeOne(null, Infinity)));
  }

  const onError = (error: unknown): void => observe({ kind: 'task.failed', task: 'timeouts', error });
  const duty = createTimedDuty(interval, runOnce, onError);
  return {
    async reach(reach) {
      await takeOne(reach, AT_ONCE).catch(onError);
    },
    runOnce,
    start: () => duty.start(),
    close() {
      stopped = true;
      return duty.close();
    },
  };
}
