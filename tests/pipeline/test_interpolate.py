"""The grammar of variables in text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeseal.errors import MalformedInput
from pipeseal.pipeline.interpolate import MAX_NESTING, find_identifiers, interpolate_text
from pipeseal.pipeline.values import pack

ENV = {
    "V": "val",
    "EMPTY": "",
    "LONG": "abcdefgh",
    "UNI": "héllo世界",
    "ÉTÉ": "summer",
    "A1": "one",
    "A²": "two",
    "RAW": "$V ${V} $$ \\$",
    "BYTES": "a\udcff\udcc3",
}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$V ${V} $NOPE. ${NOPE}.", "val val . ."),
        ("$V2 ${V}2 $V_", " val2 "),
        ("$ÉTÉ $A² $A1x", "summer two "),
        ("$ $1 $- $", "$ $1 $- $"),
        ("$(V) $((1)) $[V]", "$(V) $((1)) $[V]"),
        ("$$V \\$V \\\\$V \\V", "$V $V \\\\val \\V"),
        ("$$$V $$$$V $${V}", "$val $$V ${V}"),
        ("\\\\\\$V", "\\\\$V"),
        ("$${NOPE:-$V}", "${NOPE:-val}"),
        ("$RAW", "$V ${V} $$ \\$"),
        ("${V:-x} ${EMPTY:-x} ${NOPE:-x} ${EMPTY-x}. ${NOPE-x}", "val x x . x"),
        ("${NOPE:-${ALSO-${V}}} ${NOPE:-a:b?c-d{e} ${NOPE:-{x}}", "val a:b?c-d{e {x}"),
        ("${NOPE:-a\nb}${NOPE:-}${NOPE:-$}${NOPE:-\\}", "a\nb$\\"),
        ("${V?x} ${EMPTY?x}.", "val ."),
        ("${LONG:2} ${LONG:2:3} ${LONG: -3} ${LONG: -3:2} ${LONG:1:-2} ${LONG:+2:+1}", "cdefgh cde fgh fg bcdef c"),
        ("[${LONG:9}${LONG:2:0}${LONG:5:-7}${NOPE:1:2}] ${LONG:-3} ${LONG: -99:2}", "[] abcdefgh ab"),
        ("${LONG:\t1\u2003:\n2 }", "bc"),
        ("${LONG:0000000000000000000000000001:2}", "bc"),
        ("${LONG:9223372036854775807}.${LONG: -9223372036854775808}", ".abcdefgh"),
        ("${UNI:0:1}${UNI:1:2}${UNI:6:3}", "hé世"),
        ("${UNI:0:2}${UNI:2:1}", "hé"),
        ("x\ufffdy$V", "x\ufffdyval"),
    ],
)
def test_expansion(text: str, result: str) -> None:
    assert interpolate_text(text, ENV) == result


def test_substrings_count_bytes_and_may_cut_characters() -> None:
    assert pack(interpolate_text("${UNI:0:2}|${UNI:2:1}|$BYTES", ENV)) == b"h\xc3|\xa9|a\xff\xc3"
    # Bytes of the text itself that are no UTF-8 are replaced on the way.
    assert interpolate_text("\udcff$V", ENV) == "\ufffdval"


@pytest.mark.parametrize(
    "text",
    [
        "${",
        "${}",
        "${V",
        "${V:",
        "${ V}",
        "${V }",
        "${1}",
        "${#V}",
        "${!V}",
        "${V+x}",
        "${V=x}",
        "${V#x}",
        "${V/x/y}",
        "${V:?x}",
        "${V:+x}",
        "${V:=x}",
        "${V:}",
        "${V:1:}",
        "${V:x}",
        "${V:1:x}",
        "${V:1_0}",
        "${V:$V}",
        "${V:٣}",
        "${V:\x1c1}",
        "${V:9223372036854775808}",
        "${LONG:1:9223372036854775807}",
        "${V$$}",
        "${${V}}",
        "${NOPE:-abc",
        "${NOPE:-${V}",
        "${NOPE:-$(}",
        "$" + "{A:-$" * (MAX_NESTING + 1) + "}" * (MAX_NESTING + 1),
    ],
)
def test_what_is_not_understood(text: str) -> None:
    if text == "${NOPE:-$(}":
        assert interpolate_text(text, ENV) == "$("
        return
    with pytest.raises(MalformedInput) as refused:
        interpolate_text(text, ENV)
    assert refused.value.code == "interpolation.syntax"
    assert refused.value.evidence["near"] and refused.value.evidence["near"] in text
    assert refused.value.help


def test_required_variables() -> None:
    for text, message in (
        ("${NOPE?must be set}", "$NOPE: must be set"),
        ("${NOPE?see $V}", "$NOPE: see val"),
        ("${NOPE?}", "$NOPE: not set"),
        ("${NOPE?${OTHER?inner}}", "$OTHER: inner"),
    ):
        with pytest.raises(MalformedInput) as refused:
            interpolate_text(text, ENV)
        assert (refused.value.code, refused.value.message) == ("interpolation.unset", message)
    # A word that is not needed is not expanded.
    assert interpolate_text("${V:-${NOPE?x}}", ENV) == "val"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("plain", []),
        ("$A ${B} $A", ["A", "B", "A"]),
        ("${A:-$B ${C}} ${D-$E} ${F?$G} ${H:1}", ["A", "B", "C", "D", "F", "H"]),
        ("$$A \\$B $$ $${C:-x}y $${", ["$A", "$B", "$", "${C:-x}", "$"]),
        ("$${NOPE:-$V}", ["${NOPE:-$V}", "V"]),
        ("$(A) $1", []),
    ],
)
def test_identifiers(text: str, names: list[str]) -> None:
    assert [name.removeprefix("$") if name.startswith("${") else name for name in find_identifiers(text)] == [
        name.removeprefix("$") if name.startswith("${") else name for name in names
    ]


def test_expanded_text_may_not_be_too_large() -> None:
    assert interpolate_text("a$V${NOPE:-$V}", {"V": "xx"}, max_characters=5) == "axxxx"
    for text in ("a$V${NOPE:-$V}", "$V" * 1_000_000):
        with pytest.raises(MalformedInput) as refused:
            interpolate_text(text, {"V": "xx"}, max_characters=4)
        assert refused.value.code == "input.too_large"


def test_hostile_nesting_takes_bounded_time() -> None:
    started = time.process_time()
    find_identifiers("$${A:-" * 90 + "}" * 90)
    find_identifiers("$${A:-" * 400)
    interpolate_text("$${A:-" * 20_000, {})
    for text in ("${A:-" * 20_000, "${A:-" * 20_000 + "}" * 20_000):
        with pytest.raises(MalformedInput):
            interpolate_text(text, {})
    assert time.process_time() - started < 20


pieces = st.lists(
    st.sampled_from(
        [
            "$",
            "$$",
            "\\",
            "\\\\",
            "${",
            "}",
            "$(",
            "V",
            "EMPTY",
            "LONG",
            ":-",
            "-",
            "?",
            ":",
            "0",
            " -2",
            "é",
            "\udcff",
        ]
    ),
    max_size=10,
).map("".join)


@given(pieces | st.text(max_size=12))
@settings(max_examples=500)
def test_only_malformed_input_comes_out_and_identifiers_agree(text: str) -> None:
    try:
        names = find_identifiers(text)
        result = interpolate_text(text, ENV)
    except MalformedInput as error:
        assert error.code in ("interpolation.syntax", "interpolation.unset")
        return
    pack(result)
    # What no identifier names does not matter.
    named = {name: value for name, value in ENV.items() if name in " ".join(names)}
    if "?" not in text and "-" not in text:
        assert interpolate_text(text, named) == result


@given(
    st.text(st.characters(exclude_characters="$", exclude_categories=["Cs"])),
    st.text(st.characters(exclude_categories=["Cs"])),
)
def test_text_without_dollars_stays_and_values_are_never_scanned(text: str, value: str) -> None:
    assert interpolate_text(text, ENV) == text
    plain = text.replace("\\", "")
    assert interpolate_text(f"{plain}${{X}}", {"X": value}) == plain + value


@given(st.binary(max_size=12), st.integers(-15, 15), st.none() | st.integers(-15, 15))
def test_substrings_are_those_of_bytes(value: bytes, offset: int, length: int | None) -> None:
    start = max(offset + len(value), 0) if offset < 0 else min(offset, len(value))
    end = len(value) if length is None else (start + length if length >= 0 else max(len(value) + length, start))
    text = f"${{X: {offset}}}" if length is None else f"${{X: {offset}:{length}}}"
    env = {"X": value.decode("utf-8", "surrogateescape")}
    assert pack(interpolate_text(text, env)) == value[start:end]
