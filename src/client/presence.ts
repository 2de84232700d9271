import type { OnlineCountSubscription, UserPresenceSubscription } from './generated/operations.js';
import type { Live } from './live.js';

/** A user, with what is known of their presence. */
export type PresentUser = UserPresenceSubscription['userPresence']['users'][number];

/**
 * `connecting`: nothing is known yet. `live`: this is the present state. `stale`: the connection is lost, and this was the
 * state then; it opens again by itself.
 */
export type LiveStatus = 'connecting' | 'live' | 'stale';

/** A value that changes. It is live while somebody is subscribed. */
export interface LiveValue<Value> {
  /** The value now. It is another object only after a change. */
  readonly get: () => Value;
  readonly status: LiveStatus;
  /** Calls `listener` after each change of the value or the status. Returns a function that ends it. */
  readonly subscribe: (listener: () => void) => () => void;
}

export interface PresenceStore extends LiveValue<ReadonlyMap<string, PresentUser>> {
  /**
   * All users of the store by identity: those that it was made for, else those who are online. With an identity: this user; of
   * a store without `identities` undefined if the user is not online.
   */
  readonly get: {
    (): ReadonlyMap<string, PresentUser>;
    (identity: string): PresentUser | undefined;
  };
}

export interface Presence {
  /**
   * Who is there. `identities`: only these users, also when they are offline. All stores of a client share one connection, and
   * what they ask for is joined: so there may be one for each row of a list.
   */
  presence(options?: { identities?: readonly string[] }): PresenceStore;
  /** How many users are online; null while it is not known. */
  onlineCount(): LiveValue<number | null>;
}

/** A subscription takes so many identities. */
const MOST_IDENTITIES = 1_000;
/** With more subscriptions than these, they are joined again. */
const MOST_FEEDS = 8;
/** Stores that come within this time are asked for together. Milliseconds. */
const GATHER = 20;
/** A store that is left may be wanted again at once. Milliseconds. */
const LINGER = 1_000;

const USER_PRESENCE = /* GraphQL */ `
  subscription UserPresence($identities: [String!], $after: String) {
    userPresence(identities: $identities, after: $after) {
      kind
      cursor
      hasMore
      users {
        identity
        name
        status
        since
        onlineSessions
      }
    }
  }
`;
const ONLINE_COUNT = /* GraphQL */ `
  subscription OnlineCount {
    onlineCount
  }
`;

const isSame = (one: PresentUser | undefined, other: PresentUser): boolean =>
  one !== undefined &&
  one.status === other.status &&
  one.onlineSessions === other.onlineSessions &&
  one.name === other.name &&
  one.since === other.since;

interface Listeners {
  readonly tell: () => void;
  readonly subscribe: (listener: () => void) => () => void;
}

/** Listeners, and what to do with the first and after the last of them. */
function createListeners(first: () => void, last: () => void): Listeners {
  const listeners = new Set<() => void>();
  return {
    tell: () => listeners.forEach((listener) => listener()),
    subscribe(listener: () => void) {
      // A wrapper, so that one function may listen twice.
      const own = (): void => listener();
      listeners.add(own);
      if (listeners.size === 1) first();
      return () => {
        if (listeners.delete(own) && listeners.size === 0) last();
      };
    },
  };
}

/** One subscription, and whether what it said is the present state. */
interface Feed {
  readonly identities: readonly string[] | undefined;
  isLive: boolean;
  stop(): void;
}

