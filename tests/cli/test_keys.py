"""The commands of `keys`: what they write, what they leave alone, and what they refuse."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pipeseal.cli import root
from pipeseal.errors import ConfigurationError, PipesealError
from pipeseal.policy.files import read_policy
from pipeseal.signing.keys.digits import comparison_digits
from pipeseal.signing.keys.open import load_verification_keys, open_signing_key
from tests.signing.material import pair_of

POLICY = """\
version = 1     # of the format
keys = ["eddsa-*"]

[key.eddsa-one]
repositories = ["git@example.org:acme/*"]   # no others
branches = "main"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    for name, text in (("verification.json", pair_of("EdDSA").public_set), ("policy.toml", POLICY)):
        (tmp_path / name).write_text(text, "utf-8")
        (tmp_path / name).chmod(0o644)
    return tmp_path


def _run(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(root, ["keys", *words, "--directory", str(folder)])


def _code(folder: Path, *words: str, family: type[PipesealError] = ConfigurationError) -> str:
    result = _run(folder, *words)
    assert isinstance(result.exception, family), result.output
    return result.exception.code


def _list(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(_run(folder, "list", "-o", "json").output)
    return rows


def test_list_says_of_each_key_whether_it_is_believed(folder: Path) -> None:
    (row,) = _list(folder)
    assert (row["key id"], row["state"]) == ("eddsa-one", "valid")
    assert row["why"] == "repositories git@example.org:acme/*; branches main"
    for said, state in (
        ('revoked = "lost"', "revoked: lost"),
        ("not-after = 2020-01-01", "expired: since 2020-01-01 23:59 UTC"),
        ("not-before = 2099-01-01", "not valid yet: from 2099-01-01 00:00 UTC"),
        ("not-after = 2099-01-01T00:00:00Z", "valid: until 2099-01-01 00:00 UTC"),
    ):
        (folder / "policy.toml").write_text(
            f'version = 1\n[key.eddsa-one]\n{said}\n[key.gone]\nrevoked = "x"\n', "utf-8"
        )
        output = _run(folder, "list").output
        assert state in output and "gone" in output and "removed: x" in output
    (folder / "policy.toml").unlink()
    assert _list(folder)[0]["state"] == "valid"


def test_show_says_what_people_compare_a_key_by(folder: Path) -> None:
    (row,) = _list(folder)
    thumbprint = pair_of("EdDSA").key.thumbprint()
    assert row["digits"] == comparison_digits(thumbprint)
    assert row["digits"] in _run(folder, "list").output
    shown = _run(folder, "show", "eddsa-one").output
    assert row["digits"] in shown and f"#pin={thumbprint} " in shown
    assert f"valid: {row['why']}" in shown
    (grouped,) = (line for line in shown.splitlines() if line.startswith("thumbprint"))
    assert grouped.removeprefix("thumbprint").replace(" ", "") == thumbprint
    assert _code(folder, "show", "other") == "key.not_found"


def test_revoke_writes_the_reason_and_nothing_else(folder: Path) -> None:
    result = _run(folder, "revoke", "eddsa-one", "--reason", 'left a "laptop" on the train')
    assert result.exit_code == 0, result.output
    text = (folder / "policy.toml").read_text("utf-8")
    assert text == POLICY.replace(
        "[key.eddsa-one]\n", '[key.eddsa-one]\nrevoked = "left a \\"laptop\\" on the train"\n'
    )
    assert read_policy(folder / "policy.toml").keys["eddsa-one"].revoked == 'left a "laptop" on the train'
    assert stat.S_IMODE((folder / "policy.toml").stat().st_mode) == 0o644
    assert _list(folder)[0]["state"] == "revoked"
    again = _run(folder, "revoke", "eddsa-one", "--reason", "other")
    assert "revoked already" in again.output and (folder / "policy.toml").read_text("utf-8") == text
    assert _code(folder, "rotate", "eddsa-one") == "key.not_found"


def test_revoke_without_a_policy_makes_one_and_says_that_it_has_to_be_named(folder: Path) -> None:
    (folder / "policy.toml").unlink()
    result = _run(folder, "revoke", "eddsa-one", "--reason", "leaked")
    assert result.exit_code == 0 and "only if `policy-file`" in result.output
    assert read_policy(folder / "policy.toml").keys["eddsa-one"].revoked == "leaked"


@pytest.mark.parametrize("words", [("revoke", "eddsa-one", "--reason", "x"), ("rotate", "eddsa-one"), ("list",)])
def test_files_that_others_can_change_are_not_worked_with(folder: Path, words: tuple[str, ...]) -> None:
    """A command that rewrote such a file would lend it credit."""
    for name, code in (("policy.toml", "policy.permissions"), ("verification.json", "key.permissions")):
        (folder / name).chmod(0o666)
        before = (folder / name).read_bytes()
        assert _code(folder, *words) == code
        assert (folder / name).read_bytes() == before
        (folder / name).chmod(0o644)


def test_rotate_makes_a_key_beside_the_old_one_and_gives_that_an_end(folder: Path) -> None:
    result = _run(folder, "rotate", "eddsa-one", "--overlap", "2h", "--new-key-id", "eddsa-two")
    assert result.exit_code == 0, result.output
    assert [key.kid for key in load_verification_keys(str(folder / "verification.json"))] == [
        "eddsa-one",
        "eddsa-two",
    ]
    private = folder / "signing-eddsa-two.json"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert open_signing_key(str(private)).kid == "eddsa-two"
    policy = read_policy(folder / "policy.toml")
    old, new = policy.keys["eddsa-one"], policy.keys["eddsa-two"]
    assert old.not_after is not None and old.not_before is None
    import time

    assert 0 < old.not_after - time.time() <= 7200
    assert new.not_after is None
    assert (new.repositories, new.branches) == (old.repositories, old.branches)
    assert (folder / "policy.toml").read_text("utf-8").startswith("version = 1     # of the format\n")
    assert "warning" not in result.output
    assert [row["state"] for row in _list(folder)] == ["valid", "valid"]


def test_rotate_says_where_the_new_key_is_not_allowed_yet(folder: Path) -> None:
    (folder / "policy.toml").write_text('version = 1\nkeys = ["eddsa-one"]\n', "utf-8")
    result = _run(folder, "rotate", "eddsa-one")
    assert result.exit_code == 0 and "`keys` of every job names eddsa-one and not eddsa-" in result.output


def test_rotate_never_prolongs_a_key_and_never_overwrites_one(folder: Path) -> None:
    (folder / "policy.toml").write_text("version = 1\n[key.eddsa-one]\nnot-after = 2030-01-01T00:00:00Z\n", "utf-8")
    assert _run(folder, "rotate", "eddsa-one", "--overlap", "9999d").exit_code == 0
    assert read_policy(folder / "policy.toml").keys["eddsa-one"].not_after == 1893456000.0
    assert _code(folder, "rotate", "eddsa-one", "--new-key-id", "eddsa-one") == "key.duplicate"
    (folder / "signing-next.json").write_text("mine", "utf-8")
    before = (folder / "verification.json").read_bytes()
    assert _code(folder, "rotate", "eddsa-one", "--new-key-id", "next") == "key.exists"
    assert (folder / "verification.json").read_bytes() == before
    assert _code(folder, "rotate", "nobody") == "key.not_found"
    assert _code(folder, "revoke", "nobody", "--reason", "x") == "key.not_found"
    assert _code(folder, "rotate", "eddsa-one", "--overlap", "soon") == "seal.validity"


def test_a_policy_that_cannot_be_changed_for_sure_is_left_alone(folder: Path) -> None:
    text = 'version = 1\nkey = {eddsa-one = {roles = "uploads"}}\n'
    (folder / "policy.toml").write_text(text, "utf-8")
    assert _code(folder, "revoke", "eddsa-one", "--reason", "x") == "policy.edit"
    assert (folder / "policy.toml").read_text("utf-8") == text
