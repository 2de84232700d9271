export type PresenceStatus = 'ONLINE' | 'OFFLINE';

/** A user's presence at a moment. */
export interface UserPresence {
  readonly identity: string;
  readonly name: string | null;
  readonly status: PresenceStatus;
  /** When the status last changed. Null for a user who was never seen, or was erased. */
  readonly since: Date | null;
  readonly lastSeenAt: Date | null;
  /** The published number of sessions that count as online (rule 28). 0 if the user is OFFLINE. */
  readonly onlineSessions: number;
  /** It was read of a moment in the past, so the devices of now are not those of then. */
  readonly isPast?: true;
}

/** Why a user's presence changed. An erased user keeps no history, so ERASED is the cause of no stored change. */
export type PresenceCause = 'STARTED' | 'HEARD' | 'ENDED' | 'LAPSED' | 'CLOSED' | 'ERASED';

/**
 * One change of a user's status, number of sessions online or name (rule 29). The transaction that changes
 * `users.online_sessions` or `users.name` makes the edge; the server publishes it after the commit.
 */
export interface PresenceEdge {
  readonly userId: string;
  readonly presence: UserPresence;
  /** Grows with every edge of the user. */
  readonly version: number;
  /**
   * The version of the user's edge before this one; null if there was none. It shows a receiver that an edge is missing.
   */
  readonly previous: number | null;
  /** The Postgres transaction (xid8) that made the edge. A snapshot that sees the transaction includes the edge. */
  readonly transaction: string;
  /** The session whose change caused the edge. Null if no session caused it. */
  readonly sessionId: string | null;
  /**
   * Only if the user's devices have changed since the edge, without another edge: the Postgres transaction (xid8) that last did
   * so. A session took the place of another, or began to show something else. Whoever had the edge has only this news.
   */
  readonly devicesTransaction?: string;
}

/** Fields of a user's presence that change without an edge. Subscribers that select such a field get its changes. */
export type Beside = 'lastSeenAt' | 'devices';

/** A user's presence, sent again because a field beside the edges (`Beside`) has changed. */
interface Again extends Omit<PresenceEdge, 'previous' | 'sessionId' | 'devicesTransaction'> {
  /** The field that has changed. */
  readonly beside: Beside;
}

/** It was read from the row again. */
export interface PresenceAgain extends Again {
  /** When the read began. Monotonic (performance.now). The row is not older than that. */
  readonly readFrom: number;
}

/** The user's devices have changed without an edge, by this transaction (`PresenceEdge.devicesTransaction`). */
export interface DevicesChanged extends Again {
  readonly beside: 'devices';
  readonly devicesTransaction: string;
}

/** A user as the start of a watcher reads it. lastSeenAt costs a read of the user's sessions, so it is read only on request. */
export interface PresenceRow extends UserPresence {
  lastSeenAt: Date | null;
  /** The user's id until lastSeenAt has been read; then null. */
  unread: string | null;
}

/** One update for subscribers. Subscribers that get the same update share the object. */
export interface PresenceUpdate {
  readonly kind: 'SNAPSHOT' | 'DIFF';
  readonly users: readonly UserPresence[];
  readonly at: Date;
  /** The cursor from which a client goes on after this update: text of presence-cursor. */
  readonly cursor: string;
  /** Whether this update is a part, and more parts follow. */
  readonly hasMore: boolean;
}

/**
 * The most erasures that a project remembers. A watcher that may have missed one begins again. If this many or more come
 * between two looks (2 seconds), all watchers begin again.
 */
export const MOST_ERASURES = 64;

/** A parsed Postgres snapshot (`pg_current_snapshot()`). It says which transactions it sees. */
export interface Snapshot {
  readonly xmin: number;
  readonly xmax: number;
  readonly running: ReadonlySet<number>;
}

/**
 * Parses `xmin:xmax:in,progress` as Postgres writes it. Transaction ids have 64 bits. No server uses so many that a number
 * would not be exact.
 */
export function readSnapshot(text: string): Snapshot {
  const [xmin, xmax, running = ''] = text.split(':');
  return { xmin: Number(xmin), xmax: Number(xmax), running: new Set(running.split(',').filter(Boolean).map(Number)) };
}

/** Whether the snapshot sees the transaction. The result is the same as of pg_visible_in_snapshot. */
export function isVisible(transaction: number, { xmin, xmax, running }: Snapshot): boolean {
  if (transaction < xmin) return true;
  return transaction < xmax && !running.has(transaction);
}
