-- Figures of ended sessions, stored for spans of time. They are made from the sessions of a block of 3 hours at a time.
CREATE TABLE session_sums (
  project_id  uuid NOT NULL,
  dimension   text NOT NULL,
  seconds     integer NOT NULL,
  start       timestamptz(3) NOT NULL,
  place       integer NOT NULL,
  value       text,
  sessions    integer NOT NULL,
  with_errors integer NOT NULL,
  duration    bigint NOT NULL,
  users       integer NOT NULL,
  user_list   bytea,
  user_bits   bit varying,
  durations   bytea,
  PRIMARY KEY (project_id, dimension, seconds, start, place)
);

-- Blocks whose sums are not right. Marks are only added, so nobody waits for anybody: a transaction that changes an ended
-- session adds its own, and the one that makes the sums deletes those that it sees.
CREATE TABLE session_sum_marks (
  project_id uuid NOT NULL,
  block      timestamptz(3) NOT NULL,
  id         bigint GENERATED ALWAYS AS IDENTITY,
  PRIMARY KEY (project_id, block, id)
);

-- The block that an instant is in (BLOCK in domain/spans.ts).
CREATE FUNCTION session_block(timestamptz) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT AS
  $$ SELECT date_bin('3 hours', $1, timestamptz '1970-01-01 00:00:00+00') $$;

-- Adds a mark, unless it is the one that this transaction has added last: a thousand sessions that end together began at about
-- the same time. The setting is gone when the transaction, or the savepoint, is.
CREATE FUNCTION mark_session_block(project uuid, started timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE mark text := project || ' ' || session_block(started);
BEGIN
  IF current_setting('footsteps.session_sum_mark', true) IS DISTINCT FROM mark THEN
    INSERT INTO session_sum_marks (project_id, block) VALUES (project, session_block(started));
    PERFORM set_config('footsteps.session_sum_mark', mark, true);
  END IF;
END $$;

CREATE FUNCTION mark_session_sums() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP <> 'INSERT' AND OLD.ended_at IS NOT NULL THEN
    PERFORM mark_session_block(OLD.project_id, OLD.started_at);
  END IF;
  IF TG_OP <> 'DELETE' AND NEW.ended_at IS NOT NULL THEN
    PERFORM mark_session_block(NEW.project_id, NEW.started_at);
  END IF;
  RETURN NULL;
END $$;
-- Open sessions are in no sum. So one that goes on costs only the WHEN. Nor does a change of what is in no sum add a mark. (A
-- new dimension of domain/breakdown.ts needs a new trigger.)
CREATE TRIGGER session_sums_added AFTER INSERT ON sessions FOR EACH ROW
  WHEN (NEW.ended_at IS NOT NULL) EXECUTE FUNCTION mark_session_sums();
CREATE TRIGGER session_sums_changed AFTER UPDATE ON sessions FOR EACH ROW
  WHEN (
    (OLD.ended_at IS NOT NULL OR NEW.ended_at IS NOT NULL) AND
      (OLD.project_id, OLD.started_at, OLD.last_activity_at, OLD.ended_at, OLD.user_id, OLD.error_count > 0,
       OLD.browser_name, OLD.os_name, OLD.device, OLD.country, OLD.region, OLD.city,
       OLD.version, OLD.entry_source, OLD.exit_source, OLD.end_reason)
      IS DISTINCT FROM
      (NEW.project_id, NEW.started_at, NEW.last_activity_at, NEW.ended_at, NEW.user_id, NEW.error_count > 0,
       NEW.browser_name, NEW.os_name, NEW.device, NEW.country, NEW.region, NEW.city,
       NEW.version, NEW.entry_source, NEW.exit_source, NEW.end_reason)
  ) EXECUTE FUNCTION mark_session_sums();
CREATE TRIGGER session_sums_gone AFTER DELETE ON sessions FOR EACH ROW
  WHEN (OLD.ended_at IS NOT NULL) EXECUTE FUNCTION mark_session_sums();
