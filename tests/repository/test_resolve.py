"""What plugin versions stand for, asked of real repositories."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeseal.errors import MalformedInput, Unavailable
from pipeseal.repository.git import PlainGit
from pipeseal.repository.git_config import GitConfig
from pipeseal.repository.resolve import resolve_plugin, resolve_plugins
from tests.agent.repositories import git, make_repository

HOOKS = {"hooks/pre-command": "#!/bin/sh\necho plugin\n"}


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    folder = tmp_path / "lint-buildkite-plugin"
    make_repository(folder, HOOKS, tag="v1")
    git(folder, "tag", "-a", "-m", "Annotated", "v1.0.0")
    (folder / "hooks/pre-command").write_text("#!/bin/sh\necho second\n", "utf-8")
    git(folder, "commit", "-qam", "Second")
    git(folder, "tag", "v2")
    return folder


def _ids(folder: Path, name: str) -> tuple[str, str]:
    return git(folder, "rev-parse", f"{name}^{{commit}}"), git(folder, "rev-parse", f"{name}^{{tree}}")


@pytest.mark.parametrize("version", ["v1", "v1.0.0", "v2", "main", ""])
def test_a_version_is_the_commit_and_tree_of_its_tag_or_branch(plugin: Path, version: str) -> None:
    source = f"{plugin}#{version}" if version else str(plugin)
    assert resolve_plugin(source) == _ids(plugin, version or "HEAD")


def test_commits_are_resolved_whole_and_abbreviated(plugin: Path) -> None:
    commit, tree = _ids(plugin, "v1")
    assert resolve_plugin(f"{plugin}#{commit}") == (commit, tree)
    assert resolve_plugin(f"{plugin}#{commit[:10]}") == (commit, tree)


def test_a_tag_is_meant_where_a_branch_is_called_alike(plugin: Path) -> None:
    git(plugin, "branch", "v1", "main")
    assert resolve_plugin(f"{plugin}#v1") == _ids(plugin, "refs/tags/v1")


def test_only_the_whole_name_of_a_version_counts(plugin: Path) -> None:
    git(plugin, "tag", "other/refs/tags/v9", "main")
    with pytest.raises(MalformedInput) as caught:
        resolve_plugin(f"{plugin}#v9")
    assert caught.value.code == "plugin.version"


def test_a_plugin_inside_the_repository_is_part_of_its_tree() -> None:
    assert resolve_plugin("./.buildkite/plugins/lint") is None


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("{plugin}#v7", "plugin.version"),
        ("{plugin}#" + "0" * 40, "plugin.version"),
        ("{plugin}#a#b", "plugin.source"),
        ("{plugin}#--upload-pack=touch", "git.name"),
        ("{plugin}#refs/tags/*", "git.name"),
        ("{plugin}#v1..v2", "git.name"),
        ("https://github.com/acme#v1", "plugin.source"),
    ],
)
def test_what_is_no_version_or_place_is_refused(plugin: Path, source: str, code: str) -> None:
    with pytest.raises(MalformedInput) as caught:
        resolve_plugin(source.format(plugin=plugin))
    assert caught.value.code == code


@pytest.mark.parametrize("source", ["zip+https://127.0.0.1:9/x.zip", "zip+https://127.0.0.1:9/x.zip#v1"])
def test_an_archive_is_no_plugin(source: str) -> None:
    """git is not given the transport, so nothing is asked for there."""
    with pytest.raises(Unavailable) as caught:
        resolve_plugin(source)
    assert "not allowed" in str(caught.value)


def test_a_repository_that_is_not_there_is_told_with_what_git_said(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        resolve_plugin(f"{tmp_path}/nothing#v1")
    assert caught.value.code == "git.failed"
    assert "ls-remote" in caught.value.message


def test_transports_are_the_operators(plugin: Path) -> None:
    assert resolve_plugin(f"file://{plugin}#v1") == _ids(plugin, "v1")
    with pytest.raises(Unavailable, match="not allowed"):
        resolve_plugin(f"file://{plugin}#v1", config=GitConfig(protocols=("https",)))
    with pytest.raises(Unavailable, match="not allowed"):
        resolve_plugin(f"ext://sh -c touch{plugin}/ran#v1")


def test_settings_of_the_user_have_no_say(plugin: Path, tmp_path: Path) -> None:
    """Attack: an `insteadOf` of the job's own HOME, and variables that name configuration, lead elsewhere."""
    evil = tmp_path / "evil"
    make_repository(evil, {"hooks/pre-command": "#!/bin/sh\necho evil\n"}, tag="v1")
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(f'[url "{evil}"]\n\tinsteadOf = {plugin}\n', "utf-8")
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{evil}.insteadOf",
        "GIT_CONFIG_VALUE_0": str(plugin),
        "GIT_DIR": str(evil / ".git"),
    }
    assert resolve_plugin(f"{plugin}#v1", environment=environment) == _ids(plugin, "v1")


def test_several_plugins_are_asked_for_once_each(plugin: Path) -> None:
    found = resolve_plugins([f"{plugin}#v2", f"{plugin}#v1", f"{plugin}#v2", "./vendored"])
    assert list(found) == [f"{plugin}#v1", f"{plugin}#v2"]
    assert found[f"{plugin}#v2"] == _ids(plugin, "v2")


def test_git_that_takes_too_long_or_says_too_much_is_ended(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nsleep 60 &\nwait\n", "utf-8")
    program.chmod(0o755)
    slow = PlainGit(tmp_path, environment={"PATH": f"{program.parent}:/usr/bin:/bin"}, timeout_seconds=0.2)
    with pytest.raises(Unavailable, match=r"longer than 0\.2 s"):
        slow.ask("version")
    program.write_text("#!/bin/sh\nexec yes\n", "utf-8")
    with pytest.raises(Unavailable, match="more than 100 bytes"):
        PlainGit(tmp_path, environment={"PATH": f"{program.parent}:/usr/bin:/bin"}).ask("version", max_bytes=100)
    with pytest.raises(Unavailable, match="could not be started"):
        PlainGit(tmp_path / "nowhere").ask("version")
