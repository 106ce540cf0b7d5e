"""Reading YAML: the dialect, copies and merges, limits, positions, and nothing but `MalformedInput` comes out."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeseal.errors import MalformedInput, render_error
from pipeseal.pipeline.nodes import MAPPING, TreeReader, read_nodes
from pipeseal.pipeline.values import Timestamp
from pipeseal.pipeline.yaml import DEFAULT_LIMITS, Limits, PlainReader, Source, Unusual, read_document, read_documents
from tests.pipeline.texts import exact, soup


def _refusal(data: bytes | str, limits: Limits = DEFAULT_LIMITS) -> MalformedInput:
    with pytest.raises(MalformedInput) as refused:
        read_document(data, source="p.yml", limits=limits)
    return refused.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[a:]", ["a:"]),
        ("{a:,b: c}", {"a:": None, "b": "c"}),
        ("{a: b:}", {"a": "b:"}),
        ("[http://x:80, 'q:']", ["http://x:80", "q:"]),
        ("[!foo, 1]", ["1"]),
        ("- !foo,bar 1", ["1"]),
        ("- !!,seq [1]", [[1]]),
        ("a: x?y", {"a": "x?y"}),
        ('["x?y"]', ["x?y"]),
        ("[? a, b]", [{"a": None}, "b"]),
        ("\ufeffa: 1", {"a": 1}),
        ("a: 1\n\ufeffb: 2", {"a": 1, "\ufeffb": 2}),
        ('["a\ufeffb", c:]', ["a\ufeffb", "c:"]),
        ('["a\\\'b\\"\\\'", "\\\\\'"]', ["a'b\"'", "\\'"]),
        ("# c\n\t# d\n \t\n\t# e\na: 1\n# f\n\t\t# g\n", {"a": 1}),
        ("%YAML 1.1\n---\na: yes", {"a": "yes"}),
        ("%TAG !e! tag:yaml.org,2002:\n---\na: !e!str 5", {"a": "5"}),
        ("a: 1\na: 2\nb: 3\na: 4", {"a": 4, "b": 3}),
        ("{1: a, 0x1: b, '1': c, 1.5: d, true: e, 2024-01-02: f}", None),
        ("a: !!binary aGk=", {"a": "hi"}),
        ("a: !!binary /w==", {"a": "\ufffd"}),
        ("a: !!float 3", {"a": 3.0}),
        ('a: !!int "7"', {"a": 7}),
        ("a: ! 1", {"a": 1}),
        ("a: !x 1", {"a": "1"}),
        ("a: !<tag:yaml.org,2002:str> 1", {"a": "1"}),
        ("a: <<", {"a": "<<"}),
        ("a: 2024-01-02", {"a": Timestamp("2024-01-02T00:00:00Z")}),
        ("---\na\n...\ngarbage: [", "a"),
    ],
)
def test_the_dialect(text: str, value: Any) -> None:
    if value is None:
        value = {"1": "c", "1.500000e+00": "d", "true": "e", "2024-01-02": "f"}
    assert exact(read_document(text)) == exact(value)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "yaml.empty"),
        ("# only a comment\n", "yaml.empty"),
        ("a: [", "yaml.syntax"),
        ("a: 'x", "yaml.syntax"),
        ("%YAML 1.2\n---\na", "yaml.syntax"),
        ("%FOO\n---\na", "yaml.syntax"),
        ('"\\/"', "yaml.syntax"),
        ('"\\ud800"', "yaml.syntax"),
        ("[a?b]", "yaml.syntax"),
        ("{a?: b}", "yaml.syntax"),
        ("[!<!!str>, 1]", "yaml.syntax"),
        (b"[a:, '\xff']", "yaml.encoding"),
        (b"\xff\xfe" + "[a:, b]".encode("utf-16-le") + b"\x00", "yaml.encoding"),
        ("# c\n\ta: 1", "yaml.syntax"),
        ("a: 1 # c\n\t# d", "yaml.syntax"),
        ("a: b: c", "yaml.syntax"),
        ("a\n---x: '", "yaml.syntax"),
        (b"a: \xff", "yaml.encoding"),
        (b"a: \xed\xa0\x80", "yaml.encoding"),
        ("a: \x01", "yaml.encoding"),
        ("a: \x7f", "yaml.encoding"),
        ("a: \ufffe", "yaml.encoding"),
        ("\ud800", "yaml.encoding"),
        (b"a\x00:\x00", "yaml.encoding"),
        ("*a", "yaml.alias"),
        ("&a [*a]", "yaml.alias"),
        ("a: &a {b: {<<: *a, c: 1}}", "yaml.alias"),
        ("~: 1", "yaml.key"),
        ("? [a]\n: 1", "yaml.key"),
        ("a: &a {}\n*a : 1", "yaml.key"),
        ("<<: 1", "yaml.merge"),
        ("<<: ~", "yaml.merge"),
        ("<<: [[a]]", "yaml.merge"),
        ("!!bool yes", "yaml.tag"),
        ("!!int 1.5", "yaml.tag"),
        ("!!float 18446744073709551615", "yaml.tag"),
        ("!!binary '***'", "yaml.tag"),
        ("!!null x", "yaml.tag"),
        ("!!timestamp 12", "yaml.tag"),
    ],
)
def test_what_is_refused(text: bytes | str, code: str) -> None:
    assert _refusal(text).code == code


def test_utf_16_with_a_byte_order_mark_is_read() -> None:
    assert read_document("a: é\n".encode("utf-16")) == {"a": "é"}
    assert read_document("a: [b:]\n".encode("utf-16")) == {"a": ["b:"]}


def test_aliases_are_independent_copies() -> None:
    value = read_document("a: &a {x: [1]}\nb: *a\nc: [*a, *a]\n")
    assert value == {"a": {"x": [1]}, "b": {"x": [1]}, "c": [{"x": [1]}, {"x": [1]}]}
    value["b"]["x"].append(2)
    assert value["a"] == {"x": [1]} and value["c"] == [{"x": [1]}, {"x": [1]}]


def test_an_anchor_given_again_is_the_later_one() -> None:
    assert read_document("[&a 1, *a, &a 2, *a]") == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: &a {x: 1, y: 2}\nb: {y: 9, <<: *a, z: 3}", [("y", 9), ("x", 1), ("z", 3)]),
        ("a: &a {x: 1, y: 2}\nc: &c {y: 5, w: 6}\nb: {<<: [*c, *a]}", [("y", 5), ("w", 6), ("x", 1)]),
        ("a: &a {x: 1}\nb: {<<: *a, <<: {x: 2, q: 3}}", [("x", 1), ("q", 3)]),
        ("a: &a {x: 1, x: 2}\nb: {<<: *a}", [("x", 1)]),
        ("a: &a {<<: {q: 1}, x: 1}\nb: {<<: *a}", [("q", 1), ("x", 1)]),
        ("b: &b {<<: *b, x: 1}", [("x", 1)]),
        # Merging what is still open takes what comes later in it, too.
        ("b: &b {<<: {k: 1}, x: 1}\nc: 1", [("k", 1), ("x", 1)]),
        ("a: 1\nb: {'<<': 1}", [("<<", 1)]),
        ("a: &a {x: 1}\nb: {!!merge anything: *a}", [("x", 1)]),
    ],
)
def test_merge_keys(text: str, expected: list[tuple[str, Any]]) -> None:
    assert list(read_document(text)["b"].items()) == expected


def test_merging_a_mapping_that_is_still_open() -> None:
    assert read_document("&a {b: {<<: *a, b: 2}, x: 1}") == {"b": {"b": 2, "x": 1}, "x": 1}


def test_a_merge_takes_only_what_it_needs() -> None:
    # The value that loses is never looked at, so its tag does not matter.
    assert read_document("{<<: {a: !!bool yes}, a: 1}") == {"a": 1}


def test_all_documents_one_by_one() -> None:
    assert list(read_documents("a\n---\n---\nb: 1\n...\n")) == ["a", None, {"b": 1}]
    first, second, third = read_documents("[a]\n---\n&x [*x]\n---\n[b]")
    assert first == ["a"] and third == ["b"]
    assert isinstance(second, MalformedInput) and second.code == "yaml.alias"
    good, bad = read_documents("a: &x 1\nb: *x\n---\n[b")
    assert good == {"a": 1, "b": 1}
    assert isinstance(bad, MalformedInput) and bad.code == "yaml.syntax"


@given(soup)
@settings(max_examples=400, deadline=None)
def test_nothing_but_malformed_input_comes_out_of_a_soup(text: str) -> None:
    for document in read_documents(text):
        if isinstance(document, MalformedInput):
            assert render_error(document).isprintable() or "\n" in render_error(document)


@given(st.binary(max_size=60))
@settings(max_examples=300, deadline=None)
def test_nothing_but_malformed_input_comes_out_of_bytes(data: bytes) -> None:
    for _ in read_documents(data):
        pass


def _tree_value(text: str) -> Any:
    reader = TreeReader(Source("x", text.encode("utf-8", "surrogatepass")), DEFAULT_LIMITS)
    node = reader.read_node()
    return None if node is None else reader.construct(node)


@given(soup)
@settings(max_examples=600, deadline=None)
def test_both_constructors_agree(text: str) -> None:
    from yaml import YAMLError

    source = Source("x", text.encode("utf-8", "surrogatepass"))
    try:
        more, plain = PlainReader(source, DEFAULT_LIMITS).read()
    except (Unusual, YAMLError):
        return
    if more:
        assert exact(plain) == exact(_tree_value(text))


# --- limits -----------------------------------------------------------------------------------------------------


def _bomb() -> str:
    lines = ["a0: &a0 x"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (_bomb(), "input.too_many_values"),
        ("l: &l [" + ", ".join(f"&e{i} {{}}" for i in range(300)) + "]\nx: [" + "{<<: *l}, " * 500 + "]", None),
        ("[" * 500, "input.too_deep"),
        ("[" * 100_000, "input.too_deep"),
        ("- " * 5_000, "input.too_deep"),
        ("a: &a " + "[" * 150 + "]" * 150 + "\nb: " + "[" * 100 + "*a" + "]" * 100, "input.too_deep"),
        ("x: [" + "a," * 120_000 + "]", "input.too_many_values"),
        ("x: {" + "".join(f"k{i}: 1, " for i in range(60_000)) + "}", "input.too_many_values"),
        ("x" * 2_000_001, "input.too_large"),
    ],
)
def test_limits_hold_in_bounded_time(text: str, code: str | None) -> None:
    started = time.process_time()
    error = _refusal(text, Limits(max_bytes=2_000_000, max_depth=200, max_values=100_000))
    assert error.code == (code or "input.too_many_values")
    assert time.process_time() - started < 20


def test_an_alias_bomb_stays_small() -> None:
    import tracemalloc

    tracemalloc.start()
    try:
        _refusal(_bomb(), Limits(max_values=50_000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50_000_000


def test_what_is_within_the_limits_is_read() -> None:
    limits = Limits(max_bytes=1_000, max_depth=3, max_values=9)
    assert read_document("a: [[1, 2], 3]", limits=limits) == {"a": [[1, 2], 3]}
    assert _refusal("a: [[[1]]]", limits).code == "input.too_deep"
    assert _refusal("a: [[1, 2], 3, 4, 5, 6]", limits).code == "input.too_many_values"


def test_many_respelled_scalars_are_refused_and_not_read_again_for_ever() -> None:
    assert read_document("[" + "a:, " * 50 + "]") == ["a:"] * 50
    assert _refusal("[" + "a:, " * 400 + "]").code == "yaml.syntax"
    started = time.process_time()
    large = "x: [" + "a, " * 300_000 + "]\ny: [" + "a:, " * 100 + "]"
    assert _refusal(large).code == "yaml.syntax"
    assert time.process_time() - started < 60


# --- positions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "column", "shown"),
    [
        ("a: 1\nb: [x\n", 2, 4, "b: [x"),
        ("a: 1\nb: c: d\n", 2, 5, "b: c: d"),
        ("a:\n  - !!bool yes\n", 2, 5, "  - !!bool yes"),
        ("é: 1\né: \x01\n", 2, 4, "é: \\x01"),
        ("a: 1\r\nb: *x\r\n", 2, 4, "b: *x"),
        ("a: 1\u2028b: *x", 2, 4, "b: *x"),
        ('a: "1\\/2"', 1, 6, 'a: "1\\/2"'),
        ('a: "x\n  \\/y"', 2, 3, '  \\/y"'),
        ("a:\n  ~: 1", 2, 3, "  ~: 1"),
        ("a: [b?]", 1, 5, "a: [b?]"),
    ],
)
def test_errors_show_the_place(text: str, line: int, column: int, shown: str) -> None:
    error = _refusal(text)
    assert error.position is not None
    assert (error.position.line, error.position.column) == (line, column)
    rendered = render_error(error).splitlines()
    assert rendered[0].startswith(f"error[{error.code}]: p.yml:{line}:{column}: ")
    assert rendered[1] == f"{line:>5} | {shown}"
    assert rendered[2].index("^") == len("      | ") + column - 1 if "\\x" not in shown else "^" in rendered[2]


def test_nodes_say_where_everything_stands() -> None:
    root = read_nodes("steps:\n  - command: a\n    label: 'b'\n  - {x: 1}\n")
    assert root is not None and root.kind == MAPPING
    steps = root.children[1]
    first, second = steps.children
    assert (first.line, first.column, first.style) == (2, 5, "")
    assert (second.line, second.column, second.end_line, second.end_column) == (4, 5, 4, 11)
    assert second.style == "flow"
    assert [
        (key.text, value.style) for key, value in zip(first.children[::2], first.children[1::2], strict=True)
    ] == [
        ("command", ""),
        ("label", "'"),
    ]
    assert read_nodes("# nothing\n") is None
