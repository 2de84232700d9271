import type { CheckedEvent } from './check-event.js';
import {
  accepted,
  discarded,
  isStale,
  policyOf,
  type PlanContext,
  type PlannedEvent,
  type Verdict,
} from './planned-event.js';
import { isOpen, survivor, type WorkingSession } from './session.js';
import { rememberEnd } from './session-ends.js';
import {
  count,
  describe,
  endSession,
  hearHeartbeat,
  merge,
  reopen,
  split,
  startSession,
  touch,
} from './working-session.js';

/** A user's identity sessions near the events of a batch, the open one included. */
export interface IdentityState {
  sessions: WorkingSession[];
  /** When the user sent `sessionend` events, in order, as far as they are remembered (rule 18). */
  ends: readonly number[];
  /** From when on the stored events of a session, by its id, are another's: what late starts have split (rule 12). */
  splits: EventSplit[];
}

export interface EventSplit {
  readonly storedUnder: string;
  /** Milliseconds. Those of one session are in order, and each holds up to the next. */
  readonly from: number;
  readonly session: WorkingSession;
}

/** A late start reads and moves what is stored behind it: of a session with more events it is one more of them (rule 12). */
export const MOST_SPLIT = 100_000;

/** What is open is the last; an id tells which of two that start at the same instant was made first. */
const inOrder = (a: WorkingSession, b: WorkingSession): number =>
  Number(isOpen(a)) - Number(isOpen(b)) ||
  a.startedAt - b.startedAt ||
  a.lastActivityAt - b.lastActivityAt ||
  (a.id < b.id ? -1 : 1);

/**
 * Whether an event at `time` lies inside the session, which has begun by then. What is at the very instant of an end that
 * the client or a start has set comes after it (rule 7): what came before it in the same request is there already.
 */
function holds({ endReason, lastActivityAt }: WorkingSession, time: number): boolean {
  return endReason === 'CLIENT' || endReason === 'SUPERSEDED' ? time < lastActivityAt : time <= lastActivityAt;
}

/**
 * Applies one user's events to the user's identity sessions (rules 2 to 18). Pure but for the state it is
 * given: the same events and state give the same outcome, whatever the time of day.
 */
class IdentityPlan {
  private readonly inactivity: number;
  private readonly presence: number;
  /** In the order of time: no two overlap, and what is open is the last. */
  private readonly sessions: WorkingSession[];
  /** The events that the plan has given to a session so far. */
  private readonly placed: PlannedEvent[] = [];

  constructor(
    private readonly state: IdentityState,
    private readonly context: PlanContext,
  ) {
    this.inactivity = context.settings.inactivityTimeout * 1000;
    this.presence = context.settings.presenceTimeout * 1000;
    this.sessions = state.sessions.toSorted(inOrder);
  }

  apply(planned: PlannedEvent): void {
    const { event } = planned;
    this.closeStale(event.time);
    this.reopenRecent(event);
    planned.verdict = this.decide(planned);
    if (!planned.verdict.session) return;
    describe(planned.verdict.session, event.attributes);
    this.placed.push(planned);
  }

  private decide(planned: PlannedEvent): Verdict {
    const { type } = planned.event;
    if (type === 'session') return this.start(planned);
    if (type === 'sessionend') return this.end(planned);
    if (type === 'heartbeat') return this.heartbeat(planned);
    return this.store(planned);
  }

  private get open(): WorkingSession | null {
    const last = this.sessions.at(-1);
    return last && isOpen(last) ? last : null;
  }

  /** Rule 6: what the closer would have done by then, whether or not it has run. */
  private closeStale(time: number): void {
    const { open } = this;
    if (open && time - open.lastActivityAt > this.inactivity) endSession(open, open.lastActivityAt, 'INACTIVITY');
  }

  /** Rule 8's exception, and rule 18's: the session that ended a moment ago goes on. */
  private reopenRecent(event: CheckedEvent): void {
    const last = this.sessions.at(-1);
    if (!last || isOpen(last)) return;
    const gap = event.time - last.lastActivityAt;
    const early = last.endReason === 'INACTIVITY' && gap >= 0 && gap <= this.inactivity;
    const stillThere = last.closedByHeartbeat && gap >= 0 && gap <= this.presence && event.call !== 'CLOSE';
    if (early || stillThere) reopen(last);
  }

