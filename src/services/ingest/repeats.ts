import type { IngestOutcome } from '../../domain/event.js';
import type { PlannedEvent } from '../../domain/planned-event.js';
import type { WorkingSession } from '../../domain/session.js';
import type { Queryable } from '../../store/database.js';
import type { IdDays } from '../../store/ingest/extend-sessions.js';
import { readKnownEvents, type KnownEvent } from '../../store/ingest/ingest-reads.js';

const DAY = 86_400_000;
/** For this long around midnight servers may disagree about the day, so an id is remembered on both days. */
const MIDNIGHT = 5 * 60_000;

const day = (time: number): string => new Date(time).toISOString().slice(0, 10);
/**
 * For ids that arrive now (rule 25): the days on which they are remembered, and the days on which a known id makes a
 * repeat.
 */
export const idDays = (now: number): IdDays => ({
  remembered: [...new Set([day(now - MIDNIGHT), day(now), day(now + MIDNIGHT)])],
  since: day(now - 3 * DAY),
  until: day(now + DAY),
});

/** The answer to a repeat. A caller that is narrowed to certain users does not learn where another user's event is. */
export function duplicateOf(
  { event: { allowedUsers } }: PlannedEvent,
  first: Pick<KnownEvent, 'eventId' | 'sessionId' | 'userId'>,
  sessions: ReadonlyMap<string, WorkingSession>,
): IngestOutcome {
  const owner = (): string | null | undefined => first.userId ?? sessions.get(first.sessionId ?? '')?.userId;
  const { eventId, sessionId } =
    allowedUsers === null || allowedUsers.includes(owner() ?? '') ? first : { eventId: null, sessionId: null };
  return { status: 'DUPLICATE', eventId, sessionId, code: null, message: null };
}

/** Answers repeats (rule 25): of stored events, and of events earlier in the batch. */
export class Repeats {
  private readonly stored = new Map<string, KnownEvent>();
  private readonly first = new Map<string, PlannedEvent>();
  /** Each repeat within the batch, with the event that it repeats. It is answered together with that event. */
  readonly within = new Map<PlannedEvent, PlannedEvent>();

  private key({ event }: PlannedEvent): string | null {
    return event.eventKey && `${event.projectId} ${event.eventKey}`;
  }

  async read(tx: Queryable, events: readonly PlannedEvent[], now: number): Promise<void> {
    const keys = events.flatMap(({ event }) =>
      event.eventKey ? [{ projectId: event.projectId, eventKey: event.eventKey }] : [],
    );
    if (keys.length === 0) return;
    const { since, until } = idDays(now);
    for (const known of await readKnownEvents(tx, keys, since, until)) {
      this.stored.set(`${known.projectId} ${known.eventKey}`, known);
    }
  }

  knownAs(planned: PlannedEvent): KnownEvent | null {
    const key = this.key(planned);
    return (key && this.stored.get(key)) || null;
  }

  /**
   * True for the first event of its id in the batch, and for an event without an id. A refused event is never the first.
   */
  isFirst(planned: PlannedEvent): boolean {
    const key = this.key(planned);
    if (!key) return true;
    const first = this.first.get(key);
    if (first) this.within.set(planned, first);
    else if (!planned.event.refusal) this.first.set(key, planned);
    return !first && !planned.event.refusal;
  }
}
