import type { CheckedEvent } from './check-event.js';
import type { PlannedEvent } from './planned-event.js';
import { isOpen, MOST_KEPT, type SessionAttributes, type SessionEndReason, type WorkingSession } from './session.js';

/** The few moves by which events change a session. Each marks what it changed, so that only that is written. */

export function startSession(
  planned: PlannedEvent,
  id: string,
  named: { readonly key: string | null; readonly namesake: number } = { key: null, namesake: 0 },
): WorkingSession {
  const { event, request } = planned;
  return {
    id,
    projectId: event.projectId,
    ...named,
    userId: event.user?.id ?? null,
    startedAt: event.time,
    lastActivityAt: event.time,
    endReason: null,
    closedByHeartbeat: false,
    explicitStart: event.type === 'session',
    hasHeartbeat: false,
    heartbeatAt: null,
    heartbeatBefore: null,
    eventCount: 0,
    errorCount: 0,
    eventTypes: [],
    dueAt: null,
    lapsed: false,
    isNew: true,
    stored: [],
    storedUnder: [],
    mergedInto: null,
    moved: true,
    described: true,
    startedBy: request,
    endedBy: null,
    version: null,
    browserName: null,
    browserVersion: null,
    osName: null,
    osVersion: null,
    device: null,
    ipAddress: null,
    isBot: false,
    country: null,
    region: null,
    city: null,
    data: {},
  };
}

/**
 * Activity at `time`: widens the session to hold it. An ended session's end moves with its last activity; then a closing
 * heartbeat is no longer what it ends with.
 */
export function touch(session: WorkingSession, time: number): void {
  if (time > session.lastActivityAt) {
    session.lastActivityAt = time;
    session.closedByHeartbeat = false;
    session.moved = true;
  }
  if (time < session.startedAt) {
    session.startedAt = time;
    session.moved = true;
  }
}

/** A heartbeat at `time`: the two latest are kept (rule 29), in whatever order they are heard. */
export function hearHeartbeat(session: WorkingSession, time: number): void {
  session.hasHeartbeat = true;
  session.moved = true;
  if (session.heartbeatAt === null || time >= session.heartbeatAt) {
    session.heartbeatBefore = session.heartbeatAt;
    session.heartbeatAt = time;
  } else session.heartbeatBefore = Math.max(session.heartbeatBefore ?? time, time);
}

/** Ends it at `time` or, if that is later, at its last activity (rules 12 and 15). */
export function endSession(session: WorkingSession, time: number, reason: SessionEndReason, byHeartbeat = false): void {
  touch(session, time);
  session.endReason = reason;
  session.closedByHeartbeat = byHeartbeat;
  if (byHeartbeat) session.hasHeartbeat = true;
  session.moved = true;
}

export function reopen(session: WorkingSession): void {
  if (session.closedByHeartbeat) {
    // Who said goodbye is heard no more: the heartbeats that follow are the others'.
    session.heartbeatAt = null;
    session.heartbeatBefore = null;
  }
  session.endReason = null;
  session.closedByHeartbeat = false;
  session.endedBy = null;
  session.moved = true;
}

function addType(session: WorkingSession, type: string): void {
  if (session.eventTypes.length >= MOST_KEPT.types || session.eventTypes.includes(type)) return;
  session.eventTypes.push(type);
  session.described = true;
}

/** Counts a stored event (rule 23), and keeps its type (rule 22). */
export function count(session: WorkingSession, event: CheckedEvent): void {
  session.eventCount += 1;
  if (event.type === 'error') session.errorCount += 1;
  session.moved = true;
  addType(session, event.type);
}

const SIMPLE = ['version', 'browserName', 'osName', 'device', 'ipAddress', 'country'] as const;
/** A version belongs to its name, and a city to its country: they come from the same event. */
const FOLLOWS = { browserName: ['browserVersion'], osName: ['osVersion'], country: ['region', 'city'] } as const;

const jsonBytes = (value: unknown): number => Buffer.byteLength(JSON.stringify(value) ?? '');

/** What `data` takes as JSON; each object is asked of a batch's every event. */
const dataSizes = new WeakMap<object, number>();
function dataBytes(data: Record<string, unknown>): number {
  const known = dataSizes.get(data);
  if (known !== undefined) return known;
  const bytes = jsonBytes(data);
  dataSizes.set(data, bytes);
  return bytes;
}

