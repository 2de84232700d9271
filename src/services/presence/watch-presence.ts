import { reachName, type Reach } from '../../domain/access.js';
import type { Clock } from '../../domain/clock.js';
import type { Beside, PresenceUpdate, UserPresence } from '../../domain/presence.js';
import type { PresencePlace } from '../../domain/presence-cursor.js';
import { AppError } from '../../errors.js';
import type { Observer } from '../../observation.js';
import type { Database } from '../../store/database.js';
import { createNaming } from '../../store/database-name.js';
import { withinReach } from '../../store/presence/read-presence.js';
import type { Bus, BusSubscription } from '../bus.js';
import { joinReads } from '../joined-reads.js';
import { hear, presenceChannel, readEdges } from '../messages.js';
import { createTimedDuty } from '../timed-duty.js';
import type { DeviceStates } from './device-states.js';
import { createToldLastSeen, LastSeenRound } from './last-seen-round.js';
import { readLastSeen } from './last-seen.js';
import { OnlineCounter, type OnlineCount } from './online-count.js';
import { PresenceHub } from './presence-hub.js';
import { PRESENCE_LIMITS, type PresenceLimits } from './presence-limits.js';
import { createLooks } from './presence-looks.js';
import type { Watched } from './presence-start.js';
import { createStarts, type Starts } from './presence-starts.js';
import { PresenceWatcher } from './presence-watcher.js';

/** What a watcher watches within its reach, and how. */
interface WatchOptions {
  /** Only these users, if they are within reach. Null: every user within reach. */
  readonly identities?: readonly string[] | null;
  /** The place that the watcher has seen. The changes since then come first, or a SNAPSHOT if they are not known. */
  readonly after?: PresencePlace | null;
  /** The fields beside edges (`Beside`) whose changes the watcher gets. */
  readonly asks?: ReadonlySet<Beside>;
  /**
   * Charges for so many more users of a start: for changes before they are read, for a SNAPSHOT before the watcher gets it. Not
   * for a start after a gap, which the watcher did not cause. If it throws, a new watch ends with the error. A slow watch tries
   * again later, each time after a longer wait.
   */
  readonly charge?: (users: number) => Promise<void>;
}

/** Watches who is online (rules 28 to 30). */
export interface Presence {
  /**
   * Watches users: first a SNAPSHOT or the changes, then a DIFF for each change. The iterator ends when the caller returns it,
   * or when the server closes. Throws UNAVAILABLE if the start cannot be read, and what `charge` throws.
   */
  watch(reach: Reach, options?: WatchOptions): Promise<AsyncIterableIterator<PresenceUpdate>>;
  /**
   * Watches how many users within reach are online: the count now, then each new count, at most once a second. Ends and throws
   * as `watch`.
   */
  count(reach: Reach): Promise<AsyncIterableIterator<OnlineCount>>;
  /** Reads lastSeenAt of the users that do not have it yet, and writes it into the same objects. Null: nothing to read. */
  readLastSeen(reach: Reach, users: readonly UserPresence[]): Promise<void> | null;
  /**
   * Reads what has changed since the last time, and hands on the changes that the bus has not brought. Takes mostly one round
   * trip to Postgres, and none if nobody watches. Watchers whose start failed read it again (see LONGEST_WAIT).
   */
  repair(): Promise<void>;
  /**
   * If a watcher asks for lastSeenAt, finds the users that were seen again, and sends it: for each user at most once a minute.
   */
  tellLastSeen(): Promise<void>;
  /** From now on calls `repair` every 2 seconds and `tellLastSeen` every second. */
  start(): void;
  /** Ends every watch. */
  close(): Promise<void>;
}

const REPAIR_INTERVAL = 2_000;
const LAST_SEEN_INTERVAL = 1_000;
/**
 * The most repairs after which a watcher tries again to pay for a start: about a minute. Each try reads the start before it is
 * refused. The wait begins with one repair, and doubles.
 */
const LONGEST_WAIT = 30;
const NOTHING: ReadonlySet<Beside> = new Set();

