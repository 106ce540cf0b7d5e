"""`if_changed`: which steps are skipped, and that the member never leaves the uploader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeseal.agent.if_changed import SKIPPED, _read_condition, apply_conditions
from pipeseal.agent.upload_options import UploadOptions
from pipeseal.errors import MalformedInput
from pipeseal.pipeline.parse import parse_pipeline
from pipeseal.pipeline.render import step_value
from tests.agent.repositories import git, make_repository


def apply(text: str, tmp_path: Path, changed: str | None = None, **options: Any) -> tuple[list[Any], list[str]]:
    """The steps, as they would be uploaded, and what was said."""
    if changed is not None:
        (tmp_path / "changed").write_text(changed)
        options["changed_files_path"] = str(tmp_path / "changed")
    said: list[str] = []
    steps = apply_conditions(
        parse_pipeline(text).steps, options.pop("environment", {}), UploadOptions(**options), said.append
    )
    return [step_value(step) for step in steps], said


@pytest.mark.parametrize(
    ("condition", "skipped"),
    [
        ("'*.py'", True),
        ("'**/*.py'", False),
        ("src/**", False),
        ("[docs/**, 'README.*']", False),
        ("[docs/**, '*.txt']", True),
        ("'{lib,src}/**.py'", False),
        ("{include: src/**}", False),
        ("{include: src/**, exclude: '**/main.py'}", True),
        ("{include: ['src/**', 'README.md'], exclude: 'src/**'}", False),
        ("{exclude: 'src/**'}", False),
        ("5", False),
        ("[1]", False),
        ("'[unclosed'", False),
        ("~", False),
        ("[]", True),
    ],
)
def test_conditions(tmp_path: Path, condition: str, skipped: bool) -> None:
    (step,), _ = apply(f"steps: [{{command: x, if_changed: {condition}}}]", tmp_path, "src/main.py\n\nREADME.md\n")
    assert "if_changed" not in step
    assert step.get("skip") == (SKIPPED if skipped else None)
    assert len(SKIPPED) <= 70


def test_condition_that_says_nothing_is_told(tmp_path: Path) -> None:
    for condition in ("5", "[1]", "{exclude: x}", "{include: 5}"):
        _, said = apply(f"steps: [{{command: x, if_changed: {condition}}}]", tmp_path, "a")
        assert len(said) == 1 and said[0].endswith("; the step is not skipped")
        with pytest.raises(MalformedInput) as caught:
            _read_condition(parse_pipeline(f"steps: [{{command: x, c: {condition}}}]").steps[0].rest["c"])  # type: ignore[union-attr]
        assert caught.value.code == "upload.if_changed"


def test_groups_and_triggers_too_and_others_keep_it(tmp_path: Path) -> None:
    text = """
    steps:
      - group: g
        if_changed: "*.txt"
        steps: [{command: x, if_changed: "*.md"}]
      - trigger: t
        if_changed: "*.txt"
      - block: b
        if_changed: "*.txt"
      - command: plain
    """
    (group, trigger, block, plain), _ = apply(text, tmp_path, "README.md")
    assert group["skip"] == trigger["skip"] == SKIPPED
    assert group["steps"] == [{"command": "x"}] and "if_changed" not in group and "if_changed" not in trigger
    assert block == {"block": "b", "if_changed": "*.txt"} and plain == {"command": "plain"}


def test_switched_off_it_is_only_removed(tmp_path: Path) -> None:
    (step,), _ = apply("steps: [{command: x, if_changed: '*.txt'}]", tmp_path, "a.md", apply_if_changed=False)
    assert step == {"command": "x"}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "repository"
    make_repository(folder, {"a.txt": "1", "b.md": "1"})
    git(folder, "update-ref", "refs/remotes/origin/main", "HEAD")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    return folder


BOTH = "steps: [{command: t, if_changed: '*.txt'}, {command: m, if_changed: '*.md'}]"


def _change(folder: Path, name: str) -> None:
    (folder / name).write_text("2")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "Change")


def test_branch_compares_with_where_it_left_the_base(repository: Path, tmp_path: Path) -> None:
    git(repository, "checkout", "-qb", "feature")
    _change(repository, "a.txt")
    _change(repository, "other")
    steps, said = apply(BOTH, tmp_path)
    assert [step.get("skip") for step in steps] == [None, SKIPPED]
    assert "where this commit left origin/main" in said[0]


def test_base_branch_compares_with_its_first_parent(repository: Path, tmp_path: Path) -> None:
    _change(repository, "b.md")
    git(repository, "update-ref", "refs/remotes/origin/main", "HEAD")
    steps, said = apply(BOTH, tmp_path)
    assert [step.get("skip") for step in steps] == [SKIPPED, None]
    assert "first parent" in said[0]


def test_base_is_the_pull_requests_or_the_pipelines_or_named(repository: Path, tmp_path: Path) -> None:
    git(repository, "update-ref", "refs/remotes/origin/release", "HEAD")
    _change(repository, "a.txt")
    git(repository, "update-ref", "-d", "refs/remotes/origin/main")
    for environment, options in (
        ({"BUILDKITE_PULL_REQUEST_BASE_BRANCH": "release", "BUILDKITE_PIPELINE_DEFAULT_BRANCH": "gone"}, {}),
        ({"BUILDKITE_PIPELINE_DEFAULT_BRANCH": "release"}, {}),
        ({}, {"git_diff_base": "origin/release"}),
    ):
        steps, _ = apply(BOTH, tmp_path, environment=environment, **options)
        assert [step.get("skip") for step in steps] == [None, SKIPPED]


def test_when_nothing_is_known_nothing_is_skipped(repository: Path, tmp_path: Path) -> None:
    for options in ({"git_diff_base": "origin/gone"}, {"git_diff_base": "--all"}, {"changed_files_path": "/nowhere"}):
        steps, said = apply(BOTH, tmp_path, **options)
        assert [step.get("skip") for step in steps] == [None, None]
        assert any("no steps are skipped" in line for line in said)
