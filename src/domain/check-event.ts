import type { Reach } from './access.js';
import type { IncomingEvent, RejectCode, Rejection } from './event.js';
import { eventKeyOf, userIdOf } from './identity.js';
import type { SessionStartPolicy } from './project.js';
import type { Sender } from './sender.js';
import { DEVICE_ID, OLDEST_EVENT, SESSION_KEY } from './session.js';
import { isLarger, storedBytes, toStorableJson, wellFormed } from './well-formed.js';

/** The user that an event names. */
interface EventUser {
  /** userIdOf(project, identity). */
  readonly id: string;
  readonly identity: string;
  readonly name: string | null;
  /** JSON text. */
  readonly data: string | null;
}

/** An event whose values can be stored unchanged. Times are milliseconds since the epoch. */
export interface CheckedEvent {
  readonly projectId: string;
  readonly type: string;
  /** When the event happened; never later than it arrived (rule 10). */
  readonly time: number;
  readonly receivedAt: number;
  /** The hash of the client's own id of the event (rule 25); null without an id. */
  readonly eventKey: string | null;
  /** The key of the session that the event names (rule 1). */
  readonly sessionKey: string | null;
  /** The device that the event names (rules 2 and 3). */
  readonly deviceId: string | null;
  readonly user: EventUser | null;
  readonly sender: Sender;
  /** The users that the sender's token is narrowed to; null: every user. */
  readonly allowedUsers: readonly string[] | null;
  readonly startPolicy: SessionStartPolicy | null;
  /**
   * For a recordHeartbeat call: keep the session alive (BEAT) or close it (CLOSE). Null for everything that came as an
   * event.
   */
  readonly call: 'BEAT' | 'CLOSE' | null;
  readonly source: string | null;
  readonly message: string | null;
  readonly value: number | null;
  readonly tags: readonly string[];
  readonly referenceId: string | null;
  readonly version: string | null;
  readonly data: Readonly<Record<string, unknown>> | null;
  /** `data` as JSON text; `{}` without data. */
  readonly json: string;
  /** Why the event must not be stored. If its id is known, the event is still answered as a repeat (rule 25). */
  readonly refusal: Rejection | null;
}

/**
 * The most characters of each text. `tags`: the most tags of an event. `bytes`: the most bytes of `data` as JSON in UTF-8
 * with its numbers written out (storedBytes).
 */
const EVENT_LIMITS = {
  id: 100,
  type: 100,
  source: 2_000,
  message: 10_000,
  referenceId: 100,
  version: 100,
  identity: 255,
  name: 255,
  tags: 100,
  tag: 255,
  bytes: 262_144,
} as const;

class Rejected extends Error {
  constructor(
    readonly code: RejectCode,
    message: string,
  ) {
    super(message);
  }
}

function checkText(
  limit: 'source' | 'message' | 'referenceId' | 'version' | 'name',
  text: string | null | undefined,
  field: string = limit,
): string | null {
  const value = text?.trim();
  if (!value) return null;
  if (value.length > EVENT_LIMITS[limit]) {
    throw new Rejected(
      'TOO_LARGE',
      `${field} has ${value.length} characters; at most ${EVENT_LIMITS[limit]} are allowed.`,
    );
  }
  return wellFormed(value);
}

function checkJson(
  field: string,
  value: Readonly<Record<string, unknown>> | null | undefined,
  { spent }: Arrival,
): string {
  if (!value) return '{}';
  const json = toStorableJson(value, spent);
  if (json === null) throw new Rejected('TOO_LARGE', `${field} is nested too deep; at most 100 levels are allowed.`);
  if (isLarger(json, EVENT_LIMITS.bytes)) {
    throw new Rejected(
      'TOO_LARGE',
      `${field} has ${storedBytes(json)} bytes as JSON with its numbers written out; at most ${EVENT_LIMITS.bytes} are allowed.`,
    );
  }
  return json;
}

/** What a mistake in the client's code, like `${undefined}`, makes of a missing identity. These texts are no identity. */
const SLIPS = new Set(['null', 'undefined', 'NaN', '[object Object]']);

