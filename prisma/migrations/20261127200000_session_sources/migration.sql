-- The first and the latest stored event of a session that name a source, and these sources. No index holds the latest: a
-- session that goes on stays a heap-only update. Adding the columns reads and rewrites nothing.
ALTER TABLE sessions
  ADD COLUMN entry_event_id uuid, ADD COLUMN entry_source text,
  ADD COLUMN exit_event_id uuid, ADD COLUMN exit_source text;

-- What a migration leaves for maintenance to do in bounded steps: up to which row it is done. A finished task has no row.
CREATE TABLE catch_ups (
  task       text PRIMARY KEY,
  project_id uuid NOT NULL,
  id         uuid NOT NULL
);

-- The sources of the sessions that are there.
INSERT INTO catch_ups (task, project_id, id)
SELECT 'session sources', '00000000-0000-0000-0000-000000000000', '00000000-0000-0000-0000-000000000000'
WHERE EXISTS (SELECT FROM sessions);
