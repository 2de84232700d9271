-- What searches look through, in small letters, on an index.

-- Small letters by ICU's rules, which know every script: the database's own locale may know ASCII alone.
CREATE FUNCTION in_small_letters(text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT AS
  $$ SELECT lower($1 COLLATE "und-x-icu") $$;

-- Users by what they are called. A table of its own, since a user's row is written with every change of presence, and would
-- enter the index below each time; this is written with the first event, and with a new name.
CREATE TABLE user_search (
  project_id uuid NOT NULL,
  user_id    uuid NOT NULL,
  -- Identity and name.
  text       text NOT NULL,
  PRIMARY KEY (project_id, user_id)
);

CREATE FUNCTION keep_user_search() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    DELETE FROM user_search WHERE project_id = OLD.project_id AND user_id = OLD.id;
    RETURN NULL;
  END IF;
  INSERT INTO user_search (project_id, user_id, text)
  VALUES (NEW.project_id, NEW.id, in_small_letters(concat_ws(E'\n', NEW.identity, NEW.name)))
  ON CONFLICT (project_id, user_id) DO UPDATE SET text = EXCLUDED.text;
  RETURN NULL;
END $$;
CREATE TRIGGER search_user_added AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION keep_user_search();
CREATE TRIGGER search_user_named AFTER UPDATE OF name ON users FOR EACH ROW
  WHEN (OLD.name IS DISTINCT FROM NEW.name) EXECUTE FUNCTION keep_user_search();
CREATE TRIGGER search_user_gone AFTER DELETE ON users FOR EACH ROW EXECUTE FUNCTION keep_user_search();

INSERT INTO user_search (project_id, user_id, text)
SELECT project_id, id, in_small_letters(concat_ws(E'\n', identity, name)) FROM users;

-- pg_trgm comes with Postgres, and any owner of a database may make it; where it is not to be had, searches scan.
DO $$
DECLARE place text;
BEGIN
  BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_trgm;
  EXCEPTION WHEN insufficient_privilege OR undefined_file OR feature_not_supported THEN NULL;
  END;
  SELECT n.nspname INTO place FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_trgm';
  IF place IS NOT NULL THEN
    -- New entries gather first, in a list that every search reads and the ingest that fills it sorts in: a short one.
    EXECUTE format(
      'CREATE INDEX user_search_text ON user_search USING gin (text %I.gin_trgm_ops) WITH (gin_pending_list_limit = 512)', place);
  END IF;
END $$;
