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

/** A Postgres snapshot (`pg_current_snapshot()`), read: which transactions it sees. */
export interface Snapshot {
  readonly xmin: number;
  readonly xmax: number;
  readonly running: ReadonlySet<number>;
}

/** Reads `xmin:xmax:in,progress` as Postgres writes it. Transaction ids are 64 bits that no server ever uses up. */
export function readSnapshot(text: string): Snapshot {
  const [xmin, xmax, running = ''] = text.split(':');
  return { xmin: Number(xmin), xmax: Number(xmax), running: new Set(running.split(',').filter(Boolean).map(Number)) };
}

/** Whether the snapshot sees what the transaction did: the same answer as pg_visible_in_snapshot. */
export function isVisible(transaction: number, { xmin, xmax, running }: Snapshot): boolean {
  if (transaction < xmin) return true;
  return transaction < xmax && !running.has(transaction);
}
