-- Which run may still be sending for a webhook that a caller has changed. A column without a default: no row is written.
ALTER TABLE webhooks ADD COLUMN revoked_lease uuid;
