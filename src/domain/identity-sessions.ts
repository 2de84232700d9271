import type { CheckedEvent } from './check-event.js';
import { accepted, discarded, policyOf, type PlanContext, type PlannedEvent, type Verdict } from './planned-event.js';
import { isOpen, type WorkingSession } from './session.js';
import { count, describe, endSession, hearHeartbeat, merge, reopen, startSession, touch } from './working-session.js';

/** A user's identity sessions near the events of a batch, the open one included. */
export interface IdentityState {
  sessions: WorkingSession[];
  /** When the user last sent a `sessionend` event; null for never (rule 18). */
  lastEndAt: number | null;
}

const latest = (sessions: readonly WorkingSession[]): WorkingSession | null =>
  sessions.reduce<WorkingSession | null>(
    (found, session) => (found && found.lastActivityAt >= session.lastActivityAt ? found : session),
    null,
  );

/**
 * Applies one user's events to the user's identity sessions (rules 2 to 18). Pure but for the state it is
 * given: the same events and state give the same outcome, whatever the time of day.
 */
class IdentityPlan {
  private readonly inactivity: number;
  private readonly presence: number;

  constructor(
    private readonly state: IdentityState,
    private readonly context: PlanContext,
  ) {
    this.inactivity = context.settings.inactivityTimeout * 1000;
    this.presence = context.settings.presenceTimeout * 1000;
  }

  apply(planned: PlannedEvent): Verdict {
    const { event } = planned;
    this.closeStale(event.time);
    this.reopenRecent(event);
    if (event.type === 'session') return this.start(planned);
    if (event.type === 'sessionend') return this.end(planned);
    if (event.type === 'heartbeat') return this.heartbeat(planned);
    return this.store(planned);
  }

  private get all(): WorkingSession[] {
    return this.state.sessions.filter((session) => !session.mergedInto);
  }

  private get open(): WorkingSession | null {
    return this.state.sessions.find((session) => !session.mergedInto && isOpen(session)) ?? null;
  }

  /** Rule 6: what the closer would have done by then, whether or not it has run. */
  private closeStale(time: number): void {
    const open = this.open;
    if (open && time - open.lastActivityAt > this.inactivity) endSession(open, open.lastActivityAt, 'INACTIVITY');
  }

  /** Rule 8's exception, and rule 18's: the session that ended a moment ago goes on. */
  private reopenRecent(event: CheckedEvent): void {
    if (this.open) return;
    const last = latest(this.all);
    if (!last) return;
    const gap = event.time - last.lastActivityAt;
    const early = last.endReason === 'INACTIVITY' && gap > 0 && gap <= this.inactivity;
    const stillThere = last.closedByHeartbeat && gap >= 0 && gap <= this.presence && event.call !== 'CLOSE';
    if (early || stillThere) reopen(last);
  }

  private begin(planned: PlannedEvent): WorkingSession {
    const session = startSession(planned, null, this.context);
    this.state.sessions.push(session);
    return session;
  }

  /** Whether a session that ends and one that begins would have been one, had the events between come in order. */
  private canMerge(earlier: WorkingSession, later: WorkingSession, event: CheckedEvent): boolean {
    if (earlier.endReason !== 'INACTIVITY') return false;
    return !later.explicitStart || policyOf(event, this.context.settings) === 'RESUME';
  }

  /** Finds or makes the session an event of that time belongs to, and widens it (rules 2, 7, 8 and 27). */
  private place(planned: PlannedEvent): WorkingSession {
    const { event } = planned;
    const { time } = event;
    const all = this.all;
    const inside = this.around(time);
    if (inside) return inside;

    const open = this.open;
    if (open && time > open.lastActivityAt) {
      touch(open, time);
      return open;
    }
    const before = latest(all.filter((session) => session.lastActivityAt < time));
    const after = this.following(time);
    // The newest of all, and nothing is open (any more): rule 2, or rule 15 after an end.
    if (!after) return this.begin(planned);

    const left = before && time - before.lastActivityAt <= this.inactivity ? before : null;
    const right = after.startedAt - time <= this.inactivity ? after : null;
    if (left && right && this.canMerge(left, right, event)) {
      merge(left, right);
      return left;
    }
    const near = right ?? left;
    if (near) {
      touch(near, time);
      return near;
    }
    const own = this.begin(planned);
    endSession(own, time, 'INACTIVITY');
    return own;
  }

  private store(planned: PlannedEvent): Verdict {
    const session = this.place(planned);
    count(session, planned.event);
    return accepted(session);
  }

