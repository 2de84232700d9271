import { setMaxListeners } from 'node:events';
import type { Clock } from '../../domain/clock.js';
import { AppError } from '../../errors.js';
import type { Observer } from '../../observation.js';
import type { Database } from '../../store/database.js';
import { takeDueWebhooks, type LeasedWebhook } from '../../store/webhooks/leases.js';
import { wakeReadyWebhooks, wakeWebhooks, type IdleWebhook } from '../../store/webhooks/wake.js';
import { createCounts } from '../counts.js';
import { createTimedDuty } from '../timed-duty.js';
import type { RunWebhook } from './run.js';

/**
 * Webhooks that this server has at a time: one message of each is in memory, and one connection is open. A project has a few
 * of these places, so that receivers that do not answer hold up the webhooks of their own project alone.
 */
const PLACES = 40;
const PLACES_OF_PROJECT = 4;
/** How often a server looks for what is due, and for changes that nobody has told of. Milliseconds. */
const LOOK_EVERY = 1_000;
/** Idle webhooks that a look compares with the feed, in turn: with more, each is compared every few seconds. */
const COMPARED_IDLE = 1_000;
/**
 * The webhooks of a project that changes all the time are woken this often. What has gathered meanwhile goes into one message.
 * Milliseconds.
 */
const WAKE_EVERY = 100;
/** How long a closing server waits for answers of receivers. Milliseconds. */
const PATIENCE = 3_000;

/** Delivers what waits for the webhooks of all projects, together with the other servers. */
export interface Deliver {
  /** The project has changed, and this server knows that it is committed. */
  changed(projectId: string): void;
  /** Looks for due webhooks now, because one has become due. */
  lookSoon(): void;
  /** Looks once, and resolves when what was found is delivered or postponed. For tests, and safe at any time. */
  runOnce(): Promise<void>;
  /** Takes a place for a message that belongs to no run, until the returned function is called. Throws OVERLOADED. */
  takePlace(projectId: string): () => void;
  start(): void;
  close(): Promise<void>;
}

export function createDeliver(deps: { database: Database; clock: Clock; observe: Observer; run: RunWebhook }): Deliver {
  const { database, clock, observe, run } = deps;
  const underWay = new Map<LeasedWebhook, Promise<void>>();
  const ofProject = createCounts();
  let taken = 0;
  /** Aborted when a closing server waits no longer. */
  const stop = new AbortController();
  setMaxListeners(2 * PLACES, stop.signal);
  let closed = false;
  let lastIdle: IdleWebhook | null = null;
  /** Whether any webhook waits for a change, as the latest look found. */
  let areIdle = false;

  /** The projects that changed since the last wake, and which have been told of during a run. */
  const changedProjects = new Set<string>();
  /** By run: whether its project has changed since the run has begun to read. */
  const stale = new Map<LeasedWebhook, boolean>();
  let wakeTimer: NodeJS.Timeout | null = null;
  let looking: Promise<void> | null = null;
  let lookAgain = false;

  const onError = (error: unknown): void => observe({ kind: 'task.failed', task: 'webhooks', error });

  function hold(projectId: string): () => void {
    ofProject.add(projectId, 1);
    taken += 1;
    return () => {
      ofProject.add(projectId, -1);
      taken -= 1;
    };
  }

  function begin(webhook: LeasedWebhook): void {
    const leave = hold(webhook.projectId);
    const news = { readFrom: () => void stale.set(webhook, false), isStale: () => stale.get(webhook) === true };
    const running = run(webhook, news, stop.signal)
      .catch(onError)
      .finally(() => {
        leave();
        underWay.delete(webhook);
        stale.delete(webhook);
        lookSoon();
      });
    underWay.set(webhook, running);
  }

  async function lookOnce(): Promise<void> {
    const places = PLACES - taken;
    if (places <= 0 || closed) return;
    const now = clock.now();
    const had = ofProject.entries().map(([projectId, count]) => ({ projectId, count }));
    const found = await takeDueWebhooks(database, { now, places, ofProject: PLACES_OF_PROJECT, had });
    for (const webhook of found) begin(webhook);
  }

  /** Looks; calls during a look make it look once more. */
  function look(): Promise<void> {
    if (looking) {
      lookAgain = true;
      return looking;
    }
    looking = (async () => {
      do {
        lookAgain = false;
        await lookOnce();
      } while (lookAgain && !closed);
    })().finally(() => {
      looking = null;
    });
    return looking;
  }

  function lookSoon(): void {
    if (!closed) look().catch(onError);
  }

  async function wake(): Promise<void> {
    const projects = [...changedProjects];
    changedProjects.clear();
    if (await wakeWebhooks(database, projects, clock.now())) await look();
  }

  async function tick(): Promise<void> {
    ({ after: lastIdle, areAny: areIdle } = await wakeReadyWebhooks(database, lastIdle, COMPARED_IDLE, clock.now()));
    await look();
  }

  const duty = createTimedDuty(LOOK_EVERY, tick, onError);
  return {
    changed(projectId) {
      if (closed) return;
      for (const webhook of stale.keys()) if (webhook.projectId === projectId) stale.set(webhook, true);
      // What becomes idle later compares itself with the feed by the next look.
      if (!areIdle) return;
      changedProjects.add(projectId);
      wakeTimer ??= setTimeout(() => {
        wakeTimer = null;
        wake().catch(onError);
      }, WAKE_EVERY);
    },
    lookSoon,
    async runOnce() {
      await tick();
      // The end of a run begins a look, which may find what waited for its place.
      while (looking !== null || underWay.size > 0) await Promise.all([looking, ...underWay.values()]);
    },
    takePlace(projectId) {
      if (taken < PLACES && ofProject.of(projectId) < PLACES_OF_PROJECT) return hold(projectId);
      throw new AppError('OVERLOADED', 'Too many messages are being sent at the moment. Try again.', { retryAfter: 5 });
    },
    start: () => duty.start(),
    async close() {
      closed = true;
      if (wakeTimer) clearTimeout(wakeTimer);
      await duty.close();
      const timer = setTimeout(() => stop.abort(), PATIENCE);
      await Promise.all(underWay.values());
      clearTimeout(timer);
    },
  };
}
