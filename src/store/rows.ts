import type { Event, Session } from './generated/prisma/client.js';

/** A session as lists read it: its row, and its user's identity and latest name. */
export type SessionRow = Pick<
  Session,
  | 'id'
  | 'key'
  | 'userId'
  | 'startedAt'
  | 'lastActivityAt'
  | 'endedAt'
  | 'endReason'
  | 'eventCount'
  | 'errorCount'
  | 'version'
  | 'browserName'
  | 'browserVersion'
  | 'osName'
  | 'osVersion'
  | 'device'
  | 'ipAddress'
  | 'isBot'
  | 'country'
  | 'region'
  | 'city'
> & { data: Record<string, unknown>; identity: string | null; userName: string | null };

/** An event as lists read it: its row, and its user's identity and latest name. */
export type EventRow = Omit<Event, 'projectId' | 'data'> & {
  data: Record<string, unknown>;
  identity: string | null;
  userName: string | null;
};
