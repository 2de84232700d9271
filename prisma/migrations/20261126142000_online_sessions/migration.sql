-- Rule 29: a change of the number of a user's sessions that count as online is published, and not of the status alone.
-- What has been published of a user is that number; ONLINE is where it is not 0.
ALTER TABLE users ADD COLUMN online_sessions integer NOT NULL DEFAULT 0 CHECK (online_sessions >= 0);

-- All servers are stopped: nobody has been told anything that could be contradicted.
UPDATE users u SET online_sessions = n.sessions, status_since = CASE WHEN u.online THEN u.status_since ELSE now() END
FROM (
  SELECT project_id, user_id, count(*)::integer AS sessions FROM sessions
  WHERE live AND user_id IS NOT NULL AND due_at <= online_until GROUP BY project_id, user_id
) n
WHERE u.project_id = n.project_id AND u.id = n.user_id;

-- Takes users_online along, whose predicate it is.
ALTER TABLE users DROP COLUMN online;
CREATE INDEX users_online ON users (project_id, id) WHERE online_sessions > 0;

-- The changes of the last moments: a version is the millisecond of its change, or a little more.
DROP INDEX users_status_since;
CREATE INDEX users_presence_version ON users (project_id, presence_version);
