/**
 * The session rules as a small model, written from the rules alone: what a history of requests must become. It
 * knows no database, no batches and no short ways, and does everything the slow and plain way. Times are seconds.
 */

export interface ModelSettings {
  readonly inactivityTimeout: number;
  readonly presenceTimeout: number;
  readonly sessionStart: 'RESTART' | 'RESUME';
}

export interface ModelEvent {
  readonly type: string;
  /** When it happened; left out: at arrival. */
  readonly t?: number | undefined;
  readonly user?: string | undefined;
  readonly sessionKey?: string | undefined;
  readonly referenceId?: string | undefined;
  readonly id?: string | undefined;
  readonly startPolicy?: 'RESUME' | undefined;
}

/** One thing that happens to a project at a moment. */
export type Step = { readonly at: number } & (
  | { readonly events: readonly ModelEvent[]; readonly sentAt?: number | undefined }
  | { readonly beat: { readonly identity?: string; readonly sessionKey?: string }; readonly close: boolean }
  /** The closer looks, by a clock that may run ahead. */
  | { readonly closer: number }
  | { readonly settings: Partial<ModelSettings> }
);

/** What became of an event: ACCEPTED, DUPLICATE, or the code of what is DISCARDED or REJECTED. */
export interface Verdict {
  readonly code: string;
  /** Where the event is. */
  readonly session: ModelSession | null;
}

interface StoredEvent {
  readonly time: number;
  readonly type: string;
  readonly request: number;
}

export interface ModelSession {
  user: string | null;
  readonly key: string | null;
  start: number;
  last: number;
  end: number | null;
  reason: 'CLIENT' | 'INACTIVITY' | 'SUPERSEDED' | null;
  /** When a closing heartbeat ended it, and nothing has moved that end (rule 18). */
  farewell: number | null;
  stored: StoredEvent[];
  /** The request that started it, and whether with a `session` event (rule 14). */
  request: number;
  hasStart: boolean;
  /** The request that holds its end (rules 9 and 16). */
  endedBy: number;
  /** The session that it was merged into (rule 27). */
  into: ModelSession | null;
}

/** The session that answers to a session's id by now (rule 27). */
export const standing = (session: ModelSession): ModelSession => (session.into ? standing(session.into) : session);

interface Placed {
  readonly type: string;
  readonly time: number;
  readonly user: string | null;
  readonly key: string | null;
  readonly startPolicy: 'RESUME' | null;
  /** Its place in its request. */
  readonly place: number;
}

const DAY = 86_400;
const SLIPS = new Set(['', 'null', 'undefined', 'NaN', '[object Object]']);

export class SessionModel {
  private settings: ModelSettings;
  private now = 0;
  private request = 0;
  /** Identity sessions of each user, one after the other. */
  private readonly ofUser = new Map<string, ModelSession[]>();
  private readonly named: ModelSession[] = [];
  /** Every `sessionend` event of a user without a key (rule 18). */
  private readonly ends = new Map<string, number[]>();
  /** What was answered to an id first, and when (rule 25). */
  private readonly known = new Map<string, { at: number; verdict: Verdict }>();

  constructor(settings: ModelSettings) {
    this.settings = settings;
  }

  /** Lets it happen; a verdict for each event of a request, or for a heartbeat. */
  play(step: Step): Verdict[] {
    this.now = step.at;
    this.request += 1;
    if ('closer' in step) {
      this.close(step.at + step.closer);
      return [];
    }
    if ('settings' in step) {
      this.settings = { ...this.settings, ...step.settings };
      this.close(step.at); // rule 20
      return [];
    }
    if ('beat' in step) return [this.recordHeartbeat(step.beat, step.close)];
    return this.ingest(step.events, step.sentAt);
  }

  sessions(): ModelSession[] {
    return [...[...this.ofUser.values()].flat(), ...this.named];
  }

