import { setTimeout } from 'node:timers/promises';
import type { Reach } from '../domain/access.js';
import type { Clock } from '../domain/clock.js';
import type { Observer } from '../observation.js';
import {
  giveProjectBack,
  lockOpenSessions,
  readOpenSessions,
  takeStaleProject,
  type OpenSession,
  type StaleProject,
} from '../store/changed-timeouts.js';
import { sqlStateOf, type Database } from '../store/database.js';
import { lockUsers } from '../store/ingest-reads.js';
import type { Bus } from './bus.js';
import { judgeSessions, usersOf } from './judge-sessions.js';
import { isLostRace } from './lost-race.js';
import { publishChanges } from './publish-changes.js';
import { userKey } from './sessionize.js';
import { createTimedDuty } from './timed-duty.js';

/** Sessions a transaction brings in step: short enough that an ingest which meets it hardly waits. */
const BATCH = 1_000;
/** Batches that whoever changes a timeout waits for (on a busy machine one takes 0.1 to 0.5 s); the rest follows in the background. */
const AT_ONCE = 2;
const MOST_ATTEMPTS = 10;
/** A project that was taken is anybody's again after so long: who took it may have crashed. Milliseconds. */
const LEASE = 30_000;
/**
 * So long after a change whoever had read the old timeouts before is done (a statement may take 30 s): a last look then
 * finds what was written by them behind the first. Milliseconds.
 */
const SETTLED = 60_000;

/**
 * Brings open sessions in step with the timeouts of their project where those have changed (rule 20): in bounded batches,
 * each a look as the closer's. What is still to be done stands in the project's row, so that any server goes on with it.
 */
export interface ChangedTimeouts {
  /** Goes through the first two batches of one project's sessions; where that fails, the schedule tries again. */
  reach(reach: Reach): Promise<void>;
  /** Goes through the sessions of each project that waits for it. Safe at the same time on any number of servers. */
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
  /** Whether somebody waits for the database: then it rests after each batch as long as that took. */
  isBusy?: () => boolean;
}): ChangedTimeouts {
  const { database, bus, clock, observe, interval, isBusy = () => false } = deps;
  let stopped = false;

  async function bringInStep(sessions: readonly OpenSession[]): Promise<void> {
    const now = clock.now();
    const { changes } = await database.transaction(async (tx) => {
      const users = usersOf(sessions);
      const locked = users.length > 0 ? await lockUsers(tx, users) : [];
      const held = new Set(locked.map(({ projectId, userId }) => userKey(projectId, userId)));
      const ids = sessions.map(({ id }) => id);
      const open = await lockOpenSessions(tx, sessions[0]!, ids);
      // One that has found its user meanwhile was planned by somebody else.
      const ours = open.filter(({ projectId, userId }) => !userId || held.has(userKey(projectId, userId)));
      return judgeSessions(tx, ours, now);
    });
    publishChanges(bus, observe, changes, now);
  }

  async function withRetry(work: () => Promise<void>): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await work();
      } catch (error) {
        if (!isLostRace(error) || attempt === MOST_ATTEMPTS) throw error;
        observe({ kind: 'batch.retried', reason: `timeouts: ${sqlStateOf(error)}`, attempt });
      }
    }
  }

  /** Goes through the sessions of a project that is taken until `until`, and holds it meanwhile; null: it has lost it to another. */
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
      if (stale.length > 0) await withRetry(() => bringInStep(stale));
      if (sessions.length < BATCH) return { isWhole: true, until: held };
      last = sessions.at(-1)!;
      if (batches === Infinity && isBusy()) await setTimeout(performance.now() - begun);
      const longer = new Date(clock.now().getTime() + LEASE);
      if (!(await giveProjectBack(database, project, held, longer))) return null;
      held = longer;
    }
    return { isWhole: false, until: held };
  }

  /** Answers whether there was a project that waited. */
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
