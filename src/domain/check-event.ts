import type { Reach } from './access.js';
import type { IncomingEvent, RejectCode, Rejection } from './event.js';
import { eventKeyOf, userIdOf } from './identity.js';
import type { SessionStartPolicy } from './project.js';
import type { Sender } from './sender.js';
import { OLDEST_EVENT, SESSION_KEY } from './session.js';
import { toStorableJson, wellFormed } from './well-formed.js';

/** The user an event names. */
interface EventUser {
  /** userIdOf(project, identity). */
  readonly id: string;
  readonly identity: string;
  readonly name: string | null;
  /** JSON text. */
  readonly data: string | null;
}

/** An event that can be stored as it is. Times are milliseconds since the epoch. */
export interface CheckedEvent {
  readonly projectId: string;
  readonly type: string;
  /** When it happened, never later than it arrived (rule 10). */
  readonly time: number;
  readonly receivedAt: number;
  /** The hash of the client's own id (rule 25). */
  readonly eventKey: string | null;
  /** The session it names (rule 1). */
  readonly sessionKey: string | null;
  readonly user: EventUser | null;
  readonly sender: Sender;
  /** The users its sender is narrowed to; null: any. */
  readonly allowedUsers: readonly string[] | null;
  readonly startPolicy: SessionStartPolicy | null;
  /** For a heartbeat by recordHeartbeat: what it asked for. Null for everything that came as an event. */
  readonly call: 'BEAT' | 'CLOSE' | null;
  readonly source: string | null;
  readonly message: string | null;
  readonly value: number | null;
  readonly tags: readonly string[];
  readonly referenceId: string | null;
  readonly version: string | null;
  readonly data: Readonly<Record<string, unknown>> | null;
  /** `data` as JSON text. */
  readonly json: string;
  /** It is stored nowhere; but where its id is known, it is a repeat (rule 25). */
  readonly refusal: Rejection | null;
}

/** Characters each text may have at most; `bytes` is for `data` as JSON in UTF-8. */
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
  field: 'source' | 'message' | 'referenceId' | 'version' | 'name',
  text: string | null | undefined,
): string | null {
  const value = text?.trim();
  if (!value) return null;
  if (value.length > EVENT_LIMITS[field]) {
    throw new Rejected(
      'TOO_LARGE',
      `${field} has ${value.length} characters; at most ${EVENT_LIMITS[field]} are taken.`,
    );
  }
  return wellFormed(value);
}

function checkJson(field: string, value: Readonly<Record<string, unknown>> | null | undefined): string {
  if (!value) return '{}';
  const json = toStorableJson(value);
  if (json === null) throw new Rejected('TOO_LARGE', `${field} nests deeper than 100 levels.`);
  // A UTF-16 unit is at most three bytes, so most need no count.
  if (json.length * 3 > EVENT_LIMITS.bytes && Buffer.byteLength(json) > EVENT_LIMITS.bytes) {
    throw new Rejected(
      'TOO_LARGE',
      `${field} has ${Buffer.byteLength(json)} bytes as JSON; at most ${EVENT_LIMITS.bytes} are taken.`,
    );
  }
  return json;
}

/** What a slip of the client's code makes of no identity; `${undefined}` and the like (rule 1's words). */
const SLIPS = new Set(['null', 'undefined', 'NaN', '[object Object]']);

/** Trimmed, 1 to 255 characters, and no slip; throws Rejected otherwise. */
function checkIdentity(identity: string): string {
  const value = wellFormed(identity.trim());
  if (value.length === 0)
    throw new Rejected('INVALID_IDENTITY', 'user.identity is empty; 1 to 255 characters after trimming are taken.');
  if (SLIPS.has(value)) {
    throw new Rejected(
      'INVALID_IDENTITY',
      `user.identity is the text ${value}, which is nobody; send who the user is, or no user.`,
    );
  }
  if (value.length > EVENT_LIMITS.identity) {
    throw new Rejected(
      'INVALID_IDENTITY',
      `user.identity has ${value.length} characters; 1 to 255 after trimming are taken.`,
    );
  }
  return value;
}

function checkUser(projectId: string, user: IncomingEvent['user']): EventUser | null {
  if (!user) return null;
  const identity = checkIdentity(user.identity);
  return {
    id: userIdOf(projectId, identity),
    identity,
    name: checkText('name', user.name),
    data: user.data ? checkJson('user.data', user.data) : null,
  };
}

function checkTime(occurredAt: Date | null | undefined, { now, skew }: Arrival): number {
  if (!occurredAt) return now;
  const time = occurredAt.getTime() - skew;
  if (Number.isNaN(time)) {
    throw new Rejected('INVALID_DATE', 'occurredAt is no RFC 3339 instant; write it like 2026-01-31T09:30:00.000Z.');
  }
  return Math.min(time, now);
}

