-- People who sign in. `password` is text of domain/passwords.py, empty while the account signs in elsewhere or not yet.
CREATE TABLE accounts (
    id          TEXT PRIMARY KEY,
    email       TEXT NOT NULL UNIQUE,
    name        TEXT NOT NULL,
    role        TEXT NOT NULL,
    password    TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    disabled_at BIGINT
);

-- Signed-in browsers. Only digests of what they hold are kept.
CREATE TABLE browser_sessions (
    digest     TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    created_at BIGINT NOT NULL,
    seen_at    BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX browser_sessions_by_account ON browser_sessions (account_id);

-- Links that let somebody make an account, or choose a new password for one; each works once.
CREATE TABLE account_links (
    digest     TEXT PRIMARY KEY,
    account_id TEXT REFERENCES accounts (id),
    email      TEXT NOT NULL,
    role       TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

-- What a token may do: scopes with blanks between them; empty for all of it. Whose it is; NULL: the server's.
ALTER TABLE tokens ADD COLUMN scopes TEXT NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN account_id TEXT REFERENCES accounts (id);

-- `private` or `public`; a public pipeline shows strangers the builds created since then, or all of them at 0.
ALTER TABLE pipelines ADD COLUMN visibility TEXT NOT NULL DEFAULT 'private';
ALTER TABLE pipelines ADD COLUMN public_since BIGINT NOT NULL DEFAULT 0;
