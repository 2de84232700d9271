import { CLOSING_GRACE, OTHER_TAB } from '../domain/session.js';
import { GAP } from './pulse.js';

/**
 * Rule 21 in SQL, for a live session `s` that is stored: what domain/online says of it. `timeouts` is what bears the
 * project's inactivity_timeout and presence_timeout; `now` a parameter; `lastAt` the session's last activity.
 *
 * due_at tells whether the user was told of the session as online: a look that found otherwise has moved it beyond
 * online_until.
 */

const COUNTED = 's.due_at <= s.online_until';
/** For whoever comes after noticeReturn, or finds the session to count as online without it. */
const BACK_AT = '(SELECT back_at FROM outage WHERE id)';

/** The last outage, for whoever may be the first to come after it: one that nobody has noticed yet ends now. A row source. */
export const outageAt = (now: string): string =>
  `(SELECT CASE WHEN p.away THEN p.beat_at ELSE o.away_from END AS away_from, CASE WHEN p.away THEN ${now} ELSE o.back_at END AS back_at
    FROM outage o CROSS JOIN (SELECT beat_at, beat_at < ${now} - interval '${GAP} ms' AS away FROM pulse WHERE id) p WHERE o.id)`;

/** Seconds, as an interval. */
const seconds = (count: string | number): string => `interval '1 second' * ${count}`;
const waitFor = (timeouts: string): string => `least(${timeouts}.presence_timeout, ${timeouts}.inactivity_timeout)`;

/** Null where it does not wait for its user. */
const waitsUntil = (lastAt: string, now: string, wait: string, backAt: string): string =>
  `CASE WHEN ${COUNTED} AND ${lastAt} < ${backAt} THEN least(${backAt}, ${now}) + ${seconds(wait)} END`;

/** After a closing heartbeat: as graceUntil of domain/online. */
const graceUntil = (lastAt: string): string =>
  `greatest(${lastAt} + ${seconds(CLOSING_GRACE / 1_000)},
     CASE WHEN s.heartbeat_at - s.heartbeat_before >= ${seconds(OTHER_TAB.farther / 1_000)}
               AND s.heartbeat_at - s.heartbeat_before < ${seconds(OTHER_TAB.nearer / 1_000)}
               AND ${lastAt} - s.heartbeat_before <= ${seconds(OTHER_TAB.within / 1_000)}
          THEN s.heartbeat_at + ${seconds(OTHER_TAB.within / 1_000)} END)`;

/** Until when it counts as online. */
export const onlineUntil = (timeouts: string, now: string, lastAt = 's.last_activity_at'): string =>
  `greatest(CASE
     WHEN s.ended_at IS NOT NULL THEN ${graceUntil(lastAt)}
     WHEN s.has_heartbeat THEN ${lastAt} + ${seconds(waitFor(timeouts))}
     ELSE ${lastAt} + ${seconds(`${timeouts}.inactivity_timeout`)} END,
   ${waitsUntil(lastAt, now, waitFor(timeouts), BACK_AT)})`;

/**
 * Whether it counts as online, as far as anybody has looked. What fell due while the service was away does, until the
 * closer has looked at it and written down how long it waits.
 */
export const countsAt = (now: string): string =>
  `(${COUNTED} AND (s.online_until > ${now} OR ${waitsUntil(
    's.last_activity_at',
    now,
    `(SELECT ${waitFor('w')} FROM projects w WHERE w.id = s.project_id)`,
    `(SELECT x.back_at FROM ${outageAt(now)} x)`,
  )} > ${now}))`;
