"""Uploading a pipeline: which file, what becomes of it, what is sent, and what is refused."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest

from pipeseal.agent.client import AgentClient
from pipeseal.agent.upload import find_sources, upload
from pipeseal.agent.upload_options import UploadOptions
from pipeseal.agent.upload_send import make_uuid
from pipeseal.errors import ConfigurationError, MalformedInput, PipesealError, Unavailable
from pipeseal.pipeline.files import DEFAULT_FILES
from pipeseal.pipeline.parse import parse_command_step
from pipeseal.pipeline.secret_names import DEFAULT_PATTERNS
from pipeseal.signing.keys.files import write_key_file
from pipeseal.signing.keys.generate import generate_key_pair
from pipeseal.signing.keys.open import load_verification_keys
from pipeseal.signing.verify import verify_step
from tests.agent.agent_process import agent_process
from tests.agent.fake_server import Answer, Request, fake_server
from tests.agent.repositories import git, make_repository

COMMIT = "0123456789abcdef0123456789abcdef01234567"
JOB = {
    "BUILDKITE_REPO": "https://git.example.test/acme/widgets.git",
    "BUILDKITE_ORGANIZATION_SLUG": "acme",
    "BUILDKITE_PIPELINE_SLUG": "widgets",
    "BUILDKITE_BUILD_ID": "build-id",
    "BUILDKITE_BUILD_NUMBER": "148",
    "BUILDKITE_COMMIT": COMMIT,
    "BUILDKITE_BRANCH": "main",
    "BUILDKITE_TAG": "",
    "BUILDKITE_PULL_REQUEST": "false",
    "BUILDKITE_STEP_KEY": "uploader",
}


class Said:
    """What an upload printed."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.output: list[str] = []

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def dry_run(
    text: str, folder: Path, *, environment: Mapping[str, str] = JOB, **options: Any
) -> tuple[list[dict[str, Any]], Said]:
    """The pipelines that would be uploaded."""
    (folder / "p.yml").write_text(text, "utf-8")
    said = Said()
    upload(
        UploadOptions(files=(str(folder / "p.yml"),), dry_run=True, redacted_vars=DEFAULT_PATTERNS, **options),
        environment=environment,
        client=lambda: pytest.fail("a dry run talks to nobody"),
        say=said.lines.append,
        output=said.output.append,
    )
    return [json.loads(document) for document in said.output], said


# --- which file ----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    with Path(os.devnull).open() as nothing:  # a character device, like a terminal
        monkeypatch.setattr("sys.stdin", nothing)
        yield tmp_path
        monkeypatch.undo()


@pytest.mark.parametrize("name", DEFAULT_FILES)
def test_default_files_are_found(folder: Path, name: str) -> None:
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text("steps: []")
    assert find_sources(()) == [(name, b"steps: []")]


@pytest.mark.parametrize("present", [[], ["buildkite.yml", ".buildkite/pipeline.json"]])
def test_no_default_file_or_several_are_an_error(folder: Path, present: list[str]) -> None:
    for name in present:
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("steps: []")
    with pytest.raises(ConfigurationError) as caught:
        find_sources(())
    assert caught.value.code == ("upload.several_files" if present else "upload.no_file")


def test_named_files_win_and_must_hold_something(folder: Path) -> None:
    (folder / "a").write_text("1")
    (folder / "b").write_text("2")
    (folder / "buildkite.yml").write_text("3")
    assert [source.data for source in find_sources(("a", "b"))] == [b"1", b"2"]
    (folder / "a").write_text("")
    with pytest.raises(ConfigurationError) as caught:
        find_sources(("a",))
    assert caught.value.code == "upload.empty"
    with pytest.raises(ConfigurationError) as caught:
        find_sources(("missing",))
    assert caught.value.code == "upload.no_file"


def test_standard_input_wins_over_default_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "buildkite.yml").write_text("steps: []")
    (folder / "input").write_text("from input")
    with (folder / "input").open() as file:
        monkeypatch.setattr("sys.stdin", file)
        assert find_sources(()) == [("<stdin>", b"from input")]


# --- what becomes of it --------------------------------------------------------------------------------------------


