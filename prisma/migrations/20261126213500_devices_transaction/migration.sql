-- A user's devices can change without an edge: a session takes the place of another, so that the number of online sessions
-- stays. The transaction of the latest such change since the user's latest edge. So a viewer of devices finds it, also if it was
-- away or if the bus has lost the message. Few users have one, so the index is small.
ALTER TABLE users ADD COLUMN devices_transaction bigint;
CREATE INDEX users_devices_transaction ON users (project_id, devices_transaction) WHERE devices_transaction IS NOT NULL;
