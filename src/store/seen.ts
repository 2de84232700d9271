/**
 * When a user `u` was first and last seen, in SQL.
 *
 * `users.last_seen_at` is the latest activity of the user's *ended* sessions. Whoever ends a session writes it, with the user
 * locked. A session that goes on changes nothing but its own row, so the last activity of open sessions is read from these
 * rows: at most as many as the user has live sessions (by the index sessions_live, 3 µs each). Both together are exact at
 * every moment. Rows of users from before these columns have none until maintenance has reached them (upkeep/catch-up).
 */

/** The latest activity of the user's live sessions; null: there are none. */
const LIVE_ACTIVITY = `(SELECT max(s.last_activity_at) FROM sessions s WHERE s.project_id = u.project_id AND s.user_id = u.id AND s.live)`;

/** Of a user who was never heard of in a session or an event of their own: null. */
export const LAST_SEEN = `coalesce(greatest(u.last_seen_at, ${LIVE_ACTIVITY}),
    (SELECT max(s.last_activity_at) FROM (
      SELECT last_activity_at FROM sessions
      WHERE project_id = u.project_id AND user_id = u.id ORDER BY started_at DESC LIMIT 5
    ) s))`;

export const FIRST_SEEN = `coalesce(u.first_seen_at,
    (SELECT min(s.started_at) FROM sessions s WHERE s.project_id = u.project_id AND s.user_id = u.id),
    u.status_since, u.name_at, now())`;