/** Takes the members of `found` that the session has not, as far as there is room (rule 22). */
function addData(session: WorkingSession, found: Record<string, unknown>): void {
  let bytes: number | null = null;
  const added: [string, unknown][] = [];
  for (const key of Object.keys(found)) {
    if (Object.hasOwn(session.data, key)) continue;
    bytes ??= dataBytes(session.data);
    // A member is its name, a colon, its value and a comma.
    const more = jsonBytes(key) + jsonBytes(found[key]) + 2;
    if (bytes + more > MOST_KEPT.dataBytes) continue;
    bytes += more;
    added.push([key, found[key]]);
  }
  if (added.length === 0) return;
  session.data = { ...session.data, ...Object.fromEntries(added) };
  dataSizes.set(session.data, bytes!);
  session.described = true;
}

/** Takes what the session does not have yet (rule 22). */
export function describe(session: WorkingSession, found: SessionAttributes): void {
  for (const name of SIMPLE) {
    if (session[name] !== null || found[name] === null) continue;
    session[name] = found[name];
    if (name in FOLLOWS) {
      for (const follower of FOLLOWS[name as keyof typeof FOLLOWS]) session[follower] = found[follower];
    }
    session.described = true;
  }
  if (found.isBot && !session.isBot) {
    session.isBot = true;
    session.described = true;
  }
  addData(session, found.data);
}

/**
 * Joins two sessions that turn out to be one (rule 27). The earlier keeps its id; how it goes on, and
 * whether it has ended, is the later one's.
 */
export function merge(earlier: WorkingSession, later: WorkingSession): void {
  touch(earlier, later.startedAt);
  touch(earlier, later.lastActivityAt);
  earlier.endReason = later.endReason;
  earlier.closedByHeartbeat = later.closedByHeartbeat;
  earlier.endedBy = later.endedBy;
  earlier.hasHeartbeat ||= later.hasHeartbeat;
  for (const time of [later.heartbeatBefore, later.heartbeatAt]) if (time !== null) hearHeartbeat(earlier, time);
  earlier.eventCount += later.eventCount;
  earlier.errorCount += later.errorCount;
  for (const type of later.eventTypes) addType(earlier, type);
  earlier.stored = [...earlier.stored, ...later.stored];
  earlier.storedUnder = [...earlier.storedUnder, ...later.storedUnder];
  describe(earlier, later);
  if (isOpen(later)) {
    earlier.dueAt = later.dueAt;
    earlier.lapsed = later.lapsed;
  }
  earlier.moved = true;
  earlier.described = true;
  later.mergedInto = earlier;
}

/** Counts anew what a session holds: of what was stored before, and of this batch's events. */
function recount(session: WorkingSession, accepted: readonly CheckedEvent[]): void {
  session.eventCount = 0;
  session.errorCount = 0;
  session.eventTypes = [];
  for (const { events, errors, types } of session.stored) {
    session.eventCount += events;
    session.errorCount += errors;
    for (const type of types) addType(session, type);
  }
  for (const event of accepted) count(session, event);
  session.moved = true;
  session.described = true;
}

/** What describes the client rather than what it does: the known members of data begin so. */
const ofClient = (data: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(data).filter(([key]) => key.startsWith('@')));

/**
 * Splits an open session where a late start lies in it (rule 12): what is stored from `later.startedAt` on goes to `later`,
 * which goes on from the open one's last activity; the open one ends at the start. `stays` and `goes`: this batch's stored
 * events of the two. What the first has found out of its client is true of the second too.
 */
export function split(
  open: WorkingSession,
  later: WorkingSession,
  stays: readonly CheckedEvent[],
  goes: readonly CheckedEvent[],
): void {
  const at = later.startedAt;
  later.lastActivityAt = open.lastActivityAt;
  later.hasHeartbeat = open.hasHeartbeat;
  for (const time of [open.heartbeatBefore, open.heartbeatAt]) {
    if (time !== null && time >= at) hearHeartbeat(later, time);
  }
  later.stored = open.stored.filter((part) => part.at >= at);
  if (later.stored.length > 0) later.storedUnder = open.storedUnder;
  open.stored = open.stored.filter((part) => part.at < at);
  recount(open, stays);
  recount(later, goes);
  describe(later, { ...open, data: ofClient(open.data) });
  open.lastActivityAt = at;
  open.endReason = 'SUPERSEDED';
}
