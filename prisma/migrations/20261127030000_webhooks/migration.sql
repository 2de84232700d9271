-- Webhooks: stored subscriptions of the feed, each with a cursor and what is under way.
CREATE TABLE webhooks (
  project_id          uuid NOT NULL,
  id                  uuid NOT NULL,
  name                text NOT NULL,
  url                 text NOT NULL,
  query               text NOT NULL,
  variables           jsonb NOT NULL DEFAULT '{}',
  -- Encrypted; the secret before it signs too until that time.
  secret              bytea NOT NULL,
  secret_before       bytea,
  secret_before_until timestamptz(3),
  created_at          timestamptz(3) NOT NULL,
  enabled             boolean NOT NULL DEFAULT true,
  disabled_reason     text,
  -- Up to where everything was taken.
  cursor              text NOT NULL,
  -- When it must next be looked at. Null: as soon as the project changes.
  due_at              timestamptz(3),
  -- The cursor's place in the feed, to find those that wait for a change and have one.
  place_transaction   bigint,
  place_part          integer,
  place_at            timestamptz(3),
  -- The run of a server that has it until due_at.
  lease               uuid,
  -- The message under way: a repeat has the same id, and ends at the same place.
  message_id          text,
  message_until       text,
  -- When the first change of that message was stored.
  waiting_since       timestamptz(3),
  failures            integer NOT NULL DEFAULT 0,
  troubles            integer NOT NULL DEFAULT 0,
  PRIMARY KEY (project_id, id)
);
CREATE INDEX webhooks_due ON webhooks (due_at) WHERE enabled AND due_at IS NOT NULL;
-- Those that wait for a change of their project.
CREATE INDEX webhooks_idle ON webhooks (project_id, id) WHERE enabled AND due_at IS NULL;

-- What came of each attempt. It holds nothing that was sent.
CREATE TABLE webhook_deliveries (
  project_id   uuid NOT NULL,
  id           uuid NOT NULL,
  webhook_id   uuid NOT NULL,
  at           timestamptz(3) NOT NULL,
  message_id   text NOT NULL,
  attempt      integer NOT NULL,
  status       integer,
  error        text,
  milliseconds double precision NOT NULL,
  changes      integer NOT NULL,
  PRIMARY KEY (project_id, id)
);
CREATE INDEX webhook_deliveries_webhook ON webhook_deliveries (project_id, webhook_id, id);
