-- CONCURRENTLY
-- What the indexes with devices replace.
DROP INDEX CONCURRENTLY IF EXISTS sessions_one_open;
DROP INDEX CONCURRENTLY IF EXISTS sessions_beside;
