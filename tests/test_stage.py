"""The stage of demonstrations: what goes wrong there is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeseal.errors import ConfigurationError, Unavailable
from pipeseal.lab.stage import Actors, make_repository, run_git


def test_git_that_fails_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="not a git repository") as caught:
        run_git(tmp_path, "status")
    assert caught.value.code == "git.failed"


def test_a_process_that_ends_at_once_is_quoted(tmp_path: Path) -> None:
    with Actors(tmp_path) as actors, pytest.raises(Unavailable) as caught:
        actors.start("server", ["server", "--nonsense"], ready="Listening on")
    assert caught.value.code == "stage.not_ready"
    assert "--nonsense" in caught.value.evidence["it said"]


def test_a_repository_has_one_commit_and_its_tag(tmp_path: Path) -> None:
    commit = make_repository(tmp_path / "r", {"hooks/environment": "true\n"}, tag="v1")
    assert run_git(tmp_path / "r", "rev-parse", "v1^{commit}") == commit
    assert (tmp_path / "r" / "hooks" / "environment").stat().st_mode & 0o111


def test_init_never_overwrites(tmp_path: Path) -> None:
    from pipeseal.cli import root

    arguments = ["init", "--directory", str(tmp_path / "keys")]
    root.main(args=arguments, standalone_mode=False)
    before = {path.name: path.read_bytes() for path in (tmp_path / "keys").iterdir()}
    with pytest.raises(ConfigurationError) as caught:
        root.main(args=arguments, standalone_mode=False)
    assert caught.value.code == "init.exists"
    assert {path.name: path.read_bytes() for path in (tmp_path / "keys").iterdir()} == before
    assert (tmp_path / "keys" / "signing.json").stat().st_mode & 0o777 == 0o600
