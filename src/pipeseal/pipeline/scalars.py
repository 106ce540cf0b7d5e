"""What an unquoted YAML scalar means, and what a tag makes of it: the yaml.v3 dialect, which is neither 1.1 nor 1.2.

Only `true` and `false` spellings are booleans, `0777` is octal, underscores are dropped from numbers, dates are
dates, and everything unusual (`yes`, `1:30`, `0x1p3`) is text.
"""

from __future__ import annotations

import re
from base64 import b64decode
from typing import Final

from pipeseal.pipeline.values import MAX_INT64, MAX_UINT64, MIN_INT64, Timestamp, Value, float_key, scrub, unpack

NULL: Final = "null"
BOOL: Final = "bool"
TEXT: Final = "str"
INT: Final = "int"
FLOAT: Final = "float"
TIMESTAMP: Final = "timestamp"
BINARY: Final = "binary"
MERGE: Final = "merge"

_CORE_PREFIX: Final = "tag:yaml.org,2002:"

_WORDS: Final[dict[str, tuple[str, Value]]] = {
    **dict.fromkeys(("true", "True", "TRUE"), (BOOL, True)),
    **dict.fromkeys(("false", "False", "FALSE"), (BOOL, False)),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), (NULL, None)),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), (FLOAT, float("nan"))),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), (FLOAT, float("inf"))),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), (FLOAT, float("-inf"))),
    "<<": (MERGE, "<<"),
}

# First characters that can begin something other than text; everything else needs no further look.
MEANINGFUL: Final = frozenset("0123456789+-.~tTfFnN<")

_INTEGER: Final = re.compile(
    r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]([0-7]+)|(0[0-7]*)|([1-9][0-9]*))", re.ASCII
)
# The two oldest prefixes are tried once more with a sign after them: `0b-101` is -5.
_SIGN_INSIDE: Final = re.compile(r"0(?:b([-+][01]+)|o([-+][0-7]+))", re.ASCII)
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_POINT_FLOAT: Final = re.compile(r"\.[0-9]+(?:_[0-9]+)*(?:[eE][-+]?[0-9]+(?:_[0-9]+)*)?", re.ASCII)
_TIMESTAMP: Final = re.compile(
    r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})"
    r"(?:(?:[Tt]([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?:[.,]([0-9]+))?(?:Z|([-+])([0-9]{2}):([0-9]{2})))"
    r"|(?: +([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?:[.,]([0-9]+))?))?",
    re.ASCII,
)
_BASE64: Final = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", re.ASCII)
_DAYS: Final = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


class TagMismatch(Exception):
    """A scalar that its tag does not fit; the reader adds where, and turns it into `MalformedInput`."""


def parse_timestamp(text: str) -> Timestamp | None:
    """The date and time that `text` is, or None when it is not one.

    Parameters:
        text: a scalar; a date alone, or with a time of day and a zone, or with a time of day after spaces.

    Returns:
        A time; None also for dates that do not exist (30 February, hour 24, second 60).
    """
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        return None
    year, month, day = int(match[1]), int(match[2]), int(match[3])
    hour, minute, second = (int(match[i] or match[i + 7] or 0) for i in (4, 5, 6))
    fraction = (match[7] or match[14] or "")[:9].rstrip("0")
    leap = month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if not (1 <= month <= 12 and 1 <= day <= _DAYS[month - 1] + leap and hour < 24 and minute < 60 and second < 60):
        return None
    zone, writable = "Z", True
    if match[8]:
        # The reference lets people write offsets of 24 hours and of 60 minutes.
        zone_hour, zone_minute = int(match[9]), int(match[10])
        if zone_hour > 24 or zone_minute > 60:
            return None
        zone_hour, zone_minute = divmod(zone_hour * 60 + zone_minute, 60)
        writable = zone_hour < 24
        if zone_hour or zone_minute:
            zone = f"{match[8]}{zone_hour:02}:{zone_minute:02}"
    moment = f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
    return Timestamp(f"{moment}{'.' if fraction else ''}{fraction}{zone}", writable=writable)


