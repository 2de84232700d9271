/** What the feed of changes tells, and what a reader may ask for. */

export const SESSION_CHANGE_KINDS = ['STARTED', 'UPDATED', 'ENDED', 'MERGED'] as const;
export type SessionChangeKind = (typeof SESSION_CHANGE_KINDS)[number];

export type ChangeKind = 'EVENT' | 'SESSION' | 'PRESENCE' | 'ERASURE';

/**
 * A place in the feed of a project: the next entry to read. Entries are in the order of transactions, then of a transaction's
 * rows (`part`), then of a row's lists.
 */
export interface FeedPlace {
  /** The name of the database (store/database-name.ts). A transaction of another database means nothing here. */
  readonly database: string;
  /** The Postgres transaction (xid8). */
  readonly transaction: number;
  readonly part: number;
  readonly entry: number;
  /** The time of the place. No row after it is much older (FEED_SLACK). Milliseconds since the epoch. */
  readonly at: number;
  /**
   * `pg_current_snapshot()`, as Postgres writes it: what it sees was stored before the place, whatever the number of its
   * transaction. Null: all that follows in order comes after the place.
   */
  readonly seen: string | null;
}

/**
 * How much older than a place a row after it can be. A row has the time of the server that wrote it. Servers estimate the clock of
 * Postgres, and a transaction lasts minutes at most. So a day is far more than both. Milliseconds.
 */
export const FEED_SLACK = 86_400_000;

/**
 * How much longer than its project says a change is kept, and its cursor valid. So who begins with the oldest change can read on
 * from its page before the page's end is too old. Milliseconds.
 */
export const KEPT_LONGER = 3_600_000;

const DAY = 86_400_000;

/** A time in which no server was there. Milliseconds since the epoch. */
export interface Away {
  readonly from: number;
  readonly to: number;
}

/**
 * From when on a feed that goes back `days` is kept at `now`: what is older may be dropped. A time in which nobody was there does
 * not count. Else whoever waits for changes would lose them because nobody ran: a webhook that had taken everything too, since it
 * could not move its place on. `outages`: the latest first.
 */
export function keptSince(now: number, days: number, outages: readonly Away[]): number {
  let left = days * DAY;
  let time = now;
  for (const { from, to } of outages) {
    const ran = Math.max(0, time - to);
    if (ran >= left) break;
    left -= ran;
    time = Math.min(time, from);
  }
  return time - left;
}

/** Whether the first place is before the second in the order of the feed. */
export function isBefore(a: Omit<FeedPlace, 'database' | 'at' | 'seen'>, b: typeof a): boolean {
  if (a.transaction !== b.transaction) return a.transaction < b.transaction;
  if (a.part !== b.part) return a.part < b.part;
  return a.entry < b.entry;
}

/** The place before all changes with the time `at` (milliseconds since the epoch) or later, as far as they are kept. */
export const placeAt = (database: string, at: number): FeedPlace => ({
  database,
  transaction: 0,
  part: 0,
  entry: 0,
  // The slack is taken off again where the place is read from.
  at: at + FEED_SLACK,
  seen: null,
});
