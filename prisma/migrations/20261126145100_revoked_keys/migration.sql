-- Every server asks every two seconds which keys of any project have been revoked lately.
CREATE INDEX api_keys_revoked ON api_keys (revoked_at, project_id, id) WHERE revoked_at IS NOT NULL;
