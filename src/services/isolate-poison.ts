import type { IngestOutcome } from '../domain/event.js';
import type { ReadyEvent } from '../domain/planned-event.js';

/** SQLSTATE classes and codes that blame a value: data exceptions, program limits, failed checks. */
const POISON = /^(22|54|23514$|P0001$)/;

function isPoison(error: unknown): boolean {
  return error instanceof Error && 'code' in error && POISON.test(String(error.code));
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
