"""What an upload seals: its build and commit, its own step's seal, scripts of the checkout, and for how long."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeseal.agent.upload import upload
from pipeseal.agent.upload_options import UploadOptions, read_plain_call
from pipeseal.agent.upload_seal import parse_validity, script_finder
from pipeseal.errors import ConfigurationError, MalformedInput
from pipeseal.pipeline.parse import parse_command_step
from pipeseal.signing.keys.files import write_key_file
from pipeseal.signing.keys.generate import generate_key_pair
from pipeseal.signing.keys.open import load_verification_keys
from pipeseal.signing.seal.compare import find_seal
from pipeseal.signing.seal.envelope import VARIABLE, Audience, BuildFacts, Seal
from pipeseal.signing.seal.verify import verify_seal
from tests.agent.repositories import git, make_repository

NOW = 1_800_000_000.5
JOB = {
    "BUILDKITE_REPO": "https://git.example.test/acme/widgets.git",
    "BUILDKITE_ORGANIZATION_SLUG": "acme",
    "BUILDKITE_PIPELINE_SLUG": "widgets",
    "BUILDKITE_BUILD_ID": "build-id",
    "BUILDKITE_BRANCH": "main",
    "BUILDKITE_TAG": "",
    "BUILDKITE_PULL_REQUEST": "false",
}


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """A checkout with a script in it, and its commit."""
    folder = tmp_path / "checkout"
    commit = make_repository(folder, {"test.sh": "exit 0", "sub/test.sh": "exit 0"})
    pair = generate_key_pair("EdDSA", "signer")
    write_key_file(tmp_path / "signing.json", pair.private_set)
    write_key_file(tmp_path / "public.json", pair.public_set)
    monkeypatch.chdir(folder)
    return folder, commit


def seals(
    text: str, tmp_path: Path, commit: str, *, env: Mapping[str, str] | None = None, **options: Any
) -> tuple[list[Seal], str]:
    """The seals of what would be uploaded, proven, and what was said."""
    (tmp_path / "p.yml").write_text(text, "utf-8")
    said: list[str] = []
    output: list[str] = []
    upload(
        UploadOptions(
            files=(str(tmp_path / "p.yml"),), dry_run=True, jwks_file=str(tmp_path / "signing.json"), **options
        ),
        environment={**JOB, "BUILDKITE_COMMIT": commit, **(env or {})},
        client=lambda: pytest.fail("a dry run talks to nobody"),
        say=said.append,
        output=output.append,
        now=lambda: NOW,
    )
    keys = load_verification_keys(str(tmp_path / "public.json"))
    found = []
    for document in output:
        for member in json.loads(document)["steps"]:
            step = parse_command_step(member)
            found.append(verify_seal(find_seal(step, {}), keys, now=NOW).seal)
    return found, "\n".join(said)


def test_a_seal_says_where_the_step_belongs(checkout: tuple[Path, str], tmp_path: Path) -> None:
    folder, commit = checkout
    text = "agents: {queue: linux}\nsteps: [{command: a}, {command: b, agents: {queue: mac}}]\n"
    (first, second), said = seals(text, tmp_path, commit)
    tree = git(folder, "rev-parse", f"{commit}^{{tree}}").strip()
    assert "~~~ Signed and sealed 2 steps with signer (" in said and "warning" not in said
    assert first.audience == Audience(
        repository=JOB["BUILDKITE_REPO"], organization="acme", pipeline="widgets", agents=("queue=linux",)
    )
    assert second.audience.agents == ("queue=mac",)
    assert first.build == BuildFacts(
        id="build-id", commit=commit, tree=tree, branch="main", tag="", pull_request="false"
    )
    assert (first.not_before, first.expires) == (int(NOW), int(NOW) + 7 * 86_400)
    assert first.parent.seal is None and first.parent.upload == second.parent.upload
    assert (first.parent.position, second.parent.position) == (0, 1)


def test_each_upload_is_another_one_and_its_documents_are_one(checkout: tuple[Path, str], tmp_path: Path) -> None:
    text = "steps: [{command: a}]\n---\nsteps: [{command: a}]\n"
    both, _ = seals(text, tmp_path, checkout[1])
    again, _ = seals(text, tmp_path, checkout[1])
    assert [seal.parent.position for seal in both] == [0, 1]
    assert both[0].parent.upload == both[1].parent.upload != again[0].parent.upload
    assert len({seal.digest for seal in both + again}) == 4


def test_the_uploading_steps_own_seal_is_the_parent(checkout: tuple[Path, str], tmp_path: Path) -> None:
    (parent,), _ = seals("steps: [{command: pipeseal pipeline upload}]", tmp_path, checkout[1])
    (child,), _ = seals("steps: [{command: a}]", tmp_path, checkout[1], env={VARIABLE: parent.text})
    assert child.parent.seal == parent.digest
    with pytest.raises(MalformedInput) as caught:
        seals("steps: [{command: a}]", tmp_path, checkout[1], env={VARIABLE: "not one"})
    assert caught.value.code == "seal.malformed" and VARIABLE in caught.value.message


def test_a_name_of_the_commit_is_sealed_as_what_it_stands_for(checkout: tuple[Path, str], tmp_path: Path) -> None:
    (seal,), _ = seals("steps: [{command: a}]", tmp_path, "HEAD")
    assert seal.build is not None and seal.build.commit == checkout[1]


def test_a_commit_that_is_not_here_has_no_tree(checkout: tuple[Path, str], tmp_path: Path) -> None:
    (seal,), said = seals("steps: [{command: a}]", tmp_path, "ab" * 20)
    assert seal.build is not None and (seal.build.commit, seal.build.tree) == ("ab" * 20, None)
    assert "git does not know the commit" in said


def test_what_the_pipeline_sets_is_inherited(checkout: tuple[Path, str], tmp_path: Path) -> None:
    text = "env: {MODE: fast}\ncheckout: {depth: 1}\nsteps: [{command: a, env: {A: b}}]"
    (seal,), _ = seals(text, tmp_path, checkout[1])
    assert dict(seal.inherited.env) == {"MODE": "fast"}
    assert seal.inherited.checkout is not None and seal.inherited.checkout.depth == 1
    assert seal.env == {"MODE": "fast", "A": "b"}


def test_commands_that_name_a_file_of_the_checkout_are_scripts(checkout: tuple[Path, str], tmp_path: Path) -> None:
    text = "steps: [{command: test.sh}, {command: ./sub/test.sh}, {command: sh test.sh}, {command: none.sh}]"
    found, _ = seals(text, tmp_path, checkout[1])
    assert [seal.execution for seal in found] == ["script", "script", "shell", "shell"]
    os.chdir("sub")  # the fixture goes back
    found, _ = seals(text, tmp_path, checkout[1], env={"BUILDKITE_BUILD_CHECKOUT_PATH": str(checkout[0])})
    assert [seal.execution for seal in found] == ["script", "script", "shell", "shell"]


def test_only_files_inside_the_checkout_are_scripts(tmp_path: Path) -> None:
    (tmp_path / "out.sh").write_text("")
    root = tmp_path / "checkout"
    (root / "folder").mkdir(parents=True)
    (root / "in.sh").write_text("")
    (root / "link.sh").symlink_to(tmp_path / "out.sh")
    (root / "inner.sh").symlink_to(root / "in.sh")
    is_script = script_finder(str(root))
    assert [name for name in ("in.sh", "/in.sh", "inner.sh", "folder/../in.sh\n") if not is_script(name)] == []
    for name in ("", "folder", "link.sh", "../out.sh", "in.sh x", "in.sh\nin.sh", "a\0b", "x" * 5000, "x" * 300):
        assert not is_script(name), name


def test_skipping_by_what_changed_is_sealed(checkout: tuple[Path, str], tmp_path: Path) -> None:
    (tmp_path / "changed").write_text("docs/a\n")
    text = "steps: [{command: a, if_changed: 'src/**'}, {command: b, if_changed: 'docs/**'}]"
    (skipped, run), _ = seals(text, tmp_path, checkout[1], changed_files_path=str(tmp_path / "changed"))
    assert "skip" in skipped.step.rest and "skip" not in run.step.rest
    assert "if_changed" not in skipped.step.rest


@pytest.mark.parametrize("options", [{"no_seal": True}, {"no_bindings": True}])
def test_seals_can_be_left_out(checkout: tuple[Path, str], tmp_path: Path, options: dict[str, Any]) -> None:
    (tmp_path / "p.yml").write_text(f"steps: [{{command: a, env: {{{VARIABLE}: old}}}}]", "utf-8")
    said: list[str] = []
    output: list[str] = []
    upload(
        UploadOptions(
            files=(str(tmp_path / "p.yml"),), dry_run=True, jwks_file=str(tmp_path / "signing.json"), **options
        ),
        environment=JOB, client=lambda: pytest.fail("a dry run"), say=said.append, output=output.append,
    )  # fmt: skip
    assert VARIABLE not in output[0] and "~~~ Signed 1 step with" in "\n".join(said)


def test_a_key_without_an_id_signs_and_does_not_seal(tmp_path: Path) -> None:
    write_key_file(tmp_path / "key.json", generate_key_pair("EdDSA", "k").private_set.replace('"kid"', '"other"'))
    (tmp_path / "p.yml").write_text("steps: [{command: a}]", "utf-8")
    said: list[str] = []
    upload(
        UploadOptions(files=(str(tmp_path / "p.yml"),), dry_run=True, jwks_file=str(tmp_path / "key.json")),
        environment=JOB, client=lambda: pytest.fail("a dry run"), say=said.append, output=lambda _text: None,
    )  # fmt: skip
    assert "so the steps are not sealed" in "\n".join(said)


@pytest.mark.parametrize(("text", "seconds"), [("90m", 5400), ("12h", 43_200), ("7d", 604_800)])
def test_how_long_a_seal_is_good_for(checkout: tuple[Path, str], tmp_path: Path, text: str, seconds: int) -> None:
    assert parse_validity(text) == seconds
    (seal,), _ = seals("steps: [{command: a}]", tmp_path, checkout[1], seal_valid_for=text)
    assert seal.expires == int(NOW) + seconds


@pytest.mark.parametrize("text", ["", "7", "d", "0d", "-1d", "1.5h", "7days", "1w", "100000d", "٣d"])
def test_what_is_not_how_long_a_seal_can_be_good_for(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_validity(text)
    assert caught.value.code == "seal.validity"


def test_the_options_are_known_to_the_quick_reader_too() -> None:
    call = read_plain_call(["--no-seal", "--seal-valid-for", "2h", "p.yml"], {})
    assert call is not None
    assert (call.options.no_seal, call.options.seal_valid_for, call.options.files) == (True, "2h", ("p.yml",))


def test_without_git_there_is_no_tree(
    checkout: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (seal,), said = seals("steps: [{command: a}]", tmp_path, checkout[1])
    assert seal.build is not None and seal.build.tree is None
    assert "git does not know the commit" in said
