import { useRef, useState } from 'react';
import { PresenceDocument, type PresenceSubscription } from './generated/graphql';
import { useLive } from './live';

/** A user with status, since when, and the number of sessions online. */
export type PresentUser = PresenceSubscription['userPresence']['users'][number];

interface Presence {
  /** By identity. */
  readonly users: ReadonlyMap<string, PresentUser>;
  /** The users who went offline while this page was open, latest first; at most MOST_LEFT. */
  readonly left: readonly PresentUser[];
}

const MOST_LEFT = 8;

type Kind = PresenceSubscription['userPresence']['kind'];

function merge(known: Presence | null, kind: Kind, told: readonly PresentUser[]): Presence {
  const users = new Map(kind === 'SNAPSHOT' ? [] : known?.users);
  let left = known?.left ?? [];
  for (const user of told) {
    const was = known?.users.get(user.identity);
    if (user.status === 'OFFLINE' && was?.status === 'ONLINE' && user.since) {
      left = [user, ...left.filter(({ identity }) => identity !== user.identity)].slice(0, MOST_LEFT);
    }
    if (user.status === 'ONLINE') left = left.filter(({ identity }) => identity !== user.identity);
    users.set(user.identity, user);
  }
  return { users, left };
}

const latestFirst = (a: PresentUser, b: PresentUser): number => (b.since ?? '').localeCompare(a.since ?? '');

/** The users online, latest arrival first, and those who left recently; null until the first answer. */
export function useOnline(): { online: readonly PresentUser[]; left: readonly PresentUser[] } | null {
  const [presence, setPresence] = useState<Presence | null>(null);
  /** Parts of an update that has not come whole. */
  const parts = useRef<PresentUser[]>([]);
  useLive(
    PresenceDocument,
    {},
    {
      open: () => (parts.current = []),
      data({ userPresence: { kind, users, hasMore } }) {
        const told = [...parts.current, ...users];
        parts.current = hasMore ? told : [];
        if (!hasMore) setPresence((known) => merge(known, kind, told));
      },
    },
  );
  if (!presence) return null;
  const online = [...presence.users.values()].filter(({ status }) => status === 'ONLINE').toSorted(latestFirst);
  return { online, left: presence.left };
}

/** The presence of one user, updated live; null until the first answer. */
export function usePresenceOf(identity: string): PresentUser | null {
  const [user, setUser] = useState<PresentUser | null>(null);
  useLive(
    PresenceDocument,
    { identities: [identity] },
    { data: ({ userPresence }) => setUser((known) => userPresence.users.at(-1) ?? known) },
  );
  return user;
}
