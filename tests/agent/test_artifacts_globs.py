"""Patterns for artifacts: what each piece means, against an independent reading and against Python's own globs."""

from __future__ import annotations

import glob
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeseal.agent.artifacts import globs
from pipeseal.agent.artifacts.find import Search, find_paths
from pipeseal.agent.artifacts.globs import Automaton, matches, parse_pattern
from pipeseal.errors import MalformedInput

MEANING = [
    # pattern, path, does it match?
    ("a/b", "a/b", True),
    ("a/b", "a/b/", False),
    ("a*b", "acccb", True),
    ("a*b", "ab", True),
    ("a*b", "a/b", False),
    ("a?b", "acb", True),
    ("a?b", "a/b", False),
    ("a?b", "ab", False),
    ("*", ".hidden", True),
    ("*", "a/b", False),
    ("**", "a/b/c", True),
    ("**/c", "c", True),
    ("**/c", "a/b/c", True),
    ("**/c", "a/bc", False),
    ("a/**/c", "a/c", True),
    ("a/**/c", "a/b/b/c", True),
    ("a/**/c", "ac", False),
    ("a/**/**/c", "a/c", True),
    ("a**c", "a/b/c", True),
    ("a**c", "ac", True),
    ("a/**", "a/b/c", True),
    ("a/**", "a", False),
    ("{a,b}/c", "b/c", True),
    ("{a,b}/c", "c/c", False),
    ("{a,b/**}/c", "b/x/y/c", True),
    ("{,a}b", "b", True),
    ("{,a}b", "ab", True),
    ("{a,{b,c}d}e", "cde", True),
    ("{a,{b,c}d}e", "ae", True),
    ("{a*,b}c", "axxc", True),
    ("{a,b*}c", "axc", False),
    ("[ab]c", "bc", True),
    ("[ab]c", "cc", False),
    ("[^ab]c", "cc", True),
    ("[^ab]c", "ac", False),
    ("[a-c]", "b", False),
    ("[a-c]", "-", True),
    ("[]", "a", False),
    ("[a", None, False),
    ("a[", "a[", True),
    ("a]", "a]", True),
    ("a}", "a}", True),
    ("a,b", "a,b", True),
    (r"a\*", "a*", True),
    (r"a\*", "ab", False),
    (r"{a\,b,c}", "a,b", True),
    (r"[\]a]", "]", True),
    ("a\\", "a\\", True),
    ("***", "a/b", True),
    ("é*", "éa", True),
    ("~/a", "~/a", True),
]


@pytest.mark.parametrize(("text", "path", "expected"), MEANING)
def test_what_a_pattern_means(text: str, path: str | None, expected: bool) -> None:
    if path is None:
        with pytest.raises(MalformedInput) as caught:
            parse_pattern(text)
        assert caught.value.code == "artifact.pattern"
    else:
        assert matches(parse_pattern(text), path) is expected


@pytest.mark.parametrize(
    ("text", "column"), [("a[bc", 2), ("x{a,b", 2), ("{a,{b}", 1), ("[^", 1), ("a{[b}", 3), ("\\[a[", 3)]
)
def test_what_is_never_closed_is_shown_where_it_opens(text: str, column: int) -> None:
    if text == "\\[a[":
        assert parse_pattern(text).root == "[a["  # a bracket at the very end is a bracket
        return
    with pytest.raises(MalformedInput) as caught:
        parse_pattern(text)
    assert caught.value.position is not None
    assert (caught.value.position.column, caught.value.position.text) == (column, text)


def test_home_is_what_it_was_told_and_only_at_the_start() -> None:
    assert parse_pattern("~/a", home="/home/me").root == "/home/me/a"
    assert parse_pattern("~/*.log", home="/home/m*").root == "/home/m*/"
    assert parse_pattern("a/~/b", home="/home/me").root == "a/~/b"
    assert parse_pattern("~other/a", home="/home/me").root == "~other/a"


def test_a_pattern_has_limits() -> None:
    with pytest.raises(MalformedInput, match="70,000"):
        parse_pattern("a" * 70_000)
    with pytest.raises(MalformedInput, match="deeper"):
        parse_pattern("{" * 65 + "}" * 65)
    assert matches(parse_pattern("{" * 64 + "a" + "}" * 64), "a")


@given(st.text(alphabet="ab/*?[]{},\\^~-.\n\0é", max_size=40))
def test_any_text_is_a_pattern_or_malformed(text: str) -> None:
    try:
        pattern = parse_pattern(text, home="/h")
    except MalformedInput as error:
        assert error.code == "artifact.pattern"
    else:
        Automaton([pattern])


