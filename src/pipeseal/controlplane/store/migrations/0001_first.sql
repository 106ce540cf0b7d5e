-- Times are microseconds since the epoch (BIGINT), flags 0 or 1, structured values JSON text.

CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

-- Long-lived tokens. Only SHA-256 digests are kept, see domain/tokens.py for why no slow hash is needed.
CREATE TABLE tokens (
    digest      TEXT PRIMARY KEY,
    kind        TEXT NOT NULL,
    description TEXT NOT NULL,
    created_at  BIGINT NOT NULL
);

CREATE TABLE pipelines (
    id                TEXT PRIMARY KEY,
    slug              TEXT NOT NULL UNIQUE,
    name              TEXT NOT NULL,
    description       TEXT NOT NULL,
    repository        TEXT NOT NULL,
    default_branch    TEXT NOT NULL,
    configuration     TEXT NOT NULL,
    last_build_number BIGINT NOT NULL,
    created_at        BIGINT NOT NULL
);

CREATE TABLE builds (
    id               TEXT PRIMARY KEY,
    pipeline_id      TEXT NOT NULL REFERENCES pipelines (id),
    number           BIGINT NOT NULL,
    state            TEXT NOT NULL,
    source           TEXT NOT NULL,
    message          TEXT NOT NULL,
    commit_id        TEXT NOT NULL,
    branch           TEXT NOT NULL,
    tag              TEXT NOT NULL,
    pull_request     TEXT NOT NULL,
    author           TEXT NOT NULL,
    env              TEXT NOT NULL,
    rebuilt_from_id  TEXT,
    created_at       BIGINT NOT NULL,
    started_at       BIGINT,
    finished_at      BIGINT,
    cancel_asked_at  BIGINT,
    UNIQUE (pipeline_id, number)
);
CREATE INDEX builds_by_state ON builds (state) WHERE finished_at IS NULL;

-- One pipeline put into a build: the settings' steps, or what a job uploaded. `digest` is of the pipeline's text.
CREATE TABLE uploads (
    id          TEXT PRIMARY KEY,
    build_id    TEXT NOT NULL REFERENCES builds (id),
    job_id      TEXT,
    digest      TEXT NOT NULL,
    env         TEXT NOT NULL,
    checkout    TEXT,
    warnings    TEXT NOT NULL,
    created_at  BIGINT NOT NULL
);
CREATE INDEX uploads_by_build ON uploads (build_id);

-- `content` is the step's JSON exactly as it was uploaded. `depends_on` is NULL when the step says nothing.
CREATE TABLE steps (
    id                       TEXT PRIMARY KEY,
    build_id                 TEXT NOT NULL REFERENCES builds (id),
    upload_id                TEXT NOT NULL REFERENCES uploads (id),
    parent_id                TEXT,
    uploaded_by              TEXT,
    position                 BIGINT NOT NULL,
    kind                     TEXT NOT NULL,
    key                      TEXT NOT NULL,
    label                    TEXT NOT NULL,
    depends_on               TEXT,
    allow_dependency_failure BIGINT NOT NULL,
    continue_on_failure      BIGINT NOT NULL,
    content                  TEXT NOT NULL
);
CREATE INDEX steps_by_build ON steps (build_id, position);
CREATE INDEX steps_with_needs ON steps (build_id) WHERE depends_on IS NOT NULL OR kind = 'group';

CREATE TABLE jobs (
    id                   TEXT PRIMARY KEY,
    build_id             TEXT NOT NULL REFERENCES builds (id),
    step_id              TEXT NOT NULL REFERENCES steps (id),
    kind                 TEXT NOT NULL,
    state                TEXT NOT NULL,
    label                TEXT NOT NULL,
    position_in_step     BIGINT NOT NULL,
    matrix               TEXT,
    parallel_index       BIGINT,
    parallel_count       BIGINT,
    agent_rules          TEXT NOT NULL,
    priority             BIGINT NOT NULL,
    concurrency_group    TEXT,
    concurrency_limit    BIGINT,
    timeout_minutes      BIGINT,
    retry_count          BIGINT NOT NULL,
    retry_kind           TEXT,
    retried_in           TEXT,
    reason               TEXT NOT NULL,
    agent_id             TEXT,
    token_digest         TEXT,
    exit_status          BIGINT,
    signal               TEXT,
    signal_reason        TEXT,
    soft_failed          BIGINT NOT NULL,
    refusal              TEXT,
    log_bytes            BIGINT NOT NULL,
    log_missing_bytes    BIGINT NOT NULL,
    chunks_failed        BIGINT NOT NULL,
    header_times         TEXT,
    created_at           BIGINT NOT NULL,
    runnable_at          BIGINT,
    accepted_at          BIGINT,
    started_at           BIGINT,
    finished_at          BIGINT,
    deadline_at          BIGINT
);
CREATE INDEX jobs_by_build ON jobs (build_id, state, soft_failed, retried_in);
CREATE INDEX jobs_by_step ON jobs (step_id);
CREATE UNIQUE INDEX jobs_by_token ON jobs (token_digest) WHERE token_digest IS NOT NULL;
CREATE INDEX jobs_scheduled ON jobs (state) WHERE state = 'scheduled';
CREATE INDEX jobs_of_agent ON jobs (agent_id) WHERE agent_id IS NOT NULL AND finished_at IS NULL;
CREATE INDEX jobs_with_deadline ON jobs (deadline_at) WHERE deadline_at IS NOT NULL AND finished_at IS NULL;
CREATE INDEX jobs_in_group ON jobs (concurrency_group) WHERE concurrency_group IS NOT NULL AND finished_at IS NULL;

CREATE TABLE agents (
    id                    TEXT PRIMARY KEY,
    name                  TEXT NOT NULL,
    state                 TEXT NOT NULL,
    token_digest          TEXT,
    hostname              TEXT NOT NULL,
    version               TEXT NOT NULL,
    build                 TEXT NOT NULL,
    os                    TEXT NOT NULL,
    arch                  TEXT NOT NULL,
    pid                   BIGINT NOT NULL,
    priority              BIGINT NOT NULL,
    tags                  TEXT NOT NULL,
    ignore_in_dispatches  BIGINT NOT NULL,
    paused                BIGINT NOT NULL,
    pause_note            TEXT NOT NULL,
    registered_at         BIGINT NOT NULL,
    ended_at              BIGINT
);
CREATE UNIQUE INDEX agents_by_token ON agents (token_digest) WHERE token_digest IS NOT NULL;

CREATE TABLE meta_data (
    build_id TEXT NOT NULL REFERENCES builds (id),
    key      TEXT NOT NULL,
    value    TEXT NOT NULL,
    PRIMARY KEY (build_id, key)
);

-- Which parts of a log have arrived: a row is written after the bytes are on disk.
CREATE TABLE log_chunks (
    job_id       TEXT NOT NULL REFERENCES jobs (id),
    sequence     BIGINT NOT NULL,
    start_byte   BIGINT NOT NULL,
    size_bytes   BIGINT NOT NULL,
    PRIMARY KEY (job_id, sequence)
);
