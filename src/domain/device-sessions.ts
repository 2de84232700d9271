import type { CheckedEvent } from './check-event.js';
import { isOpen, MOST_ON_DEVICE, type WorkingSession } from './session.js';
import { countStarted, holds, inOrder, nextPlaceAmong, Timeline, type SessionView } from './timeline.js';
import { endSession } from './working-session.js';

/** Milliseconds. */
interface Timeouts {
  readonly inactivity: number;
  readonly presence: number;
}

/** For toSorted(): by start, and at one instant by id. */
const byStart = (a: WorkingSession, b: WorkingSession): number => a.startedAt - b.startedAt || (a.id < b.id ? -1 : 1);

/** Whether an event at `time`, when the session has started, is still one of the session (rules 2, 7, 8 and 18). */
function reaches(session: WorkingSession, time: number, { inactivity, presence }: Timeouts): boolean {
  if (holds(session, time)) return true;
  const gap = time - session.lastActivityAt;
  if (isOpen(session) || session.endReason === 'INACTIVITY') return gap <= inactivity;
  return session.closedByHeartbeat && gap <= presence;
}

/** Whether `a` began later than `b`. At one instant the one that was heard later did, then that of the greater id. */
const beganLater = (a: WorkingSession, b: WorkingSession): boolean =>
  (a.startedAt - b.startedAt || a.lastActivityAt - b.lastActivityAt || (a.id < b.id ? -1 : 1)) > 0;

const isOfGreaterId = (a: WorkingSession, b: WorkingSession): boolean => (a.userId ?? '') > (b.userId ?? '');

/** Whether `a` was heard later than `b`. At one instant the later start decides, then the user's id. */
function heardLater(a: WorkingSession, b: WorkingSession): boolean {
  const apart = a.lastActivityAt - b.lastActivityAt || a.startedAt - b.startedAt;
  return apart === 0 ? isOfGreaterId(a, b) : apart > 0;
}

/** What a user's event on a device finds: the user's sessions there, and those of the device that are nobody's yet. */
class UserView implements SessionView {
  constructor(
    readonly owner: string,
    private readonly device: DeviceSessions,
    private readonly own: Timeline,
    private readonly nobodys: Timeline,
  ) {}

  newest(): WorkingSession | null {
    return this.lasts().toSorted(inOrder).at(-1) ?? null;
  }

  lasts(): readonly WorkingSession[] {
    return [...this.own.lasts(), ...this.nobodys.lasts()];
  }

  before(time: number): WorkingSession | null {
    const own = this.own.before(time);
    const other = this.nobodys.before(time);
    return own && other ? [own, other].toSorted(inOrder)[1]! : (own ?? other);
  }

  after(time: number): WorkingSession | null {
    const own = this.own.after(time);
    const other = this.nobodys.after(time);
    return own && other ? [own, other].toSorted(inOrder)[0]! : (own ?? other);
  }

  nextPlace(time: number): number {
    return this.device.nextPlace(time);
  }

  add(session: WorkingSession): void {
    this.device.add(session);
  }

  join(earlier: WorkingSession, later: WorkingSession): void {
    this.device.remove(later);
    if (later.userId !== null) this.claim(earlier);
  }

  moved(session: WorkingSession): void {
    this.device.moved(session);
  }

  claim(session: WorkingSession): void {
    if (session.userId !== null) return;
    this.nobodys.remove(session);
    session.userId = this.owner;
    session.moved = true;
    this.own.add(session);
  }
}

/**
 * What an event of a device alone finds where no user's session is the device's at that time: the device's sessions that
 * are nobody's, and those to come, whoever's they are: the event lies before them.
 */
class NobodysView implements SessionView {
  readonly owner = null;

  constructor(
    private readonly device: DeviceSessions,
    private readonly nobodys: Timeline,
    private readonly next: WorkingSession | null,
    /** The last to begin by the event's time, and of all. */
    private readonly present: WorkingSession | null,
    private readonly last: WorkingSession | null,
  ) {}

  newest(): WorkingSession | null {
    const newest = this.nobodys.newest();
    if (this.next && this.last && (!newest || !beganLater(newest, this.last))) return this.last;
    return newest && this.isPresent(newest) ? newest : null;
  }

  /** An ended session of nobody does not go on once a later one has begun on the device. */
  private isPresent(session: WorkingSession): boolean {
    return isOpen(session) || session === this.present;
  }

  lasts(): readonly WorkingSession[] {
    return this.nobodys.lasts();
  }

  before(time: number): WorkingSession | null {
    const before = this.nobodys.before(time);
    return before && (this.isPresent(before) || holds(before, time)) ? before : null;
  }

  after(): WorkingSession | null {
    return this.next;
  }

  nextPlace(time: number): number {
    return this.device.nextPlace(time);
  }

  add(session: WorkingSession): void {
    this.device.add(session);
  }

  join(_earlier: WorkingSession, later: WorkingSession): void {
    this.device.remove(later);
  }

