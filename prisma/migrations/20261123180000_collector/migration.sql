-- What the collector for Exceptionless clients needs, and what sessions learn of their clients.

CREATE TYPE bot_policy AS ENUM ('MARK', 'DROP');

ALTER TABLE projects
  ADD COLUMN bots                    bot_policy NOT NULL DEFAULT 'MARK',
  -- Empty: any.
  ADD COLUMN allowed_origins         text[] NOT NULL DEFAULT '{}',
  -- Text by name: what Exceptionless clients pick up.
  ADD COLUMN client_settings         jsonb NOT NULL DEFAULT '{}',
  ADD COLUMN client_settings_version integer NOT NULL DEFAULT 0;

ALTER TABLE sessions
  ADD COLUMN is_bot  boolean NOT NULL DEFAULT false,
  ADD COLUMN country text,
  ADD COLUMN region  text,
  ADD COLUMN city    text;

-- What people said of events that are not here yet, by the reference that the event will bear.
CREATE TABLE user_descriptions (
  project_id   uuid NOT NULL,
  reference_id text NOT NULL,
  received_at  timestamptz(3) NOT NULL,
  -- Becomes part of the event's data.
  data         jsonb NOT NULL,
  PRIMARY KEY (project_id, reference_id)
);
CREATE INDEX user_descriptions_received ON user_descriptions (received_at);
