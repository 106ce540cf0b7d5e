-- Who let a block or input step pass, as JSON; null when nobody said so.
ALTER TABLE jobs ADD COLUMN unblocked_by TEXT;
CREATE INDEX jobs_unblocked ON jobs (build_id) WHERE unblocked_by IS NOT NULL;
