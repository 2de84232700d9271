import type { IngestOutcome } from '../../domain/event.js';
import type { ReadyEvent } from '../../domain/planned-event.js';
import { AppError } from '../../errors.js';
import { sqlStateOf } from '../../store/database.js';
import { ensurePartitions, isMissingPartition } from '../../store/partitions.js';
import { publishChanges } from '../publish-changes.js';
import type { Shortcut } from './extend-sessions.js';
import { isolateFaults } from './isolate-faults.js';
import { isRace, type BatchDeps, type Request } from './plan-again.js';

/**
 * Commits a batch. Answers for each request, in order, the outcomes of its events, or the error with which the request
 * failed. `waited`: milliseconds that the oldest request has waited.
 */
export type TakeBatch = (requests: readonly Request[], waited: number) => Promise<(IngestOutcome[] | Error)[]>;

/** A span that holds no instant. */
const NO_PARTITIONS = { from: new Date(8.64e15), to: new Date(-8.64e15) };

/**
 * Decides the way of a batch's events: the shortcut takes those that only extend a session, and the plan takes the rest.
 */
export function createTakeBatch(deps: BatchDeps & { readonly shortcut: Shortcut }): TakeBatch {
  const { database, bus, clock, observe, shortcut } = deps;
  let partitions = NO_PARTITIONS;

  async function havePartitions(): Promise<void> {
    const now = clock.now();
    if (now < partitions.from || now >= partitions.to) partitions = await ensurePartitions(database, now, observe);
  }

  async function makePartitions(): Promise<void> {
    partitions = NO_PARTITIONS;
    await havePartitions();
  }

  /** The outcome of each event; null: the event needs the plan. */
  async function takeShortcut(events: readonly ReadyEvent[]): Promise<readonly (IngestOutcome | null)[]> {
    try {
      const { outcomes, changes } = await shortcut.take(database, events, clock.now());
      publishChanges(bus, observe, changes);
      return outcomes;
    } catch (error) {
      // If there is no database, the plan would fail too. Every other error is left to the plan.
      if (error instanceof AppError && !isRace(error) && !isMissingPartition(error)) throw error;
      observe({ kind: 'batch.retried', reason: `shortcut: ${sqlStateOf(error)}`, attempt: 0 });
      return events.map(() => null);
    }
  }

  /** The outcomes of the requests that need the plan, or the error with which a request failed. */
  async function plan(requests: readonly Request[]): Promise<readonly (IngestOutcome[] | Error)[]> {
    if (requests.length === 0) return [];
    try {
      const answers = await isolateFaults(deps, requests, makePartitions);
      for (const [request, outcomes] of answers.entries()) {
        if (outcomes instanceof Error) continue;
        for (const [place, outcome] of outcomes.entries()) shortcut.learn(requests[request]![place]!, outcome);
      }
      return answers;
    } catch (error) {
      // The requests that did not need the plan are answered all the same.
      return requests.map(() => error as Error);
    }
  }

  return async (requests, waited) => {
    const start = performance.now();
    await havePartitions();
    const events = requests.flat();
    const taken = await takeShortcut(events);
    let at = 0;
    const left = requests.map((request) => request.filter(() => taken[at++] === null));
    const needing = left.filter((request) => request.length > 0);
    const planned = await plan(needing);
    observe({
      kind: 'batch.committed',
      requests: requests.length,
      events: events.length,
      planned: needing.reduce((sum, request) => sum + request.length, 0),
      milliseconds: performance.now() - start,
      waited,
    });
    at = 0;
    let next = 0;
    return requests.map((request, number) => {
      const own = left[number]!.length === 0 ? [] : planned[next++]!;
      const answers = taken.slice(at, (at += request.length));
      if (own instanceof Error) return own;
      let place = 0;
      return answers.map((answer) => answer ?? own[place++]!);
    });
  };
}
