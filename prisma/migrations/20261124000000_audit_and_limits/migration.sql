-- Who changed what of a project, and what a key of it may ask for in a minute.

-- Null: what the server allows.
ALTER TABLE projects ADD COLUMN rate_limit integer CHECK (rate_limit > 0);

CREATE TABLE audit_log (
  project_id uuid NOT NULL,
  -- UUIDv7: in the order of time.
  id         uuid NOT NULL,
  at         timestamptz(3) NOT NULL,
  -- The API key's id; null: the operator.
  key_id     uuid,
  action     text NOT NULL,
  details    jsonb NOT NULL DEFAULT '{}',
  PRIMARY KEY (project_id, id)
);