/** Answers the identity, trimmed. Throws Rejected unless it has 1 to 255 characters and is none of SLIPS. */
function checkIdentity(identity: string): string {
  const value = wellFormed(identity.trim());
  if (value.length === 0)
    throw new Rejected('INVALID_IDENTITY', 'user.identity is empty; it must have 1 to 255 characters after trimming.');
  if (SLIPS.has(value)) {
    throw new Rejected(
      'INVALID_IDENTITY',
      `user.identity is the text ${value}, which names no user; send the user's identity, or send no user.`,
    );
  }
  if (value.length > EVENT_LIMITS.identity) {
    throw new Rejected(
      'INVALID_IDENTITY',
      `user.identity has ${value.length} characters; it must have 1 to 255 after trimming.`,
    );
  }
  return value;
}

function checkUser(projectId: string, user: IncomingEvent['user'], arrival: Arrival): EventUser | null {
  if (!user) return null;
  const identity = checkIdentity(user.identity);
  return {
    id: userIdOf(projectId, identity),
    identity,
    name: checkText('name', user.name, 'user.name'),
    data: user.data ? checkJson('user.data', user.data, arrival) : null,
  };
}

function checkTime(occurredAt: Date | null | undefined, { now, skew }: Arrival): number {
  if (!occurredAt) return now;
  const time = occurredAt.getTime() - skew;
  if (Number.isNaN(time)) {
    throw new Rejected(
      'INVALID_DATE',
      'occurredAt is not a valid RFC 3339 date and time; write it like 2026-01-31T09:30:00.000Z.',
    );
  }
  return Math.min(time, now);
}

const TOO_OLD: Rejection = {
  code: 'TOO_OLD',
  message: 'occurredAt is more than 3 days in the past; only events of the last 3 days are stored.',
};

function checkTags(tags: readonly string[] | null | undefined): readonly string[] {
  if (!tags) return [];
  if (tags.length > EVENT_LIMITS.tags)
    throw new Rejected('INVALID_TAGS', `There are ${tags.length} tags; at most 100 are allowed.`);
  return tags.map((tag) => {
    const value = wellFormed(tag.trim());
    if (value.length > 0 && value.length <= EVENT_LIMITS.tag) return value;
    throw new Rejected('INVALID_TAGS', 'Each tag in tags must have 1 to 255 characters after trimming.');
  });
}

function checkKey(type: string, sessionKey: string | null | undefined, referenceId: string | null): string | null {
  // A start without a sessionKey names its session by its referenceId.
  const field = sessionKey != null ? 'sessionKey' : 'referenceId';
  const key = sessionKey ?? (type === 'session' ? referenceId : null);
  if (key === null || SESSION_KEY.test(key)) return key;
  throw new Rejected(
    'INVALID_SESSION_KEY',
    `${field} names a session; it must have 8 to 100 characters, each of A-Z, a-z, 0-9 or '-'.`,
  );
}

function checkDevice(deviceId: string | null | undefined): string | null {
  if (deviceId == null || DEVICE_ID.test(deviceId)) return deviceId ?? null;
  throw new Rejected('INVALID_DEVICE_ID', "deviceId must have 8 to 100 characters, each of A-Z, a-z, 0-9, '-' or '_'.");
}

function checkId(id: string | null | undefined): string | null {
  if (id == null || (id.length >= 1 && id.length <= EVENT_LIMITS.id)) return id ?? null;
  throw new Rejected('INVALID_ID', 'id must have 1 to 100 characters.');
}

