import { useState } from 'react';
import { PresenceDocument, type PresenceSubscription } from './generated/graphql';
import { useLive } from './live';

/** Whether somebody is there, and since when. */
export type PresentUser = PresenceSubscription['userPresence']['users'][number];

interface Presence {
  /** By identity. */
  readonly users: ReadonlyMap<string, PresentUser>;
  /** Who went offline while this page looked, the latest first. */
  readonly left: readonly PresentUser[];
}

const MOST_LEFT = 8;

function merge(known: Presence | null, update: PresenceSubscription['userPresence']): Presence {
  const users = new Map(update.kind === 'SNAPSHOT' ? [] : known?.users);
  let left = known?.left ?? [];
  for (const user of update.users) {
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

/** Who is online, the latest to come first; null until the server has said. */
export function useOnline(): { online: readonly PresentUser[]; left: readonly PresentUser[] } | null {
  const [presence, setPresence] = useState<Presence | null>(null);
  useLive(PresenceDocument, {}, { data: ({ userPresence }) => setPresence((known) => merge(known, userPresence)) });
  if (!presence) return null;
  const online = [...presence.users.values()].filter(({ status }) => status === 'ONLINE').toSorted(latestFirst);
  return { online, left: presence.left };
}

/** Whether that user is there; null until the server has said. */
export function usePresenceOf(identity: string): PresentUser | null {
  const [user, setUser] = useState<PresentUser | null>(null);
  useLive(
    PresenceDocument,
    { identities: [identity] },
    { data: ({ userPresence }) => setUser((known) => userPresence.users.at(-1) ?? known) },
  );
  return user;
}