interface Room {
  readonly hub: PresenceHub;
  readonly starts: Starts;
  readonly counters: Map<string, OnlineCounter>;
  /** Null while nobody asks for lastSeenAt. */
  lastSeen: LastSeenRound | null;
  /** Stops watching the states of devices. Null while nobody asks for devices. */
  unwatch: (() => void) | null;
  readonly subscription: Promise<BusSubscription>;
  /** When it has resolved, the room gets everything that is published from then on. Starts see everything from before. */
  readonly ready: Promise<void>;
}

/** The users that a watcher watches. Null: everybody of the project. */
function watchedBy(reach: Reach, identities: readonly string[] | null): Watched | null {
  if (identities) return withinReach(reach, identities);
  return reach.userIds && new Map(reach.userIds.map((id) => [id, null]));
}

/** The name of an audience. It is the same for all watchers that watch the same. */
function nameOf(watched: Watched | null, kind: string): string {
  return watched ? `${kind} ${[...watched.keys()].toSorted().join()}` : 'everybody';
}

export function createPresence(deps: {
  database: Database;
  bus: Bus;
  clock: Clock;
  observe: Observer;
  limits?: PresenceLimits;
  /** The states of devices. A test may leave it out. */
  deviceStates?: Pick<DeviceStates, 'watch' | 'since'>;
}): Presence {
  const { database, bus, clock, observe, limits = PRESENCE_LIMITS, deviceStates } = deps;
  const rooms = new Map<string, Room>();
  const watchers = new Set<PresenceWatcher>();
  const toldLastSeen = createToldLastSeen();
  /** Watchers whose new start could not be read or paid for, with the number of repairs after which they try again. */
  const behind = new Map<PresenceWatcher, number>();
  let closed = false;

  const naming = createNaming(database);
  const looks = createLooks({ database, clock, naming });

  function enter(projectId: string): Room {
    const known = rooms.get(projectId);
    if (known) return known;
    const hub = new PresenceHub(
      clock,
      limits,
      () => leave(projectId, room),
      (edges) => room.lastSeen?.note(edges, clock.now().getTime()),
    );
    const channel = presenceChannel(projectId);
    const subscription = bus.subscribe(channel, {
      onMessage: hear(channel, readEdges, observe, (edges) => hub.receive(edges)),
      // A look finds the changes of a time without a connection, and those that another server could not publish.
      onLoss: () => void look(null).catch(onError),
      onGap: () => void look(null).catch(onError),
    });
    const ready = subscription.then(() => looks.begin(hub));
    const looksBegun = (): number => looks.begun;
    const starts = createStarts({ database, clock, hub, projectId, naming, looks: looksBegun, limits, deviceStates });
    const room: Room = { hub, starts, counters: new Map(), lastSeen: null, unwatch: null, subscription, ready };
    rooms.set(projectId, room);
    return room;
  }

  function leave(projectId: string, room: Room): void {
    if (rooms.get(projectId) !== room) return;
    rooms.delete(projectId);
    room.hub.close();
    room.unwatch?.();
    room.subscription
      .then((subscription) => subscription.close())
      .catch((error: unknown) => observe({ kind: 'task.failed', task: 'presence.unsubscribe', error }));
  }

  const onError = (error: unknown): void => observe({ kind: 'task.failed', task: 'presence.repair', error });

  /** Begins to look for changes of these fields, if the room does not do so yet. */
  function attend(projectId: string, room: Room, asks: ReadonlySet<Beside>): void {
    if (asks.has('lastSeenAt'))
      room.lastSeen ??= new LastSeenRound(database, projectId, clock.now().getTime(), toldLastSeen);
    if (asks.has('devices'))
      room.unwatch ??= deviceStates?.watch(projectId, (users) => room.hub.tellAgain(users)) ?? null;
  }

  async function tellLastSeen(): Promise<void> {
    for (const room of rooms.values()) {
      const { hub, lastSeen } = room;
      if (!hub.isAsked('lastSeenAt')) room.lastSeen = null;
      else if (lastSeen) hub.tellAgain(await lastSeen.look(() => hub.askedOf('lastSeenAt'), clock.now().getTime()));
    }
  }

  /** Stops watching the states of devices if nobody asks for devices any more. */
  function attendNoMore(room: Room): void {
    if (!room.unwatch || room.hub.isAsked('devices')) return;
    room.unwatch();
    room.unwatch = null;
  }

  async function repair(): Promise<void> {
    for (const room of rooms.values()) attendNoMore(room);
    for (const { starts } of rooms.values()) starts.tidy();
    await looks.look(new Map([...rooms].map(([projectId, { hub }]) => [projectId, hub])));
    for (const [watcher, repairs] of behind) {
      if (repairs > 1) behind.set(watcher, repairs - 1);
      else {
        behind.delete(watcher);
        watcher.retry();
      }
    }
  }

  /** Runs one repair at a time. A caller that comes while one is under way gets the result of the next one. */
  const look = joinReads<null, void>(async (asks) => {
    await repair();
    return asks.map(() => undefined);
  });

  const duty = createTimedDuty(REPAIR_INTERVAL, () => look(null), onError);

  const lastSeenDuty = createTimedDuty(LAST_SEEN_INTERVAL, tellLastSeen, (error) =>
    observe({ kind: 'task.failed', task: 'presence.lastSeen', error }),
  );

  /** The error for the caller: an AppError as it is, any other error as UNAVAILABLE. */
  function unavailable(error: unknown): AppError {
    if (error instanceof AppError) return error;
    const message = 'The server cannot read presence now. Try again in a second.';
    return new AppError('UNAVAILABLE', message, { retryAfter: 1 }, { cause: error });
  }

  function checkOpen(): void {
    if (closed) throw new AppError('UNAVAILABLE', 'This server is shutting down; try again.', { retryAfter: 1 });
  }

  return {
    async watch(reach, { identities = null, after = null, asks = NOTHING, charge } = {}) {
      checkOpen();
      const watched = watchedBy(reach, identities);
      const room = enter(reach.projectId);
      const name = nameOf(watched, identities ? 'of' : 'within');
      const audience = room.hub.audience(name, watched && [...watched.keys()]);
      /** How often in a row a start was not paid. */
      let unpaid = 0;
      const watcher = new PresenceWatcher(audience, {
        after,
        asks,
        async begin(why, seen, held) {
          await room.ready;
          const start = await room.starts.begin(
            {
              audience,
              watched,
              devices: asks.has('devices'),
              isPoor: unpaid > 0,
              async pay(users) {
                if (why === 'gap') return;
                try {
                  await charge?.(users);
                } catch (error) {
                  unpaid += 1;
                  throw error;
                }
              },
            },
            seen,
            held,
          );
          if (why !== 'gap') unpaid = 0;
          return start;
        },
        onEnd() {
          watchers.delete(watcher);
          behind.delete(watcher);
          observe({ kind: 'watcher.closed', what: 'presence' });
        },
        onResnapshot: (why) => observe({ kind: 'watcher.resnapshotted', why }),
        onBehind: () => behind.set(watcher, Math.min(2 ** Math.max(0, unpaid - 1), LONGEST_WAIT)),
      });
      watchers.add(watcher);
      attend(reach.projectId, room, asks);
      observe({ kind: 'watcher.opened', what: 'presence' });
      try {
        await watcher.open();
      } catch (error) {
        throw unavailable(error);
      }
      return watcher;
    },
    async count(reach) {
      checkOpen();
      const room = enter(reach.projectId);
      const name = reachName(reach);
      let counter = room.counters.get(name);
      if (!counter) {
        const watched = watchedBy(reach, null);
        const audience = room.hub.audience(nameOf(watched, 'within'), reach.userIds);
        const onEmpty = (): void => void room.counters.delete(name);
        counter = new OnlineCounter(audience, { database, reach, onError, onEmpty, ready: room.ready });
        room.counters.set(name, counter);
      }
      observe({ kind: 'watcher.opened', what: 'presence' });
      try {
        return await counter.read(() => observe({ kind: 'watcher.closed', what: 'presence' }));
      } catch (error) {
        throw unavailable(error);
      }
    },
    readLastSeen: ({ projectId }, users) => readLastSeen(database, projectId, users),
    repair: () => look(null),
    tellLastSeen,
    start() {
      duty.start();
      lastSeenDuty.start();
    },
    async close() {
      closed = true;
      for (const watcher of watchers) watcher.end(null);
      for (const { counters } of rooms.values()) for (const counter of counters.values()) counter.end();
      await duty.close();
      await lastSeenDuty.close();
    },
  };
}
