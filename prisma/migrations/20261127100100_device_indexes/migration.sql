-- CONCURRENTLY
-- Rule 5: one open identity session of each user on each device, and one of nobody. The device comes first, so that the
-- index also finds all open sessions of a device.
DROP INDEX CONCURRENTLY IF EXISTS sessions_one_open_on_device;
CREATE UNIQUE INDEX CONCURRENTLY sessions_one_open_on_device ON sessions
  (project_id, (coalesce(device_id, '')), (coalesce(user_id, '00000000-0000-0000-0000-000000000000'::uuid)))
  WHERE key IS NULL AND ended_at IS NULL;
-- Ingest: the identity sessions of a user on a device near a moment, the open one included.
DROP INDEX CONCURRENTLY IF EXISTS sessions_near;
CREATE INDEX CONCURRENTLY sessions_near ON sessions
  (project_id, (coalesce(user_id, '00000000-0000-0000-0000-000000000000'::uuid)), (coalesce(device_id, '')), started_at,
   (coalesce(ended_at, 'infinity'::timestamptz)), id)
  WHERE key IS NULL;
-- The sessions of a device, whoever's they are: ingest looks through those without a key, lists through all.
DROP INDEX CONCURRENTLY IF EXISTS sessions_device;
CREATE INDEX CONCURRENTLY sessions_device ON sessions (project_id, device_id, (key IS NULL), started_at, id)
  WHERE device_id IS NOT NULL;
