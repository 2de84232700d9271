/**
 * The session rules as a small model, written from the rules alone: it says which sessions a history of requests must
 * give. It has no database, no batches and no shortcut; it does everything in the slow, simple way. Times are seconds.
 */

export interface ModelSettings {
  readonly inactivityTimeout: number;
  readonly presenceTimeout: number;
  readonly sessionStart: 'RESTART' | 'RESUME';
}

export interface ModelEvent {
  readonly type: string;
  /** When it happened; undefined: at arrival. */
  readonly t?: number | undefined;
  readonly user?: string | undefined;
  readonly deviceId?: string | undefined;
  readonly sessionKey?: string | undefined;
  readonly referenceId?: string | undefined;
  readonly id?: string | undefined;
  readonly startPolicy?: 'RESUME' | undefined;
  readonly source?: string | undefined;
}

/** One thing that happens to a project at a moment. */
export type Step = { readonly at: number } & (
  | { readonly events: readonly ModelEvent[]; readonly sentAt?: number | undefined }
  | {
      readonly beat: { readonly identity?: string; readonly deviceId?: string; readonly sessionKey?: string };
      readonly close: boolean;
    }
  /** The closer runs, with a clock that is so many seconds ahead. */
  | { readonly closer: number }
  | { readonly settings: Partial<ModelSettings> }
);

/** The result of an event: ACCEPTED, DUPLICATE, or the code of a DISCARDED or REJECTED event. */
export interface Verdict {
  readonly code: string;
  /** The session of the event. */
  readonly session: ModelSession | null;
  /** What was stored of it. */
  readonly event?: StoredEvent;
}

interface StoredEvent {
  readonly time: number;
  readonly type: string;
  readonly request: number;
  readonly source: string | null;
}

export interface ModelSession {
  user: string | null;
  device: string | null;
  readonly key: string | null;
  start: number;
  last: number;
  end: number | null;
  reason: 'CLIENT' | 'INACTIVITY' | 'SUPERSEDED' | null;
  /** When a closing heartbeat ended it; null if something has moved that end since (rule 18). */
  farewell: number | null;
  /** The heartbeats since it was last reopened after a closing heartbeat; `hasBeat`: whether there ever was one (rule 21). */
  beats: number[];
  hasBeat: boolean;
  stored: StoredEvent[];
  /** The request that started it; `hasStart`: whether it has a `session` event (rule 14). */
  request: number;
  hasStart: boolean;
  /** The request that holds its end (rules 9 and 16). */
  endedBy: number;
  /** The session that it was merged into (rule 27). */
  into: ModelSession | null;
}

/** The session that a session has become by merging (rule 27). */
export const standing = (session: ModelSession): ModelSession => (session.into ? standing(session.into) : session);

/**
 * The sources of a session's first or last events that name one: one source, or several if these events happened at one
 * instant. None: no event names a source.
 */
export function sourcesAt({ stored }: ModelSession, end: 'entry' | 'exit'): string[] {
  const named = stored.filter(({ source }) => source !== null);
  const times = named.map(({ time }) => time);
  const at = end === 'entry' ? Math.min(...times) : Math.max(...times);
  return named.filter(({ time }) => time === at).map(({ source }) => source!);
}

interface Placed {
  readonly type: string;
  readonly time: number;
  readonly user: string | null;
  readonly device: string | null;
  readonly key: string | null;
  readonly startPolicy: 'RESUME' | null;
  readonly source: string | null;
  /** Its place in its request. */
  readonly place: number;
}

/** Among whose identity sessions an event finds its own. */
interface Whose {
  /** Whose event it is taken for; null: nobody's (rule 3). */
  readonly user: string | null;
  readonly device: string | null;
  /** Whom the event itself names. */
  readonly sender: string | null;
}

const DAY = 86_400;
/** Rule 3: of so many sessions of a device one gets what names the device alone. */
const MOST_ON_DEVICE = 10;
const SLIPS = new Set(['', 'null', 'undefined', 'NaN', '[object Object]']);

