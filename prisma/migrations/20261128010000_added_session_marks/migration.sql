-- A mark that names its session says that this session alone has changed since the sums of its block were made: it has ended, or it
-- had ended and is open again or counted otherwise now (`was` says what it was). The sums and these sessions together are right. An
-- open session is in no sum, so what changes of it adds no mark: one with `was` says nothing of a session that is not there any more,
-- or has another start or another user. A mark without a session: anything may have changed.
ALTER TABLE session_sum_marks ADD COLUMN added uuid, ADD COLUMN added_at timestamptz(3), ADD COLUMN was jsonb;

-- Each session that ends is named. Of the other changes of a transaction the first ones are: those after them only mark their block.
CREATE OR REPLACE FUNCTION mark_session_sums() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE named integer;
BEGIN
  IF TG_OP = 'INSERT' OR TG_OP = 'UPDATE' AND OLD.ended_at IS NULL THEN
    INSERT INTO session_sum_marks (project_id, block, added, added_at)
    VALUES (NEW.project_id, session_block(NEW.started_at), NEW.id, NEW.started_at);
    RETURN NULL;
  END IF;
  -- One that stays where it is, and its user's: users cannot be taken from a sum, but nobody is no user.
  IF TG_OP = 'UPDATE' AND (OLD.project_id, OLD.id, OLD.started_at) = (NEW.project_id, NEW.id, NEW.started_at)
     AND (OLD.user_id IS NULL OR OLD.user_id = NEW.user_id) THEN
    named := coalesce(nullif(current_setting('footsteps.session_sum_named', true), ''), '0');
    IF named < 100 THEN
      INSERT INTO session_sum_marks (project_id, block, added, added_at, was)
      VALUES (NEW.project_id, session_block(NEW.started_at), NEW.id, NEW.started_at, jsonb_build_object(
        'user_id', OLD.user_id,
        'duration', round(date_part('epoch', OLD.last_activity_at - OLD.started_at) * 1000),
        'with_errors', (OLD.error_count > 0)::integer,
        'browser_name', OLD.browser_name, 'os_name', OLD.os_name, 'device', OLD.device, 'country', OLD.country,
        'region', OLD.region, 'city', OLD.city, 'version', OLD.version, 'entry_source', OLD.entry_source,
        'exit_source', OLD.exit_source, 'end_reason', OLD.end_reason));
      PERFORM set_config('footsteps.session_sum_named', (named + 1)::text, true);
      RETURN NULL;
    END IF;
  END IF;
  IF OLD.ended_at IS NOT NULL THEN PERFORM mark_session_block(OLD.project_id, OLD.started_at); END IF;
  IF TG_OP = 'UPDATE' AND NEW.ended_at IS NOT NULL THEN PERFORM mark_session_block(NEW.project_id, NEW.started_at); END IF;
  RETURN NULL;
END $$;
