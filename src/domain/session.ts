export type SessionEndReason = 'CLIENT' | 'INACTIVITY' | 'SUPERSEDED';

/** Rule 1 and the contract: what a client may name a session. */
export const SESSION_KEY = /^[A-Za-z0-9-]{8,100}$/;

/** Rule 21: a session ended by a closing heartbeat counts as online for this long, so that a page load is no departure. */
export const CLOSING_GRACE = 5_000;

/**
 * Rule 29: where one of several tabs says goodbye, the others are heard again within 30 seconds, as often as clients send
 * heartbeats. One tab's heartbeats lie 30 s apart; two that lie nearer (with 5 s for a late timer) are of two tabs, of which
 * one is still there. Two within a second are one that was sent twice. Milliseconds.
 */
export const OTHER_TAB = { farther: 1_000, nearer: 25_000, within: 35_000 } as const;

/** Rule 22: what is kept of a session: bytes of its data as JSON in UTF-8, and different types of its events. */
export const MOST_KEPT = { dataBytes: 65_536, types: 200 } as const;

/** Rule 10: milliseconds in the past at arrival, beyond which an event is TOO_OLD. */
export const OLDEST_EVENT = 3 * 86_400_000;

/** What a session takes from its first events that have it, and then keeps (rule 22). */
export interface SessionAttributes {
  version: string | null;
  browserName: string | null;
  browserVersion: string | null;
  osName: string | null;
  osVersion: string | null;
  device: string | null;
  ipAddress: string | null;
  isBot: boolean;
  /** ISO 3166-1 alpha-2. */
  country: string | null;
  region: string | null;
  city: string | null;
  data: Record<string, unknown>;
}

/**
 * Stored events of a session, those from `at` on (milliseconds) up to the next part's. A session is read as one part, or as
 * several where a late start may split it (rule 12).
 */
export interface StoredPart {
  readonly at: number;
  readonly events: number;
  readonly errors: number;
  readonly types: readonly string[];
}

/**
 * A session while a batch is planned: its row and what the batch has done to it. Times are milliseconds
 * since the epoch; an ended session's `endedAt` equals its `lastActivityAt`.
 */
export interface WorkingSession extends SessionAttributes {
  readonly id: string;
  readonly projectId: string;
  readonly key: string | null;
  /** How many sessions of its key, of other users, were there before it (rule 1); 0 without a key. */
  readonly namesake: number;
  userId: string | null;
  startedAt: number;
  lastActivityAt: number;
  endReason: SessionEndReason | null;
  closedByHeartbeat: boolean;
  explicitStart: boolean;
  hasHeartbeat: boolean;
  /** The latest heartbeat, and the one before it, since a closing one; null where there was none. */
  heartbeatAt: number | null;
  heartbeatBefore: number | null;
  eventCount: number;
  errorCount: number;
  eventTypes: string[];
  /** As stored; null where not live, or new. */
  dueAt: number | null;
  /** As stored: nobody is told of it as online any more, though it is open. */
  lapsed: boolean;
  /** Not in the database yet. */
  isNew: boolean;
  /** Its events that were stored before this batch, and the sessions that those name in the database. */
  stored: readonly StoredPart[];
  storedUnder: readonly string[];
  /** The session it became part of (rule 27). */
  mergedInto: WorkingSession | null;
  /** Something that moves has moved; something that stays was found. */
  moved: boolean;
  described: boolean;
  /** The request of this batch that started it, and the one that ended it (rules 14 and 16). */
  startedBy: number | null;
  endedBy: number | null;
}

/** Follows merges to the session that is left. */
export function survivor(session: WorkingSession): WorkingSession {
  let current = session;
  while (current.mergedInto) current = current.mergedInto;
  return current;
}

export const isOpen = (session: WorkingSession): boolean => session.endReason === null;
