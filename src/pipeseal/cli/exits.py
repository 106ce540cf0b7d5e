"""Exit statuses: one place, the same meaning in every command."""

from __future__ import annotations

from pipeseal.errors import ConfigurationError, MalformedInput, PipesealError, Unavailable, VerificationError

DONE = 0
FAILED = 1
USAGE = 2
API = 3
NOT_FOUND = 4
PERMISSION = 5
CONFIGURATION = 6
AUTHENTICATION = 7

NOT_SIGNED = 20
UNKNOWN_SIGNER = 21
CHECK_FAILED = 22
CANNOT_CHECK = 23
EVIDENCE_MISSING = 24
KEY_REVOKED = 25
OTHER_SUBJECT = 26

# Several subjects: exit with the worst of them.
WORST_FIRST = (
    CHECK_FAILED,
    EVIDENCE_MISSING,
    KEY_REVOKED,
    UNKNOWN_SIGNER,
    OTHER_SUBJECT,
    CANNOT_CHECK,
    NOT_SIGNED,
)

_BY_STATUS = {401: AUTHENTICATION, 403: PERMISSION, 404: NOT_FOUND}
_BY_CODE = {
    "signature.missing": NOT_SIGNED,
    "key.unknown": UNKNOWN_SIGNER,
    "key.none": CANNOT_CHECK,
    "evidence.missing": EVIDENCE_MISSING,
    "evidence.withheld": CANNOT_CHECK,
}


def exit_status(error: PipesealError) -> int:
    """The exit status for an error that ends a command.

    Parameters:
        error: the error.

    Returns:
        A status from this module.
    """
    match error:
        case VerificationError():
            return _BY_CODE.get(error.code, CHECK_FAILED)
        case Unavailable():
            return _BY_STATUS.get(error.status or 0, API)
        case ConfigurationError():
            return CONFIGURATION
        case MalformedInput():
            return USAGE
        case _:
            return FAILED


def worst(statuses: list[int]) -> int:
    """The status to exit with when there were several subjects."""
    return next((status for status in WORST_FIRST if status in statuses), DONE)
