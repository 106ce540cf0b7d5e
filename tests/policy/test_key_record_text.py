"""Writing into the record of a key: what else the file says, comments too, stays as it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.errors import ConfigurationError, MalformedInput, PipesealError
from pipeseal.policy.file import parse_policy
from pipeseal.policy.key_record_text import render_text, set_in_record

TEXT = """\
# Why this is so: see the wiki.
version = 1   # always
keys = ["a", "b"]

[key.a]   # the uploader
# two years
not-after = 2028-01-01

[ key . "b.c" ]
revoked = "lost"  # 2026

[[allow]]
repository = "x"
"""


def test_a_record_that_is_there_is_changed_in_place() -> None:
    assert set_in_record(TEXT, "a", {"revoked": render_text('it "leaked"')}) == TEXT.replace(
        "# the uploader\n", '# the uploader\nrevoked = "it \\"leaked\\""\n'
    )
    assert set_in_record(TEXT, "a", {"not-after": "2027-01-01"}) == TEXT.replace(
        "# the uploader\n# two years\nnot-after = 2028-01-01\n",
        "# the uploader\nnot-after = 2027-01-01\n# two years\n",
    )
    assert '[ key . "b.c" ]\nrevoked = "found"\n' in set_in_record(TEXT, "b.c", {"revoked": '"found"'})
    crlf = TEXT.replace("\n", "\r\n")
    assert parse_policy(set_in_record(crlf, "a", {"revoked": '"x"'}).encode()).keys["a"].revoked == "x"


@pytest.mark.parametrize("kid", ["new", "with.dots", 'with "quotes"', "a b", "é", "-x", "[allow]"])
def test_a_record_that_is_not_there_is_added_at_the_end(kid: str) -> None:
    changed = set_in_record(TEXT, kid, {"revoked": '"why"'})
    assert changed.startswith(TEXT)
    assert parse_policy(changed.encode()).keys[kid].revoked == "why"
    assert set_in_record(changed, kid, {"revoked": '"why"'}) == changed


@pytest.mark.parametrize(
    "text",
    [
        "version = 1\nkey = {a = {not-after = 2028-01-01}}\n",
        "version = 1\n[key]\na.not-after = 2028-01-01\n",
        'version = 1\n[key."a"]\n[key.b]\nrevoked = """\n[key.a]\n"""\n[key.c]\nrevoked = \'\'\'\n[key.a]\n\'\'\'\n',
    ],
)
def test_what_cannot_be_changed_for_sure_is_left_alone(text: str) -> None:
    try:
        changed = set_in_record(text, "a", {"revoked": '"x"'})
    except ConfigurationError as error:
        assert error.code == "policy.edit"
    else:
        before, after = parse_policy(text.encode()).keys, parse_policy(changed.encode()).keys
        assert after["a"].revoked == "x"
        assert {kid: record for kid, record in after.items() if kid != "a"} == {
            kid: record for kid, record in before.items() if kid != "a"
        }


def test_a_file_that_is_no_policy_is_not_made_one() -> None:
    with pytest.raises(MalformedInput):
        set_in_record("vers = 1\n", "a", {"revoked": '"x"'})


PIECES = (
    *("[key.a]\n", "[key.b]\n", '[key."a"]\n', "[key]\n", "[[allow]]\n", "# [key.a]\n", "  ", "\n", "\r\n"),
    *('revoked = "r"\n', '"revoked" = "z"\n', "not-after = 2028-01-01\n", "a.roles = 'static'\n"),
    *('repositories = ["""\n[key.a]\n"""]\n', 'a = {revoked = "q"}\n'),
)
pieces = st.sampled_from(PIECES)


@given(st.lists(pieces, max_size=8).map("".join), st.sampled_from(["a", "b", "c"]), st.text(min_size=1, max_size=5))
def test_any_change_changes_that_key_alone(rest: str, kid: str, reason: str) -> None:
    text = f"version = 1\n{rest}"
    try:
        value = render_text(reason)
        changed = set_in_record(text, kid, {"revoked": value})
    except (PipesealError, UnicodeEncodeError):
        return
    before, after = parse_policy(text.encode()), parse_policy(changed.encode())
    assert after.keys[kid].revoked == reason
    assert {name: record for name, record in after.keys.items() if name != kid} == {
        name: record for name, record in before.keys.items() if name != kid
    }
    assert after.sections == before.sections and after.everywhere == before.everywhere
