"""The canonical payload: the exact bytes that are signed (RFC 8785, JSON Canonicalization Scheme).

The definition is `rfc8785`; values that are plain enough (see `_is_plain`) take a faster way to the same bytes, and a
property test holds that both agree. Numbers are written as the doubles they become, as the ecosystem's signers do;
those that would let two different values share one payload are refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson

from pipeseal.errors import MalformedInput, VerificationError
from pipeseal.pipeline.values import MAX_SAFE_INTEGER, Timestamp, scrub

_MAX_DEPTH = 240


def render_payload(algorithm: str, values: Mapping[str, Any]) -> bytes:
    """The bytes to sign for a step: `{"alg": algorithm, "values": values}`, canonical.

    Parameters:
        algorithm: the signature's algorithm name.
        values: signed field name to generic value.

    Raises:
        VerificationError: a value canonical JSON cannot hold (`number.unsafe`, `payload.value`).
    """
    return render_canonical({"alg": algorithm, "values": values})


def render_canonical(value: Any) -> bytes:
    """`value` as canonical JSON (RFC 8785).

    Parameters:
        value: a generic value.

    Raises:
        VerificationError: a number that canonical JSON cannot tell from another (`number.unsafe`), a value it cannot
            hold at all, or nested deeper than any step's (`payload.value`).
    """
    if _is_plain(value, 0):
        # orjson writes what RFC 8785 3.2.2.2 asks for in strings, and sorts ASCII keys as 3.2.3 does.
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return _render_by_definition(_normalise(value, 0, exact=True))


def render_canonical_rounded(value: Any) -> bytes:
    """`value` as canonical JSON where every number is rounded to a double, however many values share the result.

    The ecosystem's canonicaliser does this; it is right for showing what that would do, and never for comparing.

    Parameters and errors: as `render_canonical`, without `number.unsafe`.
    """
    return _render_by_definition(_normalise(value, 0, exact=False))


def _is_plain(value: Any, depth: int) -> bool:
    """Whether orjson's sorted output of `value` is RFC 8785's: exact types, ASCII keys, no doubles, safe integers."""
    kind = type(value)
    if kind is str:
        return bool(value.isascii())
    if kind is dict:
        if depth > _MAX_DEPTH:
            return False
        depth += 1
        for key, member in value.items():
            # UTF-8 and UTF-16 order differ only beyond ASCII (RFC 8785 3.2.3).
            if type(key) is not str or not key.isascii():
                return False
            kind = type(member)
            if kind is str:
                if not member.isascii() and scrub(member) is not member:
                    return False
            elif member is not None and not _is_plain(member, depth):
                return False
        return True
    if kind is list:
        if depth > _MAX_DEPTH:
            return False
        depth += 1
        return all(_is_plain(item, depth) for item in value)
    if kind is int:
        return bool(-MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER)
    return value is None or kind is bool


def _normalise(value: Any, depth: int, *, exact: bool) -> Any:
    """`value` in the types `rfc8785` takes: text without surrogates, numbers it writes as the ecosystem does."""
    if isinstance(value, str):
        return scrub(value)  # bytes that were not UTF-8 are signed as U+FFFD, one for each byte
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _number(value, exact=exact)
    if isinstance(value, Timestamp):
        try:
            return value.render()
        except MalformedInput as error:
            raise VerificationError("payload.value", error.message, help=error.help) from None
    if depth > _MAX_DEPTH:
        raise _unsignable(f"a signed value is nested deeper than {_MAX_DEPTH} levels")
    if isinstance(value, dict):
        members: dict[str, Any] = {}
        for key, member in value.items():
            name = scrub(key)
            if name in members:
                raise _unsignable(f"two members of a signed value are both called {name!r}")
            members[name] = _normalise(member, depth + 1, exact=exact)
        return members
    if isinstance(value, list):
        return [_normalise(item, depth + 1, exact=exact) for item in value]
    raise _unsignable(f"a {type(value).__name__} cannot be signed")


def _number(value: int | float, *, exact: bool) -> int | float:
    """The double that `value` becomes in the payload, in a form that `rfc8785` writes as ECMAScript does."""
    if isinstance(value, int):
        shared = not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER
    elif not math.isfinite(value):
        raise _unsignable(f"{value} is not a number that JSON can hold")
    else:
        # Between these bounds exact integers exist that round to the same double; beyond them there are doubles only.
        shared = value.is_integer() and (MAX_SAFE_INTEGER < value <= 2**64 or -(2**63) <= value < -MAX_SAFE_INTEGER)
    if exact and (shared or getattr(value, "rounded", False)):
        raise VerificationError(
            "number.unsafe",
            f"the number {value} cannot be told from its neighbours once it is signed",
            help="write it as text, in quotes",
        )
    return float(value) if shared else value


def _unsignable(why: str) -> VerificationError:
    return VerificationError(
        "payload.value", f"{why}, so it cannot be signed", help="write the value as text, in quotes"
    )


def _render_by_definition(value: Any) -> bytes:
    from rfc8785 import CanonicalizationError, dumps

    try:
        return dumps(value)
    except CanonicalizationError as error:  # not reached after `_normalise`; kept so that no library error gets out
        raise _unsignable(str(error)) from None
