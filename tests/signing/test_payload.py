"""Canonical bytes: RFC 8785 by its own examples, by two other implementations, and the numbers that are refused."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import jcs
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.errors import VerificationError
from pipeseal.pipeline.values import Timestamp
from pipeseal.signing.payload import (
    _is_plain,
    _normalise,
    render_canonical,
    render_canonical_rounded,
    render_payload,
)
from tests.signing.material import scalars, values

json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_the_fast_path_and_the_definition_agree(value: Any) -> None:
    """Whatever way is taken, the bytes are those of the definition."""
    try:
        expected = rfc8785.dumps(_normalise(value, 0, exact=True))
    except VerificationError:
        with pytest.raises(VerificationError):
            render_canonical(value)
        return
    assert render_canonical(value) == expected


@given(st.dictionaries(st.text("abc", max_size=3), st.text(max_size=6) | st.integers(-9, 9) | st.none(), max_size=5))
def test_ordinary_steps_take_the_fast_path(value: dict[str, Any]) -> None:
    plain = all(
        character.isprintable() or character.isascii()
        for text in value.values()
        if isinstance(text, str)
        for character in text
    )
    assert _is_plain(value, 0) or not plain


@given(values)
def test_another_implementation_agrees(value: Any) -> None:
    assert render_canonical(value) == jcs.canonicalize(value)


# RFC 8785 appendix B: IEEE 754 bits and the text they become.
@pytest.mark.parametrize(
    ("bits", "text"),
    [
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("8000000000000001", "-5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("ffefffffffffffff", "-1.7976931348623157e+308"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("444b1ae4d6e2ef4e", "999999999999999700000"),
        ("444b1ae4d6e2ef4f", "999999999999999900000"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555553", "333333333.3333332"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
    ],
)
def test_numbers_of_rfc_8785_appendix_b(bits: str, text: str) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert render_canonical([number]) == f"[{text}]".encode()


def test_keys_sort_by_utf_16_code_units() -> None:
    """RFC 8785 3.2.3, its own example."""
    document = {"€": "Euro", "\r": "CR", "\ufb33": "Dalet", "1": "One", "😀": "Smiley", "\x80": "Ctl", "ö": "o"}
    order = ["\r", "1", "\x80", "ö", "€", "😀", "\ufb33"]
    assert list(json.loads(render_canonical(document))) == order


@pytest.mark.parametrize(
    "number",
    [
        2**53,
        -(2**53),
        2**53 + 1,
        2**63 - 1,
        -(2**63),
        2**64 - 1,
        float(2**53),
        float(2**63),
        -float(2**62),
        1e16,
        1e19,
    ],
)
def test_numbers_that_share_a_payload_are_refused(number: float) -> None:
    with pytest.raises(VerificationError) as caught:
        render_canonical({"n": [number]})
    assert caught.value.code == "number.unsafe"
    assert render_canonical_rounded(number) == rfc8785.dumps(float(number))


@pytest.mark.parametrize("number", [2**53 - 1, -(2**53) + 1, 1e20, 1e21, 3e19, 0.5, -1e300])
def test_numbers_that_stand_alone_are_not(number: float) -> None:
    assert float(render_canonical(number)) == number


@given(st.integers(-(2**66), 2**66) | st.floats(allow_nan=False, allow_infinity=False))
def test_no_two_numbers_share_a_payload(number: float) -> None:
    """Neighbours of any accepted number are another number in the payload, or are refused."""

    def render(value: float) -> bytes | None:
        try:
            return render_canonical(value)
        except VerificationError:
            return None

    rendered = render(number)
    if rendered is None:
        return
    if isinstance(number, int):
        neighbours: list[float] = [number - 1, number + 1]
    else:
        neighbours = [math.nextafter(number, math.inf), math.nextafter(number, -math.inf)]
        if abs(number) <= 2**64:
            neighbours += [int(number) - 1, int(number), int(number) + 1]
    for other in neighbours:
        if other != number and math.isfinite(other):
            assert render(other) != rendered


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, {"a": math.nan}, object()])
def test_what_json_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(VerificationError) as caught:
        render_canonical(value)
    assert caught.value.code == "payload.value"


def test_dates_are_text_and_impossible_ones_are_refused() -> None:
    assert render_canonical([Timestamp("2024-01-02T00:00:00Z")]) == b'["2024-01-02T00:00:00Z"]'
    with pytest.raises(VerificationError) as caught:
        render_canonical(Timestamp("2024-01-02T00:00:00+24:00", writable=False))
    assert caught.value.code == "payload.value"


def test_bytes_that_are_not_utf_8_are_signed_as_replacement_characters() -> None:
    broken = b"a\x80\xffb".decode("utf-8", "surrogateescape")
    assert render_canonical({"k": broken, broken: 1}) == '{"a\ufffd\ufffdb":1,"k":"a\ufffd\ufffdb"}'.encode()


def test_two_names_that_become_one_are_refused() -> None:
    with pytest.raises(VerificationError) as caught:
        render_canonical(dict.fromkeys(["\udc80", "\udc81"], 1))
    assert caught.value.code == "payload.value"


def test_depth_has_an_end() -> None:
    value: Any = "core"
    for _ in range(300):
        value = [value]
    with pytest.raises(VerificationError) as caught:
        render_canonical(value)
    assert caught.value.code == "payload.value"


def test_the_payload_of_a_step() -> None:
    payload = render_payload("EdDSA", {"plugins": None, "command": "echo <&>", "env": {"B": "2", "A": "1"}})
    assert payload == (b'{"alg":"EdDSA","values":{"command":"echo <&>","env":{"A":"1","B":"2"},"plugins":null}}')
