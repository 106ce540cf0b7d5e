"""What unquoted scalars and tags mean, and how numbers are printed again."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.errors import MalformedInput
from pipeseal.pipeline.scalars import FLOAT, INT, TEXT, parse_timestamp, resolve
from pipeseal.pipeline.values import Timestamp, describe, float_json, float_key, float_text, scrub
from tests.pipeline.texts import exact


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("NULL", None),
        ("nULL", "nULL"),
        ("true", True),
        ("FALSE", False),
        ("tRUE", "tRUE"),
        ("yes", "yes"),
        ("on", "on"),
        ("y", "y"),
        ("0", 0),
        ("-0", 0),
        ("+5", 5),
        ("0777", 511),
        ("0o777", 511),
        ("0O17", 15),
        ("00", 0),
        ("08", 8.0),
        ("089", 89.0),
        ("0x1F", 31),
        ("0X1f", 31),
        ("-0x1F", -31),
        ("0b101", 5),
        ("0B101", 5),
        ("0b2", "0b2"),
        ("0b-101", -5),
        ("0b+101", 5),
        ("0o-17", -15),
        ("-0b-101", "-0b-101"),
        ("0x", "0x"),
        ("0x_1", 1),
        ("1_000", 1000),
        ("1_", 1),
        ("_1", "_1"),
        ("1__0.5", 10.5),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", 2**63),
        ("18446744073709551615", 2**64 - 1),
        ("18446744073709551616", 18446744073709551616.0),
        ("+18446744073709551615", 18446744073709551615.0),
        ("-9223372036854775808", -(2**63)),
        ("-9223372036854775809", -9223372036854775809.0),
        ("0x10000000000000000", "0x10000000000000000"),
        ("1.", 1.0),
        (".5", 0.5),
        ("-.5", -0.5),
        (".5_0", 0.5),
        ("._5", "._5"),
        (".5_", ".5_"),
        (".5e1_0", 5e9),
        (".", "."),
        ("1e3", 1000.0),
        ("1e", "1e"),
        ("1e400", "1e400"),
        (".5e400", ".5e400"),
        ("1e-400", 0.0),
        ("0x1p3", "0x1p3"),
        ("1:30", "1:30"),
        ("1,5", "1,5"),
        (".inf", math.inf),
        ("+.INF", math.inf),
        ("-.Inf", -math.inf),
        ("inf", "inf"),
        ("+.nan", "+.nan"),
        ("٣", "٣"),
        ("2024-01-02", Timestamp("2024-01-02T00:00:00Z")),
        ("2024-1-2", Timestamp("2024-01-02T00:00:00Z")),
        ("2024-02-29", Timestamp("2024-02-29T00:00:00Z")),
        ("0000-02-29", Timestamp("0000-02-29T00:00:00Z")),
        ("1900-02-29", "1900-02-29"),
        ("2024-02-30", "2024-02-30"),
        ("2024-13-01", "2024-13-01"),
        ("2024-00-01", "2024-00-01"),
        ("10000-01-01", "10000-01-01"),
        ("2024-01-02T03:04:05Z", Timestamp("2024-01-02T03:04:05Z")),
        ("2024-01-02t3:4:5Z", Timestamp("2024-01-02T03:04:05Z")),
        ("2024-01-02T03:04:05z", "2024-01-02T03:04:05z"),
        ("2024-01-02T03:04:05", "2024-01-02T03:04:05"),
        ("2024-01-02 03:04:05", Timestamp("2024-01-02T03:04:05Z")),
        ("2024-01-02   03:04:05.50", Timestamp("2024-01-02T03:04:05.5Z")),
        ("2024-01-02 03:04:05Z", "2024-01-02 03:04:05Z"),
        ("2024-01-02T24:00:00Z", "2024-01-02T24:00:00Z"),
        ("2024-01-02T23:60:00Z", "2024-01-02T23:60:00Z"),
        ("2024-01-02T23:00:60Z", "2024-01-02T23:00:60Z"),
        ("2024-01-02T03:04:05,1234567891Z", Timestamp("2024-01-02T03:04:05.123456789Z")),
        ("2024-01-02T03:04:05-05:30", Timestamp("2024-01-02T03:04:05-05:30")),
        ("2024-01-02T03:04:05+00:00", Timestamp("2024-01-02T03:04:05Z")),
        ("2024-01-02T03:04:05+05:60", Timestamp("2024-01-02T03:04:05+06:00")),
        ("2024-01-02T03:04:05+25:00", "2024-01-02T03:04:05+25:00"),
        ("2024-01-02T03:04:05+0500", "2024-01-02T03:04:05+0500"),
    ],
)
def test_unquoted_scalars(text: str, value: Any) -> None:
    assert exact(resolve(text)[1]) == exact(value)


def test_not_a_number_is_a_float() -> None:
    for text in (".nan", ".NaN", ".NAN"):
        kind, value = resolve(text)
        assert kind == FLOAT and value != value
    assert resolve(".Nan") == (TEXT, ".Nan")


@given(st.integers(-(2**63), 2**64 - 1), st.sampled_from(["d", "#x", "#o", "#b"]))
def test_whole_numbers_of_64_bits_are_read_in_every_base(number: int, form: str) -> None:
    assert resolve(format(number, form)) == (INT, number)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_printed_floats_keep_their_value(number: float) -> None:
    for text in (float_text(number), float_json(number)):
        assert float(text) == number
        assert text.startswith("-") == (math.copysign(1, number) < 0)
        assert "_" not in text and not text.startswith((".", "-."))
    mantissa, _, exponent = float_text(number).partition("e")
    assert len(mantissa.lstrip("-").replace(".", "")) <= 17 + 5
    assert not exponent or len(exponent) >= 3
    mantissa, _, exponent = float_json(number).partition("e")
    assert not exponent or int(exponent) < -6 or int(exponent) >= 21


@pytest.mark.parametrize(
    ("number", "text", "json", "key"),
    [
        (100000.0, "100000", "100000", "1.000000e+05"),
        (999999.5, "999999.5", "999999.5", "9.999995e+05"),
        (1e6, "1e+06", "1000000", "1.000000e+06"),
        (1234567.0, "1.234567e+06", "1234567", "1.234567e+06"),
        (0.0001, "0.0001", "0.0001", "1.000000e-04"),
        (0.00001, "1e-05", "0.00001", "1.000000e-05"),
        (1e-6, "1e-06", "0.000001", "1.000000e-06"),
        (1e-7, "1e-07", "1e-7", "1.000000e-07"),
        (1.5, "1.5", "1.5", "1.500000e+00"),
        (-0.0, "-0", "-0", "-0.000000e+00"),
        (1e20, "1e+20", "100000000000000000000", "1.000000e+20"),
        (1e21, "1e+21", "1e+21", "1.000000e+21"),
        (123456789012345680000.0, "1.2345678901234568e+20", "123456789012345680000", "1.234568e+20"),
        (5e-324, "5e-324", "5e-324", "4.940656e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308", "1.7976931348623157e+308", "1.797693e+308"),
    ],
)
def test_three_ways_to_print_a_float(number: float, text: str, json: str, key: str) -> None:
    assert (float_text(number), float_json(number), float_key(number)) == (text, json, key)


def test_what_json_cannot_say() -> None:
    assert [float_text(number) for number in (math.inf, -math.inf, math.nan)] == ["+Inf", "-Inf", "NaN"]
    for number in (math.inf, -math.inf, math.nan):
        with pytest.raises(MalformedInput) as refused:
            float_json(number)
        assert refused.value.code == "value.unwritable"
    day_long_zone = parse_timestamp("2024-01-02T03:04:05+24:00")
    assert day_long_zone is not None
    with pytest.raises(MalformedInput) as refused:
        day_long_zone.render()
    assert refused.value.code == "value.unwritable"


def test_words_for_values() -> None:
    values: list[Any] = [None, True, 1, 2**63, 1.5, "x", Timestamp("2024-01-02T00:00:00Z"), [], {}]
    assert len({describe(value) for value in values}) == len(values)


def test_scrubbing_replaces_each_bad_byte() -> None:
    assert scrub(b"a\xe4\xb8b\xff".decode("utf-8", "surrogateescape")) == "a\ufffd\ufffdb\ufffd"
    assert scrub("é世😀") == "é世😀"
