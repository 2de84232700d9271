import type { IngestOutcome } from '../../domain/event.js';
import type { ReadyEvent } from '../../domain/planned-event.js';
import { AppError } from '../../errors.js';
import { sqlStateOf } from '../../store/database.js';
import { isMissingPartition } from '../../store/partitions.js';
import { planAgain, tryOut, type BatchDeps, type Request } from './plan-again.js';

/**
 * The SQLSTATEs that mean: this value can never be stored. Every other error (a full disk, a missing partition, a lost
 * race) is not the event's fault: the same event may be stored a little later, and to reject it would lose it.
 */
const POISON = new Set([
  // A number, an instant, an interval or an array is out of range; a text is longer than its column.
  '22003',
  '22007',
  '22008',
  '22015',
  '2202E',
  '22001',
  // A text is invalid in the database's encoding or for its type; JSON is invalid.
  '22021',
  '22P02',
  '22P03',
  '22P05',
  '22030',
  '22032',
  '22023',
  // A value is larger, deeper or wider than Postgres, or an index, can hold.
  '54000',
  '54001',
  '54011',
  '54023',
]);
/**
 * A check of the table failed, or a trigger that somebody added raised an error. A row without a partition has the first
 * code too, but names no constraint: the adapter turns that error into an AppError.
 */
const CHECKED = new Set(['23514', 'P0001']);

function isPoison(error: unknown): boolean {
  // UNAVAILABLE is temporary: the event is not at fault.
  if (error instanceof AppError) return false;
  const code = sqlStateOf(error);
  return POISON.has(code) || CHECKED.has(code);
}

const UNSTORABLE: IngestOutcome = {
  status: 'REJECTED',
  eventId: null,
  sessionId: null,
  code: 'UNSTORABLE',
  message: 'The database cannot store this event as it is. The other events of the request are not affected.',
};

/** Finds the events that cannot be stored, by halving: about 2 log n dry runs for each. */
async function findPoison(deps: BatchDeps, events: Request): Promise<Set<ReadyEvent>> {
  try {
    await tryOut(deps, events);
    return new Set();
  } catch (error) {
    if (!isPoison(error)) throw error;
    if (events.length === 1) return new Set(events);
    const middle = events.length >> 1;
    const left = await findPoison(deps, events.slice(0, middle));
    const right = await findPoison(deps, events.slice(middle));
    return new Set([...left, ...right]);
  }
}

/**
 * Commits requests together. If the database refuses a value that passed every check, the function finds the event at
 * fault, rejects that event alone, and commits the rest (rule 26). Other errors pass through.
 */
async function isolatePoison(deps: BatchDeps, requests: readonly Request[]): Promise<IngestOutcome[][]> {
  try {
    return await planAgain(deps, requests);
  } catch (error) {
    if (!isPoison(error)) throw error;
    deps.observe({ kind: 'batch.poisoned', events: requests.reduce((sum, events) => sum + events.length, 0), error });
  }
  const outcomes: IngestOutcome[][] = [];
  for (const events of requests) {
    const poison = await findPoison(deps, events);
    const good = events.filter((event) => !poison.has(event));
    const [stored] = good.length > 0 ? await planAgain(deps, [good]) : [[]];
    let next = 0;
    outcomes.push(events.map((event) => (poison.has(event) ? UNSTORABLE : stored![next++]!)));
  }
  return outcomes;
}

/**
 * Commits requests together so that a fault affects only its own request: an event that cannot be stored is rejected alone.
 * If a partition is missing, `makePartitions` makes it, and each request is tried again by itself. A partition that
 * somebody has detached still has its name, so it cannot be made: only requests with events for that partition get
 * UNAVAILABLE.
 */
export async function isolateFaults(
  deps: BatchDeps,
  requests: readonly Request[],
  makePartitions: () => Promise<void>,
): Promise<readonly (IngestOutcome[] | Error)[]> {
  try {
    return await isolatePoison(deps, requests);
  } catch (error) {
    if (!isMissingPartition(error)) throw error;
  }
  await makePartitions();
  const answers: (IngestOutcome[] | Error)[] = [];
  for (const request of requests) {
    answers.push(
      await isolatePoison(deps, [request]).then(
        ([outcomes]) => outcomes!,
        (error: unknown) => error as Error,
      ),
    );
  }
  return answers;
}
