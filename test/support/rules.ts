import type { Queryable } from '../../src/store/database.js';

/** Sessions whose row disagrees with their events: counts (rule 23), start and last activity, where they began and end. */
export const sessionsThatMiscount = (database: Queryable, projectId: string): Promise<object[]> =>
  database.query({
    name: 'test.miscount',
    text: `SELECT s.id, s.event_count, s.error_count, s.entry_source, s.exit_source, e.* FROM sessions s FULL JOIN (
             SELECT session_id, count(*) AS n,
                    (array_agg(source ORDER BY id) FILTER (WHERE source IS NOT NULL))[1] AS entry,
                    (array_agg(source ORDER BY id DESC) FILTER (WHERE source IS NOT NULL))[1] AS exit, count(*) FILTER (WHERE type = 'error') AS errors,
                    min(occurred_at) AS first, max(occurred_at) AS last
             FROM events WHERE project_id = $1 AND session_id IS NOT NULL GROUP BY session_id
           ) e ON e.session_id = s.id
           WHERE coalesce(s.project_id, $1) = $1 AND (
             s.id IS NULL OR s.event_count <> coalesce(e.n, 0) OR s.error_count <> coalesce(e.errors, 0)
             OR s.entry_source IS DISTINCT FROM e.entry OR s.exit_source IS DISTINCT FROM e.exit
             OR e.first < s.started_at OR e.last > s.last_activity_at)`,
    values: [projectId],
  });

/** Users whose published number disagrees with the rows of their sessions (rule 28). There must be none at any moment. */
export const usersMiscounted = (database: Queryable, projectId: string): Promise<object[]> =>
  database.query({
    name: 'test.miscounted',
    text: `SELECT u.identity, u.online_sessions, n.sessions FROM users u CROSS JOIN LATERAL (
             SELECT count(*) AS sessions FROM sessions s
             WHERE s.project_id = $1 AND s.user_id = u.id AND s.live AND s.due_at <= s.online_until
           ) n WHERE u.project_id = $1 AND u.online_sessions <> n.sessions`,
    values: [projectId],
  });

/** Users whose published number disagrees with their sessions at `now`, after a run of the closer (rule 28). */
export const usersMisstated = (database: Queryable, projectId: string, now: Date): Promise<object[]> =>
  database.query({
    name: 'test.misstated',
    text: `SELECT u.identity, u.online_sessions, n.sessions FROM users u CROSS JOIN LATERAL (
             SELECT count(*) AS sessions FROM sessions s
             WHERE s.project_id = $1 AND s.user_id = u.id AND s.live AND s.online_until > $2
           ) n WHERE u.project_id = $1 AND u.online_sessions <> n.sessions`,
    values: [projectId, now],
  });

/** Identity sessions of one user that overlap (rules 2, 5 and 7). */
export const sessionsThatOverlap = (database: Queryable, projectId: string): Promise<object[]> =>
  database.query({
    name: 'test.overlap',
    text: `SELECT a.id, b.id AS other FROM sessions a JOIN sessions b
             ON b.project_id = a.project_id AND b.user_id = a.user_id AND b.key IS NULL AND a.id <> b.id
           WHERE a.project_id = $1 AND a.key IS NULL AND a.started_at < b.started_at
             AND coalesce(a.ended_at, 'infinity') > b.started_at`,
    values: [projectId],
  });

/** Sessions left open though inactive for longer than the timeout, at `now` (rule 20). */
export const sessionsLeftOpen = (database: Queryable, projectId: string, now: Date): Promise<object[]> =>
  database.query({
    name: 'test.leftOpen',
    text: `SELECT s.id FROM sessions s JOIN projects p ON p.id = s.project_id
           WHERE s.project_id = $1 AND s.ended_at IS NULL
             AND s.last_activity_at + make_interval(secs => p.inactivity_timeout) <= $2`,
    values: [projectId, now],
  });

/**
 * Users whose first and last time seen disagree with their sessions: the start of the first, and the latest activity of all
 * that have ended. (A user without a session has both from what named the user.)
 */
export const usersMisseen = (database: Queryable, projectId: string): Promise<object[]> =>
  database.query({
    name: 'test.misseen',
    text: `SELECT u.identity, u.first_seen_at, u.last_seen_at, x.* FROM users u CROSS JOIN LATERAL (
             SELECT min(s.started_at) AS first, max(s.ended_at) AS last FROM sessions s
             WHERE s.project_id = $1 AND s.user_id = u.id
           ) x WHERE u.project_id = $1 AND (
             u.first_seen_at IS NULL OR u.first_seen_at > x.first OR u.last_seen_at < x.last
             OR (u.last_seen_at IS NULL AND (x.first IS NULL OR x.last IS NOT NULL)))`,
    values: [projectId],
  });

/** The identities of users who are online by the database, in the order of JavaScript's sort. */
export async function onlineIdentities(database: Queryable, projectId: string): Promise<string[]> {
  const rows = await database.query<{ identity: string }>({
    name: 'test.online',
    text: 'SELECT identity FROM users WHERE project_id = $1 AND online_sessions > 0',
    values: [projectId],
  });
  return rows.map(({ identity }) => identity).sort();
}

/** The UUID in a global id. */
export const projectIdOf = (globalId: string): string => Buffer.from(globalId, 'base64').toString().split(':')[1]!;
