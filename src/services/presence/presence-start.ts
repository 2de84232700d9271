import { readSnapshot, type PresenceUpdate, type UserPresence } from '../../domain/presence.js';
import { writePresenceCursor, type PresencePlace } from '../../domain/presence-cursor.js';
import type { Moment } from '../../store/presence/presence-moments.js';
import { inParts, type View } from './audience.js';

/**
 * The start of a watcher: a SNAPSHOT, or what has changed. A watcher that has missed something gets a new one. Watchers share
 * it.
 */
export interface Start {
  readonly kind: PresenceUpdate['kind'];
  readonly parts: readonly PresenceUpdate[];
  /** The number of users in all parts together. */
  readonly users: number;
  readonly view: View;
  /** The position in the audience's frames at which a watcher goes on after this start. */
  readonly position: number;
  readonly place: PresencePlace;
  /** The watchers that have not taken all parts yet. */
  readonly holders: Set<unknown>;
  /** Called when the last holder has taken all parts. */
  onFree: () => void;
  /**
   * Whether the start was dropped because there were too many. A watcher that has not taken all parts ends with UNAVAILABLE.
   */
  isWithdrawn: boolean;
}

/**
 * The users that a watcher watches, by user id. The value is the identity to show for a user that was never seen. If it is
 * null, a SNAPSHOT shows the user only while online.
 */
export type Watched = ReadonlyMap<string, string | null>;

/** When and for whom a start was read. */
export interface StartRead {
  /** The position of the audience before the read. */
  readonly position: number;
  /** When the read began. */
  readonly at: Date;
  /** The place since which the users have changed. Null for a SNAPSHOT. */
  readonly from: PresencePlace | null;
  /** What the view of the start has seen of the server: `looks` and `readAt` of View. */
  readonly looks: number;
  readonly readAt: number;
  /** The most users of one message. */
  readonly part: number;
}

export function toStart(
  kind: Start['kind'],
  users: readonly UserPresence[],
  { database, snapshot }: Moment,
  { position, at, from, looks, readAt, part }: StartRead,
): Start {
  const place = { database, snapshot, at: at.getTime() };
  const ends = { before: writePresenceCursor(from), after: writePresenceCursor(place) };
  return {
    kind,
    parts: inParts(users, part, { kind, at, ...ends }),
    users: users.length,
    view: { snapshot: readSnapshot(snapshot), looks, readAt },
    position,
    place,
    holders: new Set(),
    onFree() {},
    isWithdrawn: false,
  };
}
