/**
 * Whether a session was published as online: it is one of the user's `online_sessions`. There is no column of its own for that.
 * due_at and online_until show it together. While the session counts, due_at is not later than online_until (due_at moves
 * lazily). When online_until is over, the next check of the session, with the user locked, moves due_at to a later time:
 * when the session ends. So the row decides, not a clock: a session whose time is over counts until that check.
 * `users.online_sessions` is at every moment the number of the user's sessions that count (rule 28). domain/online writes
 * due_at in this way, and reads it as `toldOnline`.
 */

/** The condition for a live session `s`. */
export const TOLD_ONLINE = 's.due_at <= s.online_until';

/**
 * The condition that the session stays published as online if an event moves online_until to `onlineUntil`. Then the event
 * needs no check and no lock of the user. The session was published as online, its time is not over at `now`, and due_at is not
 * later than the new online_until. (If a timeout has just been shortened, due_at may be later, and the closer would check too
 * late.)
 */
export const staysTold = (now: string, onlineUntil: string): string =>
  `s.live AND ${TOLD_ONLINE} AND s.online_until > ${now} AND s.due_at <= ${onlineUntil}`;

/** due_at after a check of a session that is `open` or in its closing grace. It ends at `closesAt` if it is not heard again. */
export const dueAfterLook = (now: string, onlineUntil: string, open: string, closesAt: string): string =>
  `CASE WHEN ${onlineUntil} > ${now} THEN ${onlineUntil} WHEN ${open} THEN ${closesAt} END`;

/**
 * Whether a session must be checked before due_at, because the project's settings have changed. With the settings now, the
 * session counts as online until `onlineUntil` and ends at `closesAt`. Either due_at is too late, or the session was published
 * as online with the old settings and does not count as online with the new ones.
 */
export const isOutOfStep = (now: string, onlineUntil: string, closesAt: string): string =>
  `CASE WHEN ${onlineUntil} > ${now} THEN s.due_at > least(s.online_until, ${onlineUntil})
        ELSE s.due_at > ${closesAt} OR s.online_until > ${now} AND ${TOLD_ONLINE} END`;
