import { firstUuidAt } from '../domain/event-id.js';
import type { SettingsNow } from '../domain/online.js';
import type { SessionSettings } from '../domain/project.js';
import type { SessionAttributes, SessionEndReason, StoredPart, WorkingSession } from '../domain/session.js';
import type { Queryable } from './database.js';
import { outageAt } from './online-until.js';
import { instant, plainArray, textArray } from './parameters.js';

/**
 * What an ingest batch reads, each a set-based statement for all of the batch's projects at once: every row
 * asked for, and every row answered, carries its project.
 *
 * Locks are taken in one order, users by (project, id), then named sessions by (project, key), so that
 * batches, closers and erasures cannot wait for each other in a ring.
 */

export interface UserKey {
  readonly projectId: string;
  readonly userId: string;
}

/** For toSorted(): users in the order of their locks. */
export function inOrderOfLocks(a: UserKey, b: UserKey): number {
  if (a.projectId !== b.projectId) return a.projectId < b.projectId ? -1 : 1;
  return a.userId < b.userId ? -1 : 1;
}

export interface LockedUser extends UserKey {
  readonly identity: string;
  readonly name: string | null;
  readonly nameAt: Date | null;
  /** When the user sent `sessionend` events, in order; milliseconds (rule 18). */
  readonly ends: readonly number[];
  readonly online: boolean;
}

/** The settings of the batch's projects, as they are now, and the last outage. */
export async function readSettings(
  tx: Queryable,
  projectIds: readonly string[],
  now: Date,
): Promise<Map<string, SettingsNow>> {
  const rows = await tx.query<SessionSettings & { id: string; awayFrom: Date | null; backAt: Date | null }>({
    name: 'ingest.settings',
    prepared: true,
    text: `SELECT id, inactivity_timeout AS "inactivityTimeout", presence_timeout AS "presenceTimeout",
                  session_start AS "sessionStart", retention_days AS "retentionDays",
                  o.away_from AS "awayFrom", o.back_at AS "backAt"
           FROM projects CROSS JOIN ${outageAt('$2::timestamptz')} o WHERE id = ANY($1::uuid[])`,
    values: [projectIds, now],
  });
  return new Map(
    rows.map(({ awayFrom, backAt, ...row }) => {
      const outage = backAt && { awayFrom: awayFrom && awayFrom.getTime(), backAt: backAt.getTime() };
      return [row.id, { ...row, outage }];
    }),
  );
}

/** Makes the users that are not there yet. `users` in the order of their locks. */
export async function addUsers(tx: Queryable, users: readonly (UserKey & { identity: string })[]): Promise<void> {
  await tx.query({
    name: 'ingest.addUsers',
    prepared: true,
    text: `INSERT INTO users (project_id, id, identity)
           SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[]) ON CONFLICT DO NOTHING`,
    values: [
      plainArray(users.map((user) => user.projectId)),
      plainArray(users.map((user) => user.userId)),
      textArray(users.map((user) => user.identity)),
    ],
  });
}

/** Locks users, in the order they are given, until the transaction ends: whoever changes a session of a user holds the user's lock. */
export async function lockUsers(tx: Queryable, users: readonly UserKey[]): Promise<LockedUser[]> {
  const rows = await tx.query<Omit<LockedUser, 'ends'> & { ends: Date[] }>({
    name: 'ingest.lockUsers',
    prepared: true,
    text: `SELECT u.project_id AS "projectId", u.id AS "userId", u.identity, u.name, u.name_at AS "nameAt",
                  u.ends, u.online
           FROM unnest($1::uuid[], $2::uuid[]) k (project_id, id)
           CROSS JOIN LATERAL (
             SELECT * FROM users u WHERE u.project_id = k.project_id AND u.id = k.id OFFSET 0 FOR NO KEY UPDATE) u`,
    values: [plainArray(users.map((user) => user.projectId)), plainArray(users.map((user) => user.userId))],
  });
  return rows.map((row) => ({ ...row, ends: row.ends.map((end) => end.getTime()) }));
}

