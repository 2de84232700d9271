-- Figures of events, stored for spans of time, as those of sessions are (session_sums). They are made from the events of a block
-- of 3 hours at a time.
CREATE TABLE event_sums (
  project_id  uuid NOT NULL,
  dimension   text NOT NULL,
  seconds     integer NOT NULL,
  start       timestamptz(3) NOT NULL,
  place       integer NOT NULL,
  value       text,
  events      integer NOT NULL,
  users       integer NOT NULL,
  user_list   bytea,
  user_bits   bit varying,
  PRIMARY KEY (project_id, dimension, seconds, start, place)
);

-- Blocks whose sums are not right. Marks are only added, so nobody waits for anybody.
CREATE TABLE event_sum_marks (
  project_id uuid NOT NULL,
  block      timestamptz(3) NOT NULL,
  id         bigint GENERATED ALWAYS AS IDENTITY,
  PRIMARY KEY (project_id, block, id)
);

-- The moment from which on a project has no sums of events. No row: it has none at all.
CREATE TABLE event_sum_ends (
  project_id uuid PRIMARY KEY,
  until      timestamptz(3) NOT NULL
);

-- The block that an event is in, by its id (BLOCK in domain/spans.ts), and the smallest id of an instant (domain/event-id.ts).
CREATE FUNCTION event_block(uuid) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT AS
  $$ SELECT to_timestamp(('x' || left($1::text, 8) || substr($1::text, 10, 4))::bit(48)::bigint / 10800000 * 10800) $$;
CREATE FUNCTION event_id_at(timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT AS
  $$ SELECT (lpad(to_hex((extract(epoch FROM $1) * 1000)::bigint), 12, '0') || '70008000000000000000')::uuid $$;

-- Adds a mark, unless it is the one that this transaction has added last (as mark_session_block).
CREATE FUNCTION mark_event_block(project uuid, event uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE mark text := project || ' ' || event_block(event);
BEGIN
  IF current_setting('footsteps.event_sum_mark', true) IS DISTINCT FROM mark THEN
    INSERT INTO event_sum_marks (project_id, block) VALUES (project, event_block(event));
    PERFORM set_config('footsteps.event_sum_mark', mark, true);
  END IF;
END $$;

CREATE FUNCTION mark_event_sums() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP <> 'INSERT' THEN PERFORM mark_event_block(OLD.project_id, OLD.id); END IF;
  IF TG_OP <> 'DELETE' THEN PERFORM mark_event_block(NEW.project_id, NEW.id); END IF;
  RETURN NULL;
END $$;
-- UNMARKED, half an hour: events that are younger have no sums (store/sessions/event-sums.ts says why that is safe), so they cost
-- only the WHEN. The clock is read when the row has been written: the transaction has an id by then.
CREATE TRIGGER event_sums_added AFTER INSERT ON events FOR EACH ROW
  WHEN (NEW.occurred_at < clock_timestamp() - interval '30 minutes') EXECUTE FUNCTION mark_event_sums();
-- Only what is in a sum: an event that gets another session, or a description, adds no mark. (A new dimension of
-- domain/breakdown.ts needs a new trigger.)
CREATE TRIGGER event_sums_changed AFTER UPDATE OF project_id, id, occurred_at, user_id, type, source, message, tags, version
  ON events FOR EACH ROW
  WHEN (least(OLD.occurred_at, NEW.occurred_at) < clock_timestamp() - interval '30 minutes') EXECUTE FUNCTION mark_event_sums();
CREATE TRIGGER event_sums_gone AFTER DELETE ON events FOR EACH ROW
  WHEN (OLD.occurred_at < clock_timestamp() - interval '30 minutes') EXECUTE FUNCTION mark_event_sums();
