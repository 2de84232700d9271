-- Rules to the millisecond: every end is remembered, a key names a session of each user, merged sessions go on answering.

-- Rule 18: heartbeats that were under way when the user left. Of several ends each counts, not only the newest.
ALTER TABLE users ADD COLUMN ends timestamptz(3)[] NOT NULL DEFAULT '{}';
UPDATE users SET ends = ARRAY[last_end_at] WHERE last_end_at IS NOT NULL;
ALTER TABLE users DROP COLUMN last_end_at;

-- Rule 1: a key names one session of each user. The first has the place 0, and alone may have no user; each further one
-- the next. So two servers cannot both begin a key's first session, nor a user's.
ALTER TABLE sessions
  ADD COLUMN namesake integer NOT NULL DEFAULT 0,
  ADD CHECK (key IS NOT NULL OR namesake = 0),
  ADD CHECK (key IS NULL OR user_id IS NOT NULL OR namesake = 0),
  -- Rule 29: the latest heartbeat, and the one before it, since a closing one. They move, and stand in no index.
  ADD COLUMN heartbeat_at timestamptz(3),
  ADD COLUMN heartbeat_before timestamptz(3);
DROP INDEX sessions_key;
CREATE UNIQUE INDEX sessions_key ON sessions (project_id, key, namesake) WHERE key IS NOT NULL;
CREATE UNIQUE INDEX sessions_key_user ON sessions (project_id, key, user_id) WHERE key IS NOT NULL;

-- Rule 27: what became of a merged session. A session that took others in may be merged in its turn.
CREATE TABLE merged_sessions (
  project_id uuid NOT NULL,
  id         uuid NOT NULL,
  session_id uuid NOT NULL,
  user_id    uuid NOT NULL,
  merged_at  timestamptz(3) NOT NULL,
  PRIMARY KEY (project_id, id)
);
-- Erasure and retention.
CREATE INDEX merged_sessions_user ON merged_sessions (project_id, user_id);
CREATE INDEX merged_sessions_age ON merged_sessions (project_id, merged_at);
