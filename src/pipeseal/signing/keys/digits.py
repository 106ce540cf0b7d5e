"""Six groups of digits for a key, which two people can compare by voice."""

from __future__ import annotations

from typing import Final

from pipeseal.signing.base64url import parse_base64url

# Of the 32 bytes of a SHA-256 thumbprint, thirty are used: five for each group.
_GROUPS: Final = 6
_BYTES: Final = 5


def comparison_digits(thumbprint: str) -> str:
    """The digits that stand for a key when people read them to each other: six groups of five.

    Each group is five bytes of the thumbprint, from its beginning, as a big-endian number modulo 100,000. Together
    they hold a little less than 100 bits, so two keys with the same digits are out of anybody's reach. Pages show the
    same digits.

    Parameters:
        thumbprint: of a key, as `Jwk.thumbprint` has it: SHA-256, base64url, 43 characters (RFC 7638).
    """
    data = parse_base64url(thumbprint)
    numbers = (int.from_bytes(data[at : at + _BYTES], "big") % 100_000 for at in range(0, _GROUPS * _BYTES, _BYTES))
    return " ".join(f"{number:05}" for number in numbers)
