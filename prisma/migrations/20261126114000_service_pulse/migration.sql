-- Whether the service is there, as all servers see it alike: by a row, and by Postgres' own clock.

-- Moved on once a second by whichever server comes first. Null: never yet.
CREATE TABLE pulse (
  id      boolean PRIMARY KEY DEFAULT true CHECK (id),
  beat_at timestamptz(3)
);
INSERT INTO pulse DEFAULT VALUES;

-- The last time that no server was there. Apart from the pulse: every batch of ingest reads it, and a row that changes
-- each second drags its old versions along for as long as any transaction may need them.
CREATE TABLE outage (
  id        boolean PRIMARY KEY DEFAULT true CHECK (id),
  away_from timestamptz(3),
  back_at   timestamptz(3)
);
INSERT INTO outage DEFAULT VALUES;
