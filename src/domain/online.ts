import type { SessionSettings } from './project.js';
import { CLOSING_GRACE, isOpen, OTHER_TAB, type WorkingSession } from './session.js';

/** What rules 20, 21 and 28 come down to for one session, as its row keeps it. Milliseconds since the epoch. */
export interface Liveness {
  /** It counts as online until then. */
  readonly onlineUntil: number;
  /** It may count as online now or later, so the closer must look at it again. */
  readonly live: boolean;
  /** When the closer must look at it next; null where not live. */
  readonly dueAt: number | null;
}

/** Rules 21 and 29: until when a session that a closing heartbeat has ended counts as online. */
function graceUntil({ lastActivityAt, heartbeatAt, heartbeatBefore }: WorkingSession): number {
  const pageLoad = lastActivityAt + CLOSING_GRACE;
  if (heartbeatAt === null || heartbeatBefore === null) return pageLoad;
  const another = heartbeatAt - heartbeatBefore < OTHER_TAB.nearer;
  const lately = lastActivityAt - heartbeatBefore <= OTHER_TAB.within;
  return another && lately ? Math.max(pageLoad, heartbeatAt + OTHER_TAB.within) : pageLoad;
}

/**
 * Rule 21: an open session that sends heartbeats counts as online for presenceTimeout after it was last
 * heard; one that never did, as long as it may stay open; one that a closing heartbeat ended, for 5 seconds, or
 * until another tab must have been heard.
 * The due time only ever moves earlier here: the closer moves it on when it looks, so that a heartbeat
 * touches no index.
 */
export function livenessOf(session: WorkingSession, settings: SessionSettings, now: number): Liveness {
  if (!isOpen(session)) {
    if (!session.closedByHeartbeat) return { onlineUntil: session.lastActivityAt, live: false, dueAt: null };
    const onlineUntil = graceUntil(session);
    const live = onlineUntil > now;
    return { onlineUntil, live, dueAt: live ? onlineUntil : null };
  }
  const inactivity = settings.inactivityTimeout * 1000;
  const heard = session.hasHeartbeat ? Math.min(settings.presenceTimeout * 1000, inactivity) : inactivity;
  const onlineUntil = session.lastActivityAt + heard;
  // What does not count as online has nothing to lapse: the closer's next look is for its end. So due_at tells, to
  // whoever changes the session without its user's lock (extend-sessions), whether the user was told of as online.
  const dueAt = onlineUntil > now ? onlineUntil : session.lastActivityAt + inactivity;
  return { onlineUntil, live: true, dueAt: onlineUntil > now ? Math.min(session.dueAt ?? dueAt, dueAt) : dueAt };
}
