"""Generic values that have no type of their own in Python, and how every scalar is written as text.

A generic value is None, bool, int, float, str, `Timestamp`, `list`, or `dict` with text keys. Integers lie in
-2**63 .. 2**64-1; one above `MAX_INT64` is the ecosystem's separate unsigned type, which no text member accepts.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from pipeseal.errors import MalformedInput

Value: TypeAlias = Any  # a generic value, see the module's first paragraph

MIN_INT64: Final = -(2**63)
MAX_INT64: Final = 2**63 - 1
MAX_UINT64: Final = 2**64 - 1
MAX_SAFE_INTEGER: Final = 2**53 - 1  # RFC 8785 appendix D: integers beyond it share their double with others


class Timestamp:
    """A date and time that was written without quotes.

    Parameters:
        text: RFC 3339, zone and needed fraction digits included (`2024-01-02T00:00:00Z`).
        writable: False when the zone is a whole day or more, which RFC 3339 cannot say.
    """

    __slots__ = ("text", "writable")

    def __init__(self, text: str, *, writable: bool = True) -> None:
        self.text = text
        self.writable = writable

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Timestamp) and other.text == self.text

    def __hash__(self) -> int:
        return hash((Timestamp, self.text))

    def __repr__(self) -> str:
        return f"Timestamp({self.text!r})"

    def render(self) -> str:
        """The text as JSON carries it.

        Raises:
            MalformedInput: `value.unwritable` when RFC 3339 cannot express the zone.
        """
        if not self.writable:
            raise MalformedInput(
                "value.unwritable",
                f"the date {self.text} has a zone of a day or more, which JSON dates cannot carry",
                help="Quote it to keep it as text.",
            )
        return self.text


def describe(value: Value) -> str:
    """What a value is, in the words of error messages: `a mapping`, `a list`, `null`..."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "a number beyond 64 bits signed" if value > MAX_INT64 else "a whole number"
        case float():
            return "a number with a fraction"
        case str():
            return "text"
        case Timestamp():
            return "a date (quote it to make it text)"
        case list():
            return "a list"
        case _:
            return "a mapping"


def _digits(number: float) -> tuple[str, str, int]:
    """Sign, shortest round-trip digits without trailing zeros, and decimal exponent of the first digit."""
    text = repr(number)
    sign = "-" if text[0] == "-" else ""
    mantissa, _, exponent = text.lstrip("-").partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    # Position of the first digit: in front of the point for 12.5, behind it for 0.00125.
    first = len(whole) - 1 if whole != "0" else -1 - (len(fraction) - len(fraction.lstrip("0")))
    return sign, digits.rstrip("0") or "0", int(exponent or 0) + (first if digits else 0)


def _plain(sign: str, digits: str, exponent: int) -> str:
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    if len(digits) <= exponent + 1:
        return sign + digits + "0" * (exponent + 1 - len(digits))
    return f"{sign}{digits[: exponent + 1]}.{digits[exponent + 1 :]}"


def _scientific(sign: str, digits: str, exponent: int, min_exponent_digits: int) -> str:
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{fraction}e{'-' if exponent < 0 else '+'}{abs(exponent):0{min_exponent_digits}d}"


def float_text(number: float) -> str:
    """A double as text members show it: plain for decimal exponents -4 to 5, else `d.ddde±XX`.

    Parameters:
        number: any double; infinities are `+Inf` and `-Inf`, not-a-number is `NaN`.
    """
    if number != number:
        return "NaN"
    if number in (float("inf"), float("-inf")):
        return "+Inf" if number > 0 else "-Inf"
    sign, digits, exponent = _digits(number)
    if -4 <= exponent < 6:
        return _plain(sign, digits, exponent)
    return _scientific(sign, digits, exponent, 2)


def float_json(number: float) -> str:
    """A double as the ecosystem's JSON has it: plain from 1e-6 up to below 1e21, else an exponent without padding.

    Parameters:
        number: a finite double; -0.0 is `-0`.

    Raises:
        MalformedInput: `value.unwritable` for infinities and not-a-number, which JSON does not have (RFC 8259 6).
    """
    if number != number or number in (float("inf"), float("-inf")):
        raise MalformedInput(
            "value.unwritable",
            f"the number {float_text(number)} cannot be written as JSON",
            help="Quote it to keep it as text.",
        )
    sign, digits, exponent = _digits(number)
    if number == 0 or -6 <= exponent < 21:
        return _plain(sign, digits, exponent)
    return _scientific(sign, digits, exponent, 1)


def float_key(number: float) -> str:
    """A double as a mapping key: always `d.dddddde±XX` with six digits (`1.5` is `1.500000e+00`)."""
    if number != number or number in (float("inf"), float("-inf")):
        return float_text(number)
    return f"{number:e}"


def pack(text: str) -> bytes:
    """The bytes of a text; surrogate escapes become the bytes they stand for, other surrogates U+FFFD (PEP 383)."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        escapes = dict.fromkeys((*range(55296, 56448), *range(56576, 57344)), "�")
        return text.translate(escapes).encode("utf-8", "surrogateescape")


def unpack(data: bytes) -> str:
    """The text of some bytes, with surrogate escapes for those that are no UTF-8 (PEP 383)."""
    return data.decode("utf-8", "surrogateescape")


def scrub(text: str) -> str:
    """`text` with bytes that were not UTF-8 (surrogate escapes, PEP 383) replaced by U+FFFD, one for each byte."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in text)
    return text
