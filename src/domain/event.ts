import type { SessionStartPolicy } from './project.js';

/**
 * An event as a door (GraphQL, the collector) hands it over: typed, but not yet checked. Undefined and
 * null both mean "not given". `occurredAt` may be an invalid Date: checkEvent refuses it for this event
 * alone (rule 26).
 */
export interface IncomingEvent {
  readonly id?: string | null;
  readonly type?: string | null;
  readonly source?: string | null;
  readonly message?: string | null;
  readonly occurredAt?: Date | null;
  readonly value?: number | null;
  readonly tags?: readonly string[] | null;
  readonly referenceId?: string | null;
  readonly sessionKey?: string | null;
  readonly user?: {
    readonly identity: string;
    readonly name?: string | null;
    readonly data?: Readonly<Record<string, unknown>> | null;
  } | null;
  readonly version?: string | null;
  readonly data?: Readonly<Record<string, unknown>> | null;
  /** Overrides the project's policy for this event (rule 12: the collector's starts are RESUME). */
  readonly startPolicy?: SessionStartPolicy;
}

type IngestStatus = 'ACCEPTED' | 'DISCARDED' | 'DUPLICATE' | 'REJECTED';

/** Why an event is DISCARDED: it took effect, or had none to take, and is not kept. */
export type DiscardCode = 'HEARTBEAT' | 'DUPLICATE_SESSION_START' | 'DUPLICATE_SESSION_END' | 'NO_SESSION';

/** Why an event is REJECTED: nothing of it is kept. */
export type RejectCode =
  | 'INVALID_ID'
  | 'INVALID_TYPE'
  | 'INVALID_DATE'
  | 'INVALID_VALUE'
  | 'INVALID_TAGS'
  | 'INVALID_IDENTITY'
  | 'INVALID_SESSION_KEY'
  | 'TOO_OLD'
  | 'TOO_LARGE'
  | 'FORBIDDEN_IDENTITY'
  | 'BOT'
  | 'UNSTORABLE';

/** Why an event cannot be stored: a code, and a sentence that names the field and what would be right. */
export interface Rejection {
  readonly code: RejectCode;
  readonly message: string;
}

export const rejected = ({ code, message }: Rejection): IngestOutcome => ({
  status: 'REJECTED',
  eventId: null,
  sessionId: null,
  code,
  message,
});

/** What became of one event. Ids are UUIDs as text. */
export interface IngestOutcome {
  readonly status: IngestStatus;
  readonly eventId: string | null;
  readonly sessionId: string | null;
  readonly code: DiscardCode | RejectCode | null;
  readonly message: string | null;
}
