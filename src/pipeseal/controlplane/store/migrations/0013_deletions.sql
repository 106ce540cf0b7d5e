-- When a job's log, or an artifact, was deleted, and by whom (a name, for people). The row stays, and says so.
ALTER TABLE jobs ADD COLUMN log_deleted_at BIGINT;
ALTER TABLE jobs ADD COLUMN log_deleted_by TEXT;
ALTER TABLE artifacts ADD COLUMN deleted_at BIGINT;
ALTER TABLE artifacts ADD COLUMN deleted_by TEXT;

-- Bytes of deleted logs (`id` is the job's) and artifacts that are still to be removed, not before `due_at`.
CREATE TABLE removals (
    id     TEXT PRIMARY KEY,
    kind   TEXT NOT NULL,
    due_at BIGINT NOT NULL
);
CREATE INDEX removals_due ON removals (due_at);