function check(reach: Reach, event: IncomingEvent, sender: Sender, arrival: Arrival): CheckedEvent {
  const { now } = arrival;
  const type = wellFormed((event.type ?? 'log').trim());
  if (type.length === 0 || type.length > EVENT_LIMITS.type)
    throw new Rejected('INVALID_TYPE', 'type must have 1 to 100 characters after trimming.');
  if (event.value != null && !Number.isFinite(event.value))
    throw new Rejected('INVALID_VALUE', 'value must be a finite number.');
  const referenceId = checkText('referenceId', event.referenceId);
  const user = checkUser(reach.projectId, event.user, arrival);
  // Whether a narrowed token may reach a named session is decided when the session is known (named-session.ts).
  if (reach.userIds && !(user ? reach.userIds.includes(user.id) : event.sessionKey)) {
    throw new Rejected(
      'FORBIDDEN_IDENTITY',
      'This token is narrowed to certain users; name one of them in user.identity.',
    );
  }
  const time = checkTime(event.occurredAt, arrival);
  const id = checkId(event.id);
  const sessionKey = checkKey(type, event.sessionKey, referenceId);
  const deviceId = checkDevice(event.deviceId);
  const userId = user?.id ?? null;
  const isTooOld = now - time > OLDEST_EVENT;
  if (isTooOld && id === null) throw new Rejected(TOO_OLD.code, TOO_OLD.message);
  return {
    projectId: reach.projectId,
    type,
    time,
    receivedAt: now,
    eventKey: id === null ? null : eventKeyOf(id, { userId, deviceId, sessionKey }, reach.userIds),
    sessionKey,
    deviceId,
    user,
    sender,
    allowedUsers: reach.userIds,
    startPolicy: event.startPolicy ?? null,
    call: null,
    source: checkText('source', event.source),
    message: checkText('message', event.message),
    value: event.value ?? null,
    tags: checkTags(event.tags),
    referenceId,
    version: checkText('version', event.version),
    data: event.data ?? null,
    json: checkJson('data', event.data, arrival),
    refusal: isTooOld ? TOO_OLD : null,
  };
}

/** When a request arrived, and how far its client's clock is ahead of the server's. Milliseconds. */
export interface Arrival {
  readonly now: number;
  readonly skew: number;
  /**
   * Characters of JSON that the checks of the request's events have made so far, those of refused events included. They can
   * be more than the client sent: a GraphQL variable that the document names many times is sent only once.
   */
  readonly spent: { characters: number };
}

/** A difference up to this is ignored: clocks may differ, and a request takes time to arrive. Milliseconds. */
const CLOCKS_AGREE = 2_000;

/**
 * The arrival of a request at `now` (rule 10). `sentAt`: the client's clock at sending; null where the request does not
 * say.
 */
export function arrivalOf(now: Date, sentAt: Date | null = null): Arrival {
  const skew = sentAt === null ? 0 : sentAt.getTime() - now.getTime();
  return { now: now.getTime(), skew: Math.abs(skew) > CLOCKS_AGREE ? skew : 0, spent: { characters: 0 } };
}

/**
 * Checks one event on its own (rule 26) as it arrives (rule 10). Answers the event as it can be stored, or why it is
 * rejected. Nothing is shortened silently: a text that is too long is rejected, and the message names its field.
 */
export function checkEvent(
  reach: Reach,
  event: IncomingEvent,
  sender: Sender,
  arrival: Arrival,
): CheckedEvent | Rejection {
  try {
    return check(reach, event, sender, arrival);
  } catch (error) {
    if (error instanceof Rejected) return { code: error.code, message: error.message };
    throw error;
  }
}

/**
 * Checks a recordHeartbeat call as a heartbeat event that happens now (rule 18). Answers the event, or why it is rejected.
 */
export function checkHeartbeat(
  reach: Reach,
  heartbeat: { sessionKey?: string | null; identity?: string | null; deviceId?: string | null; close: boolean },
  sender: Sender,
  now: Date,
): CheckedEvent | Rejection {
  const checked = checkEvent(
    reach,
    {
      type: 'heartbeat',
      sessionKey: heartbeat.sessionKey ?? null,
      deviceId: heartbeat.deviceId ?? null,
      user: heartbeat.identity == null ? null : { identity: heartbeat.identity },
    },
    sender,
    arrivalOf(now),
  );
  return 'code' in checked ? checked : { ...checked, call: heartbeat.close ? 'CLOSE' : 'BEAT' };
}
