"""Branch filters: the documented examples, and the meaning of `*` and `!` for any patterns."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.controlplane.domain.branches import parse_branches
from pipeseal.errors import MalformedInput


@pytest.mark.parametrize(
    ("filter_text", "passing", "failing"),
    [
        ("main", ["main"], ["Main", "main2", "a/main", ""]),
        ("!production", ["main", "production2", "x/production", ""], ["production"]),
        ("main features/*", ["main", "features/a", "features/a/b", "features/"], ["features", "dev"]),
        ("*-test", ["rails-update-test", "-test"], ["test", "a-tests"]),
        ("stages/* !stages/production", ["stages/demo", "stages/production/x"], ["stages/production", "main"]),
        ("!stages/production stages/*", ["stages/demo"], ["stages/production", "main"]),
        ("v*.0", ["v1.0", "v.0", "v1.0.0"], ["v1.1", "v0"]),
        ("v* !v1.*", ["v2.3", "v1", "v10"], ["v1.1", "w"]),
        ("*", ["main", "", "a/b"], []),
        ("a*b*c", ["abc", "a-b-c", "abbc", "abcbc"], ["ac", "acb", "abcd"]),
        ("aa*aa", ["aaaa", "aaxaa"], ["aa", "aaa"]),
        ("!*", [], ["main", ""]),
        ("!a !b", ["c"], ["a", "b"]),
        ("!!a", ["a", "b"], ["!a"]),
        ("a.c [x] $(y) a?", ["a.c", "[x]", "$(y)", "a?"], ["abc", "x", "ab"]),
        ("  main\t\n dev ", ["main", "dev"], ["", " "]),
        ("", ["main", ""], []),
        (None, ["main", ""], []),
        (["main", "release/* !release/old"], ["main", "release/1"], ["release/old", "dev"]),
        ([], ["main"], []),
    ],
)
def test_which_branches_pass(filter_text: Any, passing: list[str], failing: list[str]) -> None:
    branches = parse_branches(filter_text, source="step 1")
    assert [name for name in passing if not branches.includes(name)] == []
    assert [name for name in failing if branches.includes(name)] == []


@pytest.mark.parametrize(
    "value", [7, True, {"main": 1}, ["main", None], ["main", 3], "main !", "x" * 600, "a " * 600, ["!"]]
)
def test_what_is_no_filter(value: Any) -> None:
    with pytest.raises(MalformedInput) as caught:
        parse_branches(value, source="step 3 (deploy)")
    assert caught.value.code == "branches.malformed"
    assert caught.value.message.startswith("step 3 (deploy): ")


PATTERNS = st.text(alphabet="ab/*", min_size=1, max_size=8)


@given(
    st.lists(PATTERNS, max_size=4), st.lists(PATTERNS, max_size=4), st.text(alphabet="ab/", max_size=8), st.randoms()
)
def test_meaning_of_any_filter(included: list[str], excluded: list[str], branch: str, random: Any) -> None:
    def matches(pattern: str) -> bool:
        return re.fullmatch(pattern.replace("*", ".*"), branch, re.DOTALL) is not None

    words = included + ["!" + pattern for pattern in excluded]
    random.shuffle(words)
    branches = parse_branches(" ".join(words), source="x")
    expected = (not included or any(map(matches, included))) and not any(map(matches, excluded))
    assert branches.includes(branch) is expected
    assert parse_branches(str(branches), source="x") == branches


def test_many_stars_are_quick() -> None:
    branches = parse_branches("*a" * 200 + "b", source="x")
    assert not branches.includes("a" * 100_000)