  private ingest(events: readonly ModelEvent[], sentAt: number | undefined): Verdict[] {
    const verdicts: (Verdict | null)[] = events.map(() => null);
    const good: Placed[] = [];
    const repeats: { place: number; id: string }[] = [];
    const firsts: { place: number; id: string }[] = [];
    const late = sentAt === undefined ? 0 : this.now - sentAt;
    const shift = Math.abs(late) > 2 ? late : 0; // rule 10
    for (const [place, event] of events.entries()) {
      const user = event.user?.trim() ?? null;
      const key = event.sessionKey ?? (event.type === 'session' ? event.referenceId : null) ?? null;
      if (user !== null && SLIPS.has(user)) {
        verdicts[place] = { code: 'INVALID_IDENTITY', session: null };
        continue;
      }
      if (event.id !== undefined) {
        // Rule 25: told apart by user, else key, else project; a repeat is one before anything else is asked.
        const whose = user !== null ? `user ${user}` : key !== null ? `key ${key}` : 'project';
        const id = `${whose}: ${event.id}`;
        const first = this.known.get(id);
        if (firsts.some((one) => one.id === id) || (first && this.now - first.at <= 3 * DAY)) {
          repeats.push({ place, id });
          continue;
        }
        if (event.t === undefined || event.t + shift >= this.now - 3 * DAY) firsts.push({ place, id });
      }
      const time = event.t === undefined ? this.now : event.t + shift;
      if (time < this.now - 3 * DAY) {
        verdicts[place] = { code: 'TOO_OLD', session: null }; // rule 10
        continue;
      }
      const { type, startPolicy = null } = event;
      good.push({ type, user, key, startPolicy, place, time: Math.min(time, this.now) }); // rule 10
    }
    // Rule 14: by time, then by place.
    good.sort((a, b) => a.time - b.time || a.place - b.place);
    for (const event of good) verdicts[event.place] = this.take(event);
    for (const { place, id } of firsts) this.known.set(id, { at: this.now, verdict: verdicts[place]! });
    for (const { place, id } of repeats)
      verdicts[place] = { code: 'DUPLICATE', session: this.known.get(id)!.verdict.session }; // rule 25
    return verdicts as Verdict[];
  }

  private take(event: Placed): Verdict {
    if (event.key !== null) return this.takeNamed(event, event.key); // rule 1
    if (event.user !== null) return this.takeOfUser(event, event.user); // rule 2
    if (event.type === 'heartbeat') return nowhere; // rule 18: never stored
    return { code: 'ACCEPTED', session: null }; // rule 3
  }

  // Identity sessions

  /** The last session that starts at or before `time`, and the one after it. */
  private around(user: string, time: number): { prev: ModelSession | undefined; next: ModelSession | undefined } {
    const sessions = this.sessionsOf(user);
    return {
      prev: sessions.findLast(({ start }) => start <= time),
      next: sessions.find(({ start }) => start > time),
    };
  }

  private takeOfUser(event: Placed, user: string): Verdict {
    if (event.type === 'sessionend') return this.endOfUser(event.time, user);
    if (event.type === 'session' && this.policyOf(event) === 'RESTART') return this.restart(event, user);
    if (event.type === 'heartbeat') return this.beatOfUser(event, user);
    const { prev } = this.around(user, event.time);
    const isWithin =
      prev !== undefined && (prev.start < event.time || prev.hasStart) && this.isInside(prev, event.time);
    const session = this.touch(event.time, user);
    if (!session) return this.store(event, this.begin(event, user)); // rules 2 and 11
    if (event.type !== 'session') return this.store(event, session);
    // Rule 12: a repeat, of an open session, or of one that has ended meanwhile; what lies outside one that has ended joins it.
    const isRepeat = session.end === null || isWithin || session.request === this.request;
    return isRepeat ? this.repeatedStart(event, session) : this.storeWithin(event, session);
  }

  private beatOfUser(event: Placed, user: string): Verdict {
    const { time } = event;
    const opensNothing = this.isStraggler(time, user) || this.isStale(time); // rule 18
    if (opensNothing && !this.isHeldOrOpen(time, user)) return nowhere;
    const session = this.touch(time, user);
    if (session) return { code: 'HEARTBEAT', session };
    if (opensNothing) return nowhere;
    return { code: 'HEARTBEAT', session: this.begin(event, user) };
  }

  /** Whether something is open by then, or may go on (rule 8), or holds that time. */
  private isHeldOrOpen(time: number, user: string): boolean {
    const last = this.sessionsOf(user).at(-1);
    this.lapse(last, time);
    const goesOn = last !== undefined && time >= last.last && this.isNear(last, time, undefined);
    const { prev } = this.around(user, time);
    return last?.end === null || goesOn || (prev !== undefined && this.isInside(prev, time));
  }

