import type { Clock } from '../../domain/clock.js';
import type { PresenceRow } from '../../domain/presence.js';
import { OLDEST_CURSOR, type PresencePlace } from '../../domain/presence-cursor.js';
import type { Database } from '../../store/database.js';
import type { Naming } from '../../store/database-name.js';
import { presenceNow, type Moment, type Pay } from '../../store/presence/presence-moments.js';
import { neverSeen } from '../../store/presence/read-presence.js';
import { joinReads } from '../joined-reads.js';
import type { Audience } from './audience.js';
import { createChangesSince } from './changes-since.js';
import type { DeviceStates } from './device-states.js';
import type { PresenceHub } from './presence-hub.js';
import type { PresenceLimits } from './presence-limits.js';
import { toStart, type Start, type Watched } from './presence-start.js';

/** How far the clocks of two servers may be apart: each is an estimate of Postgres' clock. Milliseconds. */
const CLOCKS_APART = 10_000;

/** The most users that one statement reads for watchers of some users. So no watcher waits long. */
const MOST_USERS = 1_000;

/** A request for a start. `watched` null: everybody. */
interface Ask {
  readonly audience: Audience;
  readonly watched: Watched | null;
  /** Whether the watcher asks for devices. */
  readonly devices: boolean;
  /** Whether the watcher could not pay for its last start. Then no snapshot of everybody is read for it alone. */
  readonly isPoor: boolean;
  /** Charges for so many more users. Throws if the watcher cannot pay. */
  readonly pay: Pay;
}

export interface Starts {
  /**
   * Reads the changes since `after` as a DIFF. Reads a SNAPSHOT instead if the changes are not known, or if more users have
   * changed than `limits.changed` and than `held`, the number of users of the watcher's last SNAPSHOT. It is paid when it is
   * returned; the changes are paid before they are read. Rejects if the read fails, and with the error of `pay`.
   */
  begin(ask: Ask, after: PresencePlace | null, held: number): Promise<Start>;
  /** Drops the frames that no watcher needs any more. */
  tidy(): void;
}

function usersOf(watched: Watched, found: ReadonlyMap<string, PresenceRow>): PresenceRow[] {
  const users: PresenceRow[] = [];
  for (const [id, identity] of watched) {
    const user = found.get(id);
    if (identity !== null) users.push(user ?? { ...neverSeen(identity), unread: null });
    else if (user?.status === 'ONLINE') users.push(user);
  }
  return users;
}

/**
 * Reads the starts of one project. A SNAPSHOT of everybody is read one time for all watchers that come within `reuse`. A
 * SNAPSHOT of some users, and the changes since a place (changes-since), are read one time for all watchers that ask at the same
 * moment. Each start is encoded one time for all watchers that share it.
 */
export function createStarts(deps: {
  database: Database;
  clock: Clock;
  hub: PresenceHub;
  projectId: string;
  /** The SQL that names the database. It has resolved when the hub has its first look. */
  naming: Naming;
  /** How many looks have begun on this server. */
  looks: () => number;
  limits: PresenceLimits;
  deviceStates: Pick<DeviceStates, 'since'> | undefined;
}): Starts {
  const { database, clock, hub, projectId, naming, looks, limits } = deps;
  const changes = createChangesSince({ ...deps, mostUsers: MOST_USERS });
  /** The snapshots of everybody that watchers hold, or that new watchers may still get. The oldest is first. */
  let kept: { readonly audience: Audience; readonly start: Start; isFresh: boolean }[] = [];
  let reading: { readonly audience: Audience; readonly position: number; readonly start: Promise<Start> } | null = null;

  function forget(): void {
    kept = kept.filter(({ start, isFresh }) => isFresh || start.holders.size > 0);
  }

  /** A SNAPSHOT that has just been read. `position` and `at` are from before the read. */
  const toSnapshot = (
    users: readonly PresenceRow[],
    moment: Moment,
    before: { readonly position: number; readonly at: Date },
  ): Start =>
    toStart('SNAPSHOT', users, moment, {
      ...before,
      from: null,
      looks: looks(),
      readAt: performance.now(),
      part: limits.part,
    });

  async function readEverybody(audience: Audience): Promise<Start> {
    const before = { position: audience.head, at: clock.now() };
    const { users, ...moment } = await presenceNow(database, { projectId, userIds: null }, await naming());
    const start = toSnapshot([...users.values()], moment, before);
    forget();
    if (kept.length >= limits.held) kept.shift()!.start.isWithdrawn = true;
    const one = { audience, start, isFresh: true };
    kept.push(one);
    start.onFree = forget;
    setTimeout(() => {
      one.isFresh = false;
      forget();
    }, limits.reuse).unref();
    return start;
  }

  /** `anew`: the caller must not get a snapshot that was read before. Nobody gets one from before a gap. */
  async function ofEverybody(audience: Audience, anew: boolean): Promise<Start> {
    const latest = kept.at(-1);
    if (!anew && latest?.audience === audience && audience.lossAt(latest.start.position) !== 'gap') {
      const isFull = kept.filter(({ start }) => start.holders.size > 0).length >= limits.held;
      if (isFull || latest.isFresh) return latest.start;
    }
    if (reading?.audience === audience && audience.lossAt(reading.position) !== 'gap') return reading.start;
    const mine = { audience, position: audience.head, start: readEverybody(audience) };
    reading = mine;
    try {
      return await mine.start;
    } finally {
      if (reading === mine) reading = null;
    }
  }

  const ofSome = joinReads<Ask, Start>(
    async (asks) => {
      const at = clock.now();
      const positions = asks.map(({ audience }) => audience.head);
      const userIds = [...new Set(asks.flatMap(({ watched }) => [...watched!.keys()]))];
      const { users, ...moment } = await presenceNow(database, { projectId, userIds }, await naming());
      const starts = new Map<Audience, Start>();
      return asks.map(({ audience, watched }, index) => {
        let start = starts.get(audience);
        if (!start) {
          start = toSnapshot(usersOf(watched!, users), moment, { position: positions[index]!, at });
          starts.set(audience, start);
        }
        return start;
      });
    },
    { most: MOST_USERS, weightOf: ({ watched }) => watched!.size },
  );

  /** Whether the changes since the place may be known. A place of the future was not made by a server. */
  function isUsable({ database: name, at }: PresencePlace): boolean {
    const age = clock.now().getTime() - at;
    return name === hub.look!.place.database && age < OLDEST_CURSOR && age > -CLOCKS_APART;
  }

  return {
    async begin(ask, after, users) {
      const { audience, watched, pay } = ask;
      let isAnew = false;
      if (after && isUsable(after)) {
        const goOn = { ...ask, after, most: Math.max(limits.changed, users) };
        if (changes.hasRoom(goOn)) {
          const start = await changes.read(goOn);
          if (start) return start;
          isAnew = !ask.isPoor;
        }
      }
      const start = await (watched ? ofSome(ask) : ofEverybody(audience, isAnew));
      await pay(start.users);
      return start;
    },
    tidy() {
      const latest = kept.at(-1);
      for (const audience of hub.all()) {
        const isNeeded = latest?.audience === audience && latest.isFresh;
        audience.trim(isNeeded ? latest.start.position : audience.head);
      }
    },
  };
}