export class SessionModel {
  private settings: ModelSettings;
  private now = 0;
  private request = 0;
  /** The source of the present event. */
  private source: string | null = null;
  /** The identity sessions of each device with all its users, and of each user without a device. */
  private readonly unnamed = new Map<string, ModelSession[]>();
  private readonly named: ModelSession[] = [];
  /** Every `sessionend` event of a user or device without a key (rule 18). */
  private readonly ends = new Map<string, number[]>();
  /** The first answer to each id, and its time (rule 25). */
  private readonly known = new Map<string, { at: number; verdict: Verdict }>();

  /** `rank`: where the rules leave it open which of two users it is, it is the one with the greater rank. */
  constructor(
    settings: ModelSettings,
    private readonly rank: (user: string) => string = (user) => user,
  ) {
    this.settings = settings;
  }

  /** Plays a step. Returns a verdict for each event of a request, or for a heartbeat. */
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
    return [...[...this.unnamed.values()].flat(), ...this.named];
  }

  /**
   * What began the session: a `session` event; or the first that was heard of its key, of its user on its device, or, if it is
   * nobody's, of its device.
   */
  startReason(session: ModelSession): 'CLIENT' | 'FIRST_SEEN' | 'ACTIVITY' {
    if (session.hasStart) return 'CLIENT';
    if (session.key !== null) return 'FIRST_SEEN';
    const [first] = this.group(session)
      .filter(({ user }) => session.user === null || user === session.user)
      .toSorted((a, b) => a.start - b.start || (a.end ?? Infinity) - (b.end ?? Infinity));
    return first === session ? 'FIRST_SEEN' : 'ACTIVITY';
  }

  /** Rules 21 and 28, after a run of the closer: how many sessions of each user count as online. */
  onlineSessions(): Map<string, number> {
    const counts = new Map<string, number>();
    for (const session of this.sessions()) {
      const { user } = session;
      if (user !== null && this.now < this.onlineUntil(session)) counts.set(user, (counts.get(user) ?? 0) + 1);
    }
    return counts;
  }

  private onlineUntil(session: ModelSession): number {
    const { inactivityTimeout, presenceTimeout } = this.settings;
    if (session.end === null)
      return session.last + (session.hasBeat ? Math.min(presenceTimeout, inactivityTimeout) : inactivityTimeout);
    return session.farewell === null ? -Infinity : Math.max(session.last + 5, otherTabUntil(session));
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
      const device = event.deviceId ?? null;
      const key = event.sessionKey ?? (event.type === 'session' ? event.referenceId : null) ?? null;
      if (user !== null && SLIPS.has(user)) {
        verdicts[place] = { code: 'INVALID_IDENTITY', session: null };
        continue;
      }
      if (event.id !== undefined) {
        // Rule 25: ids are distinguished by user, else device, else key, else project. Repeats are found before any other
        // check.
        const [whose] = [user && `user ${user}`, device && `device ${device}`, key && `key ${key}`, 'project'].filter(
          (one) => one !== null,
        );
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
      const { type, startPolicy = null, source = null } = event;
      good.push({ type, user, device, key, startPolicy, source, place, time: Math.min(time, this.now) }); // rule 10
    }
    // Rule 14: by time, then by place.
    good.sort((a, b) => a.time - b.time || a.place - b.place);
    for (const event of good) verdicts[event.place] = this.take(event);
    for (const { place, id } of firsts) this.known.set(id, { at: this.now, verdict: verdicts[place]! });
    for (const { place, id } of repeats)
      verdicts[place] = { code: 'DUPLICATE', session: this.holderOf(this.known.get(id)!.verdict) }; // rule 25
    return verdicts as Verdict[];
  }

  /** The session that the event of an earlier answer is in now: a late start may have moved it (rule 12). */
  private holderOf({ event, session }: Verdict): ModelSession | null {
    return (event && this.sessions().find(({ stored }) => stored.includes(event))) ?? session;
  }

  private take(event: Placed): Verdict {
    this.source = event.source;
    if (event.key !== null) {
      const verdict = this.takeNamed(event, event.key); // rule 1
      if (verdict.session) verdict.session.device ??= event.device; // rule 22
      return verdict;
    }
    const who = this.whoseIs(event);
    if (who) return this.takeUnnamed(event, who); // rules 2 and 3
    if (event.type === 'heartbeat') return nowhere; // rule 18: never stored
    return { code: 'ACCEPTED', session: null }; // rule 3
  }

  // Identity sessions

  private whoseIs({ user, device, time }: Pick<Placed, 'user' | 'device' | 'time'>): Whose | null {
    if (user !== null) return { user, device, sender: user };
    return device === null ? null : { user: this.ownerAt(device, time), device, sender: null };
  }

  /** Rule 3: whose session is the device's at that time. */
  private ownerAt(device: string, time: number): string | null {
    const all = this.group({ user: null, device }).toSorted((a, b) => a.start - b.start);
    const begun = all.filter(({ start }) => start <= time).slice(-MOST_ON_DEVICE);
    for (const session of begun) this.lapse(session, time); // rule 6
    const rankOf = ({ user }: ModelSession): string => (user === null ? '' : this.rank(user));
    const byRank = (a: ModelSession, b: ModelSession): number => (rankOf(a) < rankOf(b) ? -1 : 1);
    const here = begun
      .filter((session) => !this.isPast(session, all, time))
      .filter((session) => this.isInside(session, time) || this.isNear(session, time, undefined))
      .toSorted((a, b) => a.last - b.last || a.start - b.start || byRank(a, b))
      .at(-1);
    if (here && here.user !== null) return here.user;
    if (here && this.isInside(here, time)) return null;
    const [next] = all.filter(({ start }) => start > time).toSorted((a, b) => a.start - b.start || byRank(b, a));
    return next && next.start - time <= this.settings.inactivityTimeout ? next.user : null;
  }

  /** Rule 3: an ended session of nobody does not go on once a later one has begun on the device. */
  private isPast(session: ModelSession, all: readonly ModelSession[], time: number): boolean {
    if (session.user !== null || session.end === null || this.isInside(session, time)) return false;
    const begun = all.filter(({ start }) => start <= time).toSorted((a, b) => a.start - b.start || a.last - b.last);
    return begun.at(-1) !== session;
  }

  /** Rule 3: a session of nobody that a user's event belongs to, ends or supersedes becomes the user's. */
  private claim(session: ModelSession, { user }: Whose): void {
    session.user ??= user;
  }

  /** The last session that starts at or before `time`, and the one after it. */
  private around(who: Whose, time: number): { prev: ModelSession | undefined; next: ModelSession | undefined } {
    const sessions = this.sessionsOf(who, time);
    return {
      prev: sessions.findLast(({ start }) => start <= time),
      next: sessions.find(({ start }) => start > time),
    };
  }

  private takeUnnamed(event: Placed, who: Whose): Verdict {
    if (event.type === 'sessionend') return this.endOfUser(event.time, who);
    if (event.type === 'session' && this.policyOf(event) === 'RESTART') return this.restart(event, who);
    if (event.type === 'heartbeat') return this.beatOfUser(event, who);
    const { prev } = this.around(who, event.time);
    const isWithin =
      prev !== undefined && (prev.start < event.time || prev.hasStart) && this.isInside(prev, event.time);
    const session = this.touch(event.time, who);
    if (!session) return this.store(event, this.begin(event, who)); // rules 2 and 11
    if (event.type !== 'session') return this.store(event, session);
    // Rule 12: a start of an open session, or within an ended one, is a repeat. A start outside an ended one joins it.
    const isRepeat = session.end === null || isWithin || session.request === this.request;
    return isRepeat ? this.repeatedStart(event, session) : this.storeWithin(event, session, who);
  }

  private beatOfUser(event: Placed, who: Whose): Verdict {
    const { time } = event;
    const opensNothing = this.isStraggler(time, who) || this.isStale(time); // rule 18
    if (opensNothing && !this.isHeldOrOpen(time, who)) return nowhere;
    const session = this.touch(time, who);
    if (session) return heard(session, time);
    if (opensNothing) return nowhere;
    return heard(this.begin(event, who), time);
  }

  /** Whether a session is open at that time, or can continue (rule 8), or contains that time. */
  private isHeldOrOpen(time: number, who: Whose): boolean {
    const last = this.sessionsOf(who, time).at(-1);
    this.lapse(last, time);
    const goesOn = last !== undefined && time >= last.last && this.isNear(last, time, undefined);
    const { prev } = this.around(who, time);
    return last?.end === null || goesOn || (prev !== undefined && this.isInside(prev, time));
  }

  /** The session that an event at that time belongs to, extended to that time; null if there is none. */
  private touch(time: number, who: Whose): ModelSession | null {
    const { prev, next } = this.around(who, time);
    this.lapse(prev, time);
    if (prev && !next && prev.reason === 'INACTIVITY' && time === prev.last) reopen(prev); // rule 8
    if (prev && this.isInside(prev, time)) return this.extend(prev, time, who); // rules 2 and 7
    const nearPrev = prev !== undefined && this.isNear(prev, time, next);
    const nearNext = next !== undefined && next.start - time <= this.settings.inactivityTimeout;
    if (nearPrev && nearNext && prev.reason === 'INACTIVITY' && !this.isParted(next))
      return this.merge(prev, next, who); // rule 27
    if (nearNext) return this.extend(next, time, who); // rule 7
    if (nearPrev) {
      if (!next) reopen(prev); // rules 8 and 18
      return this.extend(prev, time, who); // rule 7
    }
    return null;
  }

  /** Under RESTART a session with a start is never merged with an earlier one (rules 12 and 27). */
  private isParted(session: ModelSession): boolean {
    return session.hasStart && this.settings.sessionStart === 'RESTART';
  }

  /** Rule 6: ends an open session if the event comes more than the timeout later. */
  private lapse(session: ModelSession | undefined, time: number): void {
    if (session?.end === null && time > session.last + this.settings.inactivityTimeout) endForInactivity(session);
  }

  /** Whether an event at that time, which is not before the start, lies in the session as it is (rules 2 and 7). */
  private isInside(session: ModelSession, time: number): boolean {
    if (session.reason === 'INACTIVITY') return time <= session.last;
    return time < (session.end ?? Infinity);
  }

  /** Whether an event at or after its end still belongs to it (rules 8 and 18). */
  private isNear(session: ModelSession, time: number, next: ModelSession | undefined): boolean {
    if (session.reason === 'INACTIVITY' || next) return time <= session.last + this.settings.inactivityTimeout;
    return session.farewell !== null && time <= session.farewell + this.settings.presenceTimeout;
  }

  private restart(event: Placed, who: Whose): Verdict {
    const { time } = event;
    const { prev, next } = this.around(who, time);
    this.lapse(prev, time);
    const isOpen = prev?.end === null;
    const isNear = prev !== undefined && time >= prev.last && this.isNear(prev, time, next);
    if (prev && !isOpen && (next || !isNear) && this.isInside(prev, time)) return this.storeWithin(event, prev, who); // rule 7
    if (prev && isOpen) {
      const isFirst = !prev.stored.some((one) => one.time === time && one.request === this.request);
      if (time === prev.start && time < prev.last && !prev.hasStart && isFirst)
        return this.store(event, this.extend(prev, time, who)); // rule 12
      // Rule 12.
      const begun = this.begin(event, who);
      if (time < prev.last) {
        begun.last = prev.last;
        const isLater = (one: StoredEvent) => one.time > time || (one.time === time && one.request !== this.request);
        begun.stored = prev.stored.filter(isLater);
        begun.hasBeat = prev.hasBeat;
        begun.beats = prev.beats.filter((at) => at >= time);
        prev.stored = prev.stored.filter((one) => !isLater(one));
      }
      supersede(prev, time);
      this.claim(prev, who);
      return this.store(event, begun);
    }
    if (prev && isNear && !next) {
      supersede(prev, time); // rule 8: as if it were still open
      this.claim(prev, who);
    }
    if (next && next.start - time <= this.settings.inactivityTimeout) {
      if (!next.hasStart) return this.store(event, this.extend(next, time, who)); // rule 7
      // Rule 12, as if the event had come in time: the later start superseded its session.
      const begun = this.begin(event, who);
      supersede(begun, next.start);
      return this.store(event, begun);
    }
    return this.store(event, this.begin(event, who)); // rule 11
  }

  private endOfUser(time: number, who: Whose): Verdict {
    // Rule 18: the end of a device alone is one of the user too whose session it finds.
    for (const user of new Set([who.sender, who.user])) {
      const name = endsOf(user, who.device);
      this.ends.set(name, [...(this.ends.get(name) ?? []), time]);
    }
    const last = this.sessionsOf(who, time).at(-1);
    const isRevived = last !== undefined && this.isRevivedAt(last, time); // rule 18
    if (isRevived) reopen(last);
    const session = isRevived ? last : this.endable(time, who);
    if (!session) return nowhere; // rule 17
    end(session, time, this.request);
    this.claim(session, who);
    return this.store({ type: 'sessionend', time }, session);
  }

  /** The session that an end at that time ends. */
  private endable(time: number, who: Whose): ModelSession | null {
    const { prev, next } = this.around(who, time);
    this.lapse(prev, time); // rule 6
    if (prev?.end === null) return prev; // rule 15
    // Rule 8: a session that a closer has closed.
    if (prev?.reason === 'INACTIVITY' && time >= prev.last && this.isNear(prev, time, next)) return prev;
    return null; // rule 17: no session was open at that time
  }

  private begin({ time }: { time: number }, who: Whose): ModelSession {
    const sessions = this.group(who);
    const { prev, next } = this.around(who, time);
    const session = this.newSession(who, null, time);
    if (next) endForInactivity(session); // rule 7: a session of its own, ended
    sessions.splice(sessions.findLastIndex((one) => one === prev || one.start === time) + 1, 0, session);
    return session;
  }

  /** Rule 27: the earlier session keeps its id, and gets the events of the later one. */
  private merge(prev: ModelSession, next: ModelSession, who: Whose): ModelSession {
    prev.last = next.last;
    prev.end = next.end;
    prev.reason = next.reason;
    prev.farewell = next.farewell;
    prev.endedBy = next.endedBy;
    prev.stored.push(...next.stored);
    prev.beats.push(...next.beats);
    prev.hasBeat ||= next.hasBeat;
    next.into = prev;
    prev.user ??= next.user;
    this.claim(prev, who);
    const sessions = this.group(who);
    sessions.splice(sessions.indexOf(next), 1);
    return prev;
  }

  // Named sessions

  /** Rule 1: the session of that key to which an event with that identity belongs. */
  private namedSession(key: string, user: string | null): ModelSession | undefined {
    const ofKey = this.named.filter((session) => session.key === key);
    if (user === null) {
      // The session with the latest activity; open sessions come before ended ones.
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
      const begun = this.newSession({ user, device: event.device }, key, time);
      this.named.push(begun);
      return type === 'heartbeat' ? heard(begun, time) : this.store(event, begun);
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
    if (type === 'heartbeat') return heard(session, time);
    if (type === 'session') return this.repeatedStart(event, session); // rule 13
    return this.store(event, session);
  }

  /** Rule 18: a closing heartbeat may be of one tab or page. An event soon after it shows that the user is still there. */
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

  private recordHeartbeat(
    target: { identity?: string; deviceId?: string; sessionKey?: string },
    close: boolean,
  ): Verdict {
    const { identity: user = null, deviceId: device = null, sessionKey } = target;
    const time = this.now;
    if (close) {
      const who = sessionKey === undefined ? this.whoseIs({ user, device, time }) : null;
      const session = sessionKey === undefined ? this.endable(time, who!) : this.closableNamed(time, sessionKey);
      if (!session) return nowhere;
      if (who) this.claim(session, who);
      end(session, time, this.request); // rule 18
      session.farewell = time;
      session.hasBeat = true;
      return { code: 'HEARTBEAT', session };
    }
    if (sessionKey !== undefined && !this.namedSession(sessionKey, null)) return nowhere; // rule 18
    return this.take({
      type: 'heartbeat',
      time,
      user,
      device,
      key: sessionKey ?? null,
      startPolicy: null,
      source: null,
      place: 0,
    });
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

  // Shared by identity and named sessions

  private policyOf({ startPolicy }: Placed): 'RESTART' | 'RESUME' {
    return startPolicy ?? this.settings.sessionStart; // rule 12: the collector's starts
  }

  /** Rules 12 to 14: a start in a session that continues. */
  private repeatedStart(event: Placed, session: ModelSession): Verdict {
    if (session.request !== this.request || session.hasStart) return { code: 'DUPLICATE_SESSION_START', session };
    return this.store(event, session); // rule 14
  }

  /** Rule 18: within presenceTimeout after any sessionend. */
  private isStraggler(time: number, { sender, device }: Whose): boolean {
    return (this.ends.get(endsOf(sender, device)) ?? []).some(
      (at) => at <= time && time <= at + this.settings.presenceTimeout,
    );
  }

  /** Rule 18: the heartbeat is too old to mean "still here". */
  private isStale(time: number): boolean {
    return this.now - time > this.settings.presenceTimeout;
  }

  /** All identity sessions of the device, or of the user without a device. */
  private group({ user, device }: Pick<Whose, 'user' | 'device'>): ModelSession[] {
    const name = device === null ? `user ${user}` : `device ${device}`;
    const sessions = this.unnamed.get(name) ?? [];
    this.unnamed.set(name, sessions);
    return sessions;
  }

  /**
   * The sessions that an event of `who` at that time can change, in order; of two that begin at one instant, the one that
   * has ended there is first. They are the user's, and those of the device that are nobody's; if it is nobody's event, those
   * that begin later on the device are there too, as the ones before which it lies.
   */
  private sessionsOf(who: Whose, time: number): ModelSession[] {
    const all = this.group(who);
    return all
      .filter(({ user, start }) => user === null || user === who.user || (who.user === null && start > time))
      .filter((session) => who.user !== null || session.start > time || !this.isPast(session, all, time))
      .toSorted((a, b) => a.start - b.start || a.last - b.last);
  }

  private newSession({ user, device }: Pick<Whose, 'user' | 'device'>, key: string | null, time: number): ModelSession {
    return {
      user,
      device,
      key,
      start: time,
      last: time,
      end: null,
      reason: null,
      farewell: null,
      beats: [],
      hasBeat: false,
      stored: [],
      request: this.request,
      hasStart: false,
      endedBy: 0,
      into: null,
    };
  }

  /** Moves the session's start, last activity and end so that it contains that time. */
  private extend(session: ModelSession, time: number, who?: Whose): ModelSession {
    if (who) this.claim(session, who);
    session.start = Math.min(session.start, time);
    session.last = Math.max(session.last, time);
    if (session.end !== null && session.end < session.last) {
      session.end = session.last; // rules 7 and 9
      session.farewell = null;
    }
    return session;
  }

  /** Stores a start that joins an ended session; it is not the start of that session. */
  private storeWithin(event: Placed, session: ModelSession, who: Whose): Verdict {
    this.claim(session, who);
    const { hasStart } = session;
    const isItsStart =
      this.policyOf(event) === 'RESUME' && event.time === session.start && this.isInside(session, event.time);
    const verdict = this.store(event, session);
    session.hasStart = hasStart || isItsStart;
    return verdict;
  }

  private store(event: { type: string; time: number }, session: ModelSession): Verdict {
    session.start = Math.min(session.start, event.time);
    const stored = { type: event.type, time: event.time, request: this.request, source: this.source };
    session.stored.push(stored); // rule 23
    if (event.type === 'session') session.hasStart = true;
    return { code: 'ACCEPTED', session, event: stored };
  }
}

const endsOf = (user: string | null, device: string | null): string => `${user ?? ''} on ${device ?? ''}`;

const nowhere: Verdict = { code: 'NO_SESSION', session: null };

/** Rule 18: records a heartbeat of a session. */
function heard(session: ModelSession, time: number): Verdict {
  session.beats.push(time);
  session.hasBeat = true;
  return { code: 'HEARTBEAT', session };
}

/** Rule 21: if one of two tabs has closed, the other must be heard within 35 s of its latest heartbeat. */
function otherTabUntil({ beats, last }: ModelSession): number {
  const [latest, before] = beats.toSorted((a, b) => b - a);
  if (latest === undefined || before === undefined) return -Infinity;
  const isOfTwo = latest - before >= 1 && latest - before < 25 && last - before <= 35;
  return isOfTwo ? latest + 35 : -Infinity;
}

/** Rule 15: ends the session at `time`, or at its last activity if that is later. */
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
  if (session.farewell !== null) session.beats = []; // rule 21: heartbeats before the closing one no longer count
  session.farewell = null;
}