  /** The session that something at that time belongs to, moved as far as it reaches; null: there is none. */
  private touch(time: number, user: string): ModelSession | null {
    const { prev, next } = this.around(user, time);
    this.lapse(prev, time);
    if (prev && !next && prev.reason === 'INACTIVITY' && time === prev.last) reopen(prev); // rule 8
    if (prev && this.isInside(prev, time)) return this.extend(prev, time); // rules 2 and 7
    const nearPrev = prev !== undefined && this.isNear(prev, time, next);
    const nearNext = next !== undefined && next.start - time <= this.settings.inactivityTimeout;
    if (nearPrev && nearNext && prev.reason === 'INACTIVITY' && !this.isParted(next))
      return this.merge(prev, next, user); // rule 27
    if (nearNext) return this.extend(next, time); // rule 7
    if (nearPrev) {
      if (!next) reopen(prev); // rules 8 and 18
      return this.extend(prev, time); // rule 7
    }
    return null;
  }

  /** Under RESTART a start parts a session from what was before: nothing makes it one with that (rules 12 and 27). */
  private isParted(session: ModelSession): boolean {
    return session.hasStart && this.settings.sessionStart === 'RESTART';
  }

  /** Rule 6: an open session has ended where something comes more than the timeout later. */
  private lapse(session: ModelSession | undefined, time: number): void {
    if (session?.end === null && time > session.last + this.settings.inactivityTimeout) endForInactivity(session);
  }

  /** Whether what comes at that time, at or after its start, lies in the session as it is (rules 2 and 7). */
  private isInside(session: ModelSession, time: number): boolean {
    if (session.reason === 'INACTIVITY') return time <= session.last;
    return time < (session.end ?? Infinity);
  }

  /** Whether what comes at or after its end still belongs to it (rules 8 and 18). */
  private isNear(session: ModelSession, time: number, next: ModelSession | undefined): boolean {
    if (session.reason === 'INACTIVITY' || next) return time <= session.last + this.settings.inactivityTimeout;
    return session.farewell !== null && time <= session.farewell + this.settings.presenceTimeout;
  }

  private restart(event: Placed, user: string): Verdict {
    const { time } = event;
    const { prev, next } = this.around(user, time);
    this.lapse(prev, time);
    const isOpen = prev?.end === null;
    const isNear = prev !== undefined && time >= prev.last && this.isNear(prev, time, next);
    if (prev && !isOpen && (next || !isNear) && this.isInside(prev, time)) return this.storeWithin(event, prev); // rule 7
    if (prev && isOpen) {
      const isFirst = !prev.stored.some((one) => one.time === time && one.request === this.request);
      if (time === prev.start && time < prev.last && !prev.hasStart && isFirst) return this.store(event, prev); // rule 12
      // Rule 12.
      const begun = this.begin(event, user);
      if (time < prev.last) {
        begun.last = prev.last;
        const isLater = (one: StoredEvent) => one.time > time || (one.time === time && one.request !== this.request);
        begun.stored = prev.stored.filter(isLater);
        prev.stored = prev.stored.filter((one) => !isLater(one));
      }
      supersede(prev, time);
      return this.store(event, begun);
    }
    if (prev && isNear && !next) supersede(prev, time); // rule 8: as if it had been open still
    if (next && next.start - time <= this.settings.inactivityTimeout) {
      if (!next.hasStart) return this.store(event, this.extend(next, time)); // rule 7
      // Rule 12, as if it had come in time: the start after it superseded it.
      const begun = this.begin(event, user);
      supersede(begun, next.start);
      return this.store(event, begun);
    }
    return this.store(event, this.begin(event, user)); // rule 11
  }

  private endOfUser(time: number, user: string): Verdict {
    this.ends.set(user, [...(this.ends.get(user) ?? []), time]); // rule 18
    const last = this.sessionsOf(user).at(-1);
    const isRevived = last !== undefined && this.isRevivedAt(last, time); // rule 18
    if (isRevived) reopen(last);
    const session = isRevived ? last : this.endable(time, user);
    if (!session) return nowhere; // rule 17
    end(session, time, this.request);
    return this.store({ type: 'sessionend', time }, session);
  }

