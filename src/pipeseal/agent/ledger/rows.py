"""The ledger's statements, for both databases: only the way in which they write a parameter differs."""

from __future__ import annotations

from typing import Final

# One statement adds a row, so that no two agents can both be the last one that may.
INSERT: Final = """
INSERT INTO pipeseal_starts (place, attempt, job_id, agent, started_at, keep_until, nonce)
SELECT CAST(:place AS TEXT), past.last + 1, CAST(:job_id AS TEXT), CAST(:agent AS TEXT),
       CAST(:started_at AS DOUBLE PRECISION), CAST(:keep_until AS BIGINT), CAST(:nonce AS TEXT)
FROM (SELECT count(*) AS starts, coalesce(max(attempt), 0) AS last FROM pipeseal_starts WHERE place = :place) AS past,
     pipeseal_ledger
WHERE past.starts < :most AND pipeseal_ledger.dropped_until <= :keep_until
ON CONFLICT DO NOTHING
RETURNING number, attempt, job_id, agent, started_at, nonce
"""

WITHDRAW: Final = "DELETE FROM pipeseal_starts WHERE number = :number AND nonce = :nonce"
_COLUMNS: Final = "number, attempt, job_id, agent, started_at, nonce"
OF_PLACE: Final = f"SELECT {_COLUMNS} FROM pipeseal_starts WHERE place = :place ORDER BY attempt"  # noqa: S608  (our own)
OF_JOB: Final = f"SELECT {_COLUMNS} FROM pipeseal_starts WHERE job_id = :job_id"  # noqa: S608  (our own text)
DROPPED: Final = "SELECT dropped_until FROM pipeseal_ledger"

# What may be gone is written down before it is, in the same transaction: a clock that jumped ahead and came back must
# not make the ledger say that something never ran.
NOTE_DROP: Final = "UPDATE pipeseal_ledger SET dropped_until = :until WHERE dropped_until < :until"
DROP: Final = """
DELETE FROM pipeseal_starts WHERE number IN
    (SELECT number FROM pipeseal_starts WHERE keep_until < :until ORDER BY keep_until LIMIT :limit)
"""

SCHEMA_VERSION: Final = 1
_TABLES: Final = """
CREATE TABLE pipeseal_starts (
    number {number},
    place TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    job_id TEXT NOT NULL UNIQUE,
    agent TEXT NOT NULL,
    started_at DOUBLE PRECISION NOT NULL,
    keep_until BIGINT NOT NULL,
    nonce TEXT NOT NULL,
    UNIQUE (place, attempt)
);
CREATE INDEX pipeseal_starts_keep_until ON pipeseal_starts (keep_until);
CREATE TABLE pipeseal_ledger (version BIGINT NOT NULL, dropped_until BIGINT NOT NULL);
INSERT INTO pipeseal_ledger (version, dropped_until) VALUES ({version}, 0);
"""


def schema(number: str) -> str:
    """The statements that make an empty ledger.

    Parameters:
        number: how the database makes numbers of rows that never come back.
    """
    return _TABLES.format(number=number, version=SCHEMA_VERSION)
