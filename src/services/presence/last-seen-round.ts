import { LRUCache } from 'lru-cache';
import type { PresenceAgain, PresenceEdge } from '../../domain/presence.js';
import type { Database } from '../../store/database.js';
import { presenceOfOnline } from '../../store/presence/current-presence.js';

/** The shortest time between two updates of a user's lastSeenAt. Milliseconds. */
const PACE = 60_000;
/**
 * Users of one look: a statement of some 20 ms. There is one look a second. With more than 120,000 users a round takes longer
 * than a minute.
 */
const LOOK = 2_000;
/**
 * Users of all projects whose last update is kept: some 15 MB. For other users the same lastSeenAt may be sent again.
 */
const MOST_REMEMBERED = 100_000;

interface Told {
  readonly seenAt: number;
  readonly toldAt: number;
}

/** The last updates of a server, by user id. A user id is of one project only. */
export type ToldLastSeen = LRUCache<string, Told>;

/** A server needs one, because an empty one takes 3 MB already. */
export const createToldLastSeen = (): ToldLastSeen => new LRUCache({ max: MOST_REMEMBERED });

/**
 * Finds the users of one project that were seen since the last update of their lastSeenAt. A heartbeat writes no row of the
 * user and publishes no message, because that would cost too much. Instead, while a subscriber asks for lastSeenAt, the server
 * reads the sessions of the users once a minute. Edges carry lastSeenAt too, at no extra cost. Times are milliseconds since
 * the epoch.
 */
export class LastSeenRound {
  private nextAt: number;
  /** Where the current round goes on. Null: no round is under way. */
  private place: { readonly left: readonly string[] } | { readonly after: string | null } | null = null;

  constructor(
    private readonly database: Database,
    private readonly projectId: string,
    /** Since when a subscriber asks. Subscribers have read everything from before. */
    private readonly begun: number,
    private readonly told: ToldLastSeen,
  ) {
    this.nextAt = begun + PACE;
  }

  /** Keeps the lastSeenAt that these edges or updates have sent. `now`: the time of sending. */
  note(edges: readonly Pick<PresenceEdge, 'userId' | 'presence'>[], now: number): void {
    for (const { userId, presence } of edges)
      this.told.set(userId, { seenAt: presence.lastSeenAt?.getTime() ?? 0, toldAt: now });
  }

  /**
   * Reads the next users of the round, or begins a round if it is due. `asked` returns the users that subscribers ask for
   * (null: everybody). Returns the users whose new lastSeenAt is to be sent.
   */
  async look(asked: () => readonly string[] | null, now: number): Promise<PresenceAgain[]> {
    if (!this.place) {
      if (now < this.nextAt) return [];
      this.nextAt = now + PACE;
      const userIds = asked();
      this.place = userIds ? { left: userIds } : { after: null };
    }
    const reach = { projectId: this.projectId, userIds: null };
    const { place } = this;
    let found: PresenceAgain[];
    // The place moves on after the read: if the read fails, the next look reads the same users.
    if ('left' in place) {
      found = await presenceOfOnline(this.database, reach, { userIds: place.left.slice(0, LOOK) });
      const left = place.left.slice(LOOK);
      this.place = left.length > 0 ? { left } : null;
    } else {
      found = await presenceOfOnline(this.database, reach, { after: place.after, limit: LOOK });
      this.place = found.length === LOOK ? { after: found.at(-1)!.userId } : null;
    }
    const news = found.filter(({ userId, presence }) => {
      const { seenAt, toldAt } = this.told.get(userId) ?? { seenAt: 0, toldAt: 0 };
      // What is kept may be of subscribers who have gone since.
      const isNew = (presence.lastSeenAt?.getTime() ?? 0) > Math.max(seenAt, this.begun);
      return isNew && now - Math.max(toldAt, this.begun) >= PACE;
    });
    this.note(news, now);
    return news;
  }
}
