-- What changed since a snapshot of Postgres is found by the transaction of each user's latest change, and by nothing else:
-- times miss a transaction that was slow to commit.
DROP INDEX users_presence_version;
CREATE INDEX users_presence_transaction ON users (project_id, presence_transaction) WHERE presence_transaction IS NOT NULL;

-- An erased user's row is gone, so that no index finds the change. The transactions of the latest erasures, the newest last.
ALTER TABLE projects ADD COLUMN presence_erasures bigint[] NOT NULL DEFAULT '{}';
