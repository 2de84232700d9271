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

/** An instant that only passes through may stay the text that answers have: UTC with milliseconds, 2026-01-31T09:30:00.000Z. */
export type Instant = Date | string;

/** An event as lists read it: its row, and its user's identity and latest name. */
export type EventRow = Omit<Event, 'projectId' | 'data' | 'occurredAt' | 'receivedAt'> & {
  occurredAt: Instant;
  receivedAt: Instant;
  data: Record<string, unknown>;
  identity: string | null;
  userName: string | null;
};
