export type PresenceStatus = 'ONLINE' | 'OFFLINE';

/** A user's presence at a moment. */
export interface UserPresence {
  readonly identity: string;
  readonly name: string | null;
  readonly status: PresenceStatus;
  /** When the status last changed; null for a user never seen, or erased. */
  readonly since: Date | null;
  readonly lastSeenAt: Date | null;
  /** Sessions that count as online (rule 28). */
  readonly onlineSessions: number;
}

/**
 * One change of one user's status (rule 29): made by the transaction that flips `users.online`, published
 * after its commit.
 */
export interface PresenceEdge {
  readonly userId: string;
  readonly presence: UserPresence;
  /** Grows with every edge of the user. */
  readonly version: number;
  /** The version before; null where the user had no edge yet. A receiver can tell that one is missing. */
  readonly previous: number | null;
  /** The Postgres transaction (xid8) that made it: a snapshot that sees the transaction holds the edge. */
  readonly transaction: string;
  /** The session whose change caused the edge, where there is one. */
  readonly sessionId: string | null;
}

export interface PresenceUpdate {
  readonly kind: 'SNAPSHOT' | 'DIFF';
  readonly users: readonly UserPresence[];
  readonly at: Date;
}

/**
 * Whether a transaction is visible in a snapshot, both as Postgres writes them: `pg_current_xact_id()` and
 * `pg_current_snapshot()` (xmin:xmax:in,progress). The same answer as pg_visible_in_snapshot.
 */
export function isVisible(transaction: string, snapshot: string): boolean {
  const [xmin = '0', xmax = '0', running = ''] = snapshot.split(':');
  const id = BigInt(transaction);
  if (id < BigInt(xmin)) return true;
  if (id >= BigInt(xmax)) return false;
  return !running.split(',').includes(transaction);
}
