import type { Reach } from '../domain/access.js';
import type { Clock } from '../domain/clock.js';
import { userIdOf } from '../domain/identity.js';
import { readSnapshot, type PresenceUpdate } from '../domain/presence.js';
import { AppError } from '../errors.js';
import type { Observer } from '../observation.js';
import type { Database } from '../store/database.js';
import { presenceSnapshot, recentEdges } from '../store/presence.js';
import type { Bus, BusSubscription } from './bus.js';
import { decodeEdges, presenceChannel } from './messages.js';
import { PresenceHub } from './presence-hub.js';
import { PresenceWatcher } from './presence-watcher.js';
import { createTimedDuty } from './timed-duty.js';

/** Watches who is online (rules 28 to 30). */
export interface Presence {
  /**
   * A SNAPSHOT, then a DIFF for each change, without end. `identities` null: every user within reach.
   * Ends when the caller returns it, or when the server closes. Throws UNAVAILABLE where the snapshot cannot be read.
   */
  watch(reach: Reach, identities: readonly string[] | null): Promise<AsyncIterableIterator<PresenceUpdate>>;
  /** Looks for edges that were committed and never published, and tells them; one statement, none where nobody watches. Those whose snapshot failed read it now. */
  repair(now: Date): Promise<void>;
  /** Repairs every 2 seconds from now on. */
  start(): void;
  /** Ends every watch. */
  close(): Promise<void>;
}

const REPAIR_INTERVAL = 2_000;
/** How far back a repair looks beyond the last one: longer than a transaction takes from its clock to its commit. */
const REPAIR_OVERLAP = 10_000;

interface Room {
  readonly hub: PresenceHub;
  readonly subscription: Promise<BusSubscription>;
}

export function createPresence(deps: { database: Database; bus: Bus; clock: Clock; observe: Observer }): Presence {
  const { database, bus, clock, observe } = deps;
  const rooms = new Map<string, Room>();
  /** Those whose new snapshot could not be read. */
  const behind = new Set<PresenceWatcher>();
  let lastRepair: Date | null = null;
  let closed = false;

  /** Every watcher starts again. */
  function resnapshot(watchers: ReadonlySet<PresenceWatcher>): void {
    for (const watcher of watchers) void watcher.restart('gap');
  }

  function enter(projectId: string): Room {
    const known = rooms.get(projectId);
    if (known) return known;
    const hub = new PresenceHub(clock);
    const subscription = bus.subscribe(presenceChannel(projectId), {
      onMessage: (message) => hub.receive(decodeEdges(message)),
      // What was said meanwhile is in the snapshot that follows, and what another server could not say the repair finds.
      onLoss: () => {},
      onGap: () => resnapshot(hub.watchers),
    });
    const room = { hub, subscription };
    rooms.set(projectId, room);
    return room;
  }

  function leave(projectId: string, room: Room): void {
    if (!room.hub.isEmpty || rooms.get(projectId) !== room) return;
    rooms.delete(projectId);
    room.hub.close();
    room.subscription
      .then((subscription) => subscription.close())
      .catch((error: unknown) => observe({ kind: 'task.failed', task: 'presence.unsubscribe', error }));
  }

  async function repair(now: Date): Promise<void> {
    const since = new Date((lastRepair ?? now).getTime() - REPAIR_OVERLAP);
    const watched = [...rooms.keys()];
    if (watched.length > 0) {
      const reaches = watched.map((projectId): Reach => ({ projectId, userIds: null }));
      for (const { projectId, edge } of await recentEdges(database, reaches, since, now))
        rooms.get(projectId)?.hub.receive([edge]);
    }
    lastRepair = now;
    const late = new Set(behind);
    behind.clear();
    resnapshot(late);
    for (const { hub } of rooms.values()) hub.forget(performance.now());
  }

  const duty = createTimedDuty(
    REPAIR_INTERVAL,
    () => repair(clock.now()),
    (error) => observe({ kind: 'task.failed', task: 'presence.repair', error }),
  );

  return {
    async watch(reach, identities) {
      if (closed) throw new AppError('UNAVAILABLE', 'This server is shutting down; try again.', { retryAfter: 1 });
      const { projectId } = reach;
      const named = identities?.map((identity) => userIdOf(projectId, identity.trim())) ?? reach.userIds;
      const userIds = named && new Set(named.filter((id) => reach.userIds === null || reach.userIds.includes(id)));
      const room = enter(projectId);
      const watcher = new PresenceWatcher(userIds, {
        async start() {
          // Whatever is published from here on arrives; whatever was, the snapshot sees.
          await room.subscription;
          const at = clock.now();
          const { users, snapshot } = await presenceSnapshot(database, reach, identities, at);
          return { users, snapshot: readSnapshot(snapshot), at };
        },
        onEnd() {
          behind.delete(watcher);
          room.hub.remove(watcher);
          leave(projectId, room);
          observe({ kind: 'watcher.closed', what: 'presence' });
        },
        onResnapshot: (why) => observe({ kind: 'watcher.resnapshotted', why }),
        onBehind: () => behind.add(watcher),
      });
      room.hub.add(watcher);
      observe({ kind: 'watcher.opened', what: 'presence' });
      try {
        await watcher.open();
      } catch (error) {
        if (error instanceof AppError) throw error;
        throw new AppError(
          'UNAVAILABLE',
          'Presence cannot be watched just now; try again shortly.',
          { retryAfter: 1 },
          { cause: error },
        );
      }
      return watcher;
    },
    repair,
    start: () => duty.start(),
    async close() {
      closed = true;
      for (const { hub } of rooms.values()) for (const watcher of hub.watchers) watcher.end(null);
      await duty.close();
    },
  };
}
