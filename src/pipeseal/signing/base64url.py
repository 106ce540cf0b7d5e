"""Base64url as JOSE has it: no padding, one spelling for each value (RFC 7515 section 2)."""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from binascii import a2b_base64

_ALPHABET = re.compile(r"[A-Za-z0-9_-]*\Z")
_PADDING = ("", None, "==", "=")
_TO_STANDARD = str.maketrans("-_", "+/")


def render_base64url(data: bytes) -> str:
    """`data` in base64url without padding."""
    return urlsafe_b64encode(data).decode("ascii").rstrip("=")


def parse_base64url(text: str) -> bytes:
    """The bytes that `text` stands for, if it is exactly what `render_base64url` would write for them.

    Parameters:
        text: base64url without padding; other alphabets, padding, white space and loose trailing bits are refused,
            so that no two texts mean the same bytes.

    Raises:
        ValueError: not the one spelling of any bytes. Only this module's callers see it; they know what the text was.
    """
    padding = _PADDING[len(text) % 4]
    if padding is None or not _ALPHABET.match(text):
        raise ValueError("not base64url")
    data = a2b_base64(text.translate(_TO_STANDARD) + padding)
    # RFC 4648 section 3.5: the unused bits of the last character must be zero.
    if padding and render_base64url(data[-(len(data) % 3) :]) != text[-(len(text) % 4) :]:
        raise ValueError("not base64url: loose bits at the end")
    return data
