import { useSyncExternalStore } from 'react';

const KEY = 'footsteps.credential';

/** Who looks: the key or token of this tab, and why the last one was taken away. */
export interface Credential {
  readonly secret: string | null;
  readonly refusal: string | null;
}

let current: Credential = { secret: sessionStorage.getItem(KEY), refusal: null };
const listeners = new Set<() => void>();

function become(next: Credential): void {
  current = next;
  if (next.secret) sessionStorage.setItem(KEY, next.secret);
  else sessionStorage.removeItem(KEY);
  for (const listener of listeners) listener();
}

/** Keeps the credential until the tab is closed. */
export const signIn = (secret: string): void => become({ secret, refusal: null });

/** Forgets it; `refusal` tells why where the server asked for that. */
export const signOut = (refusal: string | null = null): void => become({ secret: null, refusal });

/** The credential of this tab, as it changes. */
export const useCredential = (): Credential =>
  useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => current,
  );
