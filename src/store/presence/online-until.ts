import { CLOSING_GRACE, OTHER_TAB } from '../../domain/session.js';
import { GAP } from '../pulse.js';
import { TOLD_ONLINE } from './told-online.js';

/**
 * Rule 21 in SQL for a stored live session `s`: the same as domain/online. `timeouts` is the row with the project's
 * inactivity_timeout and presence_timeout. `now` is a parameter. `lastAt` is the session's last activity.
 */

/** The end of the last outage. Only right after noticeReturn, or if the session counts as online without it. */
const BACK_AT = '(SELECT back_at FROM outage WHERE id)';
/** How long that outage was. Null: it is not known. */
const AWAY = '(SELECT back_at - away_from FROM outage WHERE id)';

/** A row source: the last outage, also if noticeReturn has not run yet. An outage that no server has noticed yet ends now. */
export const outageAt = (now: string): string =>
  `(SELECT CASE WHEN p.away THEN p.beat_at ELSE o.away_from END AS away_from, CASE WHEN p.away THEN ${now} ELSE o.back_at END AS back_at
    FROM outage o CROSS JOIN (SELECT beat_at, beat_at < ${now} - interval '${GAP} ms' AS away FROM pulse WHERE id) p WHERE o.id)`;

/** The SQL interval of a number of seconds. */
const seconds = (count: string | number): string => `interval '1 second' * ${count}`;
const waitFor = (timeouts: string): string => `least(${timeouts}.presence_timeout, ${timeouts}.inactivity_timeout)`;

/** Until when the session counts as online after a closing heartbeat: the same as graceUntil of domain/online. */
const graceUntil = (lastAt: string): string =>
  `greatest(${lastAt} + ${seconds(CLOSING_GRACE / 1_000)},
     CASE WHEN s.heartbeat_at - s.heartbeat_before >= ${seconds(OTHER_TAB.farther / 1_000)}
               AND s.heartbeat_at - s.heartbeat_before < ${seconds(OTHER_TAB.nearer / 1_000)}
               AND ${lastAt} - s.heartbeat_before <= ${seconds(OTHER_TAB.within / 1_000)}
          THEN s.heartbeat_at + ${seconds(OTHER_TAB.within / 1_000)} END)`;

/** How long the session is waited for after an outage: the same as waitAfter of domain/online. */
const waitAfter = (lastAt: string, wait: string): string =>
  `CASE WHEN s.ended_at IS NULL THEN ${wait} ELSE least(${wait}, coalesce(${AWAY}, ${wait}) + (${graceUntil(lastAt)} - ${lastAt})) END`;

/** Until when the session counts as online because of the last outage. Null if the outage does not matter for it. */
const waitsUntil = (lastAt: string, now: string, wait: string): string =>
  `CASE WHEN ${TOLD_ONLINE} AND ${lastAt} < ${BACK_AT} THEN least(${BACK_AT}, ${now}) + ${waitAfter(lastAt, seconds(wait))} END`;

/** Until when the session counts as online. */
export const onlineUntil = (timeouts: string, now: string, lastAt = 's.last_activity_at'): string =>
  `greatest(CASE
     WHEN s.ended_at IS NOT NULL THEN ${graceUntil(lastAt)}
     WHEN s.has_heartbeat THEN ${lastAt} + ${seconds(waitFor(timeouts))}
     ELSE ${lastAt} + ${seconds(`${timeouts}.inactivity_timeout`)} END,
   ${waitsUntil(lastAt, now, waitFor(timeouts))})`;

/** When the session ends if it is not heard again. It does not end while it counts as online, which is until `onlineUntil`. */
export const closesAt = (timeouts: string, onlineUntil: string): string =>
  `greatest(s.last_activity_at + make_interval(secs => ${timeouts}.inactivity_timeout), ${onlineUntil})`;