  moved(session: WorkingSession): void {
    this.device.moved(session);
  }

  claim(): void {
    // There is no user.
  }
}

/** The identity sessions of one device: of its users, and of nobody (rules 2 to 5). */
export class DeviceSessions {
  private readonly ofUsers = new Map<string, Timeline>();
  private readonly nobodys: Timeline;
  /** All of them, by their starts. Those of different users may overlap. */
  private readonly all: WorkingSession[];

  constructor(
    sessions: readonly WorkingSession[],
    private readonly timeouts: Timeouts,
  ) {
    this.all = sessions.toSorted(byStart);
    const ofUsers = new Map<string, WorkingSession[]>();
    const nobodys: WorkingSession[] = [];
    for (const session of sessions) {
      const { userId } = session;
      if (userId === null) nobodys.push(session);
      else if (ofUsers.get(userId)?.push(session) === undefined) ofUsers.set(userId, [session]);
    }
    this.nobodys = new Timeline(null, nobodys);
    for (const [userId, own] of ofUsers) this.ofUsers.set(userId, new Timeline(userId, own));
  }

  /** The sessions among which the event finds its own. */
  viewOf({ user, time }: Pick<CheckedEvent, 'user' | 'time'>): SessionView {
    if (user) return this.ofUser(user.id);
    const place = countStarted(this.all, time);
    const at = this.sessionAt(time, place);
    if (at && at.userId !== null) return this.ofUser(at.userId);
    const next = this.nextAfter(place);
    const isTaken = at !== null && (isOpen(at) || holds(at, time));
    const isNear = next !== null && next.startedAt - time <= this.timeouts.inactivity;
    if (!isTaken && isNear && next.userId !== null) return this.ofUser(next.userId);
    return new NobodysView(this, this.nobodys, next, this.lastOf(place), this.lastOf(this.all.length));
  }

  /**
   * The session of the device at `time`: the one heard last of those that an event at that time may be in. Ends those that
   * are over by then (rule 6). One of nobody that has ended goes on only if none has begun since. `place`: how many sessions
   * have started by then.
   */
  private sessionAt(time: number, place: number): WorkingSession | null {
    let found: WorkingSession | null = null;
    const present = this.lastOf(place);
    for (let at = place - 1; at >= 0 && at >= place - MOST_ON_DEVICE; at -= 1) {
      const session = this.all[at]!;
      if (isOpen(session) && time - session.lastActivityAt > this.timeouts.inactivity)
        endSession(session, session.lastActivityAt, 'INACTIVITY');
      const isPast = session.userId === null && session !== present && !isOpen(session) && !holds(session, time);
      if (!isPast && reaches(session, time, this.timeouts) && (!found || heardLater(session, found))) found = session;
    }
    return found;
  }

  /** The last to begin of so many. */
  private lastOf(place: number): WorkingSession | null {
    let last = this.all[place - 1] ?? null;
    for (let at = place - 2; last && this.all[at]?.startedAt === last.startedAt; at -= 1)
      if (beganLater(this.all[at]!, last)) last = this.all[at]!;
    return last;
  }

  /** The next session to begin after so many; of those that begin at one instant, that of the greatest user's id. */
  private nextAfter(place: number): WorkingSession | null {
    let next = this.all[place] ?? null;
    for (let at = place + 1; next && this.all[at]?.startedAt === next.startedAt; at += 1)
      if (isOfGreaterId(this.all[at]!, next)) next = this.all[at]!;
    return next;
  }

  private timelineOf(userId: string | null): Timeline {
    if (userId === null) return this.nobodys;
    let own = this.ofUsers.get(userId);
    if (!own) this.ofUsers.set(userId, (own = new Timeline(userId, [])));
    return own;
  }

  private ofUser(userId: string): SessionView {
    return new UserView(userId, this, this.timelineOf(userId), this.nobodys);
  }

  /**
   * The place (uuidAt) of the id of a new session at `time`: after those of all the device's sessions that start then,
   * whoever they are of. A user may get a session of nobody later, and the ids must still tell which of theirs began first.
   */
  nextPlace(time: number): number {
    return nextPlaceAmong(this.all, time);
  }

  add(session: WorkingSession): void {
    this.timelineOf(session.userId).add(session);
    this.all.splice(countStarted(this.all, session.startedAt), 0, session);
  }

  /** Takes out a session that has become part of another. */
  remove(session: WorkingSession): void {
    this.timelineOf(session.userId).remove(session);
    this.all.splice(this.all.indexOf(session), 1);
  }

  /** Puts a session in its place whose start has moved back. */
  moved(session: WorkingSession): void {
    const at = this.all.indexOf(session);
    if (at === 0 || this.all[at - 1]!.startedAt <= session.startedAt) return;
    this.all.splice(at, 1);
    this.all.splice(countStarted(this.all, session.startedAt), 0, session);
  }
}
