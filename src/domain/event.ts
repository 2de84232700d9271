import type { SessionStartPolicy } from './project.js';

/**
 * An event as an entry point (GraphQL or the collector) passes it on: typed, but not yet checked. Undefined and null both
 * mean "not given". `occurredAt` may be an invalid Date: checkEvent rejects that event alone (rule 26).
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
  /** What the client calls the browser or machine (rules 2 and 3). */
  readonly deviceId?: string | null;
  readonly user?: {
    readonly identity: string;
    readonly name?: string | null;
    readonly data?: Readonly<Record<string, unknown>> | null;
  } | null;
  readonly version?: string | null;
  readonly data?: Readonly<Record<string, unknown>> | null;
  /** Replaces the project's policy for this event (rule 12: starts of the collector are RESUME). */
  readonly startPolicy?: SessionStartPolicy;
}

type IngestStatus = 'ACCEPTED' | 'DISCARDED' | 'DUPLICATE' | 'REJECTED';

/** Why an event is DISCARDED: it is not stored. It has had its effect, or there was nothing for it to change. */
export type DiscardCode = 'HEARTBEAT' | 'DUPLICATE_SESSION_START' | 'DUPLICATE_SESSION_END' | 'NO_SESSION';

/** Why an event is REJECTED: nothing of it is stored. */
export type RejectCode =
  | 'INVALID_ID'
  | 'INVALID_TYPE'
  | 'INVALID_DATE'
  | 'INVALID_VALUE'
  | 'INVALID_TAGS'
  | 'INVALID_IDENTITY'
  | 'INVALID_SESSION_KEY'
  | 'INVALID_DEVICE_ID'
  | 'TOO_OLD'
  | 'TOO_LARGE'
  | 'FORBIDDEN_IDENTITY'
  | 'BOT'
  | 'UNSTORABLE';

/** Why an event cannot be stored: a code, and a sentence that names the field and says what would be right. */
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

/** The outcome of one event. Ids are UUIDs as text. */
export interface IngestOutcome {
  readonly status: IngestStatus;
  readonly eventId: string | null;
  readonly sessionId: string | null;
  readonly code: DiscardCode | RejectCode | null;
  readonly message: string | null;
}
