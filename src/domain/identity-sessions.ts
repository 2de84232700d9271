import type { CheckedEvent } from './check-event.js';
import { DeviceSessions } from './device-sessions.js';
import { firstFrom } from './in-order.js';
import {
  accepted,
  discarded,
  isStale,
  policyOf,
  type PlanContext,
  type PlannedEvent,
  type Verdict,
} from './planned-event.js';
import { isOpen, type WorkingSession } from './session.js';
import { rememberEnd } from './session-ends.js';
import { holds, inOrder, Timeline, type SessionView } from './timeline.js';
import {
  count,
  describe,
  endSession,
  hearHeartbeat,
  merge,
  recount,
  reopen,
  split,
  startSession,
  touch,
} from './working-session.js';

/**
 * The identity sessions near the events of a batch, the open ones included: those of one user without a device, or those of
 * one device with all its users.
 */
export interface IdentityState {
  sessions: WorkingSession[];
  /**
   * When each user sent `sessionend` events there, in order (milliseconds), as many as are remembered (rule 18); for null,
   * the ends of the device alone.
   */
  readonly ends: Map<string | null, readonly number[]>;
}

/** Whose sessions are planned: those of a device, or without a device those of a user. */
interface Whose {
  readonly deviceId: string | null;
  readonly userId: string | null;
}

/** The most bytes of client data that the late starts of a user copy in one batch: enough for a hundred new sessions. */
const MOST_COPIED = 262_144;

const timeOf = ({ event }: PlannedEvent): number => event.time;

/**
 * Applies the events of one user, or of one device, to the identity sessions (rules 2 to 18). It changes nothing but the
 * state it is given: the same events and state give the same outcome, at any time of day.
 */
class IdentityPlan {
  private readonly inactivity: number;
  private readonly presence: number;
  /** Null: the events are of one user and have no device. */
  private readonly device: DeviceSessions | null;
  /** The sessions among which the present event finds its own. */
  private view: SessionView;
  /**
   * The events that the plan has given to each session, in the order of time. A start that splits a session moves the end
   * of such a list to a new session; a merge joins two lists. settle() brings verdicts and counts up to date once, at the
   * end.
   */
  private readonly placed = new Map<WorkingSession, PlannedEvent[]>();
  /** Sessions that were split, or that a split made: settle() counts their events. */
  private readonly uncounted = new Set<WorkingSession>();
  private readonly copies = { bytes: MOST_COPIED };

  constructor(
    private readonly state: IdentityState,
    private readonly context: PlanContext,
    { deviceId, userId }: Whose,
  ) {
    this.inactivity = context.settings.inactivityTimeout * 1000;
    this.presence = context.settings.presenceTimeout * 1000;
    const { inactivity, presence } = this;
    this.device = deviceId === null ? null : new DeviceSessions(state.sessions, { inactivity, presence });
    this.view = new Timeline(userId, this.device ? [] : state.sessions);
  }

  apply(planned: PlannedEvent): void {
    const { event } = planned;
    if (this.device) this.view = this.device.viewOf(event);
    this.closeStale(event.time);
    if (this.device) this.unite();
    this.reopenRecent(event);
    // Rule 3: the device's session becomes the user's, whatever the event does to it.
    const { open } = this;
    if (open && open.startedAt <= event.time) this.view.claim(open);
    planned.verdict = this.decide(planned);
    const { session } = planned.verdict;
    if (!session) return;
    this.view.claim(session);
    if (session.startedAt === event.time) this.view.moved(session);
    describe(session, event.attributes);
    const events = this.placedIn(session);
    if (events.length === 0 || timeOf(events.at(-1)!) <= event.time) events.push(planned);
    else events.splice(firstFrom(events, event.time + 1, timeOf), 0, planned);
  }

  private placedIn(session: WorkingSession): PlannedEvent[] {
    let events = this.placed.get(session);
    if (!events) this.placed.set(session, (events = []));
    return events;
  }

  /** Gives each event the session that it now belongs to, and counts again where events have changed their session. */
  settle(): void {
    for (const [session, events] of this.placed) {
      for (const one of events) if (one.verdict!.session !== session) one.verdict = { ...one.verdict!, session };
      if (!this.uncounted.has(session)) continue;
      const accepted = events.filter(({ verdict }) => verdict!.status === 'ACCEPTED');
      recount(
        session,
        accepted.map(({ event }) => event),
      );
    }
  }

  private decide(planned: PlannedEvent): Verdict {
    const { type } = planned.event;
    if (type === 'session') return this.start(planned);
    if (type === 'sessionend') return this.end(planned);
    if (type === 'heartbeat') return this.heartbeat(planned);
    return this.store(planned);
  }

