import type { CheckedEvent } from './check-event.js';
import { accepted, discarded, isStale, type PlanContext, type PlannedEvent, type Verdict } from './planned-event.js';
import { isOpen, type WorkingSession } from './session.js';
import { count, describe, endSession, hearHeartbeat, reopen, startSession, touch } from './working-session.js';

/** The sessions that a key names, one of each user (rule 1): those that the events of a batch may belong to. */
export interface NamedState {
  sessions: WorkingSession[];
  /** How many of the key there have been; of the next one its `namesake`. */
  namesakes: number;
}

/** Rule 6, for what would end the session: what the closer would have done by then, whether or not it has run. */
function closeStale(session: WorkingSession, event: CheckedEvent, inactivity: number): void {
  if (!isOpen(session) || event.time - session.lastActivityAt <= inactivity) return;
  if (event.type === 'sessionend' || event.call === 'CLOSE') {
    endSession(session, session.lastActivityAt, 'INACTIVITY');
  }
}

/** Rules 9 and 18: what brings an ended named session back. */
function reopens(session: WorkingSession, event: CheckedEvent, inactivity: number, presence: number): boolean {
  if (isOpen(session)) return false;
  const gap = event.time - session.lastActivityAt;
  if (session.endReason === 'INACTIVITY') {
    const ends = event.type === 'sessionend' || event.call === 'CLOSE';
    return gap >= 0 && (!ends || gap <= inactivity);
  }
  return session.closedByHeartbeat && gap >= 0 && gap <= presence && event.call !== 'CLOSE';
}

/** The one that was heard of last: an open one before any that has ended. */
const latest = (sessions: readonly WorkingSession[]): WorkingSession | null =>
  sessions.reduce<WorkingSession | null>((found, session) => {
    if (!found || isOpen(session) !== isOpen(found)) return !found || isOpen(session) ? session : found;
    return session.lastActivityAt >= found.lastActivityAt ? session : found;
  }, null);

/**
 * The session that an event of the key belongs to (rule 1): the own one of the user it names, else one that nobody has
 * named a user of yet. An event that names no user goes where the key was heard of last; of a token that is narrowed to
 * users, among theirs.
 */
function sessionOf({ sessions }: NamedState, { user, allowedUsers }: CheckedEvent): WorkingSession | null {
  if (user) {
    return sessions.find(({ userId }) => userId === user.id) ?? sessions.find(({ userId }) => userId === null) ?? null;
  }
  if (allowedUsers === null) return latest(sessions);
  return latest(sessions.filter(({ userId }) => userId !== null && allowedUsers.includes(userId)));
}

function begin(state: NamedState, planned: PlannedEvent, context: PlanContext): Verdict {
  const { event } = planned;
  // recordHeartbeat opens no named session, nor does a heartbeat of a while ago, and an end makes none (rules 17 and 18).
  if (event.type === 'sessionend' || event.call !== null || isStale(event, context)) {
    return discarded('NO_SESSION', null);
  }
  const session = startSession(planned, context.newSessionId(event.time, 0), {
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
    // Rule 14: the start of what this request began a little earlier; otherwise a repeat (rule 13).
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

/** Rules 9 and 16. What closed for INACTIVITY and lies in the past of the session changes it no more than it must. */
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
      message: 'This token is narrowed to certain users, and the session is not known to be one of theirs.',
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

/**
 * Plans the events that name sessions by one key (rules 1, 9, 13, 14 and 16). `requests` as in planIdentity.
 * Sets each event's verdict; makes or changes `state.sessions`.
 */
export function planNamed(state: NamedState, requests: readonly PlannedEvent[][], context: PlanContext): void {
  for (const request of requests) {
    for (const planned of request.toSorted((a, b) => a.event.time - b.event.time)) {
      const verdict = apply(state, planned, context);
      if (verdict.session) describe(verdict.session, planned.event.attributes);
      planned.verdict = verdict;
    }
  }
}
