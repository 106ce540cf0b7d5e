-- What several server processes must know of each other: who was seen when, who is to stop, what is offered to whom.
ALTER TABLE agents ADD COLUMN last_seen_at BIGINT;
ALTER TABLE agents ADD COLUMN stopping BIGINT NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN offered_to TEXT;
ALTER TABLE jobs ADD COLUMN offered_until BIGINT;
CREATE INDEX log_chunks_by_place ON log_chunks (job_id, start_byte);

-- Logs in an object store: 0 chunks, 1 packed with chunks left, 2 done; NULL where logs are files.
ALTER TABLE jobs ADD COLUMN log_packing BIGINT;
ALTER TABLE jobs ADD COLUMN log_packing_until BIGINT;
CREATE INDEX jobs_to_pack ON jobs (finished_at) WHERE log_packing IN (0, 1);
