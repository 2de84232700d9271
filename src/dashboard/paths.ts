import { usePathname } from 'wouter/use-browser-location';

/** The path of a session's page. */
export const sessionPath = (id: string): string => `/sessions/${encodeURIComponent(id)}`;

/** The path of a session's page, at one of its events. */
export const stepPath = (sessionId: string, eventId: string): string =>
  `${sessionPath(sessionId)}?${new URLSearchParams({ event: eventId })}`;

/** The path of an event's page. */
export const eventPath = (id: string): string => `/events/${encodeURIComponent(id)}`;

/** The path of a user's page. */
export const userPath = (identity: string): string => `/users/${encodeURIComponent(identity)}`;

/** The path of a webhook's page. */
export const webhookPath = (id: string): string => `/webhooks/${encodeURIComponent(id)}`;

/** The part of the path after the second slash, unescaped. */
export function useTail(): string {
  const tail = usePathname().split('/').slice(2).join('/');
  try {
    return decodeURIComponent(tail);
  } catch {
    return tail;
  }
}
