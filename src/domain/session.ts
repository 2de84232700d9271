export type SessionEndReason = 'CLIENT' | 'INACTIVITY' | 'SUPERSEDED';

/** Rule 1: the form of a key by which a client names a session. */
export const SESSION_KEY = /^[A-Za-z0-9-]{8,100}$/;

/** Rule 2: the form of the name of a device. */
export const DEVICE_ID = /^[A-Za-z0-9_-]{8,100}$/;

/**
 * Rule 3: of how many sessions of a device, those that began last, the one that was heard last gets the events of the device
 * alone. More users than that at one browser are a mistake of a client that gives all of its users one device.
 */
export const MOST_ON_DEVICE = 10;

/**
 * Rule 21: how long a session that a closing heartbeat ended counts as online, so that a page load does not look like
 * leaving. Milliseconds.
 */
export const CLOSING_GRACE = 5_000;

/**
 * Rule 29: how the heartbeats of several tabs are recognised. Clients send a heartbeat every 30 s, so those of one tab are
 * 30 s apart. Two that are less than `nearer` apart (30 s less 5 s for a late timer) are of two tabs: if one of them says
 * goodbye, the other is still there, and is heard again `within` 35 s (30 s and 5 s for a late timer). Two that are less
 * than `farther` apart are one heartbeat that was sent twice. Milliseconds.
 */
export const OTHER_TAB = { farther: 1_000, nearer: 25_000, within: 35_000 } as const;

/** Rule 22: the most that is kept of a session: bytes of its data as JSON in UTF-8, and different types of its events. */
export const MOST_KEPT = { dataBytes: 65_536, types: 200 } as const;

/** Rule 10: an event that lies further in the past at arrival is TOO_OLD. Milliseconds. */
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
 * The first or the latest event of a session that names a source, in the order of event ids. `source`: null where it is
 * stored, and was not read.
 */
export interface SourceMark {
  readonly eventId: string;
  readonly source: string | null;
}

/**
 * A part of the stored events of a session: those that have the session id `under` in the database, from `at` on
 * (milliseconds), up to the next part of that session. A session is read as one part, or as several where a late start may
 * split it (rule 12).
 */
export interface StoredPart {
  readonly under: string;
  readonly at: number;
  readonly events: number;
  readonly errors: number;
  readonly types: readonly string[];
  /** The first and the latest of these events that name a source, by id; null: none does. */
  readonly entry: string | null;
  readonly exit: string | null;
}

/**
 * A session while a batch is planned: its row, and the changes that the batch has made to it. Times are milliseconds since
 * the epoch. The `endedAt` of an ended session equals its `lastActivityAt`.
 */
export interface WorkingSession extends SessionAttributes {
  readonly id: string;
  readonly projectId: string;
  readonly key: string | null;
  /** How many sessions its key had named before it, for other users (rule 1); 0 without a key. */
  readonly namesake: number;
  /** Null: nobody's so far. */
  userId: string | null;
  /** The device that it is on; null: none. It tells identity sessions apart and then stays (rules 2 to 5). */
  deviceId: string | null;
  startedAt: number;
  lastActivityAt: number;
  endReason: SessionEndReason | null;
  closedByHeartbeat: boolean;
  explicitStart: boolean;
  hasHeartbeat: boolean;
  /** The latest heartbeat, and the one before it, since the last closing heartbeat; null where there was none. */
  heartbeatAt: number | null;
  heartbeatBefore: number | null;
  eventCount: number;
  errorCount: number;
  /** Where it was entered, and where it is now: its first and latest event that name a source; null: none does. */
  entry: SourceMark | null;
  exit: SourceMark | null;
  /** Whether the source of `entry` or `exit` may be that of an event that was stored in another session. */
  hasOthersMarks: boolean;
  eventTypes: string[];
  /** As stored: when the closer must check the session next; null where it is not live, or new. */
  dueAt: number | null;
  /** As stored: whether the session is one of those published as online of its user (store/presence/told-online). */
  toldOnline: boolean;
  /** Whether the session is not in the database yet. */
  isNew: boolean;
  /** The events that were stored before this batch, in the order of time. */
  stored: StoredPart[];
  /** Whether its data and types were too large to read. The session then keeps those it has. */
  readonly isFull: boolean;
  /** Whether it has too many stored events to be split: no late start splits it (rule 12). */
  isUnsplittable: boolean;
  /** The session that this one became part of (rule 27). */
  mergedInto: WorkingSession | null;
  /** `moved`: a value that changes with events has changed. `described`: a value that is found once was found. */
  moved: boolean;
  described: boolean;
  /** The requests of this batch that started it and that ended it (rules 14 and 16); null where none did. */
  startedBy: number | null;
  endedBy: number | null;
}

/** The session that is left after all merges. */
export function survivor(session: WorkingSession): WorkingSession {
  let current = session;
  while (current.mergedInto) current = current.mergedInto;
  return current;
}

export const isOpen = (session: WorkingSession): boolean => session.endReason === null;
