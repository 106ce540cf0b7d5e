"""Random texts and values for property tests, and comparison that tells 1 from 1.0 and True."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from pipeseal.pipeline.values import Timestamp

# Pieces that YAML, the interpolation grammar or JSON take for something.
_WORDS = """
a b c steps command env x y 0 1 -1 2.5 1e6 0x1f 0777 true null ~ 2024-01-02 .inf yes << é 世 😀 $A ${A} {{matrix}}
: :- ? [ ] { } # *a ! ' " \\ \\/ % @ ` $ $$ ${
"""
_SPACED = [
    "&a ",
    "!!str ",
    "!!int ",
    "!!bool ",
    "!x, ",
    "|\n  ",
    ">-\n  ",
    "---\n",
    "...\n",
    "- ",
    "? ",
    ": ",
    ", ",
    " #",
]
_BREAKS = [" ", "  ", "\n", "\n  ", "\n- ", "\n    ", "\t", "\r\n", "\x85", "\u2028"]
_ODD = ["\ufeff", "\x00", "\x7f", "\ud800", "<<: *a"]
_PIECES = [*_WORDS.split(), *_SPACED, *_BREAKS, *_ODD]

soup = st.lists(st.sampled_from(_PIECES), max_size=14).map("".join)

letters = st.text(st.sampled_from("ab:#-?'\"{}[]&*!|>%@~01._ \n\t\\=,$<é\u2028\x85\x7f\x00😀"), max_size=8)

words = letters | st.sampled_from(["null", "true", "2024-01-02", "0x1f", "1e5", "<<", "on", "", "a\nb\n", "\u00a0"])

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | words
    | st.sampled_from([Timestamp("2024-01-02T00:00:00Z"), Timestamp("2001-12-14T21:59:43.1-05:00")])
)

values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=12,
)


def exact(value: Any) -> Any:
    """The value with the type of every part beside it, so that equality tells 1 from 1.0, and order counts."""
    if isinstance(value, dict):
        return ["mapping", [(key, exact(item)) for key, item in value.items()]]
    if isinstance(value, list):
        return ["list", [exact(item) for item in value]]
    return (type(value).__name__, repr(value))