def test_variables_are_filled_in_or_left_alone(tmp_path: Path) -> None:
    text = "env: {A: $BUILDKITE_BRANCH}\nsteps: [{command: 'echo $A $$B $BUILDKITE_COMMIT'}]\n"
    (pipeline,), _ = dry_run(text, tmp_path)
    assert pipeline["env"] == {"A": "main"}
    assert pipeline["steps"][0]["command"] == f"echo main $B {COMMIT}"
    (pipeline,), _ = dry_run(text, tmp_path, no_interpolation=True)
    assert pipeline["steps"][0]["command"] == "echo $A $$B $BUILDKITE_COMMIT"


def test_documents_are_uploaded_one_by_one_and_a_broken_one_stops(tmp_path: Path) -> None:
    pipelines, _ = dry_run("steps: [{command: a}]\n---\nsteps: [{command: b}]\n", tmp_path)
    assert [pipeline["steps"][0]["command"] for pipeline in pipelines] == ["a", "b"]
    with pytest.raises(MalformedInput):
        dry_run("steps: [{command: a}]\n---\nsteps: 5\n", tmp_path)


def test_another_name_of_the_commit_is_resolved_by_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = make_repository(tmp_path / "repository", {"file": "x"}, tag="v1")
    monkeypatch.chdir(tmp_path / "repository")
    for name in ("HEAD", "v1", commit[:9]):
        (pipeline,), _ = dry_run(
            "steps: [{command: $BUILDKITE_COMMIT}]", tmp_path, environment={**JOB, "BUILDKITE_COMMIT": name}
        )
        assert pipeline["steps"][0]["command"] == commit
    for name in ("nowhere", "--git-dir", "HEAD --all"):
        (pipeline,), said = dry_run(
            "steps: [{command: '$BUILDKITE_COMMIT'}]", tmp_path, environment={**JOB, "BUILDKITE_COMMIT": name}
        )
        assert pipeline["steps"][0]["command"] == name and "git does not know the commit" in said.text


def test_warnings_are_told_or_refused(tmp_path: Path) -> None:
    _, said = dry_run("steps: [{nonsense: true}]", tmp_path)
    assert "warning: " in said.text and "p.yml:1:" in said.text
    with pytest.raises(MalformedInput) as caught:
        dry_run("steps: [{nonsense: true}]", tmp_path, reject_parse_warnings=True)
    assert caught.value.code == "upload.warnings"


SECRET = "s3cr3t-s3cr3t"


@pytest.mark.parametrize(
    ("text", "leaks"),
    [
        ("steps: [{command: 'deploy $DEPLOY_TOKEN'}]", "DEPLOY_TOKEN"),
        (f"steps: [{{command: x, label: '{SECRET}'}}]", "DEPLOY_TOKEN"),
        ("env: {MY_PASSWORD: hunter2-hunter2}\nsteps: [{command: x}]", "MY_PASSWORD"),
        ("steps: [{group: g, steps: [{command: x, env: {MY_PASSWORD: hunter2-hunter2}}]}]", "MY_PASSWORD"),
        ("steps: [{command: 'deploy $$DEPLOY_TOKEN', env: {MY_PASSWORD: $$OTHER_PASSWORD}}]", ""),
        ("steps: [{command: x, env: {MY_PASSWORD: short}}]", ""),
    ],
)
def test_secrets_are_told_or_refused(tmp_path: Path, text: str, leaks: str) -> None:
    environment = {**JOB, "DEPLOY_TOKEN": SECRET}
    _, said = dry_run(text, tmp_path, environment=environment)
    assert (f"holds the value of {leaks};" in said.text) == bool(leaks)
    assert SECRET not in said.text
    if leaks:
        with pytest.raises(MalformedInput) as caught:
            dry_run(text, tmp_path, environment=environment, reject_secrets=True)
        assert caught.value.code == "upload.secret" and leaks in caught.value.message
    else:
        dry_run(text, tmp_path, environment=environment, reject_secrets=True)


def test_yaml_of_a_dry_run(tmp_path: Path) -> None:
    from pipeseal.pipeline.parse import parse_pipeline

    (tmp_path / "p.yml").write_text("steps: [{command: 'a: b', key: k}, wait]")
    output: list[str] = []
    upload(
        UploadOptions(files=(str(tmp_path / "p.yml"),), dry_run=True, format="yaml"),
        environment=JOB,
        client=lambda: pytest.fail("a dry run talks to nobody"),
        say=lambda _line: None,
        output=output.append,
    )
    pipeline = parse_pipeline("\n".join(output))
    assert [type(step).__name__ for step in pipeline.steps] == ["CommandStep", "WaitStep"]
    assert "command: 'a: b'" in output[0]