_LETTERS = "ab.é-"
_PIECES = st.one_of(
    st.sampled_from(_LETTERS).map(lambda letter: (letter, re.escape(letter))),
    st.sampled_from("*?[]{},\\").map(lambda sign: ("\\" + sign, re.escape(sign))),
    st.just(("*", "[^/]*")),
    st.just(("?", "[^/]")),
    st.just(("/", "/")),
    st.sets(st.sampled_from("ab*{"), min_size=1).map(lambda s: (f"[{''.join(s)}]", f"[{re.escape(''.join(s))}]")),
    st.sets(st.sampled_from("ab*{"), min_size=1).map(lambda s: (f"[^{''.join(s)}]", f"[^{re.escape(''.join(s))}]")),
)


def _sequence(pieces: list[tuple[str, str]]) -> tuple[str, str]:
    # Two stars side by side would be another sign.
    text, expression = "", ""
    for written, meant in pieces:
        if not (text.endswith("*") and written.startswith("*")):
            text, expression = text + written, expression + meant
    return text, expression


def _choices(parts: list[tuple[str, str]]) -> tuple[str, str]:
    return "{" + ",".join(text for text, _ in parts) + "}", "(?:" + "|".join(meant for _, meant in parts) + ")"


_PATTERNS = st.recursive(
    st.lists(_PIECES, max_size=5).map(_sequence),
    lambda inner: st.lists(st.one_of(_PIECES, st.lists(inner, min_size=1, max_size=3).map(_choices)), max_size=4).map(
        _sequence
    ),
    max_leaves=8,
)


@settings(max_examples=300)
@given(_PATTERNS, st.text(alphabet=_LETTERS + "/*{", max_size=8))
def test_a_pattern_means_what_an_independent_reading_of_it_means(pattern: tuple[str, str], path: str) -> None:
    text, expression = pattern
    if "//" in text or text.startswith("~"):
        return
    assert matches(parse_pattern(text), path) is (re.fullmatch(expression, path, re.S) is not None)


@given(st.lists(_PATTERNS, min_size=1, max_size=4), st.text(alphabet=_LETTERS + "/*{", max_size=8))
def test_several_patterns_match_what_one_of_them_matches(patterns: list[tuple[str, str]], path: str) -> None:
    read = [parse_pattern(text + "*") for text, _ in patterns]
    by_root = [pattern for pattern in read if pattern.root == read[0].root]
    automaton = Automaton(by_root)
    root = read[0].root
    if not path.startswith(root):
        return
    state = automaton.step(automaton.start, path[len(root) :])
    assert automaton.accepts(state) is any(matches(pattern, path) for pattern in by_root)


def test_memory_of_the_automaton_is_bounded_and_forgetting_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(globs, "_MAX_REMEMBERED", 50)
    automaton = Automaton([parse_pattern("a*/{b,c}?/**/d*")])
    start = automaton.places(automaton.start)
    for number in range(300):
        state = automaton.step(automaton.state(start), f"a{number}")
        inside = automaton.places(automaton.step(state, "/"))
        assert automaton.accepts(automaton.step(automaton.state(inside), "b1/x/dd"))
        assert not automaton.accepts(automaton.step(automaton.state(inside), "x1/x/dd"))
    assert len(automaton._states) < 200


def test_a_pattern_made_to_be_slow_is_not() -> None:
    pattern = parse_pattern("{a,a}" * 60 + "*a" * 60 + "b")
    assert not matches(pattern, "a" * 3_000)


# --- against Python's own globs, where both mean the same ---------------------------------------------------------

_NAMES = st.sampled_from(["a", "b", "ab", ".a", "a.b", "c"])
_TREES = st.sets(st.lists(_NAMES, min_size=1, max_size=4).map("/".join), max_size=12)
_COMPONENTS = st.sampled_from(["*", "a*", "*b", "?", "a", "a?", "**", ".*", "*.b"])


def _grow(root: Path, tree: set[str]) -> None:
    for path in sorted(tree, key=len, reverse=True):
        file = root / path
        if not file.exists() and all(not parent.is_file() for parent in file.parents):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(path)


@settings(max_examples=150, deadline=None)
@given(_TREES, st.lists(_COMPONENTS, min_size=1, max_size=4).map("/".join))
def test_the_same_files_are_found_as_by_glob(tree: set[str], pattern: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _grow(root, tree)
        found = [path.removeprefix(f"{folder}/") for path in find_paths(Search(f"{folder}/{pattern}", delimiter=""))]
        expected = glob.glob(pattern, root_dir=root, recursive=True, include_hidden=True)  # noqa: PTH207  (what is compared)
        # With a slash at its end, glob means what would be a folder.
        files = {path for path in expected if not path.endswith("/") and (root / path).is_file()}
        assert sorted(found) == sorted(files)


@settings(max_examples=60, deadline=None)
@given(_TREES, st.lists(st.lists(_COMPONENTS, min_size=1, max_size=3).map("/".join), min_size=2, max_size=4))
def test_patterns_together_find_what_each_finds_alone(tree: set[str], patterns: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _grow(Path(folder), tree)
        full = [f"{folder}/{pattern}" for pattern in patterns]
        together = set(find_paths(Search(";".join(full))))
        alone = {path for pattern in full for path in find_paths(Search(pattern, delimiter=""))}
        assert together == alone
