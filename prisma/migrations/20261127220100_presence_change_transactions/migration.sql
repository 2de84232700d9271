-- Where the feed tells a change of presence. A column without a default: no row is written. Changes of before have none.
ALTER TABLE presence_changes ADD COLUMN transaction bigint;