  /** Where the sessions that start at `time` or before it end: the last of them is the only one that may hold it. */
  private placeAt(time: number): number {
    let low = 0;
    let high = this.sessions.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.sessions[middle]!.startedAt <= time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The session that holds this moment. */
  private around(time: number): WorkingSession | null {
    const before = this.sessions[this.placeAt(time) - 1];
    return before && holds(before, time) ? before : null;
  }

  /** The first session that starts after it. */
  private following(time: number): WorkingSession | null {
    return this.sessions[this.placeAt(time)] ?? null;
  }

  private begin(planned: PlannedEvent): WorkingSession {
    const session = this.make(planned);
    this.sessions.splice(this.placeAt(session.startedAt), 0, session);
    return session;
  }

  private make(planned: PlannedEvent): WorkingSession {
    const { time } = planned.event;
    const sameInstant = this.placeAt(time) - this.placeAt(time - 1);
    const session = startSession(planned, this.context.newSessionId(time, sameInstant));
    this.state.sessions.push(session);
    return session;
  }

  /** Whether a session that ends and one that begins would have been one, had the events between come in order. */
  private canMerge(earlier: WorkingSession, later: WorkingSession): boolean {
    if (earlier.endReason !== 'INACTIVITY') return false;
    return !later.explicitStart || this.context.settings.sessionStart === 'RESUME';
  }

  /** Finds the session that an event of that time belongs to, and widens it (rules 2, 7, 8 and 27); null: none there is. */
  private find(event: CheckedEvent): WorkingSession | null {
    const { time } = event;
    const at = this.placeAt(time);
    const before = this.sessions[at - 1];
    const after = this.sessions[at];
    if (before && (holds(before, time) || isOpen(before))) {
      touch(before, time);
      return before;
    }
    // The newest of all, and nothing is open (any more): rule 2, or rule 15 after an end.
    if (!after) return null;
    const left = before && time - before.lastActivityAt <= this.inactivity ? before : null;
    const right = after.startedAt - time <= this.inactivity ? after : null;
    if (left && right && this.canMerge(left, right)) {
      merge(left, right);
      this.sessions.splice(at, 1);
      return left;
    }
    const near = right ?? left;
    if (near) touch(near, time);
    return near;
  }

  /** A session of its own: the newest is open; one in the midst of others has ended (rule 7). */
  private own(planned: PlannedEvent): WorkingSession {
    const isNewest = this.following(planned.event.time) === null;
    const session = this.begin(planned);
    if (!isNewest) endSession(session, session.startedAt, 'INACTIVITY');
    return session;
  }

  private place(planned: PlannedEvent): WorkingSession {
    return this.find(planned.event) ?? this.own(planned);
  }

  private store(planned: PlannedEvent): Verdict {
    const session = this.place(planned);
    count(session, planned.event);
    return accepted(session);
  }

  private start(planned: PlannedEvent): Verdict {
    const { event } = planned;
    const { open } = this;
    const policy = policyOf(event, this.context.settings);
    if (open && event.time >= open.startedAt) {
      if (policy === 'RESTART') return this.supersede(open, planned);
      touch(open, event.time);
      return this.repeat(open, planned);
    }
    const inside = this.around(event.time);
    if (policy === 'RESUME' && inside) {
      // It came after the end, but began before it: in order, it would have found the session open.
      if (inside.startedAt < event.time || inside.explicitStart) return this.repeat(inside, planned);
      inside.explicitStart = true;
    }
    const after = this.following(event.time);
    if (after && !inside) return this.lateStart(planned, after);
    return this.store(planned);
  }

  /** A start of a session that goes on: a repeat, but for the start of what its own request began a little earlier (rule 14). */
  private repeat(session: WorkingSession, { event, request }: PlannedEvent): Verdict {
    if (session.startedBy !== request || session.explicitStart) return discarded('DUPLICATE_SESSION_START', session);
    session.explicitStart = true;
    count(session, event);
    return accepted(session);
  }

  /** Rule 12 under RESTART: the open session ends where the new one starts, and is split where that is late. */
  private supersede(open: WorkingSession, planned: PlannedEvent): Verdict {
    const { event, request } = planned;
    if (event.time >= open.lastActivityAt) {
      endSession(open, event.time, 'SUPERSEDED');
      const session = this.begin(planned);
      count(session, event);
      return accepted(session);
    }
    if (open.eventCount > MOST_SPLIT) return this.store(planned);
    const stays: CheckedEvent[] = [];
    const goes: CheckedEvent[] = [];
    const moving: PlannedEvent[] = [];
    for (const one of this.placed) {
      const verdict = one.verdict!;
      if (survivor(verdict.session!) !== open) continue;
      // By time, then by place: what stands before the start in its own request stays before it.
      const isLater = one.event.time > event.time || (one.event.time === event.time && one.request !== request);
      if (isLater) moving.push(one);
      if (verdict.status === 'ACCEPTED') (isLater ? goes : stays).push(one.event);
    }
    if (event.time === open.startedAt && !open.explicitStart && stays.length === 0) {
      // Nothing came before it.
      open.explicitStart = true;
      count(open, event);
      return accepted(open);
    }
    const session = this.make(planned);
    describe(session, event.attributes);
    for (const one of moving) one.verdict = { ...one.verdict!, session };
    goes.push(event);
    split(open, session, stays, goes);
    for (const storedUnder of session.storedUnder) this.state.splits.push({ storedUnder, from: event.time, session });
    this.sessions.push(session);
    return accepted(session);
  }

  /** A start that arrives after what it started, or what came next: the outcome is that of the right order. */
  private lateStart(planned: PlannedEvent, after: WorkingSession): Verdict {
    const { event, request } = planned;
    if (policyOf(event, this.context.settings) === 'RESUME') {
      const found = this.find(event);
      if (found && (isOpen(found) || found.startedBy === request)) return this.repeat(found, planned);
      const session = found ?? this.own(planned);
      session.explicitStart ||= session.startedAt === event.time;
      count(session, event);
      return accepted(session);
    }
    const near = after.startedAt - event.time <= this.inactivity;
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
    this.state.ends = rememberEnd(this.state.ends, event.time, this.presence);
    // The session that had begun by then: an end from before a session began is not its end.
    const session = this.sessions[this.placeAt(event.time) - 1];
    if (!session || !this.canEnd(session, event.time)) return discarded('NO_SESSION', null);
    endSession(session, event.time, 'CLIENT');
    session.endedBy = request;
    count(session, event);
    return accepted(session);
  }

  /** Rules 8 and 15: what is open, and what a closer has closed that an end in order would have found open. */
  private canEnd({ endReason, lastActivityAt }: WorkingSession, time: number): boolean {
    const gap = time - lastActivityAt;
    return endReason === null || (endReason === 'INACTIVITY' && gap >= 0 && gap <= this.inactivity);
  }

  private heartbeat(planned: PlannedEvent): Verdict {
    const { event } = planned;
    const { open } = this;
    if (event.call === 'CLOSE') {
      if (!open) return discarded('NO_SESSION', null);
      endSession(open, event.time, 'CLIENT', true);
      return discarded('HEARTBEAT', open);
    }
    const opensNothing = this.isStraggler(event.time) || isStale(event, this.context);
    if (opensNothing && !open && !this.around(event.time)) return discarded('NO_SESSION', null);
    const session = this.find(event) ?? (opensNothing ? null : this.own(planned));
    if (!session) return discarded('NO_SESSION', null);
    hearHeartbeat(session, event.time);
    return discarded('HEARTBEAT', session);
  }

  /** Rule 18: a heartbeat that was on its way when the user left. */
  private isStraggler(time: number): boolean {
    return this.state.ends.some((end) => end <= time && time - end <= this.presence);
  }
}

/**
 * Plans the events of one user without a session key. `requests`: the events of each request, in the order
 * the requests came; they are ordered by time, then place, within each (rule 14). Sets each event's verdict;
 * changes and adds to `state.sessions`, moves `state.ends`, and adds to `state.splits`.
 */
export function planIdentity(state: IdentityState, requests: readonly PlannedEvent[][], context: PlanContext): void {
  const plan = new IdentityPlan(state, context);
  for (const request of requests) {
    for (const planned of request.toSorted((a, b) => a.event.time - b.event.time)) plan.apply(planned);
  }
}
