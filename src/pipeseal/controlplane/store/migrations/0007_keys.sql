-- Public keys that steps are signed with, as owners made them known; what readers check with is theirs to choose.
CREATE TABLE signing_keys (
    thumbprint  TEXT PRIMARY KEY,
    kid         TEXT NOT NULL,
    algorithm   TEXT NOT NULL,
    jwk         TEXT NOT NULL,
    description TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    revoked_at  BIGINT
);
CREATE INDEX signing_keys_by_kid ON signing_keys (kid);
