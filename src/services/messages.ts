import { z } from 'zod';
import type { SessionChangeKind } from '../domain/change.js';
import type { PresenceEdge } from '../domain/presence.js';
import type { Observer } from '../observation.js';

/**
 * The messages on the bus, with one channel for each project and subject. Presence edges travel whole. Of sessions and
 * events only the ids travel; each server reads the rows once for all of its watchers. The shape of each message is
 * checked, because other programs may use the same Redis, and other versions of this one.
 */
/** A change of a session, and the ids of the sessions that became part of it by that change (rule 27). */
export interface SessionChanged {
  readonly id: string;
  readonly kind: SessionChangeKind;
  readonly took?: readonly string[];
}

/** What a client has said of a session by setPresence. */
export interface DeviceState {
  readonly sessionId: string;
  /** JSON text of an object; null: none. */
  readonly state: string | null;
  readonly away: boolean;
  /** When it was said: milliseconds since the epoch, by the clock that servers share. The latest counts. */
  readonly at: number;
}

/** States, as they were said or are known; null: a server asks for all that the others have taken. */
export interface DevicesMessage {
  readonly states: readonly DeviceState[] | null;
}

/** A session, and the ids of the sessions that became part of it (rule 27). */
export type SessionMerged = Required<Pick<SessionChanged, 'id' | 'took'>>;

/** Events that were stored, and merges: sessions whose events now belong to another session. */
export interface EventsMessage {
  readonly ids: readonly string[];
  readonly merges?: readonly SessionMerged[];
}

export const presenceChannel = (projectId: string): string => `presence:{${projectId}}`;
/** What devices say of themselves (setPresence), and who asks for it. */
export const devicesChannel = (projectId: string): string => `devices:{${projectId}}`;
export const eventsChannel = (projectId: string): string => `events:{${projectId}}`;
/** Tells that a project's feed has something new. The message is empty: the rows say what. */
export const changesChannel = (projectId: string): string => `changes:{${projectId}}`;
/** The project of a channel that changesChannel made; null for any other channel. */
export const projectOfChanges = (channel: string): string | null =>
  channel.startsWith('changes:{') ? channel.slice('changes:{'.length, -1) : null;
/** The channel that tells every server which API keys have been revoked. */
export const keysChannel = 'keys';

/** Characters. The longest message, the edges of a full batch of 2,000 users, has 7 million at most. */
const LONGEST = 16_000_000;

const id = z.guid();
const time = z.coerce.date().nullable();
const transaction = z.string().regex(/^\d{1,20}$/);
const edges = z.array(
  z.object({
    userId: id,
    presence: z.object({
      identity: z.string(),
      name: z.string().nullable(),
      status: z.enum(['ONLINE', 'OFFLINE']),
      since: time,
      lastSeenAt: time,
      onlineSessions: z.int(),
    }),
    version: z.int(),
    previous: z.int().nullable(),
    transaction,
    sessionId: id.nullable(),
    devicesTransaction: transaction.exactOptional(),
  }),
);
/** Bytes of JSON text that a device's state has at most. */
export const MOST_STATE = 1_024;

function isState(text: string): boolean {
  if (Buffer.byteLength(text) > MOST_STATE) return false;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}

const devicesMessage = z.object({
  states: z
    .array(
      z.object({
        sessionId: id,
        state: z.string().max(MOST_STATE).refine(isState).nullable(),
        away: z.boolean(),
        at: z.int().min(0).max(8.64e15),
      }),
    )
    .nullable(),
});
const eventsMessage = z.object({
  ids: z.array(id),
  merges: z.array(z.object({ id, took: z.array(id) })).exactOptional(),
});

/** Makes a function that reads a message of this shape; null if the text is not such a message. */
const reader =
  <Message>(shape: z.ZodType<Message>) =>
  (text: string): Message | null => {
    if (text.length > LONGEST) return null;
    try {
      return shape.safeParse(JSON.parse(text)).data ?? null;
    } catch {
      return null;
    }
  };

export const readEdges = reader<PresenceEdge[]>(edges);
export const readDevicesMessage = reader<DevicesMessage>(devicesMessage);
export const readEventsMessage = reader<EventsMessage>(eventsMessage);
/** The id of a revoked key, which is the whole message; null if the text is no id. */
export const readKeyId = (text: string): string | null => id.safeParse(text).data ?? null;

/**
 * Makes a listener that passes on each message that can be read. A text that cannot be read is observed and left out. It
 * says nothing about what is stored, so no watch ends because of it.
 */
export function hear<Message>(
  channel: string,
  read: (text: string) => Message | null,
  observe: Observer,
  take: (message: Message) => void,
): (text: string) => void {
  return (text) => {
    const message = read(text);
    if (message === null) observe({ kind: 'bus.junk', channel, characters: text.length });
    else take(message);
  };
}

/** Dates travel as ISO text. */
export function encodeEdges(edges: readonly PresenceEdge[]): string {
  return JSON.stringify(edges);
}
