-- What open sessions are still to be brought in step with their project's timeouts.
ALTER TABLE projects
  ADD COLUMN timeouts_changed_at timestamptz(3),
  -- When the project's open sessions must be gone through next; null: all of them are in step.
  ADD COLUMN reckon_at           timestamptz(3);
CREATE INDEX projects_reckon ON projects (reckon_at) WHERE reckon_at IS NOT NULL;