  private start(planned: PlannedEvent): Verdict {
    const { event, request } = planned;
    const open = this.open;
    const policy = policyOf(event, this.context.settings);
    if (open && event.time >= open.startedAt) {
      if (policy === 'RESTART') {
        endSession(open, event.time, 'SUPERSEDED');
        const session = this.begin(planned);
        count(session, event);
        return accepted(session);
      }
      touch(open, event.time);
      if (open.startedBy === request && !open.explicitStart) {
        // Rule 14: the start of what this request began a little earlier.
        open.explicitStart = true;
        count(open, event);
        return accepted(open);
      }
      return discarded('DUPLICATE_SESSION_START', open);
    }
    const inside = policy === 'RESUME' && this.around(event.time);
    // It came after the end, but began before it: in order, it would have found the session open.
    if (inside && inside.startedAt < event.time) return discarded('DUPLICATE_SESSION_START', inside);
    const after = this.following(event.time);
    if (after && !this.within(event.time)) return this.lateStart(planned, after);
    const session = this.place(planned);
    count(session, event);
    return accepted(session);
  }

  /** The session that holds this moment: where two meet, the one that starts there; where both do, the one that goes on. */
  private around(time: number): WorkingSession | undefined {
    return this.all
      .filter((session) => session.startedAt <= time && time <= session.lastActivityAt)
      .toSorted(
        (a, b) =>
          b.startedAt - a.startedAt || Number(isOpen(b)) - Number(isOpen(a)) || b.lastActivityAt - a.lastActivityAt,
      )[0];
  }

  private within(time: number): boolean {
    return this.around(time) !== undefined;
  }

  private following(time: number): WorkingSession | undefined {
    return this.all.filter((session) => session.startedAt > time).toSorted((a, b) => a.startedAt - b.startedAt)[0];
  }

  /** A start that arrives after what it started, or what came next: the outcome is that of the right order. */
  private lateStart(planned: PlannedEvent, after: WorkingSession): Verdict {
    const { event } = planned;
    const near = after.startedAt - event.time <= this.inactivity;
    if (policyOf(event, this.context.settings) === 'RESUME') {
      const session = this.place(planned);
      if (near && isOpen(session)) return discarded('DUPLICATE_SESSION_START', session);
      count(session, event);
      return accepted(session);
    }
    if (near && !after.explicitStart) {
      touch(after, event.time);
      after.explicitStart = true;
      count(after, event);
      return accepted(after);
    }
    // It began a session of its own, which the start of the next one superseded where that was near.
    const session = this.begin(planned);
    count(session, event);
    endSession(session, near ? after.startedAt : event.time, near ? 'SUPERSEDED' : 'INACTIVITY');
    return accepted(session);
  }

  private end(planned: PlannedEvent): Verdict {
    const { event, request } = planned;
    const open = this.open;
    // An end from before the session began is not its end: in order, it would have found nothing open.
    const ends = open !== null && event.time >= open.startedAt;
    if (ends) {
      endSession(open, event.time, 'CLIENT');
      open.endedBy = request;
      count(open, event);
    }
    const endedAt = ends ? open.lastActivityAt : event.time;
    this.state.lastEndAt = Math.max(this.state.lastEndAt ?? endedAt, endedAt);
    return ends ? accepted(open) : discarded('NO_SESSION', null);
  }

  private heartbeat(planned: PlannedEvent): Verdict {
    const { event } = planned;
    const open = this.open;
    if (event.call === 'CLOSE') {
      if (!open) return discarded('NO_SESSION', null);
      hearHeartbeat(open);
      endSession(open, event.time, 'CLIENT', true);
      return discarded('HEARTBEAT', open);
    }
    if (!open && !this.within(event.time) && this.isStraggler(event.time)) return discarded('NO_SESSION', null);
    const session = this.place(planned);
    hearHeartbeat(session);
    return discarded('HEARTBEAT', session);
  }

  /** Rule 18: a heartbeat that was on its way when the user left opens nothing. */
  private isStraggler(time: number): boolean {
    const { lastEndAt } = this.state;
    return lastEndAt !== null && time >= lastEndAt && time - lastEndAt <= this.presence;
  }
}

/**
 * Plans the events of one user without a session key. `requests`: the events of each request, in the order
 * the requests came; they are ordered by time, then place, within each (rule 14). Sets each event's verdict;
 * changes and adds to `state.sessions`, and moves `state.lastEndAt`.
 */
export function planIdentity(state: IdentityState, requests: readonly PlannedEvent[][], context: PlanContext): void {
  const plan = new IdentityPlan(state, context);
  for (const request of requests) {
    for (const planned of request.toSorted((a, b) => a.event.time - b.event.time)) {
      const verdict = plan.apply(planned);
      if (verdict.session) describe(verdict.session, planned.event.attributes);
      planned.verdict = verdict;
    }
  }
}
