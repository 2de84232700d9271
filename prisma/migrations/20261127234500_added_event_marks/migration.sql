-- Late events are the usual reason for a mark. A mark that names its event says that this event was added after the sums of its block
-- were made, and nothing else: the sums and these events together are right. A mark without an event: anything may have changed.
ALTER TABLE event_sum_marks ADD COLUMN added uuid;

-- The first events of a transaction are named. A mark for each would make an import of the past dear: those after them only mark their
-- block, as before.
CREATE FUNCTION mark_added_event(project uuid, event uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE named integer := coalesce(nullif(current_setting('footsteps.event_sum_named', true), ''), '0');
BEGIN
  IF named >= 100 THEN
    PERFORM mark_event_block(project, event);
  ELSE
    INSERT INTO event_sum_marks (project_id, block, added) VALUES (project, event_block(event), event);
    PERFORM set_config('footsteps.event_sum_named', (named + 1)::text, true);
  END IF;
END $$;

CREATE OR REPLACE FUNCTION mark_event_sums() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    PERFORM mark_added_event(NEW.project_id, NEW.id);
    RETURN NULL;
  END IF;
  PERFORM mark_event_block(OLD.project_id, OLD.id);
  IF TG_OP = 'UPDATE' THEN PERFORM mark_event_block(NEW.project_id, NEW.id); END IF;
  RETURN NULL;
END $$;
