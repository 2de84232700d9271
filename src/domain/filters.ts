import type { SessionEndReason } from './session.js';

/** What lists can be narrowed by. Conditions are joined with AND; a list means any of these; null or undefined: no condition. */

/** `from` is included, `to` is not. */
export interface TimeRange {
  readonly from?: Date | null;
  readonly to?: Date | null;
}

interface FloatRange {
  readonly min?: number | null;
  readonly max?: number | null;
}

export interface SessionFilter {
  readonly identities?: readonly string[] | null;
  readonly search?: string | null;
  readonly status?: 'ACTIVE' | 'ENDED' | null;
  readonly endReasons?: readonly SessionEndReason[] | null;
  readonly startedAt?: TimeRange | null;
  readonly activeDuring?: TimeRange | null;
  /** Seconds. */
  readonly duration?: FloatRange | null;
  readonly hasErrors?: boolean | null;
  readonly eventTypes?: readonly string[] | null;
  readonly versions?: readonly string[] | null;
  readonly browsers?: readonly string[] | null;
  readonly operatingSystems?: readonly string[] | null;
  readonly devices?: readonly string[] | null;
  readonly ipAddresses?: readonly string[] | null;
  /** ISO 3166-1 alpha-2. */
  readonly countries?: readonly string[] | null;
  readonly isBot?: boolean | null;
  readonly dataContains?: Readonly<Record<string, unknown>> | null;
}

export interface EventFilter {
  readonly types?: readonly string[] | null;
  readonly identities?: readonly string[] | null;
  /** UUIDs. */
  readonly sessionIds?: readonly string[] | null;
  readonly sources?: readonly string[] | null;
  readonly tags?: readonly string[] | null;
  readonly search?: string | null;
  readonly occurredAt?: TimeRange | null;
  readonly referenceId?: string | null;
  readonly hasSession?: boolean | null;
  readonly dataContains?: Readonly<Record<string, unknown>> | null;
}

export type SessionOrderField = 'STARTED_AT' | 'LAST_ACTIVITY_AT' | 'DURATION' | 'EVENT_COUNT';
export interface SessionOrder {
  readonly field: SessionOrderField;
  readonly direction: 'ASC' | 'DESC';
}
