import type { CheckedEvent } from './check-event.js';
import type { DiscardCode, RejectCode } from './event.js';
import type { SessionSettings, SessionStartPolicy } from './project.js';
import type { SessionAttributes, WorkingSession } from './session.js';

/** What the plan decided for one event. */
export interface Verdict {
  readonly status: 'ACCEPTED' | 'DISCARDED' | 'REJECTED';
  readonly code: DiscardCode | RejectCode | null;
  readonly message: string | null;
  /** Resolve with survivor(): a later event of the batch may have merged it. */
  readonly session: WorkingSession | null;
}

/** An event that is checked and described: all that the ways into the database need. */
export interface ReadyEvent extends CheckedEvent {
  /** What it is stored under, if it is. */
  readonly id: string;
  /** What it says of its session (rule 22). */
  readonly attributes: SessionAttributes;
}

/** One event in a batch, with what the batch knows of it. */
export interface PlannedEvent {
  readonly event: ReadyEvent;
  /** Which request of the batch it came in, from 0: rules 14 and 16 speak of requests. */
  readonly request: number;
  verdict: Verdict | null;
}

/** What the rules need besides events and sessions. */
export interface PlanContext {
  readonly settings: SessionSettings;
  /** Makes an id for a session that starts then (milliseconds); of those of one instant the ids sort by `place`, from 0. */
  readonly newSessionId: (startedAt: number, place: number) => string;
}

export const accepted = (session: WorkingSession | null): Verdict => ({
  status: 'ACCEPTED',
  code: null,
  message: null,
  session,
});

const DISCARD_MESSAGE: Record<DiscardCode, string> = {
  HEARTBEAT: 'The heartbeat was heard; heartbeats are not kept as events.',
  DUPLICATE_SESSION_START: 'The session is open already; the repeated start kept it alive and is not kept as an event.',
  DUPLICATE_SESSION_END: 'The session has ended already in this request.',
  NO_SESSION: 'There is no open session to end or to keep alive, and none was made.',
};

export const discarded = (code: DiscardCode, session: WorkingSession | null): Verdict => ({
  status: 'DISCARDED',
  code,
  message: DISCARD_MESSAGE[code],
  session,
});

/** Rule 18: a heartbeat that says "still here" of a while ago, which is over: it opens nothing. */
export const isStale = ({ type, time, receivedAt }: CheckedEvent, { settings }: PlanContext): boolean =>
  type === 'heartbeat' && receivedAt - time > settings.presenceTimeout * 1000;

/** Whose policy counts for a start: the event's own, else the project's (rule 12). */
export function policyOf(event: CheckedEvent, settings: SessionSettings): SessionStartPolicy {
  return event.startPolicy ?? settings.sessionStart;
}
