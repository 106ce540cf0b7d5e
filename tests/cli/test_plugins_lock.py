"""`plugins lock`, and signing by the lock: what moved, or is not in it, is not sealed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeseal.cli import root
from pipeseal.errors import ConfigurationError, MalformedInput, PipesealError, VerificationError
from pipeseal.pipeline.parse import parse_pipeline
from pipeseal.pipeline.steps import CommandStep
from pipeseal.signing.bindings import SEAL
from pipeseal.signing.seal.parse import parse_seal
from tests.agent.repositories import git, make_repository
from tests.signing.material import REPOSITORY, pair_of

LOCK = Path(".buildkite/plugins.lock")


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    folder = tmp_path / "lint-buildkite-plugin"
    make_repository(folder, {"hooks/pre-command": "echo one\n"}, tag="v1")
    return folder


@pytest.fixture
def checkout(tmp_path: Path, plugin: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a repository with a pipeline file that uses the plugin."""
    folder = tmp_path / "checkout"
    pipeline = f"steps:\n- command: make\n  plugins:\n  - {plugin}#v1: {{level: 2}}\n  - ./vendored\n"
    make_repository(folder, {".buildkite/pipeline.yml": pipeline})
    (tmp_path / "signing.json").write_text(pair_of("EdDSA").private_set, "utf-8")
    (tmp_path / "signing.json").chmod(0o600)
    monkeypatch.chdir(folder)
    return folder


def _run(*words: str) -> Result:
    empty = dict.fromkeys(("BUILDKITE_AGENT_JWKS_FILE", "BUILDKITE_REPO", "BUILDKITE_JOB_ID"), "")
    return CliRunner().invoke(root, list(words), env=empty)


def _refusal(*words: str, family: type[PipesealError] = VerificationError) -> PipesealError:
    result = _run(*words)
    assert isinstance(result.exception, family), result.output
    return result.exception


def _move(plugin: Path) -> None:
    (plugin / "hooks/pre-command").write_text("echo two\n", "utf-8")
    git(plugin, "commit", "-qam", "Two")
    git(plugin, "tag", "-f", "v1")


def _sign(*more: str) -> tuple[str, ...]:
    pipeline = ".buildkite/pipeline.yml"
    return ("tool", "sign", pipeline, "--jwks-file", "../signing.json", "--repo", REPOSITORY, *more)


def _upload(*more: str) -> tuple[str, ...]:
    return ("pipeline", "upload", "--dry-run", "--jwks-file", "../signing.json", ".buildkite/pipeline.yml", *more)


def _sealed_commits(text: str) -> list[str | None]:
    step = parse_pipeline(text).steps[0]
    assert isinstance(step, CommandStep)
    return [resolved and resolved.commit for resolved in parse_seal(step.env[SEAL]).plugins]


def test_lock_check_move_update(checkout: Path, plugin: Path) -> None:
    first = git(plugin, "rev-parse", "HEAD")
    missing = _refusal("plugins", "lock", "--check", family=ConfigurationError)
    assert missing.code == "plugin.no_lock"
    locked = _run("plugins", "lock")
    assert locked.exit_code == 0, locked.output
    assert f"+ {plugin}#v1  {first}" in locked.output
    text = LOCK.read_text("utf-8")
    assert f'[plugins."{plugin}#v1"]\ncommit = "{first}"\ntree = "' in text
    assert _run("plugins", "lock").exit_code == 0 and LOCK.read_text("utf-8") == text
    assert _run("plugins", "lock", "--check").exit_code == 0
    _move(plugin)
    for words in (("--check",), ()):
        moved = _refusal("plugins", "lock", *words)
        assert moved.code == "plugin.moved"
        assert first in moved.message and LOCK.read_text("utf-8") == text
    updated = _run("plugins", "lock", "--update")
    assert f"~ {plugin}#v1  {first[:12]} -> {git(plugin, 'rev-parse', 'HEAD')}" in updated.output
    assert _run("plugins", "lock", "--check").exit_code == 0


def test_check_tells_what_is_missing_and_what_is_not_used(checkout: Path, plugin: Path) -> None:
    assert _run("plugins", "lock").exit_code == 0
    git(plugin, "tag", "v2")
    file = checkout / ".buildkite/pipeline.yml"
    file.write_text(file.read_text("utf-8").replace("#v1", "#v2"), "utf-8")
    assert _refusal("plugins", "lock", "--check").code == "plugin.unlocked"
    written = _run("plugins", "lock")
    assert f"- {plugin}#v1" in written.output and f"+ {plugin}#v2" in written.output
    file.write_text("steps: [{command: make}]\n", "utf-8")
    unused = _run("plugins", "lock", "--check")
    assert unused.exit_code == 0 and "none of these pipelines uses it" in unused.output


@pytest.mark.parametrize("call", [_sign, _upload])
def test_signing_seals_what_the_lock_says_and_nothing_else(checkout: Path, plugin: Path, call: object) -> None:
    """Attack I11: the tag is moved after the lock was reviewed."""
    assert callable(call)
    first = git(plugin, "rev-parse", "HEAD")
    assert _run("plugins", "lock").exit_code == 0
    signed = _run(*call())
    assert signed.exit_code == 0, signed.output
    assert _sealed_commits(signed.stdout) == [first, None]
    _move(plugin)
    assert _refusal(*call()).code == "plugin.moved"
    git(plugin, "tag", "-f", "v1", first)
    other = checkout / "other.lock"
    other.write_text("version = 1\n", "utf-8")
    assert _refusal(*call("--plugins-lock", str(other))).code == "plugin.unlocked"
    other.write_text("<<<<<<< conflict\n", "utf-8")
    assert _refusal(*call("--plugins-lock", str(other)), family=MalformedInput).code == "plugin.lock"
    assert _refusal(*call("--plugins-lock", "nowhere"), family=ConfigurationError).code == "plugin.no_lock"


@pytest.mark.parametrize("call", [_sign, _upload])
def test_without_a_lock_plugins_are_sealed_at_their_commits_when_asked(
    checkout: Path, plugin: Path, call: object
) -> None:
    assert callable(call)
    assert _sealed_commits(_run(*call()).stdout) == [None, None]
    assert _sealed_commits(_run(*call("--resolve-plugins")).stdout) == [git(plugin, "rev-parse", "HEAD"), None]


def test_a_plugin_that_is_not_in_the_lock_is_not_even_asked_for(checkout: Path, plugin: Path, tmp_path: Path) -> None:
    LOCK.write_text("version = 1\n", "utf-8")
    plugin.rename(tmp_path / "gone")
    assert _refusal(*_sign()).code == "plugin.unlocked"


def test_versions_with_variables_stand_for_no_commit(checkout: Path) -> None:
    (checkout / ".buildkite/pipeline.yml").write_text(
        json.dumps({"steps": [{"command": "a", "plugins": ["docker#${VERSION}"]}]}), "utf-8"
    )
    assert _refusal("plugins", "lock", family=MalformedInput).code == "plugin.version"
    assert _refusal("plugins", "lock", "nowhere.yml", family=ConfigurationError).code == "upload.no_file"


def test_check_and_update_contradict_each_other(checkout: Path) -> None:
    assert _run("plugins", "lock", "--check", "--update").exit_code == 2
