import type { Event, Session } from './generated/prisma/client.js';

/** A session as lists read it: the row of the session, and the identity and latest name of its user. */
export type SessionRow = Pick<
  Session,
  | 'id'
  | 'key'
  | 'userId'
  | 'deviceId'
  | 'startedAt'
  | 'lastActivityAt'
  | 'endedAt'
  | 'endReason'
  | 'explicitStart'
  | 'eventCount'
  | 'errorCount'
  | 'entrySource'
  | 'exitSource'
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

/**
 * An instant that is only passed on may stay a text. The text has the form that answers use: UTC with milliseconds,
 * 2026-01-31T09:30:00.000Z.
 */
export type Instant = Date | string;

/** An event as lists read it: the row of the event, and the identity and latest name of its user. */
export type EventRow = Omit<Event, 'projectId' | 'data' | 'occurredAt' | 'receivedAt'> & {
  occurredAt: Instant;
  receivedAt: Instant;
  data: Record<string, unknown>;
  identity: string | null;
  userName: string | null;
};