const SESSION_COLUMNS = `
  s.project_id AS "projectId", s.id, s.key, s.namesake, s.user_id AS "userId", s.started_at AS "startedAt",
  s.last_activity_at AS "lastActivityAt", s.end_reason AS "endReason", s.closed_by_heartbeat AS "closedByHeartbeat",
  s.explicit_start AS "explicitStart", s.has_heartbeat AS "hasHeartbeat", s.due_at AS "dueAt",
  s.heartbeat_at AS "heartbeatAt", s.heartbeat_before AS "heartbeatBefore",
  coalesce(s.due_at > s.online_until, false) AS lapsed,
  s.event_count AS "eventCount", s.error_count AS "errorCount", s.event_types AS "eventTypes", s.version,
  s.browser_name AS "browserName", s.browser_version AS "browserVersion", s.os_name AS "osName",
  s.os_version AS "osVersion", s.device, s.ip_address AS "ipAddress",
  s.is_bot AS "isBot", s.country, s.region, s.city, s.data`;

interface SessionRecord extends SessionAttributes {
  projectId: string;
  id: string;
  key: string | null;
  namesake: number;
  userId: string | null;
  startedAt: Date;
  lastActivityAt: Date;
  endReason: SessionEndReason | null;
  closedByHeartbeat: boolean;
  explicitStart: boolean;
  hasHeartbeat: boolean;
  heartbeatAt: Date | null;
  heartbeatBefore: Date | null;
  dueAt: Date | null;
  lapsed: boolean;
  eventCount: number;
  errorCount: number;
  eventTypes: string[];
}

function toWorking(row: SessionRecord): WorkingSession {
  const startedAt = row.startedAt.getTime();
  return {
    ...row,
    startedAt,
    lastActivityAt: row.lastActivityAt.getTime(),
    heartbeatAt: row.heartbeatAt?.getTime() ?? null,
    heartbeatBefore: row.heartbeatBefore?.getTime() ?? null,
    dueAt: row.dueAt?.getTime() ?? null,
    isNew: false,
    stored: [{ at: startedAt, events: row.eventCount, errors: row.errorCount, types: [...row.eventTypes] }],
    storedUnder: [row.id],
    mergedInto: null,
    moved: false,
    described: false,
    startedBy: null,
    endedBy: null,
  };
}

/**
 * The users' identity sessions that an event at `from` (milliseconds) or later may still join, and the open ones: one
 * range of the index sessions_near for each user. The users must be locked; the sessions are locked here, since those
 * that only go on are changed without their user's lock (extend-sessions). OFFSET 0 keeps it that way: on a table that
 * was not analysed yet the planner would otherwise join all of its sessions (10 ms rather than 0.5 for 64 users).
 */
export async function readIdentitySessions(
  tx: Queryable,
  users: readonly (UserKey & { from: number })[],
): Promise<WorkingSession[]> {
  const rows = await tx.query<SessionRecord>({
    name: 'ingest.identitySessions',
    prepared: true,
    text: `SELECT ${SESSION_COLUMNS}
           FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) k (project_id, user_id, first_at)
           CROSS JOIN LATERAL (
             SELECT greatest(p.inactivity_timeout, p.presence_timeout) AS seconds FROM projects p
             WHERE p.id = k.project_id
             OFFSET 0
           ) longest
           CROSS JOIN LATERAL (
             SELECT * FROM sessions s
             WHERE s.project_id = k.project_id AND s.user_id = k.user_id AND s.key IS NULL
               AND coalesce(s.ended_at, 'infinity'::timestamptz)
                 >= ${instant('k.first_at')} - make_interval(secs => longest.seconds)
             OFFSET 0
             FOR NO KEY UPDATE
           ) s`,
    values: [
      plainArray(users.map((user) => user.projectId)),
      plainArray(users.map((user) => user.userId)),
      plainArray(users.map((user) => user.from)),
    ],
  });
  return rows.map(toWorking);
}