# --- signing -------------------------------------------------------------------------------------------------------


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    pair = generate_key_pair("EdDSA", "signer")
    write_key_file(tmp_path / "signing.json", pair.private_set)
    write_key_file(tmp_path / "verification.json", pair.public_set)
    return tmp_path


def test_steps_are_signed_and_bound(tmp_path: Path, keys: Path) -> None:
    text = "env: {P: q}\nsteps: [{command: one, key: k}, wait, {group: g, steps: [{command: two}]}]"
    (pipeline,), said = dry_run(text, tmp_path, jwks_file=str(keys / "signing.json"))
    trusted = load_verification_keys(str(keys / "verification.json"))
    first, group = pipeline["steps"][0], pipeline["steps"][2]
    bound = {
        name: JOB[f"BUILDKITE_{name}"]
        for name in ("ORGANIZATION_SLUG", "PIPELINE_SLUG", "BUILD_ID", "COMMIT", "BRANCH", "TAG", "PULL_REQUEST")
    }
    environment = {"P": "q", **{f"BUILDKITE_{name}": value for name, value in bound.items()}}
    for step, key in ((first, "k"), (group["steps"][0], "")):
        fields = set(step["signature"]["signed_fields"])
        assert {f"env::BUILDKITE_{name}" for name in bound} | {"env::P", "command"} <= fields
        assert ("env::BUILDKITE_STEP_KEY" in fields) == bool(key)
        job = {**environment, **({"BUILDKITE_STEP_KEY": key} if key else {})}
        proven = verify_step(parse_command_step(step), env=job, repository_url=JOB["BUILDKITE_REPO"], keys=trusted)
        assert proven is not None
    assert (
        "~~~ Signed and sealed 2 steps with signer (" in said.text
        and "bound to build 148 and commit 0123456" in said.text
    )


@pytest.mark.parametrize(("no_bindings", "secrets"), [(False, ["own", "shared"]), (True, ["own"])])
def test_secrets_of_the_pipeline_are_signed_into_its_steps(
    tmp_path: Path, keys: Path, no_bindings: bool, secrets: list[str]
) -> None:
    text = "secrets: [shared]\nsteps:\n  - command: make\n    secrets: [own]\n"
    (pipeline,), _ = dry_run(text, tmp_path, jwks_file=str(keys / "signing.json"), no_bindings=no_bindings)
    step = pipeline["steps"][0]
    assert [secret["key"] for secret in step["secrets"]] == secrets
    assert "secrets" in step["signature"]["signed_fields"]


def test_without_bindings_exactly_the_stock_fields_are_signed(tmp_path: Path, keys: Path) -> None:
    (pipeline,), said = dry_run(
        "env: {P: q}\nsteps: [{command: one, key: k}]",
        tmp_path,
        jwks_file=str(keys / "signing.json"),
        no_bindings=True,
    )
    fields = pipeline["steps"][0]["signature"]["signed_fields"]
    assert fields == ["command", "env", "env::P", "matrix", "plugins", "repository_url"]
    assert "bound to no build" in said.text


def test_commit_that_is_not_known_in_full_is_not_bound(tmp_path: Path, keys: Path, folder: Path) -> None:
    (pipeline,), said = dry_run(
        "steps: [{command: one}]",
        tmp_path,
        jwks_file=str(keys / "signing.json"),
        environment={**JOB, "BUILDKITE_COMMIT": "HEAD"},
    )
    fields = pipeline["steps"][0]["signature"]["signed_fields"]
    assert "env::BUILDKITE_COMMIT" not in fields and "env::BUILDKITE_BUILD_ID" in fields
    assert "bound to build 148\n" in said.text + "\n"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("steps: [{command: a}, {nonsense: true}]", "signing.unknown_step"),
        ("env: {BUILDKITE_BRANCH: other}\nsteps: [{command: a}]", "binding.conflict"),
        ("steps: [{command: a, plugins: [{x: {n: 9007199254740993}}]}]", "number.unsafe"),
    ],
)
def test_what_cannot_be_signed_is_not_uploaded(tmp_path: Path, keys: Path, text: str, code: str) -> None:
    with pytest.raises(PipesealError) as caught:
        dry_run(text, tmp_path, jwks_file=str(keys / "signing.json"))
    assert caught.value.code == code


