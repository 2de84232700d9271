import type { IngestOutcome } from '../domain/event.js';
import type { ReadyEvent } from '../domain/planned-event.js';
import { AppError } from '../errors.js';
import { sqlStateOf } from '../store/database.js';

/**
 * The SQLSTATEs that blame a value which could not be stored at any time. Whatever else goes wrong (a full disk, a missing
 * partition, a lost race) is nobody's fault: the same event may be stored a little later, and to refuse it would lose it.
 */
const POISON = new Set([
  // A number, an instant, an interval or an array out of range; a text that is longer than its column.
  '22003',
  '22007',
  '22008',
  '22015',
  '2202E',
  '22001',
  // Texts that are none in the database's encoding, or not of their type; JSON that is none.
  '22021',
  '22P02',
  '22P03',
  '22P05',
  '22030',
  '22032',
  '22023',
  // Larger, deeper or wider than Postgres can hold, or than an index can.
  '54000',
  '54001',
  '54011',
  '54023',
]);
/** A check of the table or of a trigger of somebody's own; a row without a partition has the first code too, and names no constraint. */
const CHECKED = new Set(['23514', 'P0001']);

function isPoison(error: unknown): boolean {
  // UNAVAILABLE: just now alone.
  if (error instanceof AppError) return false;
  const code = sqlStateOf(error);
  return POISON.has(code) || CHECKED.has(code);
}

const UNSTORABLE: IngestOutcome = {
  status: 'REJECTED',
  eventId: null,
  sessionId: null,
  code: 'UNSTORABLE',
  message: 'The database cannot hold this event as it is; the others were stored.',
};

type Events = readonly ReadyEvent[];

/** Which of the events cannot be stored, by halves: about 2 log n probes for each. */
async function findPoison(events: Events, probe: (events: Events) => Promise<void>): Promise<Set<ReadyEvent>> {
  try {
    await probe(events);
    return new Set();
  } catch (error) {
    if (!isPoison(error)) throw error;
    if (events.length === 1) return new Set(events);
    const middle = events.length >> 1;
    const left = await findPoison(events.slice(0, middle), probe);
    const right = await findPoison(events.slice(middle), probe);
    return new Set([...left, ...right]);
  }
}

/**
 * Commits requests together; where the database refuses a value that every check let through, it finds the
 * event at fault, rejects it alone and commits the rest (rule 26). Other errors pass through.
 */
export async function isolatePoison(
  requests: readonly Events[],
  how: {
    commit: (requests: readonly Events[]) => Promise<IngestOutcome[][]>;
    /** Does everything but commit. */
    probe: (events: Events) => Promise<void>;
    onPoison: (events: number, error: unknown) => void;
  },
): Promise<IngestOutcome[][]> {
  try {
    return await how.commit(requests);
  } catch (error) {
    if (!isPoison(error)) throw error;
    how.onPoison(
      requests.reduce((sum, events) => sum + events.length, 0),
      error,
    );
  }
  const outcomes: IngestOutcome[][] = [];
  for (const events of requests) {
    const poison = await findPoison(events, how.probe);
    const good = events.filter((event) => !poison.has(event));
    const [stored] = good.length > 0 ? await how.commit([good]) : [[]];
    let next = 0;
    outcomes.push(events.map((event) => (poison.has(event) ? UNSTORABLE : stored![next++]!)));
  }
  return outcomes;
}
