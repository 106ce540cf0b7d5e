"""Whether a text names an object of git in full: the one spelling that can mean nothing else tomorrow."""

from __future__ import annotations


def is_object_id(text: str) -> bool:
    """Whether `text` is a full object id of git, SHA-1 or SHA-256, in lower case."""
    return len(text) in (40, 64) and not text.strip("0123456789abcdef")