def test_upload_inside_a_job_signs_with_the_agents_key(tmp_path: Path, keys: Path) -> None:
    make_repository(tmp_path / "widgets", {".buildkite/pipeline.yml": "steps: [{command: 'echo $BUILDKITE_BRANCH'}]"})
    commit = git(tmp_path / "widgets", "rev-parse", "HEAD")
    decoy = tmp_path / "decoy"
    decoy.mkdir()
    (decoy / "buildkite-agent").write_text("#!/bin/sh\nexit 55\n")
    (decoy / "buildkite-agent").chmod(0o755)
    flags = ("--no-verification", "--signing-jwks-file", str(keys / "signing.json"))
    path = {"PATH": f"{decoy}:{os.environ['PATH']}"}
    with fake_server(20) as server, agent_process(server, tmp_path, *flags, environment=path):
        command = "buildkite-agent pipeline upload"
        env = {
            **JOB,
            "BUILDKITE_COMMAND": command,
            "BUILDKITE_REPO": str(tmp_path / "widgets"),
            "BUILDKITE_COMMIT": commit,
        }
        job = server.add_job({"id": "a", "token": "JOBTOKEN", "env": env, "step": {"command": command}}, "a")
        assert job.finished.wait(60) and job.finish is not None
        assert job.finish["exit_status"] == "0", job.text
        (body,) = server.uploads
        request = server.calls("POST", "/jobs/a/pipelines")[0]
        assert request.headers["authorization"] == "Token JOBTOKEN" and request.query == {"async": ["true"]}
    step = body["pipeline"]["steps"][0]
    assert step["command"] == "echo main" and "env::BUILDKITE_COMMIT" in step["signature"]["signed_fields"]
    proven = verify_step(
        parse_command_step(step),
        env=env,
        repository_url=str(tmp_path / "widgets"),
        keys=load_verification_keys(str(keys / "verification.json")),
    )
    assert proven is not None
    assert "Using .buildkite/pipeline.yml (1 step)" in job.text and "Signed and sealed 1 step with signer" in job.text


# --- sending -------------------------------------------------------------------------------------------------------


class NeverWaits(threading.Event):
    """Never set, and nobody waits for it."""

    def wait(self, timeout: float | None = None) -> bool:
        return False


def _send(folder: Path, answer: Answer | list[Answer], options: UploadOptions | None = None) -> list[Request]:
    answers = answer if isinstance(answer, list) else [answer]
    (folder / "p.yml").write_text("steps: [{command: 'a <b> é'}]", "utf-8")
    with fake_server() as server:
        server.interfere = lambda _request: answers.pop(0) if len(answers) > 1 else answers[0]
        with closing(AgentClient(server.endpoint, "t", stop=NeverWaits())) as client:
            chosen = replace(options or UploadOptions(), files=(str(folder / "p.yml"),), job="job-1")
            upload(chosen, environment={}, client=lambda: client, say=lambda _line: None, output=print)
        return server.requests


def test_uuid_stays_the_same_across_attempts(tmp_path: Path) -> None:
    requests = _send(tmp_path, [(500, b""), (503, b""), (200, b"")])
    assert [request.headers["x-buildkite-backoff-sequence"] for request in requests] == ["0", "1", "2"]
    bodies = [request.json() for request in requests]
    assert bodies[0] == bodies[1] == bodies[2]
    assert bodies[0]["pipeline"] == {"steps": [{"command": "a <b> é"}]} and "replace" not in bodies[0]
    assert len(bodies[0]["uuid"]) == 36


def test_replace_is_said(tmp_path: Path) -> None:
    (request,) = _send(tmp_path, (200, b""), UploadOptions(replace=True))
    assert request.json()["replace"] is True


