"""The one table of codes: what each means, its harmless causes first, and what to do.

`pipeseal explain CODE` prints a row, `docs/reference/refusals.md` is generated from all of them, and a test holds
that every code in the sources is here and that every row here is produced by some test. Codes are never reused.
"""

from __future__ import annotations

from pipeseal.errors.codes import (
    agent,
    builds,
    commands,
    controlplane,
    evidence,
    ledger,
    people,
    policy,
    reading,
    sealing,
    signer,
    signing,
    sources,
    tracing,
)
from pipeseal.errors.codes.row import Code

__all__ = ["CODES", "Code", "find_code"]

# One file for each part of the house; in each, rows of one group together, in the order of the checks.
CODES: tuple[Code, ...] = (
    *reading.ROWS,
    *signing.ROWS,
    *sealing.ROWS,
    *policy.ROWS,
    *sources.ROWS,
    *evidence.ROWS,
    *ledger.ROWS,
    *signer.ROWS,
    *agent.ROWS,
    *controlplane.ROWS,
    *people.ROWS,
    *builds.ROWS,
    *commands.ROWS,
    *tracing.ROWS,
)

_BY_CODE: dict[str, Code] = {row.code: row for row in CODES}


def find_code(code: str) -> Code | None:
    """The row of `code`, or None when the table has no such code."""
    return _BY_CODE.get(code)