/** `report` hears the errors of subscriptions that cannot go on. */
export function createPresence(live: Live, report: (error: unknown) => void): Presence {
  /** Follows a subscription. `take` gets whole updates: of a SNAPSHOT in parts all together. */
  function follow(
    identities: readonly string[] | undefined,
    wasLive: boolean,
    take: (users: readonly PresentUser[], isSnapshot: boolean) => void,
    turned: () => void,
  ): Feed {
    let after: string | undefined;
    let parts: PresentUser[] = [];
    const feed: Feed = { identities, isLive: wasLive, stop: () => {} };
    function lose(): void {
      parts = [];
      if (!feed.isLive) return;
      feed.isLive = false;
      turned();
    }
    feed.stop = live.subscribe(USER_PRESENCE, () => ({ identities, after }), {
      next({ userPresence: { kind, cursor, hasMore, users } }: UserPresenceSubscription) {
        parts.push(...users);
        if (hasMore) return;
        after = cursor;
        const whole = parts;
        parts = [];
        const wasLive = feed.isLive;
        feed.isLive = true;
        take(whole, kind === 'SNAPSHOT');
        if (!wasLive) turned();
      },
      lost: lose,
      failed(error) {
        report(error);
        lose();
      },
    });
    return feed;
  }

  /** Everybody who is online. */
  function createAll() {
    let users = new Map<string, PresentUser>();
    let copy: ReadonlyMap<string, PresentUser> = users;
    let isKnown = false;
    let feed: Feed | undefined;
    let leaving: ReturnType<typeof setTimeout> | undefined;
    function changed(): void {
      copy = users;
      tell();
    }
    function take(told: readonly PresentUser[], isSnapshot: boolean): void {
      // Who reads gets a map that stays as it is. The copy is made once for all that is told together.
      const next = isSnapshot ? new Map<string, PresentUser>() : new Map(users);
      for (const user of told) {
        const known = users.get(user.identity);
        if (user.status === 'OFFLINE') next.delete(user.identity);
        else next.set(user.identity, isSame(known, user) ? known! : user);
      }
      users = next;
      isKnown = true;
      changed();
    }
    const { tell, subscribe } = createListeners(
      () => {
        clearTimeout(leaving);
        feed ??= follow(undefined, false, take, changed);
      },
      () => {
        leaving = setTimeout(() => {
          feed?.stop();
          feed = undefined;
        }, LINGER);
      },
    );
    return {
      get: ((identity?: string) => (identity === undefined ? copy : copy.get(identity))) as PresenceStore['get'],
      get status(): LiveStatus {
        if (!isKnown) return 'connecting';
        return feed?.isLive ? 'live' : 'stale';
      },
      subscribe,
    };
  }

  /** A store of certain users that somebody listens to. */
  interface Watch {
    readonly identities: ReadonlySet<string>;
    changed(): void;
  }
  const watches = new Map<string, Set<Watch>>();
  const users = new Map<string, PresentUser>();
  const feeds = new Set<Feed>();
  const feedOf = new Map<string, Feed>();
  let timer: ReturnType<typeof setTimeout> | undefined;

  function tellWatchesOf(identities: Iterable<string>): void {
    const told = new Set<Watch>();
    for (const identity of identities) for (const watch of watches.get(identity) ?? []) told.add(watch);
    for (const watch of told) watch.changed();
  }

  function take(told: readonly PresentUser[]): void {
    const changed = told.filter((user) => watches.has(user.identity) && !isSame(users.get(user.identity), user));
    for (const user of changed) users.set(user.identity, user);
    tellWatchesOf(changed.map(({ identity }) => identity));
  }

  /** Subscribes to those who are wanted and not yet asked for, and ends what is no longer of use. */
  function reconcile(): void {
    for (const feed of feeds) {
      const wanted = feed.identities!.filter((identity) => watches.has(identity)).length;
      // More of it is of use than not.
      if (feeds.size <= MOST_FEEDS && wanted > feed.identities!.length / 2) continue;
      feed.stop();
      feeds.delete(feed);
    }
    for (const [identity] of users) if (!watches.has(identity)) users.delete(identity);
    const missing = [...watches.keys()].filter((identity) => !feeds.has(feedOf.get(identity)!));
    for (let from = 0; from < missing.length; from += MOST_IDENTITIES) {
      const identities = missing.slice(from, from + MOST_IDENTITIES);
      const wasLive = identities.every((identity) => users.has(identity) && feedOf.get(identity)?.isLive);
      const feed = follow(identities, wasLive, take, () => tellWatchesOf(identities));
      feeds.add(feed);
      for (const identity of identities) feedOf.set(identity, feed);
    }
    for (const [identity] of feedOf) if (!watches.has(identity)) feedOf.delete(identity);
  }
  function reconcileIn(milliseconds: number): void {
    clearTimeout(timer);
    timer = setTimeout(reconcile, milliseconds);
  }

  function createSome(identities: ReadonlySet<string>): PresenceStore {
    let copy: ReadonlyMap<string, PresentUser> | undefined;
    const read = (): ReadonlyMap<string, PresentUser> =>
      new Map([...identities].flatMap((identity) => (users.has(identity) ? [[identity, users.get(identity)!]] : [])));
    const watch: Watch = {
      identities,
      changed() {
        copy = undefined;
        tell();
      },
    };
    const { tell, subscribe } = createListeners(
      () => {
        for (const identity of identities) {
          const own = watches.get(identity) ?? new Set();
          watches.set(identity, own.add(watch));
        }
        copy = undefined;
        reconcileIn(GATHER);
      },
      () => {
        for (const identity of identities) {
          const own = watches.get(identity);
          own?.delete(watch);
          if (own?.size === 0) watches.delete(identity);
        }
        reconcileIn(LINGER);
      },
    );
    return {
      get: ((identity?: string) =>
        identity === undefined
          ? (copy ??= read())
          : (copy?.get(identity) ?? users.get(identity))) as PresenceStore['get'],
      get status(): LiveStatus {
        let isLive = true;
        for (const identity of identities) {
          if (!users.has(identity)) return 'connecting';
          isLive &&= feedOf.get(identity)?.isLive ?? false;
        }
        return isLive ? 'live' : 'stale';
      },
      subscribe,
    };
  }

  function createCount(): LiveValue<number | null> {
    let count: number | null = null;
    let isLive = false;
    let stop: (() => void) | undefined;
    function turn(next: boolean): void {
      isLive = next;
      tell();
    }
    const { tell, subscribe } = createListeners(
      () => {
        stop = live.subscribe(ONLINE_COUNT, () => ({}), {
          next({ onlineCount }: OnlineCountSubscription) {
            count = onlineCount;
            turn(true);
          },
          lost: () => turn(false),
          failed(error) {
            report(error);
            turn(false);
          },
        });
      },
      () => {
        stop?.();
        isLive = false;
      },
    );
    return {
      get: () => count,
      get status(): LiveStatus {
        if (count === null) return 'connecting';
        return isLive ? 'live' : 'stale';
      },
      subscribe,
    };
  }

  let all: PresenceStore | undefined;
  let count: LiveValue<number | null> | undefined;
  return {
    presence: ({ identities } = {}) => (identities ? createSome(new Set(identities)) : (all ??= createAll())),
    onlineCount: () => (count ??= createCount()),
  };
}
