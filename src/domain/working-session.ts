import type { PlannedEvent, ReadyEvent } from './planned-event.js';
import {
  isOpen,
  MOST_KEPT,
  type SessionAttributes,
  type SessionEndReason,
  type SourceMark,
  type WorkingSession,
} from './session.js';
import { firstFrom } from './in-order.js';
import { storedBytes } from './well-formed.js';

/** The operations by which events change a session. Each marks what it changed, so that only that is written. */

export function startSession(
  planned: PlannedEvent,
  id: string,
  {
    userId,
    key = null,
    namesake = 0,
  }: { readonly userId: string | null; readonly key?: string | null; readonly namesake?: number },
): WorkingSession {
  const { event, request } = planned;
  return {
    id,
    projectId: event.projectId,
    key,
    namesake,
    userId,
    deviceId: event.deviceId,
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
    entry: null,
    exit: null,
    hasOthersMarks: false,
    eventTypes: [],
    dueAt: null,
    toldOnline: false,
    isNew: true,
    stored: [],
    isFull: false,
    isUnsplittable: false,
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
 * Records activity at `time`: widens the session to hold it. The end of an ended session moves with its last activity; then
 * the session no longer ends with a closing heartbeat.
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

/** Records a heartbeat at `time`. The session keeps the two latest (rule 29), in whatever order they arrive. */
export function hearHeartbeat(session: WorkingSession, time: number): void {
  session.hasHeartbeat = true;
  session.moved = true;
  if (session.heartbeatAt === null || time >= session.heartbeatAt) {
    session.heartbeatBefore = session.heartbeatAt;
    session.heartbeatAt = time;
  } else session.heartbeatBefore = Math.max(session.heartbeatBefore ?? time, time);
}

/** Ends the session at `time` or, if that is later, at its last activity (rules 12 and 15). */
export function endSession(session: WorkingSession, time: number, reason: SessionEndReason, byHeartbeat = false): void {
  touch(session, time);
  session.endReason = reason;
  session.closedByHeartbeat = byHeartbeat;
  if (byHeartbeat) session.hasHeartbeat = true;
  session.moved = true;
}

export function reopen(session: WorkingSession): void {
  if (session.closedByHeartbeat) {
    // The tab that said goodbye sends no more heartbeats. Those that follow are of other tabs.
    session.heartbeatAt = null;
    session.heartbeatBefore = null;
  }
  session.endReason = null;
  session.closedByHeartbeat = false;
  session.endedBy = null;
  session.moved = true;
}

function addType(session: WorkingSession, type: string): void {
  if (session.isFull || session.eventTypes.length >= MOST_KEPT.types || session.eventTypes.includes(type)) return;
  session.eventTypes.push(type);
  session.described = true;
}

/** Takes an event that names a source into account. Ids of events sort by time. */
function mark(session: WorkingSession, one: SourceMark): void {
  if (!session.entry || one.eventId < session.entry.eventId) session.entry = one;
  if (!session.exit || one.eventId > session.exit.eventId) session.exit = one;
}

/** Counts an event that will be stored (rule 23), and keeps its type and where it was (rule 22). */
export function count(session: WorkingSession, { id: eventId, type, source }: ReadyEvent): void {
  session.eventCount += 1;
  if (type === 'error') session.errorCount += 1;
  if (source !== null) mark(session, { eventId, source });
  session.moved = true;
  addType(session, type);
}

const SIMPLE = ['version', 'browserName', 'osName', 'device', 'ipAddress', 'country'] as const;
/** A version belongs to its name, and a city to its country: both come from the same event. */
const FOLLOWS = { browserName: ['browserVersion'], osName: ['osVersion'], country: ['region', 'city'] } as const;

const jsonBytes = (value: unknown): number => storedBytes(JSON.stringify(value) ?? '');

/** The size of `data` as JSON, by object: each event of a batch asks for the size of the same objects. */
const dataSizes = new WeakMap<object, number>();
function dataBytes(data: Record<string, unknown>): number {
  const known = dataSizes.get(data);
  if (known !== undefined) return known;
  const bytes = jsonBytes(data);
  dataSizes.set(data, bytes);
  return bytes;
}

/** How many bytes of data and types the session's row holds. */
export const keptBytes = ({ data, eventTypes }: WorkingSession): number =>
  eventTypes.reduce((sum, type) => sum + Buffer.byteLength(type), dataBytes(data));

/** Adds the members of `found` that the session does not have, as far as there is room (rule 22). */
function addData(session: WorkingSession, found: Record<string, unknown>): void {
  if (session.isFull) return;
  let bytes: number | null = null;
  const added: [string, unknown][] = [];
  for (const key of Object.keys(found)) {
    if (Object.hasOwn(session.data, key)) continue;
    bytes ??= dataBytes(session.data);
    // A member takes its name, a colon, its value and a comma.
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

/** Adds the attributes that the session does not have yet (rule 22). */
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
 * Joins two sessions that turn out to be one (rule 27). The earlier one keeps its id. It takes its end, or that it is open,
 * from the later one.
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
  for (const one of [later.entry, later.exit]) if (one) mark(earlier, one);
  earlier.hasOthersMarks = true;
  for (const type of later.eventTypes) addType(earlier, type);
  for (const part of later.stored) earlier.stored.push(part);
  earlier.isUnsplittable ||= later.isUnsplittable;
  describe(earlier, later);
  if (isOpen(later)) {
    earlier.dueAt = later.dueAt;
    earlier.toldOnline = later.toldOnline;
  }
  earlier.moved = true;
  earlier.described = true;
  later.mergedInto = earlier;
}

/** Counts a session's events again: those that were stored before, and the `accepted` ones of this batch. */
export function recount(session: WorkingSession, accepted: Iterable<ReadyEvent>): void {
  session.eventCount = 0;
  session.errorCount = 0;
  session.entry = null;
  session.exit = null;
  session.hasOthersMarks = true;
  if (!session.isFull) session.eventTypes = [];
  for (const { events, errors, types, entry, exit } of session.stored) {
    session.eventCount += events;
    session.errorCount += errors;
    for (const eventId of [entry, exit]) if (eventId !== null) mark(session, { eventId, source: null });
    for (const type of types) addType(session, type);
  }
  for (const event of accepted) count(session, event);
  session.moved = true;
  session.described = true;
}

/**
 * The members of data that describe the client, not its actions: their names begin with `@`. Kept by the data they are part
 * of.
 */
const clients = new WeakMap<object, Record<string, unknown>>();
function ofClient(data: Record<string, unknown>): Record<string, unknown> {
  const known = clients.get(data);
  if (known) return known;
  const client = Object.fromEntries(Object.entries(data).filter(([key]) => key.startsWith('@')));
  clients.set(data, client);
  return client;
}

/** How many bytes of client data the late starts of one user may still copy in this batch. */
interface CopyBudget {
  bytes: number;
}

/**
 * Splits an open session at a late start that lies in it (rule 12). Events stored from `later.startedAt` on go to `later`,
 * which takes the open session's last activity; the open session ends at the start. What the open session knows about its
 * client is copied to `later`, as far as `copies` allows. Both sessions must be counted again (recount).
 */
export function split(open: WorkingSession, later: WorkingSession, copies: CopyBudget): void {
  const at = later.startedAt;
  later.lastActivityAt = open.lastActivityAt;
  later.hasHeartbeat = open.hasHeartbeat;
  for (const time of [open.heartbeatBefore, open.heartbeatAt]) {
    if (time !== null && time >= at) hearHeartbeat(later, time);
  }
  later.stored = open.stored.splice(firstFrom(open.stored, at, (part) => part.at));
  later.isUnsplittable = open.isUnsplittable;
  const client = ofClient(open.data);
  const bytes = dataBytes(client);
  const isWithin = bytes <= copies.bytes;
  if (isWithin) copies.bytes -= bytes;
  describe(later, { ...open, data: isWithin ? client : {} });
  open.lastActivityAt = at;
  open.endReason = 'SUPERSEDED';
}
