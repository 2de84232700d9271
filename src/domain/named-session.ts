import type { CheckedEvent } from './check-event.js';
import { accepted, discarded, isStale, type PlanContext, type PlannedEvent, type Verdict } from './planned-event.js';
import { isOpen, type WorkingSession } from './session.js';
import { count, describe, endSession, hearHeartbeat, reopen, startSession, touch } from './working-session.js';

/** The sessions of one key, at most one of each user (rule 1): those that the events of a batch may belong to. */
export interface NamedState {
  sessions: WorkingSession[];
  /** How many sessions the key has named so far: the `namesake` of the next one. */
  namesakes: number;
}

/**
 * Rule 6, for an event that would end the session: ends it as the closer would have done by then, whether or not it has
 * run.
 */
function closeStale(session: WorkingSession, event: CheckedEvent, inactivity: number): void {
  if (!isOpen(session) || event.time - session.lastActivityAt <= inactivity) return;
  if (event.type === 'sessionend' || event.call === 'CLOSE') {
    endSession(session, session.lastActivityAt, 'INACTIVITY');
  }
}

/** Rules 9 and 18: whether the event reopens an ended named session. */
function reopens(session: WorkingSession, event: CheckedEvent, inactivity: number, presence: number): boolean {
  if (isOpen(session)) return false;
  const gap = event.time - session.lastActivityAt;
  if (session.endReason === 'INACTIVITY') {
    const ends = event.type === 'sessionend' || event.call === 'CLOSE';
    return gap >= 0 && (!ends || gap <= inactivity);
  }
  return session.closedByHeartbeat && gap >= 0 && gap <= presence && event.call !== 'CLOSE';
}

/** The session with the latest activity. An open session comes before every ended one. */
const latest = (sessions: readonly WorkingSession[]): WorkingSession | null =>
  sessions.reduce<WorkingSession | null>((found, session) => {
    if (!found || isOpen(session) !== isOpen(found)) return !found || isOpen(session) ? session : found;
    return session.lastActivityAt >= found.lastActivityAt ? session : found;
  }, null);

/**
 * The session that an event of the key belongs to (rule 1): the session of the user that the event names, else the session
 * that no event has named a user of yet. An event without a user belongs to the key's session with the latest activity; if
 * the token is narrowed to users, to the latest of their sessions.
 */
function sessionOf({ sessions }: NamedState, { user, allowedUsers }: CheckedEvent): WorkingSession | null {
  if (user) {
    return sessions.find(({ userId }) => userId === user.id) ?? sessions.find(({ userId }) => userId === null) ?? null;
  }
  if (allowedUsers === null) return latest(sessions);
  const allowed = new Set(allowedUsers);
  return latest(sessions.filter(({ userId }) => userId !== null && allowed.has(userId)));
}

function begin(state: NamedState, planned: PlannedEvent, context: PlanContext): Verdict {
  const { event } = planned;
  // recordHeartbeat opens no named session, an old heartbeat opens none, and an end makes none (rules 17 and 18).
  if (event.type === 'sessionend' || event.call !== null || isStale(event, context)) {
    return discarded('NO_SESSION', null);
  }
  const session = startSession(planned, context.newSessionId(event.time, 0), {
    userId: event.user?.id ?? null,
    key: event.sessionKey,
    namesake: state.namesakes,
  });
  state.sessions.push(session);
  state.namesakes += 1;
  if (event.type === 'heartbeat') {
    hearHeartbeat(session, event.time);
    return discarded('HEARTBEAT', session);
  }
  count(session, event);
  return accepted(session);
}

function applyToOpen(session: WorkingSession, planned: PlannedEvent): Verdict {
  const { event, request } = planned;
  if (event.call === 'CLOSE') {
    endSession(session, event.time, 'CLIENT', true);
    return discarded('HEARTBEAT', session);
  }
  touch(session, event.time);
  if (event.type === 'heartbeat') {
    hearHeartbeat(session, event.time);
    return discarded('HEARTBEAT', session);
  }
  if (event.type === 'session') {
    // Rule 14: the start of a session that this request itself began a little earlier; otherwise a repeat (rule 13).
    if (session.startedBy !== request || session.explicitStart) return discarded('DUPLICATE_SESSION_START', session);
    session.explicitStart = true;
  }
  if (event.type === 'sessionend') {
    endSession(session, event.time, 'CLIENT');
    session.endedBy = request;
  }
  count(session, event);
  return accepted(session);
}

/** Rules 9 and 16: an event of an ended session, which stays ended. */
function applyToEnded(session: WorkingSession, planned: PlannedEvent): Verdict {
  const { event, request } = planned;
  // Rule 16: an end in the middle of a request ends the session at the request's last event for it.
  const endedHere = session.endedBy === request;
  if (event.type === 'sessionend') {
    if (!endedHere) return discarded('NO_SESSION', null);
    touch(session, event.time);
    return discarded('DUPLICATE_SESSION_END', session);
  }
  if (event.type === 'heartbeat') {
    const known = session.endReason === 'INACTIVITY' && event.call !== 'CLOSE';
    if (!known) return discarded('NO_SESSION', null);
    touch(session, event.time);
    hearHeartbeat(session, event.time);
    return discarded('HEARTBEAT', session);
  }
  if (event.type === 'session') {
    if (session.endReason === 'INACTIVITY' || endedHere) touch(session, event.time);
    return discarded('DUPLICATE_SESSION_START', session);
  }
  touch(session, event.time);
  count(session, event);
  return accepted(session);
}

function apply(state: NamedState, planned: PlannedEvent, context: PlanContext): Verdict {
  const { event } = planned;
  const session = sessionOf(state, event);
  if (!session && !event.user && event.allowedUsers) {
    return {
      status: 'REJECTED',
      code: 'FORBIDDEN_IDENTITY',
      message:
        'This token is narrowed to certain users, and it is not known that this session belongs to one of them; name the user in user.identity.',
      session: null,
    };
  }
  if (!session) return begin(state, planned, context);
  const inactivity = context.settings.inactivityTimeout * 1000;
  closeStale(session, event, inactivity);
  if (reopens(session, event, inactivity, context.settings.presenceTimeout * 1000)) reopen(session);
  if (session.userId === null && event.user) {
    session.userId = event.user.id;
    session.moved = true;
  }
  return isOpen(session) ? applyToOpen(session, planned) : applyToEnded(session, planned);
}

/** Rule 22, and of a named session the device too: the first that one of its events names. */
function describeNamed(session: WorkingSession, { attributes, deviceId }: PlannedEvent['event']): void {
  describe(session, attributes);
  if (session.deviceId !== null || deviceId === null) return;
  session.deviceId = deviceId;
  session.described = true;
}

/**
 * Plans the events that name sessions by one key (rules 1, 9, 13, 14 and 16). `requests` as in planIdentity. Sets each
 * event's verdict, changes `state.sessions`, and adds new sessions to it.
 */
export function planNamed(state: NamedState, requests: readonly PlannedEvent[][], context: PlanContext): void {
  for (const request of requests) {
    for (const planned of request.toSorted((a, b) => a.event.time - b.event.time)) {
      const verdict = apply(state, planned, context);
      planned.verdict = verdict;
      if (verdict.session) describeNamed(verdict.session, planned.event);
    }
  }
}
