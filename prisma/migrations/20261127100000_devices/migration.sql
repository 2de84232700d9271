-- Rules 2 to 5: sessions are told apart by the device too. Rows that are there have none and go on as they are. None of these
-- changes reads or rewrites a table.
ALTER TABLE sessions ADD COLUMN device_id text;

-- Rule 18: the device of each end, as many as there are ends; '' for none. Ends that are there have none.
ALTER TABLE users ADD COLUMN end_devices text[] NOT NULL DEFAULT '{}';

-- Two sessions that are nobody's may become one.
ALTER TABLE merged_sessions ALTER COLUMN user_id DROP NOT NULL;

-- A device that sent events without a key. Its row is the lock under which the device's sessions begin, end, and find their
-- user.
CREATE TABLE devices (
  project_id uuid NOT NULL,
  id         text NOT NULL,
  ends       timestamptz(3)[] NOT NULL DEFAULT '{}',
  PRIMARY KEY (project_id, id)
);
