import {
  createContext,
  createElement,
  useContext,
  useEffect,
  useMemo,
  useSyncExternalStore,
  type ReactElement,
  type ReactNode,
} from 'react';
import { write } from './bounds.js';
import type { Client } from './client.js';
import type { LiveStatus, LiveValue, PresenceStore, PresentUser } from './presence.js';
import type { EventFields, UserFields } from './tracker.js';

/** `footsteps/react`, for React 18 and 19. */

const Context = createContext<Client | null>(null);

/** Gives a client to the components within. Make it once, outside of components. */
export const FootstepsProvider = ({ client, children }: { client: Client; children?: ReactNode }): ReactElement =>
  createElement(Context.Provider, { value: client }, children);

/** The client of the provider around. */
export function useFootsteps(): Client {
  const client = useContext(Context);
  if (!client) throw new Error('There is no FootstepsProvider around this component.');
  return client;
}

/**
 * Says who is signed in. `null`: nobody, which ends the session of who was signed in before. `undefined`: it is not known yet,
 * which changes nothing.
 */
export function useUser(user: ({ identity: string } & UserFields) | null | undefined): void {
  const client = useFootsteps();
  // Equal users are one, although each render makes another object. What cannot be written, `identify` says.
  const text = user && write(user, () => {});
  useEffect(() => {
    if (user) client.identify(user.identity, user);
    else if (user === null) client.reset();
  }, [client, user?.identity, text]);
}

/** A function that tracks an event. It stays the same. */
export const useTrack = (): ((type: string, fields?: EventFields) => void) => useFootsteps().track;

/** The store of these identities: the same while they are the same, in whatever order. */
function useStore(identities: readonly string[] | undefined): PresenceStore {
  const client = useFootsteps();
  const text = identities && JSON.stringify([...new Set(identities)].toSorted());
  return useMemo(
    () => client.presence(text === undefined ? {} : { identities: JSON.parse(text) as string[] }),
    [client, text],
  );
}

/**
 * Makes a function that reads a value from a store. It returns the same object until `isSame` says that something has changed,
 * so a component renders again only then.
 */
function reader<Value>(
  store: PresenceStore,
  read: (users: ReadonlyMap<string, PresentUser>, status: LiveStatus) => Value,
  isSame: (one: Value, other: Value) => boolean,
): () => Value {
  let seen: { users: ReadonlyMap<string, PresentUser>; status: LiveStatus; value: Value } | undefined;
  return () => {
    const users = store.get();
    const { status } = store;
    if (seen?.users === users && seen.status === status) return seen.value;
    const next = read(users, status);
    seen = { users, status, value: seen && isSame(seen.value, next) ? seen.value : next };
    return seen.value;
  };
}

const NOBODY: ReadonlySet<string> = new Set();

/** Which of these users are online. A component renders again only when this changes. */
export function useOnline(identities: readonly string[]): ReadonlySet<string> {
  const store = useStore(identities);
  const read = useMemo(
    () =>
      reader<ReadonlySet<string>>(
        store,
        (users) =>
          new Set([...users.values()].filter(({ status }) => status === 'ONLINE').map(({ identity }) => identity)),
        (one, other) => one.size === other.size && [...one].every((identity) => other.has(identity)),
      ),
    [store],
  );
  return useSyncExternalStore(store.subscribe, read, () => NOBODY);
}

export interface PresenceNow {
  /** The users: those that were asked for, else those who are online. */
  readonly users: readonly PresentUser[];
  readonly status: LiveStatus;
}

const UNKNOWN: PresenceNow = { users: [], status: 'connecting' };

/** Who is there, and whether that is the present state. `identities`: only these users, also when they are offline. */
export function usePresence(identities?: readonly string[]): PresenceNow {
  const store = useStore(identities);
  const read = useMemo(
    () =>
      reader<PresenceNow>(
        store,
        (users, status) => ({ users: [...users.values()], status }),
        () => false,
      ),
    [store],
  );
  return useSyncExternalStore(store.subscribe, read, () => UNKNOWN);
}

/** How many users are online; null while it is not known. */
export function useOnlineCount(): number | null {
  const client = useFootsteps();
  const count: LiveValue<number | null> = useMemo(() => client.onlineCount(), [client]);
  return useSyncExternalStore(count.subscribe, count.get, () => null);
}
