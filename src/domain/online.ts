import type { SessionSettings } from './project.js';
import { CLOSING_GRACE, isOpen, OTHER_TAB, type WorkingSession } from './session.js';

/** The last time when no server was running, including one that ends only now. Milliseconds since the epoch. */
interface Outage {
  /** Null: it is not known when it began. */
  readonly awayFrom: number | null;
  readonly backAt: number;
}

/** A project's settings as they are now, and the last outage; null: there has been none. */
export interface SettingsNow extends SessionSettings {
  readonly outage: Outage | null;
}

/** What rules 20, 21 and 28 mean for one session, as its row stores it. Milliseconds since the epoch. */
export interface Liveness {
  /** The session counts as online until then. */
  readonly onlineUntil: number;
  /** Whether the session counts as online or may do so later, so that the closer must check it again. */
  readonly live: boolean;
  /** When the closer must check the session next; null where not live. */
  readonly dueAt: number | null;
}

/**
 * How long a session with heartbeats counts as online after it was heard, and an open session after the return from an
 * outage. Milliseconds.
 */
const waitFor = ({ presenceTimeout, inactivityTimeout }: SessionSettings): number =>
  Math.min(presenceTimeout, inactivityTimeout) * 1000;

/** Rules 21 and 29: until when a session counts as online that a closing heartbeat has ended. */
function graceUntil({ lastActivityAt, heartbeatAt, heartbeatBefore }: WorkingSession): number {
  const pageLoad = lastActivityAt + CLOSING_GRACE;
  if (heartbeatAt === null || heartbeatBefore === null) return pageLoad;
  const apart = heartbeatAt - heartbeatBefore;
  const another = apart >= OTHER_TAB.farther && apart < OTHER_TAB.nearer;
  const lately = lastActivityAt - heartbeatBefore <= OTHER_TAB.within;
  return another && lately ? Math.max(pageLoad, heartbeatAt + OTHER_TAB.within) : pageLoad;
}

/**
 * Rule 21: until when a session counts as online by what was heard of it. An open session that sends heartbeats: until
 * presenceTimeout after its last activity. An open session that never sent one: as long as it may stay open. A session that
 * a closing heartbeat ended: for 5 seconds, or until another tab must have been heard.
 */
function heardUntil(session: WorkingSession, settings: SettingsNow): number {
  if (!isOpen(session)) return graceUntil(session);
  return session.lastActivityAt + (session.hasHeartbeat ? waitFor(settings) : settings.inactivityTimeout * 1000);
}

/**
 * How long a session that counted is waited for after the return from an outage. Milliseconds. One that a closing heartbeat
 * has ended: for its grace again, and as long as the service was away, since whoever could not be heard (a page that was
 * loaded again, another tab) tries again at growing intervals, which are not longer than what has passed. So a gap of 2
 * seconds, which may be a slow machine's, does not show for a whole timeout somebody who has left.
 */
function waitAfter(outage: Outage, session: WorkingSession, settings: SessionSettings): number {
  const wait = waitFor(settings);
  if (isOpen(session) || outage.awayFrom === null) return wait;
  return Math.min(wait, outage.backAt - outage.awayFrom + graceUntil(session) - session.lastActivityAt);
}

/**
 * Until when a session counts as online because of the last outage; -Infinity where it does not. A user who counted as
 * online when the last server went away could not say "still here", so the user counts as heard at the return. The result
 * is never more than one timeout from now, even if clocks are wrong. This applies to the session that counted, and to a
 * session that takes its place because of events that the user sent meanwhile.
 */
function waitsUntil(session: WorkingSession, settings: SettingsNow, now: number, isOnline: boolean): number {
  const { outage } = settings;
  const { lastActivityAt, dueAt } = session;
  if (!outage || lastActivityAt >= outage.backAt) return -Infinity;
  const takesItsPlace = isOnline && outage.awayFrom !== null && lastActivityAt >= outage.awayFrom;
  const counted = session.toldOnline || (dueAt === null && takesItsPlace);
  return counted ? Math.min(outage.backAt, now) + waitAfter(outage, session, settings) : -Infinity;
}

/**
 * Until when a session counts as online, and when the closer must check it. A session does not end while it counts as
 * online. While it does, this function only moves the due time earlier; the closer moves it later when it checks the
 * session. So a heartbeat changes no index. store/presence/online-until computes the same in SQL, for stored sessions.
 * `now` is in milliseconds. `isOnline`: whether the user was last published as online.
 */
export function livenessOf(session: WorkingSession, settings: SettingsNow, now: number, isOnline: boolean): Liveness {
  const { lastActivityAt } = session;
  const open = isOpen(session);
  if (!open && !session.closedByHeartbeat) return { onlineUntil: lastActivityAt, live: false, dueAt: null };
  const onlineUntil = Math.max(heardUntil(session, settings), waitsUntil(session, settings, now, isOnline));
  const online = onlineUntil > now;
  if (!open) return { onlineUntil, live: online, dueAt: online ? onlineUntil : null };
  if (online) return { onlineUntil, live: true, dueAt: Math.min(session.dueAt ?? onlineUntil, onlineUntil) };
  // This session does not count as online, so nothing can lapse: the closer's next check is for its end. So due_at is later
  // than online_until. By that the row shows that the session is not among those published as online (`toldOnline`).
  return { onlineUntil: lastActivityAt, live: true, dueAt: lastActivityAt + settings.inactivityTimeout * 1000 };
}
