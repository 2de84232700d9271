-- When users were first heard of, and when the latest of their ended sessions was last active. Open sessions are not in it, so
-- that a session that goes on changes no row of a user. Adding the columns reads and rewrites nothing.
ALTER TABLE users ADD COLUMN first_seen_at timestamptz(3), ADD COLUMN last_seen_at timestamptz(3);

-- The users that are there.
INSERT INTO catch_ups (task, project_id, id)
SELECT 'users seen', '00000000-0000-0000-0000-000000000000', '00000000-0000-0000-0000-000000000000'
WHERE EXISTS (SELECT FROM users);
