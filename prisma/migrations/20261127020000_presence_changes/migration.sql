-- Presence in the past: one row for each change of a user's number of online sessions, or of which sessions these are. The
-- statement that makes the change writes it. Rows are only added, and deleted by retention and erasure.
CREATE TYPE presence_cause AS ENUM ('STARTED', 'HEARD', 'ENDED', 'LAPSED', 'CLOSED');

CREATE TABLE presence_changes (
  project_id        uuid NOT NULL,
  id                uuid NOT NULL,
  user_id           uuid NOT NULL,
  session_id        uuid,
  at                timestamptz(3) NOT NULL,
  previous_since    timestamptz(3),
  online_sessions   integer NOT NULL CHECK (online_sessions >= 0),
  previous_sessions integer NOT NULL CHECK (previous_sessions >= 0),
  cause             presence_cause NOT NULL,
  PRIMARY KEY (project_id, id)
);
-- A user's history, and the state of a user at a moment: it is what the user's next change says of the time before it.
CREATE UNIQUE INDEX presence_changes_user ON presence_changes (project_id, user_id, id);
-- Who was online at a moment: the spells that ended, by the power of two of their seconds. A spell of class n that includes the
-- moment ends at most 2^(n+1) seconds after it; so at least half of what is read there is online at the moment.
CREATE INDEX presence_changes_spell ON presence_changes (
  project_id,
  (floor(ln(greatest(date_part('epoch', at - previous_since), 1)) / ln(2::float8))::integer),
  at
) INCLUDE (user_id, previous_since) WHERE online_sessions = 0 AND previous_sessions > 0;

-- How many users were online, minute by minute, relative to the minute's start: made once from the changes of the minute, and
-- again where an erasure removes some. Minutes without a change have no row.
CREATE TABLE presence_minutes (
  project_id uuid NOT NULL,
  minute     timestamptz(3) NOT NULL,
  net        integer NOT NULL,
  peak       integer NOT NULL,
  peak_after integer NOT NULL,
  area       bigint NOT NULL,
  PRIMARY KEY (project_id, minute)
);

-- Up to where presence_minutes is complete, for all projects: one row.
CREATE TABLE presence_settling (
  id            boolean PRIMARY KEY DEFAULT true CHECK (id),
  settled_until timestamptz(3),
  asked_until   timestamptz(3)
);
INSERT INTO presence_settling DEFAULT VALUES;

-- The greatest version that an erasure was told with. Somebody who comes back after it gets a greater one, also if the clock was
-- turned back meanwhile.
ALTER TABLE projects ADD COLUMN erased_version bigint NOT NULL DEFAULT 0;
