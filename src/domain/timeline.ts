import { placeIn } from './event-id.js';
import { isOpen, type WorkingSession } from './session.js';

/**
 * The identity sessions among which an event finds its own. No two overlap; an open one is the last. Times are milliseconds
 * since the epoch.
 */
export interface SessionView {
  /** The user whose sessions these are; null: nobody's, those of a device alone (rule 3). */
  readonly owner: string | null;
  /** The last of all. */
  newest(): WorkingSession | null;
  /** Those that may be open: the last one of each kind. */
  lasts(): readonly WorkingSession[];
  /** The last session that starts at `time` or before it. */
  before(time: number): WorkingSession | null;
  /** The first session that starts after `time`. */
  after(time: number): WorkingSession | null;
  /** The place (uuidAt) of the id of a new session at `time`: after those of the sessions that start at the same instant. */
  nextPlace(time: number): number;
  /** Adds a new session. */
  add(session: WorkingSession): void;
  /** Takes `later` out, which has become part of `earlier` (rule 27). */
  join(earlier: WorkingSession, later: WorkingSession): void;
  /** The start of the session has moved back. */
  moved(session: WorkingSession): void;
  /** Gives a session of nobody to the owner (rule 3, identification). */
  claim(session: WorkingSession): void;
}

/**
 * For toSorted(): by time, the open session last. Where two sessions start at one instant, the id tells which was made
 * first.
 */
export const inOrder = (a: WorkingSession, b: WorkingSession): number =>
  Number(isOpen(a)) - Number(isOpen(b)) ||
  a.startedAt - b.startedAt ||
  a.lastActivityAt - b.lastActivityAt ||
  (a.id < b.id ? -1 : 1);

/**
 * Whether an event at `time` lies inside the session, which must have started by then. An event at the very instant of an
 * end by the client or by a start comes after the session (rule 7). Events that came before the end in the same request are
 * in the session already.
 */
export function holds({ endReason, lastActivityAt }: WorkingSession, time: number): boolean {
  return endReason === 'CLIENT' || endReason === 'SUPERSEDED' ? time < lastActivityAt : time <= lastActivityAt;
}

/** How many of the sessions, which are in the order of their starts, start at `time` or before it. */
export function countStarted(sessions: readonly WorkingSession[], time: number): number {
  // Most events come after the start of the last session.
  const last = sessions.at(-1);
  if (!last || last.startedAt <= time) return sessions.length;
  let low = 0;
  let high = sessions.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sessions[middle]!.startedAt <= time) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * The place (uuidAt) of the id of a new session at `time` among these, which are in the order of their starts; those that
 * start at one instant are in the order of their ids.
 */
export function nextPlaceAmong(sessions: readonly WorkingSession[], time: number): number {
  const place = countStarted(sessions, time);
  let at = place - 1;
  for (let others = 0; sessions[at]?.startedAt === time; at -= 1, others += 1) {
    const known = placeIn(sessions[at]!.id, time);
    if (known !== null) return Math.max(known, others) + 1;
  }
  return place - 1 - at;
}

/** The sessions of one user, or of one device and user, in order. */
export class Timeline implements SessionView {
  private readonly sessions: WorkingSession[];

  constructor(
    readonly owner: string | null,
    sessions: readonly WorkingSession[],
  ) {
    this.sessions = sessions.toSorted(inOrder);
  }

  newest(): WorkingSession | null {
    return this.sessions.at(-1) ?? null;
  }

  lasts(): readonly WorkingSession[] {
    return this.sessions.slice(-1);
  }

  before(time: number): WorkingSession | null {
    return this.sessions[countStarted(this.sessions, time) - 1] ?? null;
  }

  after(time: number): WorkingSession | null {
    return this.sessions[countStarted(this.sessions, time)] ?? null;
  }

  nextPlace(time: number): number {
    return nextPlaceAmong(this.sessions, time);
  }

  add(session: WorkingSession): void {
    this.sessions.splice(countStarted(this.sessions, session.startedAt), 0, session);
  }

  join(_earlier: WorkingSession, later: WorkingSession): void {
    this.remove(later);
  }

  remove(session: WorkingSession): void {
    this.sessions.splice(this.sessions.indexOf(session), 1);
  }

  moved(): void {
    // No two sessions overlap, so the order stays.
  }

  claim(): void {
    // All sessions are the owner's.
  }
}
