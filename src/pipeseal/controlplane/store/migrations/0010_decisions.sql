-- What agents said of how their policy took a job: told with the end of the job, and nobody's proof of anything.
CREATE TABLE decisions (
    job_id     TEXT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    mode       TEXT NOT NULL,
    proof      TEXT NOT NULL,
    kid        TEXT NOT NULL,
    thumbprint TEXT NOT NULL,
    seal       TEXT NOT NULL,
    findings   TEXT NOT NULL,
    observed   BIGINT NOT NULL
);