def test_refusal_of_the_server_is_the_error(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        _send(tmp_path, (422, b'{"message":"612 jobs in one upload"}'))
    assert caught.value.status == 422 and "612 jobs in one upload" in caught.value.message


def _asynchronous(folder: Path, *states: bytes, location: str = "/v3/jobs/job-1/pipelines/UUID") -> list[str]:
    (folder / "p.yml").write_text("steps: [{command: a}]")
    left = list(states)
    with fake_server() as server:

        def interfere(request: Request) -> Answer:
            if request.method == "POST":
                return 202, b"", {"Location": location.replace("UUID", request.json()["uuid"]), "Retry-After": "0"}
            return 200, left.pop(0), {"Retry-After": "0.01"}

        server.interfere = interfere
        with closing(AgentClient(server.endpoint, "t")) as client:
            options = UploadOptions(files=(str(folder / "p.yml"),), job="job-1")
            upload(options, environment={}, client=lambda: client, say=lambda _line: None, output=print)
        return [request.method for request in server.requests]


def test_asynchronous_upload_is_followed_to_its_end(tmp_path: Path) -> None:
    states = (b'{"state":"pending"}', b'{"state":"processing"}', b'{"state":"applied"}')
    assert _asynchronous(tmp_path, *states) == ["POST", "GET", "GET", "GET"]


@pytest.mark.parametrize("state", [b'{"state":"rejected","message":"too many"}', b'{"state":"odd"}'])
def test_asynchronous_upload_that_fails(tmp_path: Path, state: bytes) -> None:
    with pytest.raises(Unavailable) as caught:
        _asynchronous(tmp_path, state)
    assert caught.value.code == "upload.rejected"


@pytest.mark.parametrize("state", [b"", b"[]", b'{"message":"x"}', b"null"])
def test_asynchronous_upload_with_nonsense(tmp_path: Path, state: bytes) -> None:
    with pytest.raises(MalformedInput):
        _asynchronous(tmp_path, state)
    with pytest.raises(MalformedInput):
        _asynchronous(tmp_path, location="/v3/jobs/other/pipelines/UUID")


def test_without_a_job_there_is_nothing_to_upload_to(tmp_path: Path) -> None:
    (tmp_path / "p.yml").write_text("steps: []")
    with pytest.raises(ConfigurationError) as caught:
        upload(
            UploadOptions(files=(str(tmp_path / "p.yml"),)),
            environment={},
            client=lambda: pytest.fail("not asked for"),
            say=lambda _line: None,
            output=print,
        )
    assert caught.value.code == "upload.no_job"


def test_uuids_are_of_version_4() -> None:
    import uuid

    made = {make_uuid() for _ in range(100)}
    assert len(made) == 100
    assert all(uuid.UUID(text).version == 4 and uuid.UUID(text).variant == uuid.RFC_4122 for text in made)


# --- options -------------------------------------------------------------------------------------------------------


def _both_ways(arguments: list[str], environment: dict[str, str]) -> list[Any]:
    """What the quick reader and the command line make of the same words."""
    from pipeseal.agent.upload_options import read_plain_call
    from pipeseal.cli import pipeline_upload as command

    calls: list[Any] = [read_plain_call(arguments, environment)]
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr("pipeseal.agent.inside.perform", calls.append)
        try:
            command.pipeline_upload.main(arguments, standalone_mode=False)
        except click.ClickException as error:
            calls.append(error)
    return calls


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        ([], {}),
        (["a.yml", "b.yml", "--replace"], {}),
        (["--job", "j", "--format=yaml", "--dry-run", "--", "--odd"], {}),
        (
            ["--jwks-file", "k", "--jwks-key-id=", "--no-bindings", "--endpoint", "e"],
            {"BUILDKITE_AGENT_JWKS_KEY_ID": "x"},
        ),
        (
            [],
            {"BUILDKITE_PIPELINE_REPLACE": "true", "BUILDKITE_AGENT_APPLY_IF_CHANGED": "0", "BUILDKITE_JOB_ID": "j"},
        ),
        ([], {"BUILDKITE_PIPELINE_REPLACE": "False", "BUILDKITE_AGENT_ACCESS_TOKEN": "t", "BUILDKITE_JOB_ID": ""}),
        (["--redacted-vars="], {}),
        (["--redacted-vars", "A,*_B"], {"BUILDKITE_REDACTED_VARS": "C"}),
        ([], {"BUILDKITE_REDACTED_VARS": "*_X"}),
        (["--debug", "--log-level", "info", "--no-http2"], {}),
        (["-"], {}),
    ],
)
def test_quick_reader_and_command_line_agree(arguments: list[str], environment: dict[str, str]) -> None:
    quick, proper = _both_ways(arguments, environment)
    assert quick is not None and quick == proper


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--help"], {}),
        (["-x"], {}),
        (["--nonsense"], {}),
        (["--no-apply-if-changed"], {}),
        (["--replace=true"], {}),
        (["--job"], {}),
        (["--format", "xml"], {}),
        ([], {"BUILDKITE_PIPELINE_REPLACE": "perhaps"}),
    ],
)
def test_quick_reader_leaves_the_rest_to_the_command_line(arguments: list[str], environment: dict[str, str]) -> None:
    from pipeseal.agent.upload_options import read_plain_call

    assert read_plain_call(arguments, environment) is None