def _parse_integer(plain: str) -> int | None:
    match = _INTEGER.fullmatch(plain)
    if match is not None:
        sign, hexadecimal, binary, octal, old_octal, decimal = match.groups()
        if decimal:
            # More digits than 2**64 has: a float. Python refuses very long ones itself, so look before converting.
            number = int(decimal) if len(decimal) <= 20 else MAX_UINT64 + 1
        elif hexadecimal:
            number = int(hexadecimal, 16)
        elif binary:
            number = int(binary, 2)
        else:
            number = int(octal or old_octal, 8)
        if sign == "-":
            number = -number
        if MIN_INT64 <= number <= (MAX_UINT64 if not sign else MAX_INT64):
            return number
        return None
    inside = _SIGN_INSIDE.fullmatch(plain)
    if inside is not None:
        number = int(inside[1], 2) if inside[1] else int(inside[2], 8)
        if MIN_INT64 <= number <= MAX_INT64:
            return number
    return None


def resolve(text: str, *, dates: bool = True) -> tuple[str, Value]:
    """The kind and value of an unquoted, untagged scalar.

    Parameters:
        text: the scalar as written.
        dates: False where a tag other than `!!timestamp` is present, since dates are then not tried.

    Returns:
        One of the kinds of this module and the value.
    """
    if text in _WORDS:
        return _WORDS[text]
    first = text[0]
    if first == ".":
        if _POINT_FLOAT.fullmatch(text):
            number = float(text.replace("_", ""))
            if number != float("inf"):
                return FLOAT, number
        return TEXT, text
    if first not in "0123456789+-":
        return TEXT, text
    if dates and text[4:5] == "-":
        moment = parse_timestamp(text)
        if moment is not None:
            return TIMESTAMP, moment
    plain = text.replace("_", "")
    integer = _parse_integer(plain)
    if integer is not None:
        return INT, integer
    if _FLOAT.fullmatch(plain):
        number = float(plain)
        if number not in (float("inf"), float("-inf")):
            return FLOAT, number
    return TEXT, text


def short_tag(tag: str) -> str:
    """`str` for `tag:yaml.org,2002:str` (and `!!str` written verbatim); empty for tags that are not YAML's own."""
    if tag.startswith(_CORE_PREFIX):
        return tag[len(_CORE_PREFIX) :]
    return tag[2:] if tag.startswith("!!") else ""


def resolve_tagged(tag: str, text: str) -> tuple[str, Value]:
    """The kind and value of a scalar with a tag; quoting makes no difference then.

    Parameters:
        tag: the whole tag, handle resolved; not `!` alone, which has no effect.
        text: the scalar.

    Returns:
        A kind of this module, or the tag itself when it is not one of YAML's own, and the value.

    Raises:
        TagMismatch: the scalar does not fit the tag, such as `!!bool yes`.
    """
    kind = short_tag(tag)
    if kind == BINARY:
        # RFC 4648 4; line breaks are skipped.
        packed = text.replace("\r", "").replace("\n", "")
        if not _BASE64.fullmatch(packed):
            raise TagMismatch("!!binary wants base64 with padding")
        return BINARY, scrub(unpack(b64decode(packed)))
    if kind not in (NULL, BOOL, INT, FLOAT, TIMESTAMP):
        return (kind or tag), text
    found, value = resolve(text, dates=kind == TIMESTAMP)
    if found == kind:
        return kind, value
    if kind == FLOAT and found == INT and value <= MAX_INT64:
        return FLOAT, float(value)
    raise TagMismatch(f"`{text}` is not a !!{kind}")


def key_text(kind: str, value: Value, text: str) -> str:
    """A scalar as a mapping key.

    Parameters:
        kind: the kind `resolve` gave; not null.
        value: the value it gave.
        text: the scalar as written.

    Returns:
        Canonical text for booleans and numbers, so that `1` and `0x1` are one key; else the scalar as written.
    """
    if kind == BOOL:
        return "true" if value else "false"
    if kind == INT:
        return str(value)
    if kind == FLOAT:
        return float_key(value)
    return text