/**
 * What is stored of sessions, in parts: up to the first of a session's instants, from each to the next, and from the last on.
 * `cuts`: a session, and an instant within it, each; milliseconds. Answers the parts of each session by its id; of the first `at` is null. It reads all
 * events of the sessions, so it is asked only where a late start may split one (rule 12).
 */
export async function readStoredParts(
  tx: Queryable,
  cuts: readonly {
    projectId: string;
    sessionId: string;
    startedAt: number;
    lastActivityAt: number;
    at: number;
  }[],
): Promise<Map<string, (Omit<StoredPart, 'at'> & { at: number | null })[]>> {
  const rows = await tx.query<{ sessionId: string; at: Date | null; events: number; errors: number; types: string[] }>({
    name: 'ingest.storedParts',
    prepared: true,
    text: `SELECT c.session_id AS "sessionId", c.times[p.part] AS at, sum(p.events)::integer AS events,
                  coalesce(sum(p.events) FILTER (WHERE p.type = 'error'), 0)::integer AS errors, array_agg(p.type) AS types
           FROM (
             SELECT project_id, session_id, first_id, end_id, array_agg(DISTINCT ${instant('at')}) AS times
             FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::uuid[], $5::uuid[]) k (project_id, session_id, at, first_id, end_id)
             GROUP BY project_id, session_id, first_id, end_id
           ) c
           CROSS JOIN LATERAL (
             SELECT width_bucket(e.occurred_at, c.times) AS part, e.type, count(*) AS events FROM events e
             WHERE e.project_id = c.project_id AND e.session_id = c.session_id AND e.id >= c.first_id AND e.id < c.end_id
             GROUP BY width_bucket(e.occurred_at, c.times), e.type
           ) p
           GROUP BY c.session_id, c.times, p.part`,
    values: [
      plainArray(cuts.map((cut) => cut.projectId)),
      plainArray(cuts.map((cut) => cut.sessionId)),
      plainArray(cuts.map((cut) => cut.at)),
      plainArray(cuts.map((cut) => firstUuidAt(cut.startedAt))),
      plainArray(cuts.map((cut) => firstUuidAt(cut.lastActivityAt + 1))),
    ],
  });
  const parts: Awaited<ReturnType<typeof readStoredParts>> = new Map(cuts.map(({ sessionId }) => [sessionId, []]));
  for (const { sessionId, at, ...part } of rows) {
    parts.get(sessionId)!.push({ ...part, at: at && at.getTime() });
  }
  return parts;
}

/** What finds named sessions: a key, and the user whose session of it is meant; null: whoever's (rule 1). */
export interface SessionKey {
  readonly projectId: string;
  readonly key: string;
  readonly userId: string | null;
}

/** Where an event names no user, it may belong to one of the newest sessions of its key; so many are looked at. */
const MOST_NAMESAKES = 10;
const WANTED = 'unnest($1::uuid[], $2::text[], $3::uuid[]) k (project_id, key, user_id)';
const ANYBODYS = `SELECT * FROM sessions s WHERE k.user_id IS NULL AND s.project_id = k.project_id AND s.key = k.key
             ORDER BY s.namesake DESC LIMIT ${MOST_NAMESAKES}`;
const keyValues = (keys: readonly SessionKey[]): unknown[] => [
  keys.map((key) => key.projectId),
  keys.map((key) => key.key),
  keys.map((key) => key.userId),
];

/** Whose the named sessions are, before anything is locked: those users must be locked first. */
export function readSessionOwners(
  tx: Queryable,
  keys: readonly SessionKey[],
): Promise<(UserKey & { identity: string })[]> {
  return tx.query<UserKey & { identity: string }>({
    name: 'ingest.sessionOwners',
    prepared: true,
    text: `SELECT u.project_id AS "projectId", u.id AS "userId", u.identity
           FROM ${WANTED}
           CROSS JOIN LATERAL (
             SELECT * FROM (${ANYBODYS}) anybodys
             UNION ALL
             SELECT * FROM sessions s WHERE s.project_id = k.project_id AND s.key = k.key AND s.user_id = k.user_id
           ) s
           CROSS JOIN LATERAL (SELECT * FROM users u WHERE u.project_id = s.project_id AND u.id = s.user_id OFFSET 0) u`,
    values: keyValues(keys),
  });
}

