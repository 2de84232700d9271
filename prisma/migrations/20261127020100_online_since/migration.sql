-- CONCURRENTLY
-- Who was online at a moment: the users who are online still, by the time since which they are.
DROP INDEX CONCURRENTLY IF EXISTS users_online_since;
CREATE INDEX CONCURRENTLY users_online_since ON users (project_id, status_since) WHERE online_sessions > 0;