  /** The session that an end at that time ends. */
  private endable(time: number, user: string): ModelSession | null {
    const { prev, next } = this.around(user, time);
    this.lapse(prev, time); // rule 6
    if (prev?.end === null) return prev; // rule 15
    // Rule 8: one that a closer has closed.
    if (prev?.reason === 'INACTIVITY' && time >= prev.last && this.isNear(prev, time, next)) return prev;
    return null; // rule 17: at its time nothing was open
  }

  private begin({ time }: { time: number }, user: string): ModelSession {
    const sessions = this.sessionsOf(user);
    const { prev, next } = this.around(user, time);
    const session = this.newSession(user, null, time);
    if (next) endForInactivity(session); // rule 7: a session of its own, ended
    sessions.splice(prev ? sessions.indexOf(prev) + 1 : 0, 0, session);
    return session;
  }

  /** Rule 27: the earlier keeps its id, the later one's events move to it. */
  private merge(prev: ModelSession, next: ModelSession, user: string): ModelSession {
    prev.last = next.last;
    prev.end = next.end;
    prev.reason = next.reason;
    prev.farewell = next.farewell;
    prev.endedBy = next.endedBy;
    prev.stored.push(...next.stored);
    next.into = prev;
    const sessions = this.sessionsOf(user);
    sessions.splice(sessions.indexOf(next), 1);
    return prev;
  }

  // Named sessions

  /** Rule 1: the session of that key that an event with that identity belongs to. */
  private namedSession(key: string, user: string | null): ModelSession | undefined {
    const ofKey = this.named.filter((session) => session.key === key);
    if (user === null) {
      // The one that was heard of last; an open one before any that has ended.
      const open = ofKey.filter((session) => session.end === null);
      return (open.length > 0 ? open : ofKey).toSorted((a, b) => a.last - b.last).at(-1);
    }
    return ofKey.find((session) => session.user === user) ?? ofKey.find((session) => session.user === null);
  }

  private takeNamed(event: Placed, key: string): Verdict {
    const { type, time, user } = event;
    const session = this.namedSession(key, user);
    if (!session) {
      if (type === 'sessionend') return nowhere; // rule 17
      if (type === 'heartbeat' && this.isStale(time)) return nowhere; // rule 18
      const begun = this.newSession(user, key, time);
      this.named.push(begun);
      return type === 'heartbeat' ? { code: 'HEARTBEAT', session: begun } : this.store(event, begun);
    }
    if (user !== null) session.user = user; // rule 1
    const isRevived = this.isRevivedAt(session, time);
    if (isRevived) reopen(session); // rule 18
    if (type === 'sessionend') return this.endNamed(time, session, isRevived);
    if (session.reason === 'CLIENT') {
      if (type === 'session') {
        if (session.endedBy === this.request) this.extend(session, time); // rule 16: the request's last event for it
        return { code: 'DUPLICATE_SESSION_START', session }; // rule 9
      }
      if (type === 'heartbeat') return nowhere; // rule 9
      return this.store(event, this.extend(session, time)); // rule 9
    }
    if (time >= session.last) reopen(session); // rule 9
    this.extend(session, time);
    if (type === 'heartbeat') return { code: 'HEARTBEAT', session };
    if (type === 'session') return this.repeatedStart(event, session); // rule 13
    return this.store(event, session);
  }

  /** Rule 18: one tab has closed, or one page was left; what comes soon after shows that the user is still there. */
  private isRevivedAt({ farewell }: ModelSession, time: number): boolean {
    return farewell !== null && time >= farewell && time <= farewell + this.settings.presenceTimeout;
  }

  private endNamed(time: number, session: ModelSession, isRevived: boolean): Verdict {
    if (session.reason === 'CLIENT') {
      if (session.endedBy !== this.request) return nowhere; // rule 17
      return { code: 'DUPLICATE_SESSION_END', session: this.extend(session, time) }; // rule 16
    }
    if (!isRevived && time > session.last + this.settings.inactivityTimeout) {
      if (session.end === null) endForInactivity(session); // rule 6
      return nowhere; // rule 9
    }
    if (session.end !== null && time < session.last) return nowhere; // rule 17
    end(session, time, this.request);
    return this.store({ type: 'sessionend', time }, session);
  }

  // Heartbeats by name, and closing

