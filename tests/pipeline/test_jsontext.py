"""Reading JSON: number types, repeated members, replacements, strictness, limits."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeseal.errors import MalformedInput, VerificationError
from pipeseal.pipeline.jsontext import check_safe_numbers, decode_json, show_path
from pipeseal.pipeline.yaml import Limits
from tests.pipeline.texts import exact


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.0", 1),
        ("1e3", 1000),
        ("-0", 0),
        ("-0.0", 0),
        ("1.5", 1.5),
        ("1e-7", 1e-7),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", -(2**63)),
        ("9223372036854775807.0", -(2**63)),
        ("-9223372036854775808", -(2**63)),
        ("-9223372036854775809", -(2**63)),
        ("18446744073709551615", 18446744073709551615.0),
        ("9007199254740993", 9007199254740993),
        ("9007199254740993.0", 9007199254740992),
        ('"\\ud83d\\ude00"', "😀"),
        ('"\\ud800"', "\ufffd"),
        ('"\\udc00\\ud800x"', "\ufffd\ufffdx"),
        (b'"\xff\xe4\xb8"', "\ufffd\ufffd\ufffd"),
        (b'{"\xff": "\xed\xa0\x80"}', {"\ufffd": "\ufffd\ufffd\ufffd"}),
        ('{"a": 1, "b": 2, "a": 3}', {"a": 3, "b": 2}),
        ('{"\\ud800": 1, "\\ud801": 2}', {"\ufffd": 2}),
        (" \t\r\n[] ", []),
        ('{"a": {"b": [null, true, false]}}', {"a": {"b": [None, True, False]}}),
    ],
)
def test_values(text: bytes | str, value: Any) -> None:
    assert exact(decode_json(text)) == exact(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "{",
        "[1,]",
        '{"a":1,}',
        "01",
        "+1",
        ".5",
        "1.",
        "1_0",
        "0x1",
        "NaN",
        "Infinity",
        "-Infinity",
        "nul",
        "'a'",
        '"\n"',
        '"\x00"',
        '"\\q"',
        '"\\u12"',
        "1 2",
        "[] x",
        "\ufeff1",
        "\xa01",
        "// c\n1",
        '{"a" 1}',
        "{1: 2}",
    ],
)
def test_only_json_is_read(text: str) -> None:
    for strict in (False, True):
        with pytest.raises(MalformedInput) as refused:
            decode_json(text, source="job.json", refuse_duplicates=strict)
        assert refused.value.code == "json.syntax"
        assert refused.value.position is not None or "JSON" in refused.value.message


def test_the_place_of_an_error_is_shown() -> None:
    with pytest.raises(MalformedInput) as refused:
        decode_json('{"a": 1,\n "b": tru}', source="job.json")
    assert str(refused.value.position) == "job.json:2:7"


def test_repeated_members_can_be_refused() -> None:
    for text in ('{"a": 1, "a": 1}', '[{"x": {"a": 1, "b": 2, "a": 3}}]', '{"\\ud800": 1, "\\ud801": 2}'):
        with pytest.raises(MalformedInput) as refused:
            decode_json(text, refuse_duplicates=True)
        assert refused.value.code == "json.duplicate"
    assert decode_json('{"a": {"a": 1}}', refuse_duplicates=True) == {"a": {"a": 1}}


def test_numbers_a_double_cannot_hold() -> None:
    for text in ("1e400", "-1e400", '{"a": [1, 1e999]}', "1" * 400):
        with pytest.raises(MalformedInput) as refused:
            decode_json(text)
        assert refused.value.code == "number.range"


@pytest.mark.parametrize("text", ["10.0000000000000000001", "9007199254740993.0", "0.1000000000000000055", "1e-400"])
def test_exact_numbers(text: str) -> None:
    decode_json(text)
    with pytest.raises(MalformedInput) as refused:
        decode_json(text, exact_numbers=True)
    assert refused.value.code == "number.unsafe"
    assert decode_json('[0.1, 1e21, 1.50, 9007199254740993, "1e-400"]', exact_numbers=True) is not None


def test_limits() -> None:
    limits = Limits(max_bytes=100, max_depth=3)
    assert decode_json('{"a": [["[[[["]]}', limits=limits) == {"a": [["[[[["]]}
    for text, code in (("[[[[1]]]]", "input.too_deep"), ('"' + "x" * 100 + '"', "input.too_large")):
        for form in (text, text.encode()):
            with pytest.raises(MalformedInput) as refused:
                decode_json(form, limits=limits)
            assert refused.value.code == code
    started = time.process_time()
    for text in ("[" * 200_000, '{"a":' * 100_000):
        with pytest.raises(MalformedInput) as refused:
            decode_json(text)
        assert refused.value.code == "input.too_deep"
    members = ", ".join(f'"k{i}": 1' for i in range(50_000))
    with pytest.raises(MalformedInput):
        decode_json(f'{{{members}, "k49999": 2}}', refuse_duplicates=True)
    assert time.process_time() - started < 20


documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=10,
)


@given(documents, st.booleans())
def test_what_json_writes_is_read(value: Any, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert exact(decode_json(text, refuse_duplicates=True)) == exact(value)
    assert exact(decode_json(text.encode())) == exact(value)


@given(st.binary(max_size=40) | st.text(st.sampled_from('{}[]",:\\u0d8 1e.-\n\ud800é'), max_size=30))
@settings(max_examples=500)
def test_nothing_but_malformed_input_comes_out(data: bytes | str) -> None:
    for strict in (False, True):
        try:
            value = decode_json(data, refuse_duplicates=strict, exact_numbers=strict)
        except MalformedInput:
            continue
        json.dumps(value, ensure_ascii=False).encode()


def test_unsafe_numbers_are_named() -> None:
    check_safe_numbers({"a": [2**53 - 1, -(2**53) + 1, True, 1e300, "9007199254740993", None]})
    for number in (2**53, -(2**53), 2**53 + 1, 2**64 - 1):
        with pytest.raises(MalformedInput) as refused:
            check_safe_numbers({"a": [1, {"b": number}]}, where=("steps", 2))
        assert refused.value.code == "number.unsafe"
        assert "`steps[2].a[1].b`" in refused.value.message
        with pytest.raises(VerificationError):
            check_safe_numbers(number, error=VerificationError)


def test_paths_are_shown_as_people_write_them() -> None:
    assert show_path(("steps", 2, "env", "REGION")) == "steps[2].env.REGION"
    assert show_path((0, "command")) == "[0].command"
    assert show_path(()) == ""
