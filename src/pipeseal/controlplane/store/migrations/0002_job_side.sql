-- What jobs leave behind, ask for and promise. Times are microseconds since the epoch, flags 0 or 1.

-- `part_count` is 0 for a file that comes in one piece. `url` is empty unless the agent put the file somewhere else.
CREATE TABLE artifacts (
    id                 TEXT PRIMARY KEY,
    build_id           TEXT NOT NULL REFERENCES builds (id),
    job_id             TEXT NOT NULL REFERENCES jobs (id),
    batch_id           TEXT NOT NULL,
    position           BIGINT NOT NULL,
    state              TEXT NOT NULL,
    path               TEXT NOT NULL,
    absolute_path      TEXT NOT NULL,
    glob_path          TEXT NOT NULL,
    content_type       TEXT NOT NULL,
    file_size          BIGINT NOT NULL,
    sha1sum            TEXT NOT NULL,
    sha256sum          TEXT NOT NULL,
    upload_destination TEXT NOT NULL,
    url                TEXT NOT NULL,
    part_count         BIGINT NOT NULL,
    is_stored          BIGINT NOT NULL,
    created_at         BIGINT NOT NULL,
    finished_at        BIGINT,
    UNIQUE (job_id, batch_id, position)
);
CREATE INDEX artifacts_of_build ON artifacts (build_id, state, created_at);
CREATE INDEX artifacts_unfinished ON artifacts (created_at) WHERE state = 'new';

-- `owner` is empty for annotations of the build, the job's id for those of a job.
CREATE TABLE annotations (
    id          TEXT PRIMARY KEY,
    build_id    TEXT NOT NULL REFERENCES builds (id),
    owner       TEXT NOT NULL,
    context     TEXT NOT NULL,
    style       TEXT NOT NULL,
    priority    BIGINT NOT NULL,
    body        TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL,
    UNIQUE (build_id, owner, context)
);

-- Changes of steps that were applied, so that a repeated request is not applied again.
CREATE TABLE step_updates (
    id         TEXT PRIMARY KEY,
    step_id    TEXT NOT NULL REFERENCES steps (id),
    created_at BIGINT NOT NULL
);

-- `sealed` is base64 of nonce and AES-256-GCM ciphertext. `pipelines` is a JSON list of slugs, NULL for all of them.
CREATE TABLE secrets (
    key         TEXT PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    pipelines   TEXT,
    sealed      TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL
);

-- A failure that a running job has promised; `promised_soft` tells whether its step would forgive it.
ALTER TABLE jobs ADD COLUMN promised_exit_status BIGINT;
ALTER TABLE jobs ADD COLUMN promised_reason TEXT;
ALTER TABLE jobs ADD COLUMN promised_soft BIGINT;
CREATE INDEX jobs_with_promise ON jobs (build_id) WHERE promised_exit_status IS NOT NULL AND finished_at IS NULL;

ALTER TABLE agents ADD COLUMN paused_until BIGINT;
CREATE INDEX agents_paused ON agents (paused_until) WHERE paused_until IS NOT NULL;