  private recordHeartbeat(target: { identity?: string; sessionKey?: string }, close: boolean): Verdict {
    const { identity, sessionKey } = target;
    const time = this.now;
    if (close) {
      const session = sessionKey === undefined ? this.closable(time, identity!) : this.closableNamed(time, sessionKey);
      if (!session) return nowhere;
      end(session, time, this.request); // rule 18
      session.farewell = time;
      return { code: 'HEARTBEAT', session };
    }
    if (sessionKey !== undefined && !this.namedSession(sessionKey, null)) return nowhere; // rule 18
    return this.take({
      type: 'heartbeat',
      time,
      user: identity ?? null,
      key: sessionKey ?? null,
      startPolicy: null,
      place: 0,
    });
  }

  private closable(time: number, user: string): ModelSession | null {
    return this.endable(time, user);
  }

  private closableNamed(time: number, key: string): ModelSession | null {
    const session = this.namedSession(key, null);
    if (!session || session.reason === 'CLIENT') return null; // rule 17
    this.lapse(session, time);
    return time <= session.last + this.settings.inactivityTimeout ? session : null; // rule 9
  }

  /** Rule 20. */
  private close(time: number): void {
    for (const session of this.sessions()) {
      if (session.end === null && session.last + this.settings.inactivityTimeout <= time) endForInactivity(session);
    }
  }

  // What they share

  private policyOf({ startPolicy }: Placed): 'RESTART' | 'RESUME' {
    return startPolicy ?? this.settings.sessionStart; // rule 12: the collector's starts
  }

  /** Rules 12 to 14: a start of a session that goes on. */
  private repeatedStart(event: Placed, session: ModelSession): Verdict {
    if (session.request !== this.request || session.hasStart) return { code: 'DUPLICATE_SESSION_START', session };
    return this.store(event, session); // rule 14
  }

  /** Rule 18: within presenceTimeout after any sessionend. */
  private isStraggler(time: number, user: string): boolean {
    return (this.ends.get(user) ?? []).some((at) => at <= time && time <= at + this.settings.presenceTimeout);
  }

  /** Rule 18: "still here" is over. */
  private isStale(time: number): boolean {
    return this.now - time > this.settings.presenceTimeout;
  }

  private sessionsOf(user: string): ModelSession[] {
    const sessions = this.ofUser.get(user) ?? [];
    this.ofUser.set(user, sessions);
    return sessions;
  }

  private newSession(user: string | null, key: string | null, time: number): ModelSession {
    return {
      user,
      key,
      start: time,
      last: time,
      end: null,
      reason: null,
      farewell: null,
      stored: [],
      request: this.request,
      hasStart: false,
      endedBy: 0,
      into: null,
    };
  }

  /** Its start, last activity, and end if it has one, moved as far as that time. */
  private extend(session: ModelSession, time: number): ModelSession {
    session.start = Math.min(session.start, time);
    session.last = Math.max(session.last, time);
    if (session.end !== null && session.end < session.last) {
      session.end = session.last; // rules 7 and 9
      session.farewell = null;
    }
    return session;
  }

  /** A start that joins a session which has ended: it does not begin it. */
  private storeWithin(event: Placed, session: ModelSession): Verdict {
    const { hasStart } = session;
    const isItsStart =
      this.policyOf(event) === 'RESUME' && event.time === session.start && this.isInside(session, event.time);
    const verdict = this.store(event, session);
    session.hasStart = hasStart || isItsStart;
    return verdict;
  }

  private store(event: { type: string; time: number }, session: ModelSession): Verdict {
    session.start = Math.min(session.start, event.time);
    session.stored.push({ type: event.type, time: event.time, request: this.request }); // rule 23
    if (event.type === 'session') session.hasStart = true;
    return { code: 'ACCEPTED', session };
  }
}

const nowhere: Verdict = { code: 'NO_SESSION', session: null };

/** Rule 15: at its own time or, if that is later, at the session's last activity. */
function end(session: ModelSession, time: number, request: number): void {
  session.last = Math.max(session.last, time);
  session.end = session.last;
  session.reason = 'CLIENT';
  session.farewell = null;
  session.endedBy = request;
}

/** Rule 20. */
function endForInactivity(session: ModelSession): void {
  session.end = session.last;
  session.reason = 'INACTIVITY';
}

/** Rule 12. */
function supersede(session: ModelSession, time: number): void {
  session.last = time;
  session.end = time;
  session.reason = 'SUPERSEDED';
  session.farewell = null;
}

function reopen(session: ModelSession): void {
  session.end = null;
  session.reason = null;
  session.farewell = null;
}
