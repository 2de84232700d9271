-- CONCURRENTLY
-- The lists of users in their two orders.
DROP INDEX CONCURRENTLY IF EXISTS users_first_seen;
CREATE INDEX CONCURRENTLY users_first_seen ON users (project_id, first_seen_at, id);
DROP INDEX CONCURRENTLY IF EXISTS users_last_seen;
CREATE INDEX CONCURRENTLY users_last_seen ON users (project_id, last_seen_at, id);