/**
 * Locks the sessions that these keys may mean, and reads them: a user's own, one that has no user yet, and the newest where
 * no user is named; of each key in the order in which they were made. The users that own them must be locked.
 */
export async function lockNamedSessions(tx: Queryable, keys: readonly SessionKey[]): Promise<WorkingSession[]> {
  const rows = await tx.query<SessionRecord>({
    name: 'ingest.namedSessions',
    prepared: true,
    text: `SELECT ${SESSION_COLUMNS}
           FROM ${WANTED}
           CROSS JOIN LATERAL (
             SELECT * FROM (
               SELECT * FROM sessions s WHERE s.project_id = k.project_id AND s.key = k.key AND s.user_id = k.user_id
               OFFSET 0 FOR NO KEY UPDATE) own
             UNION ALL
             SELECT * FROM (
               SELECT * FROM sessions s WHERE k.user_id IS NOT NULL AND s.project_id = k.project_id AND s.key = k.key
                 AND s.namesake = 0 AND s.user_id IS NULL
               OFFSET 0 FOR NO KEY UPDATE) nobodys
             UNION ALL
             SELECT * FROM (${ANYBODYS} FOR NO KEY UPDATE) anybodys
           ) s`,
    values: keyValues(keys),
  });
  // Two events of a key may have found the same.
  return [...new Map(rows.map((row) => [row.id, row])).values()]
    .map(toWorking)
    .toSorted((a, b) => a.namesake - b.namesake);
}

/** How many sessions each key has named so far, of those keys that have named any: the `namesake` of the next. */
export function countNamesakes(
  tx: Queryable,
  keys: readonly SessionKey[],
): Promise<{ projectId: string; key: string; namesakes: number }[]> {
  return tx.query({
    name: 'ingest.namesakes',
    prepared: true,
    text: `SELECT k.project_id AS "projectId", k.key, s.namesake + 1 AS namesakes
           FROM ${WANTED}
           CROSS JOIN LATERAL (SELECT namesake FROM sessions s WHERE s.project_id = k.project_id AND s.key = k.key
             ORDER BY s.namesake DESC LIMIT 1) s`,
    values: keyValues(keys),
  });
}

export interface KnownEvent {
  readonly projectId: string;
  readonly eventKey: string;
  readonly eventId: string | null;
  readonly sessionId: string | null;
  /** The user that the event names. */
  readonly userId: string | null;
}

/** Which of the clients' own ids arrived from the day `since` to the day `until`; the session is the one the event is in now. */
export function readKnownEvents(
  tx: Queryable,
  keys: readonly { projectId: string; eventKey: string }[],
  since: string,
  until: string,
): Promise<KnownEvent[]> {
  return tx.query<KnownEvent>({
    name: 'ingest.knownEvents',
    prepared: true,
    text: `SELECT k.project_id AS "projectId", k.key_hash AS "eventKey", k.event_id AS "eventId",
                  CASE WHEN k.event_id IS NULL THEN k.session_id ELSE e.session_id END AS "sessionId",
                  e.user_id AS "userId"
           FROM unnest($1::uuid[], $2::uuid[]) w (project_id, key_hash)
           JOIN event_keys k ON k.project_id = w.project_id AND k.key_hash = w.key_hash AND k.received_on >= $3::date AND k.received_on <= $4::date
           LEFT JOIN events e ON e.project_id = k.project_id AND e.id = k.event_id`,
    values: [keys.map((key) => key.projectId), keys.map((key) => key.eventKey), since, until],
  });
}
