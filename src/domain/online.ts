import type { SessionSettings } from './project.js';
import { CLOSING_GRACE, isOpen, OTHER_TAB, type WorkingSession } from './session.js';

/** The last time that no server was there to be spoken to, one that ends now included. Milliseconds since the epoch. */
interface Outage {
  /** Null: nothing is known of before. */
  readonly awayFrom: number | null;
  readonly backAt: number;
}

/** A project's settings as they are now, and the last outage; null: there has been none. */
export interface SettingsNow extends SessionSettings {
  readonly outage: Outage | null;
}

/** What rules 20, 21 and 28 come down to for one session, as its row keeps it. Milliseconds since the epoch. */
export interface Liveness {
  /** It counts as online until then. */
  readonly onlineUntil: number;
  /** It may count as online now or later, so the closer must look at it again. */
  readonly live: boolean;
  /** When the closer must look at it next; null where not live. */
  readonly dueAt: number | null;
}

/** How long a session that waits for its user to come back after an outage counts as online, from the return. Milliseconds. */
const waitFor = ({ presenceTimeout, inactivityTimeout }: SessionSettings): number =>
  Math.min(presenceTimeout, inactivityTimeout) * 1000;

/** Rules 21 and 29: until when a session that a closing heartbeat has ended counts as online. */
function graceUntil({ lastActivityAt, heartbeatAt, heartbeatBefore }: WorkingSession): number {
  const pageLoad = lastActivityAt + CLOSING_GRACE;
  if (heartbeatAt === null || heartbeatBefore === null) return pageLoad;
  const apart = heartbeatAt - heartbeatBefore;
  const another = apart >= OTHER_TAB.farther && apart < OTHER_TAB.nearer;
  const lately = lastActivityAt - heartbeatBefore <= OTHER_TAB.within;
  return another && lately ? Math.max(pageLoad, heartbeatAt + OTHER_TAB.within) : pageLoad;
}

/**
 * Rule 21: an open session that sends heartbeats counts as online for presenceTimeout after it was last heard; one that
 * never did, as long as it may stay open; one that a closing heartbeat ended, for 5 seconds, or until another tab must
 * have been heard.
 */
function heardUntil(session: WorkingSession, settings: SettingsNow): number {
  if (!isOpen(session)) return graceUntil(session);
  return session.lastActivityAt + (session.hasHeartbeat ? waitFor(settings) : settings.inactivityTimeout * 1000);
}

/**
 * Whoever counted as online when the last server went away could not say "still here", and counts as heard at the return;
 * never more than one timeout from now, should clocks be wrong. That goes for the session that counted, and for one that
 * takes its place by what its user sent meanwhile.
 */
function waitsUntil(session: WorkingSession, settings: SettingsNow, now: number, isOnline: boolean): number {
  const { outage } = settings;
  const { lastActivityAt, dueAt } = session;
  if (!outage || lastActivityAt >= outage.backAt) return -Infinity;
  const takesItsPlace = isOnline && outage.awayFrom !== null && lastActivityAt >= outage.awayFrom;
  const counted = dueAt === null ? takesItsPlace : !session.lapsed;
  return counted ? Math.min(outage.backAt, now) + waitFor(settings) : -Infinity;
}

/**
 * Until when a session counts as online, and when the closer must look at it. It does not end while it counts as
 * online. The due time only ever moves earlier here: the closer moves it on when it looks, so that a heartbeat touches
 * no index. store/online-until says the same in SQL, for sessions that are there already. `isOnline`: what has been
 * published of its user.
 */
export function livenessOf(session: WorkingSession, settings: SettingsNow, now: number, isOnline: boolean): Liveness {
  const { lastActivityAt } = session;
  const open = isOpen(session);
  if (!open && !session.closedByHeartbeat) return { onlineUntil: lastActivityAt, live: false, dueAt: null };
  const onlineUntil = Math.max(heardUntil(session, settings), waitsUntil(session, settings, now, isOnline));
  const online = onlineUntil > now;
  if (!open) return { onlineUntil, live: online, dueAt: online ? onlineUntil : null };
  if (online) return { onlineUntil, live: true, dueAt: Math.min(session.dueAt ?? onlineUntil, onlineUntil) };
  // What does not count as online has nothing to lapse: the closer's next look is for its end. So due_at tells, by lying
  // beyond online_until, that the user is not told of it as online: to whoever changes the session without its user's
  // lock (extend-sessions), and after an outage.
  return { onlineUntil: lastActivityAt, live: true, dueAt: lastActivityAt + settings.inactivityTimeout * 1000 };
}
