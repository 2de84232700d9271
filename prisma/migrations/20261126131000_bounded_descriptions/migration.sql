-- What people say of events: bounded by key, and nested in the event's data.

ALTER TABLE user_descriptions
  -- The API key it came by; null: it came before that was noted.
  ADD COLUMN key_id uuid;
-- A key's, oldest first.
CREATE INDEX user_descriptions_key ON user_descriptions (project_id, key_id, received_at);
-- `data` becomes what `@user_description` of the event's data is; what stood beside the words before stands within them.
UPDATE user_descriptions SET data = CASE
  WHEN data - '@user_description' = '{}' THEN coalesce(data -> '@user_description', '{}')
  ELSE coalesce(data -> '@user_description', '{}') || jsonb_build_object('data', data - '@user_description') END;
