-- The feed of changes: each transaction that changes something writes one row for each project that it touches. Readers follow
-- the rows in the order of transactions, below the oldest transaction that is still under way. So they pass over nothing that
-- commits late. The table is partitioned by day, so that old days are dropped as a whole.
CREATE TABLE changes (
  project_id    uuid NOT NULL,
  at            timestamptz(3) NOT NULL,
  transaction   bigint NOT NULL,
  part          integer NOT NULL,
  entries       integer NOT NULL,
  session_ids   uuid[] NOT NULL DEFAULT '{}',
  session_kinds text NOT NULL DEFAULT '',
  event_ids     uuid[] NOT NULL DEFAULT '{}',
  presence_ids  uuid[] NOT NULL DEFAULT '{}',
  erased_ids    uuid[] NOT NULL DEFAULT '{}',
  PRIMARY KEY (project_id, transaction, part, at)
) PARTITION BY RANGE (at);
-- Ids are random bits: an attempt to compress them costs more than it saves.
ALTER TABLE changes ALTER COLUMN session_ids SET STORAGE EXTERNAL, ALTER COLUMN event_ids SET STORAGE EXTERNAL,
  ALTER COLUMN presence_ids SET STORAGE EXTERNAL, ALTER COLUMN erased_ids SET STORAGE EXTERNAL;

-- How many days of the feed are kept.
ALTER TABLE projects ADD COLUMN change_retention_days integer NOT NULL DEFAULT 7;

-- The Postgres cluster in which the feed was written: its transactions are numbers of that cluster.
ALTER TABLE installation ADD COLUMN cluster text;