const TOO_OLD: Rejection = { code: 'TOO_OLD', message: 'occurredAt lies more than 3 days in the past.' };

function checkTags(tags: readonly string[] | null | undefined): readonly string[] {
  if (!tags) return [];
  if (tags.length > EVENT_LIMITS.tags)
    throw new Rejected('INVALID_TAGS', `There are ${tags.length} tags; at most 100 are taken.`);
  return tags.map((tag) => {
    const value = wellFormed(tag.trim());
    if (value.length > 0 && value.length <= EVENT_LIMITS.tag) return value;
    throw new Rejected('INVALID_TAGS', 'A tag has 1 to 255 characters.');
  });
}

function checkKey(type: string, sessionKey: string | null | undefined, referenceId: string | null): string | null {
  // A start's own reference is the name of its session.
  const field = sessionKey != null ? 'sessionKey' : 'referenceId';
  const key = sessionKey ?? (type === 'session' ? referenceId : null);
  if (key === null || SESSION_KEY.test(key)) return key;
  throw new Rejected('INVALID_SESSION_KEY', `${field} names a session, so it has 8 to 100 letters, digits or '-'.`);
}

function checkId(id: string | null | undefined): string | null {
  if (id == null || (id.length >= 1 && id.length <= EVENT_LIMITS.id)) return id ?? null;
  throw new Rejected('INVALID_ID', 'id has 1 to 100 characters.');
}

function check(reach: Reach, event: IncomingEvent, sender: Sender, arrival: Arrival): CheckedEvent {
  const { now } = arrival;
  const type = wellFormed((event.type ?? 'log').trim());
  if (type.length === 0 || type.length > EVENT_LIMITS.type)
    throw new Rejected('INVALID_TYPE', 'type has 1 to 100 characters.');
  if (event.value != null && !Number.isFinite(event.value))
    throw new Rejected('INVALID_VALUE', 'value is a finite number.');
  const referenceId = checkText('referenceId', event.referenceId);
  const user = checkUser(reach.projectId, event.user);
  // Whether a named session is within a narrowed token's reach is known when the session is (sessionizer).
  if (reach.userIds && !(user ? reach.userIds.includes(user.id) : event.sessionKey)) {
    throw new Rejected(
      'FORBIDDEN_IDENTITY',
      'This token is narrowed to certain users; name one of them in user.identity.',
    );
  }
  const time = checkTime(event.occurredAt, arrival);
  const id = checkId(event.id);
  const sessionKey = checkKey(type, event.sessionKey, referenceId);
  const isTooOld = now - time > OLDEST_EVENT;
  if (isTooOld && id === null) throw new Rejected(TOO_OLD.code, TOO_OLD.message);
  return {
    projectId: reach.projectId,
    type,
    time,
    receivedAt: now,
    eventKey: id === null ? null : eventKeyOf(id, user?.id ?? null, sessionKey, reach.userIds),
    sessionKey,
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
    json: checkJson('data', event.data),
    refusal: isTooOld ? TOO_OLD : null,
  };
}

/** When a request arrived, and how far its client's clock is ahead of that. Milliseconds. */
export interface Arrival {
  readonly now: number;
  readonly skew: number;
}

/** So far clocks may differ, and a request be under way, without a word. Milliseconds. */
const CLOCKS_AGREE = 2_000;

/** Rule 10: a request that arrives at `now`; `sentAt`: the client's clock when it sent it, null where it does not say. */
export function arrivalOf(now: Date, sentAt: Date | null = null): Arrival {
  const skew = sentAt === null ? 0 : sentAt.getTime() - now.getTime();
  return { now: now.getTime(), skew: Math.abs(skew) > CLOCKS_AGREE ? skew : 0 };
}

/**
 * Checks one event on its own (rule 26) at its arrival (rule 10): what can be stored, or why not.
 * Nothing is cut short in silence: what is too long is refused with the field's name.
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

/** The heartbeat of a recordHeartbeat call as an event of now (rule 18), or why it cannot be one. */
export function checkHeartbeat(
  reach: Reach,
  heartbeat: { sessionKey?: string | null; identity?: string | null; close: boolean },
  sender: Sender,
  now: Date,
): CheckedEvent | Rejection {
  const checked = checkEvent(
    reach,
    {
      type: 'heartbeat',
      sessionKey: heartbeat.sessionKey ?? null,
      user: heartbeat.identity == null ? null : { identity: heartbeat.identity },
    },
    sender,
    arrivalOf(now),
  );
  return 'code' in checked ? checked : { ...checked, call: heartbeat.close ? 'CLOSE' : 'BEAT' };
}
