import type { Reach } from '../../domain/access.js';
import type { FeedPlace } from '../../domain/change.js';
import type { Clock } from '../../domain/clock.js';
import { AppError } from '../../errors.js';
import type { Observer } from '../../observation.js';
import type { Database } from '../../store/database.js';
import type { Naming } from '../../store/database-name.js';
import { lookForChanges } from '../../store/feed/read-changes.js';
import { EVENT_FIELDS, type EventField } from '../../store/sessions/events.js';
import type { Bus, BusSubscription } from '../bus.js';
import { changesChannel } from '../messages.js';
import { createTimedDuty } from '../timed-duty.js';
import { FeedRoom, horizonOf } from './feed-room.js';
import { createView, type FeedChange, type FeedFilter } from './feed-view.js';
import { FeedWatcher } from './feed-watcher.js';
import { HeldPages } from './held-pages.js';
import { createFeedReader, sinceOf, type FeedReader, type Pay } from './read-feed.js';

/** Without the bus, a change is found after so long. Milliseconds. */
const LOOK_EVERY = 250;

/** The feed of changes: pages of it, and watches that go on from a place. */
export interface Feed {
  readonly reader: FeedReader;
  /**
   * Watches the feed from a place on: `after`, or now. A watch misses nothing, and repeats nothing, whatever the bus loses and
   * however slowly it is read. What is stored before it comes to the present is paid page by page. Rejects with CURSOR_EXPIRED
   * (FeedReader.check), UNAVAILABLE, and with RATE_LIMITED if there are too many different watches with the same rights. Ends
   * with CURSOR_EXPIRED if the database becomes another one. `asked`: the fields of events that are needed; left out: all.
   */
  watch(
    reach: Reach,
    filter: FeedFilter,
    from: { readonly after: FeedPlace | null; readonly pay: Pay; readonly asked?: readonly EventField[] },
  ): Promise<AsyncIterableIterator<FeedChange>>;
  /** Seconds from the oldest change that subscribers of this server wait for, to now; 0 if there is none. */
  readonly lag: number;
  start(): void;
  /** Ends every watch. */
  close(): Promise<void>;
}

/** A room, and what wakes it. */
interface Place {
  readonly room: FeedRoom;
  /** Resolves with null if the bus did not take the subscription. Then a look tries again. */
  subscription: Promise<BusSubscription | null>;
  isUnheard: boolean;
  /** Watchers of the project, in the room or not. */
  watchers: number;
}

export function createFeed(deps: {
  database: Database;
  naming: Naming;
  bus: Bus;
  clock: Clock;
  observe: Observer;
  pages?: HeldPages;
}): Feed {
  const { database, naming, bus, clock, observe, pages = new HeldPages() } = deps;
  const reader = createFeedReader({ database, naming, clock });
  const places = new Map<string, Place>();
  const watchers = new Set<FeedWatcher>();
  let waitingSince: Date | null = null;
  let closed = false;
  const onError = (error: unknown): void => {
    if (!closed) observe({ kind: 'task.failed', task: 'feed', error });
  };

  function enter(projectId: string, now: FeedPlace): Place {
    const known = places.get(projectId);
    if (known) return known;
    const room = new FeedRoom(projectId, { database, reader, onError }, horizonOf(now));
    const place: Place = { room, subscription: Promise.resolve(null), isUnheard: true, watchers: 0 };
    listen(place);
    places.set(projectId, place);
    return place;
  }

  /** The bus makes it quick. If it cannot be reached, the looks find everything. */
  function listen(place: Place): void {
    const { room } = place;
    const wakeUp = (): void => room.wakeUp();
    const listener = { onMessage: wakeUp, onLoss: wakeUp, onGap: wakeUp };
    place.isUnheard = false;
    place.subscription = bus.subscribe(changesChannel(room.projectId), listener).catch(() => {
      place.isUnheard = true;
      return null;
    });
  }

  function leave(projectId: string, place: Place): void {
    place.watchers -= 1;
    if (place.watchers > 0 || places.get(projectId) !== place) return;
    places.delete(projectId);
    place.room.close();
    void place.subscription.then((subscription) => subscription?.close()).catch(onError);
  }

  async function look(): Promise<void> {
    if (bus.connected) for (const place of places.values()) if (place.isUnheard) listen(place);
    const rooms = [...places.values()].map(({ room }) => room).filter((room) => !room.isEmpty);
    if (rooms.length === 0) {
      waitingSince = null;
      return;
    }
    const at = clock.now();
    const positions = new Map(rooms.map(({ projectId, position }) => [projectId, position]));
    const looked = await lookForChanges(
      database,
      [...positions].map(([projectId, position]) => ({
        projectId,
        transaction: position.transaction,
        part: position.part,
        since: sinceOf(position, at),
      })),
    );
    let oldest: Date | null = null;
    for (const { projectId, isReady, waitingSince: since } of looked) {
      const room = places.get(projectId)?.room;
      if (isReady) room?.wakeUp();
      if (!since) room?.growOlder(positions.get(projectId)!, at);
      else if (!oldest || since < oldest) oldest = since;
    }
    waitingSince = oldest;
  }

  const duty = createTimedDuty(LOOK_EVERY, look, onError);

  return {
    reader,
    async watch(callers, filter, { after, pay, asked = EVENT_FIELDS }) {
      const { projectId } = callers;
      const view = createView(callers, filter);
      if (after) await reader.check(callers, after);
      const now = await reader.now();
      if (closed) throw new AppError('UNAVAILABLE', 'This server is shutting down; try again.', { retryAfter: 1 });
      const place = enter(projectId, now);
      const watcher = new FeedWatcher(place.room, reader, view, after ?? now, pay, asked, pages, () => {
        watchers.delete(watcher);
        observe({ kind: 'watcher.closed', what: 'changes' });
        leave(projectId, place);
      });
      place.watchers += 1;
      watchers.add(watcher);
      observe({ kind: 'watcher.opened', what: 'changes' });
      try {
        if (!after) await watcher.begin();
      } catch (error) {
        watcher.end(null);
        throw error;
      }
      return watcher;
    },
    get lag() {
      return waitingSince ? Math.max(0, clock.now().getTime() - waitingSince.getTime()) / 1_000 : 0;
    },
    start: () => duty.start(),
    async close() {
      closed = true;
      for (const watcher of watchers) watcher.end(null);
      await duty.close();
    },
  };
}
