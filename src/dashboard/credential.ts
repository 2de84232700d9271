import { useSyncExternalStore } from 'react';

const KEY = 'footsteps.credential';

/** What a key or token may do here. A key never changes its scopes, so this is asked once, at sign-in. */
export interface Rights {
  /** READ: sessions, events, users and statistics. */
  readonly read: boolean;
  /** READ or PRESENCE: who is online. */
  readonly presence: boolean;
  /** MANAGE: keys, settings, webhooks, the audit log. */
  readonly manage: boolean;
  /** The operator key: the list of projects, and nothing inside them. */
  readonly operator: boolean;
}

/** How the operator came into a project: with a key that was made for the visit. */
interface Visit {
  /** The operator key, to which the user returns. */
  readonly operatorKey: string;
  /** The id of the key that was made. */
  readonly keyId: string;
}

interface Kept {
  readonly secret: string;
  readonly rights: Rights;
  readonly visit?: Visit;
}

/** The key or token of this tab, what it may do, and the reason why the server refused the last one. */
export type Credential = (Kept | { readonly secret: null; readonly rights: null; readonly visit?: undefined }) & {
  readonly refusal: string | null;
  /** The token of a share link that has been opened and not been tried yet. */
  readonly offered?: string | undefined;
  /** A key of a visit that has ended. It must be revoked. */
  readonly left?: { readonly secret: string; readonly keyId: string } | undefined;
};

/** What `storage` has of an earlier sign-in; null if there is none, or none that this version can read. */
function keptIn(storage: Storage): Kept | null {
  try {
    const kept = JSON.parse(storage.getItem(KEY) ?? 'null') as Partial<Kept> | null;
    return typeof kept?.secret === 'string' && typeof kept.rights === 'object' ? (kept as Kept) : null;
  } catch {
    return null;
  }
}

/** What the operator key may do here. */
export const OPERATOR: Rights = { read: false, presence: false, manage: false, operator: true };
/** What a key with READ and MANAGE may do here. */
export const EVERYTHING: Rights = { read: true, presence: true, manage: true, operator: false };

const NOBODY = { secret: null, rights: null, refusal: null } as const;

function known(): Credential {
  const kept = keptIn(sessionStorage) ?? keptIn(localStorage);
  return kept ? { ...kept, refusal: null } : NOBODY;
}

/** The beginning of a share link's fragment. A browser sends the fragment to no server. */
const SHARED = '#token=';

/** The address that opens `path` with `token`. */
export const shareLink = (path: string, token: string): string => `${window.location.origin}${path}${SHARED}${token}`;

/** The token in the address, which is removed from it; null if there is none. */
function takeShared(): string | null {
  const { hash, pathname, search } = window.location;
  if (!hash.startsWith(SHARED)) return null;
  window.history.replaceState(null, '', pathname + search);
  return hash.slice(SHARED.length);
}

function beginning(): Credential {
  const offered = takeShared();
  return offered === null ? known() : { ...NOBODY, offered };
}

let current: Credential = beginning();
const listeners = new Set<() => void>();

function become(next: Credential): void {
  current = next;
  for (const listener of listeners) listener();
}

// A link that is opened in this tab, while the page is open, changes only the fragment.
window.addEventListener('hashchange', () => {
  const offered = takeShared();
  if (offered !== null) become({ ...NOBODY, offered });
});

// A credential that is kept in the browser belongs to all its tabs: they sign in and out together.
window.addEventListener('storage', ({ key, storageArea }) => {
  if (storageArea === localStorage && (key === KEY || key === null)) become(known());
});

/** Stores the credential: in this tab until it is closed or, with `inBrowser`, for all tabs until somebody signs out. */
export function signIn(secret: string, rights: Rights, inBrowser: boolean): void {
  (inBrowser ? localStorage : sessionStorage).setItem(KEY, JSON.stringify({ secret, rights }));
  become({ secret, rights, refusal: null });
}

/** Enters a project with `key`, which was made for this visit, in this tab alone. */
export function enterProject(key: string, rights: Rights, visit: Visit): void {
  sessionStorage.setItem(KEY, JSON.stringify({ secret: key, rights, visit }));
  become({ secret: key, rights, visit, refusal: null });
}

/** Returns from a project to the operator key. The key of the visit is then in `left`, to be revoked. */
export function leaveProject(): void {
  const { secret, visit } = current;
  if (!secret || !visit) return;
  const kept = { secret: visit.operatorKey, rights: OPERATOR };
  sessionStorage.setItem(KEY, JSON.stringify(kept));
  become({ ...kept, refusal: null, left: { secret, keyId: visit.keyId } });
}

/** Whether `secret` is the current credential. An answer to another one says nothing about it. */
export const isCurrent = (secret: string): boolean => current.secret === secret;

/**
 * Removes the credential. `refusal` is the reason, if the server refused it. Then a key that this browser keeps stays, if
 * the tab had another one: the token of a share link, or the key of a visit.
 */
export function signOut(refusal: string | null = null): void {
  const isOfBrowser = sessionStorage.getItem(KEY) === null;
  sessionStorage.removeItem(KEY);
  if (refusal === null || isOfBrowser) localStorage.removeItem(KEY);
  become({ ...NOBODY, refusal });
}

/** The current credential of this tab. React draws the component again when it changes. */
export const useCredential = (): Credential =>
  useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => current,
  );

/** What the signed-in key may do. Throws if no user is signed in. */
export function useRights(): Rights {
  const { rights } = useCredential();
  if (!rights) throw new Error('useRights needs a signed-in user.');
  return rights;
}
