import type { CheckedEvent } from './check-event.js';
import { accepted, discarded, type PlanContext, type PlannedEvent, type Verdict } from './planned-event.js';
import { isOpen, type WorkingSession } from './session.js';
import { count, describe, endSession, hearHeartbeat, reopen, startSession, touch } from './working-session.js';

/** The one session that a key names for ever (rule 9); null where no event has named it yet. */
export interface NamedState {
  session: WorkingSession | null;
}

/** Rules 9 and 18: what brings an ended named session back. */
function reopens(session: WorkingSession, event: CheckedEvent, presence: number): boolean {
  if (isOpen(session)) return false;
  const gap = event.time - session.lastActivityAt;
  if (session.endReason === 'INACTIVITY') return gap > 0;
  return session.closedByHeartbeat && gap >= 0 && gap <= presence && event.call !== 'CLOSE';
}

/** A token narrowed to users reaches a named session only through them. */
function isForbidden(session: WorkingSession | null, event: CheckedEvent): boolean {
  if (!event.allowedUsers) return false;
  const owner = session?.userId ?? event.user?.id ?? null;
  return owner === null || !event.allowedUsers.includes(owner);
}

function begin(state: NamedState, planned: PlannedEvent, context: PlanContext): Verdict {
  const { event } = planned;
  // recordHeartbeat opens no named session, and an end makes none (rules 17 and 18).
  if (event.type === 'sessionend' || event.call !== null) return discarded('NO_SESSION', null);
  const session = startSession(planned, event.sessionKey, context);
  state.session = session;
  if (event.type === 'heartbeat') return discarded('HEARTBEAT', session);
  count(session, event);
  return accepted(session);
}

function applyToOpen(session: WorkingSession, planned: PlannedEvent): Verdict {
  const { event, request } = planned;
  if (event.call === 'CLOSE') {
    hearHeartbeat(session);
    endSession(session, event.time, 'CLIENT', true);
    return discarded('HEARTBEAT', session);
  }
  touch(session, event.time);
  if (event.type === 'heartbeat') {
    hearHeartbeat(session);
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

function applyToEnded(session: WorkingSession, planned: PlannedEvent): Verdict {
  const { event, request } = planned;
  const endedHere = session.endedBy === request;
  const known = event.time <= session.lastActivityAt;
  if (event.type === 'sessionend') {
    if (!endedHere) return discarded('NO_SESSION', null);
    touch(session, event.time);
    return discarded('DUPLICATE_SESSION_END', session);
  }
  if (event.type === 'heartbeat') {
    if (event.call === 'CLOSE' || !(endedHere || known)) return discarded('NO_SESSION', null);
    touch(session, event.time);
    return discarded('HEARTBEAT', session);
  }
  if (event.type === 'session') {
    if (endedHere || known) touch(session, event.time);
    return discarded('DUPLICATE_SESSION_START', session);
  }
  touch(session, event.time);
  count(session, event);
  return accepted(session);
}

function apply(state: NamedState, planned: PlannedEvent, context: PlanContext): Verdict {
  const { event } = planned;
  const { session } = state;
  if (isForbidden(session, event)) {
    return {
      status: 'REJECTED',
      code: 'FORBIDDEN_IDENTITY',
      message: 'This token is narrowed to certain users, and the session is not known to be one of theirs.',
      session: null,
    };
  }
  if (!session) return begin(state, planned, context);
  if (reopens(session, event, context.settings.presenceTimeout * 1000)) reopen(session);
  if (session.userId === null && event.user) {
    session.userId = event.user.id;
    session.moved = true;
  }
  return isOpen(session) ? applyToOpen(session, planned) : applyToEnded(session, planned);
}

/**
 * Plans the events that name one session by its key (rules 9, 13, 14 and 16). `requests` as in planIdentity.
 * Sets each event's verdict; makes or changes `state.session`. Answers the time of the latest `sessionend`
 * event, which rule 18 remembers for the session's user; null where there was none.
 */
export function planNamed(state: NamedState, requests: readonly PlannedEvent[][], context: PlanContext): number | null {
  let lastEndAt: number | null = null;
  for (const request of requests) {
    for (const planned of request.toSorted((a, b) => a.event.time - b.event.time)) {
      const verdict = apply(state, planned, context);
      if (verdict.session) describe(verdict.session, planned.event.attributes);
      planned.verdict = verdict;
      if (planned.event.type === 'sessionend' && verdict.status !== 'REJECTED') {
        lastEndAt = Math.max(lastEndAt ?? 0, planned.event.time);
      }
    }
  }
  return lastEndAt;
}
