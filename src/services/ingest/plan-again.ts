import type { Clock } from '../../domain/clock.js';
import type { IngestOutcome } from '../../domain/event.js';
import type { ReadyEvent } from '../../domain/planned-event.js';
import type { Observer } from '../../observation.js';
import type { Database } from '../../store/database.js';
import type { Bus } from '../bus.js';
import { isLostRace, retryLostRaces } from '../lost-race.js';
import { publishChanges } from '../publish-changes.js';
import { commitBatch } from './commit-batch.js';
import { PlanAnew } from './read-state.js';

/** What a batch needs in order to be committed and published. */
export interface BatchDeps {
  readonly database: Database;
  readonly bus: Bus;
  readonly clock: Clock;
  readonly observe: Observer;
}

/** The events of one request. */
export type Request = readonly ReadyEvent[];

/** Whether another transaction was faster: another try on the new state will succeed. */
export const isRace = (error: unknown): boolean => error instanceof PlanAnew || isLostRace(error);

/**
 * Commits a batch and publishes its changes. If another transaction was faster, the batch is planned again on the new
 * state. Answers one list of outcomes for each request.
 */
export async function planAgain(
  { database, bus, clock, observe }: BatchDeps,
  requests: readonly Request[],
): Promise<IngestOutcome[][]> {
  const { outcomes, changes } = await retryLostRaces(
    () => {
      const now = clock.now();
      return database.transaction((tx) => commitBatch(tx, requests, now));
    },
    (reason, attempt) => observe({ kind: 'batch.retried', reason, attempt }),
    isRace,
  );
  publishChanges(bus, observe, changes);
  return outcomes;
}

class DryRun extends Error {}

/** A dry run: runs the whole commitBatch, and rolls back instead of committing. Throws what a commit would throw. */
export async function tryOut({ database, clock }: BatchDeps, events: Request): Promise<void> {
  try {
    await database.transaction(async (tx) => {
      await commitBatch(tx, [events], clock.now());
      throw new DryRun();
    });
  } catch (error) {
    if (!(error instanceof DryRun)) throw error;
  }
}
