-- Builds made by other builds, by schedules and by webhooks, and what is told about them.
-- Times are microseconds since the epoch, flags 0 or 1, structured values JSON text.

-- `settings` is what a pipeline's owner chose beyond its steps, by the names of the REST API.
ALTER TABLE pipelines ADD COLUMN settings TEXT NOT NULL DEFAULT '{}';

-- `origin` is what is known about how the build came to be: variables of conditions, and of jobs.
-- `triggered_from_id` is the job of the trigger step that made it, `superseded_by` the build that made it needless.
ALTER TABLE builds ADD COLUMN origin TEXT NOT NULL DEFAULT '{}';
ALTER TABLE builds ADD COLUMN triggered_from_id TEXT;
ALTER TABLE builds ADD COLUMN trigger_depth BIGINT NOT NULL DEFAULT 0;
ALTER TABLE builds ADD COLUMN superseded_by TEXT;
CREATE INDEX builds_unfinished ON builds (pipeline_id, branch) WHERE finished_at IS NULL;

ALTER TABLE uploads ADD COLUMN notify TEXT;
CREATE INDEX uploads_with_notify ON uploads (build_id) WHERE notify IS NOT NULL;

ALTER TABLE steps ADD COLUMN cancel_on_build_failing BIGINT NOT NULL DEFAULT 0;
CREATE INDEX steps_to_cancel ON steps (build_id) WHERE cancel_on_build_failing = 1;

ALTER TABLE jobs ADD COLUMN concurrency_method TEXT NOT NULL DEFAULT 'ordered';
ALTER TABLE jobs ADD COLUMN triggered_build_id TEXT;
CREATE INDEX jobs_grouped ON jobs (build_id) WHERE concurrency_group IS NOT NULL AND finished_at IS NULL;
CREATE INDEX jobs_to_trigger ON jobs (state) WHERE kind = 'trigger' AND finished_at IS NULL;

-- `next_at` is when it is due; taking it to a later time and making the build are one transaction.
CREATE TABLE schedules (
    id             TEXT PRIMARY KEY,
    pipeline_id    TEXT NOT NULL REFERENCES pipelines (id),
    label          TEXT NOT NULL,
    cronline       TEXT NOT NULL,
    message        TEXT NOT NULL,
    commit_id      TEXT NOT NULL,
    branch         TEXT NOT NULL,
    env            TEXT NOT NULL,
    enabled        BIGINT NOT NULL,
    next_at        BIGINT,
    failed_at      BIGINT,
    failed_message TEXT NOT NULL,
    created_at     BIGINT NOT NULL
);
CREATE INDEX schedules_due ON schedules (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX schedules_of_pipeline ON schedules (pipeline_id);

-- Secrets are sealed like those of jobs, for signatures are checked with them. `former_secret` goes on working during
-- a change.
CREATE TABLE webhooks (
    id            TEXT PRIMARY KEY,
    pipeline_id   TEXT NOT NULL REFERENCES pipelines (id),
    provider      TEXT NOT NULL,
    token_digest  TEXT NOT NULL UNIQUE,
    secret        TEXT NOT NULL,
    former_secret TEXT,
    created_at    BIGINT NOT NULL
);
CREATE INDEX webhooks_of_pipeline ON webhooks (pipeline_id);

-- Deliveries that were seen, so that one that comes again makes nothing anew; `answer` is what was said to it.
CREATE TABLE webhook_deliveries (
    webhook_id TEXT NOT NULL,
    replay_key TEXT NOT NULL,
    answer     TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (webhook_id, replay_key)
);
CREATE INDEX webhook_deliveries_by_age ON webhook_deliveries (created_at);

-- Requests to be sent: written together with what they tell of. `next_at` is NULL once it was sent or given up.
CREATE TABLE notifications (
    id         TEXT PRIMARY KEY,
    build_id   TEXT NOT NULL REFERENCES builds (id),
    event      TEXT NOT NULL,
    url        TEXT NOT NULL,
    body       TEXT NOT NULL,
    attempts   BIGINT NOT NULL,
    next_at    BIGINT,
    status     TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX notifications_due ON notifications (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX notifications_of_build ON notifications (build_id);
