"""The drill against an agent with an operator's own settings: what those refuse, and what they let through."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pipeseal.cli import root
from pipeseal.errors import ConfigurationError
from pipeseal.lab.own_agent import load_own_agent

REPOSITORY = "git@git.example.test:acme/app.git"


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """What `init` makes for a runner, with hooks of the operator's that must not run."""
    folder = tmp_path / "settings"
    words = [
        "init",
        "--directory",
        str(folder),
        "--repository",
        REPOSITORY,
        "--pipeline",
        "app",
        "--branch",
        "release",
    ]
    assert CliRunner().invoke(root, words).exit_code == 0
    hooks = folder / "hooks"
    hooks.mkdir()
    (hooks / "environment").write_text(f"touch {tmp_path / 'operator'}\n", encoding="utf-8")
    path = folder / "runner.cfg"
    path.write_text(
        path.read_text("utf-8") + f'token="x"\nhooks-path="{hooks}"\ntags="queue=deploy,os=linux"\n', encoding="utf-8"
    )
    return path


def _drill(settings: Path, *options: str) -> dict[str, Any]:
    done = CliRunner().invoke(root, ["drill", "--agent-config", str(settings), "--json", *options])
    told: dict[str, Any] = json.loads(done.stdout)
    assert done.exit_code == (0 if told["passed"] else 1)
    return told


def test_what_init_writes_refuses_the_attacks(settings: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in settings.parent.iterdir() if path.is_file()}
    told = _drill(settings, "--group", "A", "--scenario", "B01", "--scenario", "D14", "--scenario", "L07")
    assert told["passed"], [row for row in told["scenarios"] if row["problem"]]
    assert told["groups"]["A"]["scenarios"] == 15
    assert {path.name: path.read_bytes() for path in settings.parent.iterdir() if path.is_file()} == before
    assert not (tmp_path / "operator").exists()


def test_where_the_policy_observes_it_says_what_would_have_been_refused(settings: Path) -> None:
    policy = settings.parent / "policy.toml"
    policy.write_text(
        policy.read_text("utf-8").replace("version = 1", 'version = 1\nmode = "observe"'), encoding="utf-8"
    )
    told = _drill(settings, "--scenario", "A01", "--scenario", "A05")
    assert not told["passed"]
    assert [row["state"] for row in told["scenarios"]] == ["got through", "got through"]
    assert "only observed: signature.mismatch" in told["scenarios"][0]["problem"]


def test_it_finds_out_what_the_policy_allows(settings: Path) -> None:
    own = load_own_agent(settings, {})
    names = own.names
    assert (names.repository, names.branch, names.tags) == (REPOSITORY, "release", {"queue": "deploy", "os": "linux"})
    assert own.policy == (settings.parent / "policy.toml").read_text("utf-8")
    assert {"hooks-path", "token", "endpoint"} <= set(own.left_out)
    assert load_own_agent(settings, {}, pipeline="x", organization="y", branch="z").names[:3] == ("y", "x", "z")
    assert not any("hooks" in option for option in own.chosen)


def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_own_agent(tmp_path / "nowhere.cfg", {})
    assert caught.value.code == "config.missing"
