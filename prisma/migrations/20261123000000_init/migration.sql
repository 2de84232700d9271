-- Every table starts with project_id, and so does every primary and unique key: the schema can be
-- distributed by project. (projects is the project itself; installation is one row.)

CREATE TYPE session_start_policy AS ENUM ('RESTART', 'RESUME');
CREATE TYPE session_end_reason AS ENUM ('CLIENT', 'INACTIVITY', 'SUPERSEDED');

CREATE TABLE installation (
  id                boolean PRIMARY KEY DEFAULT true CHECK (id),
  operator_key_hash bytea,
  token_secret      bytea NOT NULL,
  created_at        timestamptz(3) NOT NULL
);

CREATE TABLE projects (
  id                 uuid PRIMARY KEY,
  name               text NOT NULL,
  inactivity_timeout integer NOT NULL DEFAULT 300 CHECK (inactivity_timeout > 0),
  presence_timeout   integer NOT NULL DEFAULT 75 CHECK (presence_timeout > 0),
  session_start      session_start_policy NOT NULL DEFAULT 'RESTART',
  retention_days     integer CHECK (retention_days > 0),
  store_ip_address   boolean NOT NULL DEFAULT true,
  created_at         timestamptz(3) NOT NULL
);

CREATE TABLE api_keys (
  project_id   uuid NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
  id           uuid NOT NULL,
  name         text NOT NULL,
  prefix       text NOT NULL,
  hash         bytea NOT NULL,
  scopes       text[] NOT NULL,
  created_at   timestamptz(3) NOT NULL,
  last_used_at timestamptz(3),
  revoked_at   timestamptz(3),
  PRIMARY KEY (project_id, id)
);
-- Authentication finds a key by its hash before it knows the project.
CREATE INDEX api_keys_hash ON api_keys (hash);

CREATE TABLE users (
  project_id       uuid NOT NULL,
  id               uuid NOT NULL,
  identity         text NOT NULL,
  name             text,
  name_at          timestamptz(3),
  data             jsonb,
  last_end_at      timestamptz(3),
  online           boolean NOT NULL DEFAULT false,
  status_since     timestamptz(3),
  presence_version bigint NOT NULL DEFAULT 0,
  presence_transaction bigint,
  PRIMARY KEY (project_id, id)
) WITH (fillfactor = 85);
-- Who is online, and the edges of the last moments.
CREATE INDEX users_online ON users (project_id, id) WHERE online;
CREATE INDEX users_status_since ON users (project_id, status_since);

-- Columns that move with every event or heartbeat (last_activity_at, online_until, event_count, error_count)
-- stand in no index, neither as a column nor in a predicate: their updates are heap-only.
CREATE TABLE sessions (
  project_id          uuid NOT NULL,
  id                  uuid NOT NULL,
  key                 text,
  user_id             uuid,
  started_at          timestamptz(3) NOT NULL,
  last_activity_at    timestamptz(3) NOT NULL,
  ended_at            timestamptz(3),
  end_reason          session_end_reason,
  closed_by_heartbeat boolean NOT NULL DEFAULT false,
  explicit_start      boolean NOT NULL DEFAULT false,
  has_heartbeat       boolean NOT NULL DEFAULT false,
  online_until        timestamptz(3) NOT NULL,
  live                boolean NOT NULL DEFAULT true,
  due_at              timestamptz(3),
  event_count         integer NOT NULL DEFAULT 0,
  error_count         integer NOT NULL DEFAULT 0,
  ended_event_count   integer,
  event_types         text[] NOT NULL DEFAULT '{}',
  version             text,
  browser_name        text,
  browser_version     text,
  os_name             text,
  os_version          text,
  device              text,
  ip_address          text,
  data                jsonb NOT NULL DEFAULT '{}',
  PRIMARY KEY (project_id, id),
  CHECK ((ended_at IS NULL) = (end_reason IS NULL)),
  CHECK ((ended_at IS NULL) = (ended_event_count IS NULL)),
  CHECK (live = (due_at IS NOT NULL)),
  CHECK (started_at <= last_activity_at),
  CHECK (ended_at IS NULL OR ended_at = last_activity_at)
) WITH (fillfactor = 70);
-- Rule 5: one open identity session per user, whoever writes.
CREATE UNIQUE INDEX sessions_one_open ON sessions (project_id, user_id)
  WHERE key IS NULL AND user_id IS NOT NULL AND ended_at IS NULL;
-- Rule 9: a key names one session for ever.
CREATE UNIQUE INDEX sessions_key ON sessions (project_id, key) WHERE key IS NOT NULL;
-- Ingest: a user's identity sessions near a moment, the open one included, in one range.
CREATE INDEX sessions_near ON sessions (project_id, user_id, (coalesce(ended_at, 'infinity'::timestamptz)))
  WHERE key IS NULL;
-- Presence: a user's sessions that may count as online.
CREATE INDEX sessions_live ON sessions (project_id, user_id) WHERE live;
-- The closer: what is due, whatever the project.
CREATE INDEX sessions_due ON sessions (due_at) WHERE live;
-- Lists, newest first, of all and of one user.
CREATE INDEX sessions_started ON sessions (project_id, started_at, id);
CREATE INDEX sessions_user ON sessions (project_id, user_id, started_at, id);
-- Lists in the other orders: open sessions are few and sorted in memory, ended ones come from an index
-- (the last activity of an ended session is its end).
CREATE INDEX sessions_open ON sessions (project_id, started_at, id) WHERE ended_at IS NULL;
CREATE INDEX sessions_ended ON sessions (project_id, ended_at, id) WHERE ended_at IS NOT NULL;
CREATE INDEX sessions_ended_duration ON sessions (project_id, (ended_at - started_at), id) WHERE ended_at IS NOT NULL;
CREATE INDEX sessions_ended_event_count ON sessions (project_id, ended_event_count, id) WHERE ended_at IS NOT NULL;

CREATE TABLE events (
  project_id   uuid NOT NULL,
  id           uuid NOT NULL,
  type         text NOT NULL,
  source       text,
  message      text,
  occurred_at  timestamptz(3) NOT NULL,
  received_at  timestamptz(3) NOT NULL,
  value        double precision,
  tags         text[] NOT NULL DEFAULT '{}',
  reference_id text,
  version      text,
  user_id      uuid,
  session_id   uuid,
  data         jsonb NOT NULL DEFAULT '{}',
  PRIMARY KEY (project_id, id)
) PARTITION BY RANGE (id);
CREATE INDEX events_session ON events (project_id, session_id, id) WHERE session_id IS NOT NULL;
CREATE INDEX events_user ON events (project_id, user_id, id) WHERE user_id IS NOT NULL;
CREATE INDEX events_type ON events (project_id, type, id);
CREATE INDEX events_reference ON events (project_id, reference_id, id) WHERE reference_id IS NOT NULL;

CREATE TABLE event_keys (
  project_id  uuid NOT NULL,
  key_hash    uuid NOT NULL,
  received_on date NOT NULL,
  event_id    uuid,
  session_id  uuid,
  PRIMARY KEY (project_id, key_hash, received_on)
) PARTITION BY RANGE (received_on);