  private get open(): WorkingSession | null {
    const last = this.view.newest();
    return last && isOpen(last) ? last : null;
  }

  /** Rule 6: ends an open session as the closer would have done by then, whether or not the closer has run. */
  private closeStale(time: number): void {
    for (const last of this.view.lasts())
      if (isOpen(last) && time - last.lastActivityAt > this.inactivity)
        endSession(last, last.lastActivityAt, 'INACTIVITY');
  }

  /**
   * Rule 5: a session of nobody may have begun beside the user's open one, because more than MOST_ON_DEVICE sessions had
   * begun on the device since. Now that the user is back, one of the two goes on.
   */
  private unite(): void {
    const [first, second] = this.view.lasts().filter(isOpen).toSorted(inOrder);
    if (!first || !second) return;
    const isApart = second.startedAt - first.lastActivityAt > this.inactivity || this.isParted(second);
    if (isApart) endSession(first, first.lastActivityAt, 'INACTIVITY');
    else this.join(first, second);
  }

  /** Rule 8 (an early closer) and rule 18 (a closing heartbeat): the last session goes on if it ended a moment ago. */
  private reopenRecent(event: CheckedEvent): void {
    const last = this.view.newest();
    if (!last || isOpen(last)) return;
    const gap = event.time - last.lastActivityAt;
    const early = last.endReason === 'INACTIVITY' && gap >= 0 && gap <= this.inactivity;
    const stillThere = last.closedByHeartbeat && gap >= 0 && gap <= this.presence && event.call !== 'CLOSE';
    if (early || stillThere) reopen(last);
  }

  /** The session that holds `time`. */
  private around(time: number): WorkingSession | null {
    const before = this.view.before(time);
    return before && holds(before, time) ? before : null;
  }

  private begin(planned: PlannedEvent): WorkingSession {
    const session = this.make(planned);
    this.view.add(session);
    return session;
  }

  private make(planned: PlannedEvent): WorkingSession {
    const { time } = planned.event;
    const session = startSession(planned, this.context.newSessionId(time, this.view.nextPlace(time)), {
      userId: this.view.owner,
    });
    this.state.sessions.push(session);
    return session;
  }

  /**
   * Whether an ended session and the next one would have been one session, had the events between them arrived in order.
   */
  private canMerge(earlier: WorkingSession, later: WorkingSession): boolean {
    return earlier.endReason === 'INACTIVITY' && !this.isParted(later);
  }

  /** Whether the session is not merged with an earlier one, because it has a start (rule 27). */
  private isParted({ explicitStart }: WorkingSession): boolean {
    return explicitStart && this.context.settings.sessionStart === 'RESTART';
  }

  /** Finds the session that the event belongs to, and widens it (rules 2, 7, 8 and 27); null: there is none. */
  private find(event: CheckedEvent): WorkingSession | null {
    const { time } = event;
    const before = this.view.before(time);
    const after = this.view.after(time);
    if (before && (holds(before, time) || isOpen(before))) {
      touch(before, time);
      return before;
    }
    // The event is the newest of all, and no session is open (any more): rule 2, or rule 15 after an end.
    if (!after) return null;
    const left = before && time - before.lastActivityAt <= this.inactivity ? before : null;
    const right = after.startedAt - time <= this.inactivity ? after : null;
    if (left && right && this.canMerge(left, right)) {
      this.join(left, right);
      return left;
    }
    const near = right ?? left;
    if (near) touch(near, time);
    return near;
  }

  private join(left: WorkingSession, right: WorkingSession): void {
    merge(left, right);
    this.view.join(left, right);
    const events = this.placedIn(left);
    for (const one of this.placedIn(right)) events.push(one);
    this.placed.delete(right);
    if (this.uncounted.delete(right)) this.uncounted.add(left);
  }

