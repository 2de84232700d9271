import type { CheckedEvent } from './check-event.js';
import type { DiscardCode, RejectCode } from './event.js';
import type { SessionSettings, SessionStartPolicy } from './project.js';
import type { SessionAttributes, WorkingSession } from './session.js';

/** The plan's decision about one event. */
export interface Verdict {
  readonly status: 'ACCEPTED' | 'DISCARDED' | 'REJECTED';
  readonly code: DiscardCode | RejectCode | null;
  readonly message: string | null;
  /** Resolve it with survivor(): a later event of the batch may have merged the session into another. */
  readonly session: WorkingSession | null;
}

/** An event that is checked and described: it has all that both ways into the database need. */
export interface ReadyEvent extends CheckedEvent {
  /** The id under which the event is stored, if it is stored. */
  readonly id: string;
  /** What the event says about its session (rule 22). */
  readonly attributes: SessionAttributes;
}

/** One event of a batch, with what the batch knows about it. */
export interface PlannedEvent {
  readonly event: ReadyEvent;
  /** Which request of the batch the event came in, from 0: rules 14 and 16 need this. */
  readonly request: number;
  verdict: Verdict | null;
}

/** What the rules need besides events and sessions. */
export interface PlanContext {
  readonly settings: SessionSettings;
  /**
   * Makes the id of a session that starts then (milliseconds). The ids of sessions that start at one instant sort by
   * `place`, from 0.
   */
  readonly newSessionId: (startedAt: number, place: number) => string;
}

export const accepted = (session: WorkingSession | null): Verdict => ({
  status: 'ACCEPTED',
  code: null,
  message: null,
  session,
});

const DISCARD_MESSAGE: Record<DiscardCode, string> = {
  HEARTBEAT: 'The heartbeat was recorded; heartbeats are not stored as events.',
  DUPLICATE_SESSION_START:
    'The session has started already. The repeated start keeps an open session alive; it is not stored as an event.',
  DUPLICATE_SESSION_END: 'The session has already ended in this request; the second end is not stored as an event.',
  NO_SESSION: 'There is no open session to end or to keep alive, and this event opens none.',
};

export const discarded = (code: DiscardCode, session: WorkingSession | null): Verdict => ({
  status: 'DISCARDED',
  code,
  message: DISCARD_MESSAGE[code],
  session,
});

/** Rule 18: a heartbeat that is too old at arrival to say "still here". It opens no session. */
export const isStale = ({ type, time, receivedAt }: CheckedEvent, { settings }: PlanContext): boolean =>
  type === 'heartbeat' && receivedAt - time > settings.presenceTimeout * 1000;

/** The policy that applies to a start: the event's own, else the project's (rule 12). */
export function policyOf(event: CheckedEvent, settings: SessionSettings): SessionStartPolicy {
  return event.startPolicy ?? settings.sessionStart;
}
