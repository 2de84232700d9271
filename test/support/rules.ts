import type { Queryable } from '../../src/store/database.js';

/** Sessions whose row does not say what their events say: counts (rule 23), start and last activity. */
export const sessionsThatMiscount = (database: Queryable, projectId: string): Promise<object[]> =>
  database.query({
    name: 'test.miscount',
    text: `SELECT s.id, s.event_count, s.error_count, e.* FROM sessions s FULL JOIN (
             SELECT session_id, count(*) AS n, count(*) FILTER (WHERE type = 'error') AS errors,
                    min(occurred_at) AS first, max(occurred_at) AS last
             FROM events WHERE project_id = $1 AND session_id IS NOT NULL GROUP BY session_id
           ) e ON e.session_id = s.id
           WHERE coalesce(s.project_id, $1) = $1 AND (
             s.id IS NULL OR s.event_count <> coalesce(e.n, 0) OR s.error_count <> coalesce(e.errors, 0)
             OR e.first < s.started_at OR e.last > s.last_activity_at)`,
    values: [projectId],
  });

/** Users whose published status is not what their sessions say at `now` (rule 28). */
export const usersMisstated = (database: Queryable, projectId: string, now: Date): Promise<object[]> =>
  database.query({
    name: 'test.misstated',
    text: `SELECT u.identity, u.online FROM users u
           WHERE u.project_id = $1 AND u.online <> EXISTS (
             SELECT 1 FROM sessions s WHERE s.project_id = $1 AND s.user_id = u.id AND s.live AND s.online_until > $2)`,
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

/** Who is online by Postgres, in the order of JavaScript's sort. */
export async function onlineIdentities(database: Queryable, projectId: string): Promise<string[]> {
  const rows = await database.query<{ identity: string }>({
    name: 'test.online',
    text: 'SELECT identity FROM users WHERE project_id = $1 AND online',
    values: [projectId],
  });
  return rows.map(({ identity }) => identity).sort();
}

/** The row's id behind a node's. */
export const projectIdOf = (globalId: string): string => Buffer.from(globalId, 'base64').toString().split(':')[1]!;