  /** A session for this event alone. The newest session is open; one that lies before others has ended (rule 7). */
  private own(planned: PlannedEvent): WorkingSession {
    const isNewest = this.view.after(planned.event.time) === null;
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
      // The start arrived after the session's end, but lies before it: in order, it would have found the session open.
      if (inside.startedAt < event.time || inside.explicitStart) return this.repeat(inside, planned);
      inside.explicitStart = true;
    }
    const after = this.view.after(event.time);
    if (after && !inside) return this.lateStart(planned, after);
    return this.store(planned);
  }

  /**
   * A start in a session that goes on. It is a repeat, unless its own request began the session a little earlier (rule 14).
   */
  private repeat(session: WorkingSession, { event, request }: PlannedEvent): Verdict {
    if (session.startedBy !== request || session.explicitStart) return discarded('DUPLICATE_SESSION_START', session);
    session.explicitStart = true;
    count(session, event);
    return accepted(session);
  }

  /** Rule 12 under RESTART: the open session ends where the new one starts. A late start splits the open session. */
  private supersede(open: WorkingSession, planned: PlannedEvent): Verdict {
    const { event, request } = planned;
    if (event.time >= open.lastActivityAt) {
      endSession(open, event.time, 'SUPERSEDED');
      const session = this.begin(planned);
      count(session, event);
      return accepted(session);
    }
    if (open.isUnsplittable) return this.store(planned);
    const events = this.placedIn(open);
    const from = firstFrom(events, event.time, timeOf);
    // By time, then by place: events that stand before the start in its own request stay before it.
    const atOnce = events.slice(from, firstFrom(events, event.time + 1, timeOf));
    const stays = atOnce.filter((one) => one.request === request);
    const isFirst = !stays.some(({ verdict }) => verdict!.status === 'ACCEPTED');
    if (event.time === open.startedAt && !open.explicitStart && isFirst) {
      // No event came before the start.
      open.explicitStart = true;
      count(open, event);
      return accepted(open);
    }
    const session = this.make(planned);
    describe(session, event.attributes);
    const goes = events.splice(from);
    if (stays.length > 0) {
      goes.splice(0, atOnce.length, ...atOnce.filter((one) => one.request !== request));
      events.push(...stays);
    }
    this.placed.set(session, goes);
    split(open, session, this.copies);
    this.uncounted.add(open).add(session);
    this.view.add(session);
    return accepted(session);
  }

  /**
   * A start that arrives after events of its session, or after the next session. The outcome is that of the right order.
   */
  private lateStart(planned: PlannedEvent, after: WorkingSession): Verdict {
    const { event, request } = planned;
    if (policyOf(event, this.context.settings) === 'RESUME') {
      const found = this.find(event);
      if (found && (isOpen(found) || found.startedBy === request)) return this.repeat(found, planned);
      const session = found ?? this.own(planned);
      session.explicitStart ||= session.startedAt === event.time && holds(session, event.time);
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
    // The start began a session of its own. If the next session's start was near, it superseded this session.
    const session = this.begin(planned);
    count(session, event);
    endSession(session, near ? after.startedAt : event.time, near ? 'SUPERSEDED' : 'INACTIVITY');
    return accepted(session);
  }

  private end(planned: PlannedEvent): Verdict {
    const { event, request } = planned;
    const sender = event.user?.id ?? null;
    // The end of a device alone is also one of the user whose session it finds.
    for (const whose of new Set([sender, sender ?? this.view.owner])) {
      this.state.ends.set(whose, rememberEnd(this.state.ends.get(whose) ?? [], event.time, this.presence));
    }
    // The last session that had started by then: an end that lies before a session's start does not end that session.
    const session = this.view.before(event.time);
    if (!session || !this.canEnd(session, event.time)) return discarded('NO_SESSION', null);
    endSession(session, event.time, 'CLIENT');
    session.endedBy = request;
    count(session, event);
    return accepted(session);
  }

  /** Rules 8 and 15: an open session, or one that the closer has closed but that an end in order would have found open. */
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
    const opensNothing = this.isStraggler(event) || isStale(event, this.context);
    if (opensNothing && !open && !this.around(event.time)) return discarded('NO_SESSION', null);
    const session = this.find(event) ?? (opensNothing ? null : this.own(planned));
    if (!session) return discarded('NO_SESSION', null);
    hearHeartbeat(session, event.time);
    return discarded('HEARTBEAT', session);
  }

  /** Rule 18: a heartbeat so soon after a `sessionend` that it was already on its way when the user left. */
  private isStraggler({ user, time }: CheckedEvent): boolean {
    const ends = this.state.ends.get(user?.id ?? null) ?? [];
    return ends.some((end) => end <= time && time - end <= this.presence);
  }
}

/**
 * Plans the events without a session key of one user without a device, or of one device. `requests`: the events of each
 * request, in the order in which the requests came. Within a request, events are ordered by time, then by place (rule 14).
 * Sets each event's verdict, changes `state.sessions`, adds new sessions to it, and updates `state.ends`. The work is n log
 * n of events and sessions, plus moves of pointers in lists that are no longer than a batch.
 */
export function planIdentity(state: IdentityState, requests: readonly PlannedEvent[][], context: PlanContext): void {
  const { deviceId, user } = requests[0]![0]!.event;
  const plan = new IdentityPlan(state, context, { deviceId, userId: user?.id ?? null });
  for (const request of requests) {
    for (const planned of request.toSorted((a, b) => a.event.time - b.event.time)) plan.apply(planned);
  }
  plan.settle();
}
