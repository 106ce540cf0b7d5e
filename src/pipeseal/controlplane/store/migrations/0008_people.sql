-- What people and tokens changed, and when; `members` is a JSON object of what was sent, without anything secret.
CREATE TABLE changes (
    id         TEXT PRIMARY KEY,
    at         BIGINT NOT NULL,
    actor_kind TEXT NOT NULL,
    actor_id   TEXT NOT NULL,
    actor_name TEXT NOT NULL,
    method     TEXT NOT NULL,
    subject    TEXT NOT NULL,
    members    TEXT NOT NULL
);
CREATE INDEX changes_by_time ON changes (at);

-- What a signed-in browser calls itself, so that its owner knows it again.
ALTER TABLE browser_sessions ADD COLUMN browser TEXT NOT NULL DEFAULT '';

-- Who an account is where people sign in elsewhere.
CREATE TABLE account_identities (
    issuer     TEXT NOT NULL,
    subject    TEXT NOT NULL,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    created_at BIGINT NOT NULL,
    PRIMARY KEY (issuer, subject)
);
