import type { CheckedEvent } from './check-event.js';
import type { PlanContext, PlannedEvent } from './planned-event.js';
import { isOpen, type SessionAttributes, type SessionEndReason, type WorkingSession } from './session.js';

/** The few moves by which events change a session. Each marks what it changed, so that only that is written. */

export function startSession(planned: PlannedEvent, key: string | null, context: PlanContext): WorkingSession {
  const { event, request } = planned;
  return {
    id: context.newSessionId(event.time),
    projectId: event.projectId,
    key,
    userId: event.user?.id ?? null,
    startedAt: event.time,
    lastActivityAt: event.time,
    endReason: null,
    closedByHeartbeat: false,
    explicitStart: event.type === 'session',
    hasHeartbeat: event.type === 'heartbeat',
    eventCount: 0,
    errorCount: 0,
    eventTypes: [],
    dueAt: null,
    lapsed: false,
    isNew: true,
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

/** Activity at `time`: widens the session to hold it. An ended session's end moves with its last activity. */
export function touch(session: WorkingSession, time: number): void {
  if (time > session.lastActivityAt) {
    session.lastActivityAt = time;
    session.moved = true;
  }
  if (time < session.startedAt) {
    session.startedAt = time;
    session.moved = true;
  }
}

export function hearHeartbeat(session: WorkingSession): void {
  if (session.hasHeartbeat) return;
  session.hasHeartbeat = true;
  session.moved = true;
}

/** Ends it at `time` or, if that is later, at its last activity (rules 12 and 15). */
export function endSession(session: WorkingSession, time: number, reason: SessionEndReason, byHeartbeat = false): void {
  touch(session, time);
  session.endReason = reason;
  session.closedByHeartbeat = byHeartbeat;
  session.moved = true;
}

export function reopen(session: WorkingSession): void {
  session.endReason = null;
  session.closedByHeartbeat = false;
  session.endedBy = null;
  session.moved = true;
}

/** Counts a stored event (rule 23). */
export function count(session: WorkingSession, event: CheckedEvent): void {
  session.eventCount += 1;
  if (event.type === 'error') session.errorCount += 1;
  session.moved = true;
  if (session.eventTypes.includes(event.type)) return;
  session.eventTypes.push(event.type);
  session.described = true;
}

const SIMPLE = ['version', 'browserName', 'osName', 'device', 'ipAddress', 'country'] as const;
/** A version belongs to its name, and a city to its country: they come from the same event. */
const FOLLOWS = { browserName: ['browserVersion'], osName: ['osVersion'], country: ['region', 'city'] } as const;

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
  for (const key of Object.keys(found.data)) {
    if (key in session.data) continue;
    session.data = { ...found.data, ...session.data };
    session.described = true;
    return;
  }
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
  earlier.eventCount += later.eventCount;
  earlier.errorCount += later.errorCount;
  earlier.eventTypes = [...new Set([...earlier.eventTypes, ...later.eventTypes])];
  describe(earlier, later);
  if (isOpen(later)) {
    earlier.dueAt = later.dueAt;
    earlier.lapsed = later.lapsed;
  }
  earlier.moved = true;
  earlier.described = true;
  later.mergedInto = earlier;
}
