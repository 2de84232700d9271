import { usePathname } from 'wouter/use-browser-location';

/** Where a session is shown. */
export const sessionPath = (id: string): string => `/sessions/${encodeURIComponent(id)}`;

/** Where a user is shown. */
export const userPath = (identity: string): string => `/users/${encodeURIComponent(identity)}`;

/** What stands behind the second slash of the address, as it was before it was escaped. */
export function useTail(): string {
  const tail = usePathname().split('/').slice(2).join('/');
  try {
    return decodeURIComponent(tail);
  } catch {
    return tail;
  }
}
