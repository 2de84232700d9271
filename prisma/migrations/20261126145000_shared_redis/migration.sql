-- What everything of this installation in a Redis begins with, so that several installations may share one.
ALTER TABLE installation ADD COLUMN name uuid NOT NULL DEFAULT gen_random_uuid();
