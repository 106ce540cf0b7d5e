"""The stock agent against our server: it runs a build that uploads more steps, and stops jobs when told."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.peers import find_peer
from pipeseal.cli import root
from tests.controlplane.running import QUICK, RunningServer, find_job, running_server, until

PIPELINE = """
env:
  GREETING: hello
steps:
  - key: one
    command: 'echo "$$GREETING {{matrix}} from $$BUILDKITE_STEP_KEY"'
    matrix: [a, b]
  - wait
  - key: par
    command: 'echo "job $$BUILDKITE_PARALLEL_JOB of $$BUILDKITE_PARALLEL_JOB_COUNT"'
    parallelism: 2
    depends_on: one
  - key: fails
    command: exit 3
    soft_fail: true
    retry: {automatic: {exit_status: 3, limit: 1}}
"""


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningServer]:
    with running_server(tmp_path / "data", replace(QUICK, ping_hold=5)) as server:
        yield server


def make_repository(folder: Path) -> Path:
    """A repository with `PIPELINE` in its usual place."""
    (folder / ".buildkite").mkdir(parents=True)
    (folder / ".buildkite" / "pipeline.yml").write_text(PIPELINE)
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.test"]
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], [*identity, "commit", "-q", "-m", "Message"]):
        subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)
    return folder


@contextmanager
def stock_agent(
    running: RunningServer, folder: Path, *options: str, url: str = "", bootstrap: str = ""
) -> Iterator[subprocess.Popen[bytes]]:
    """The agent as a process, killed at the end.

    Parameters:
        folder: for its files; agents may share it.
        url: of the server, where it is not the server's own.
        bootstrap: what it runs for a job, in place of its own program for that.
    """
    program = find_peer("buildkite-agent").path
    assert program is not None
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BUILDKITE")}
    (folder / "hooks").mkdir(exist_ok=True)
    command = [
        str(program),
        "start",
        "--endpoint",
        f"{url or running.api.url}/v3",
        "--token",
        running.api.registration_token,
    ]
    command += ["--build-path", str(folder / "builds"), "--hooks-path", str(folder / "hooks")]
    command += [
        "--plugins-path",
        str(folder / "plugins"),
        "--bootstrap-script",
        bootstrap or f"{program} bootstrap",
        *options,
    ]
    with (folder / "agent.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=kept, start_new_session=True)
        try:
            yield process
        finally:
            process.kill()
            process.wait(10)


@pytest.mark.peer("buildkite-agent")
def test_a_build_runs_from_upload_to_end(running: RunningServer, tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "repository")
    body = {"name": "demo", "repository": str(repository)}
    assert running.api.rest("POST", "/pipelines", body).status == 201
    running.api.create_build()
    with stock_agent(running, tmp_path, "--spawn", "2"):
        build = running.api.wait_build("passed", "failed", seconds=60)
    states = [(job["step_key"], job["state"], job["exit_status"]) for job in build["jobs"] if job["type"] == "script"]
    assert build["state"] == "passed", states
    assert states[1:] == [
        ("one", "passed", 0),
        ("one", "passed", 0),
        ("par", "passed", 0),
        ("par", "passed", 0),
        ("fails", "failed", 3),
        ("fails", "failed", 3),
    ]
    logs = [running.api.log(build, job["id"]) for job in build["jobs"] if job["step_key"] == "one"]
    assert b"hello a from one" in logs[0]
    assert b"hello b from one" in logs[1]
    assert build["meta_data"]["buildkite:git:commit"].startswith("commit ")


@pytest.mark.peer("buildkite-agent")
def test_signed_steps_reach_it_as_they_were_signed(running: RunningServer, tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "repository")
    private, public, plain = tmp_path / "private.json", tmp_path / "public.json", tmp_path / "plain.yml"
    files = ["--private-jwks-file", str(private), "--public-jwks-file", str(public)]
    made = CliRunner().invoke(root, ["tool", "keygen", "--key-id", "test-key", *files])
    assert made.exit_code == 0, made.output
    plain.write_text("steps:\n  - command: buildkite-agent pipeline upload\n    label: é <&> \u2028\n")
    key = ["--jwks-file", str(private), "--jwks-key-id", "test-key"]
    signed = CliRunner().invoke(root, ["tool", "sign", str(plain), "--repo", str(repository), *key])
    assert signed.exit_code == 0, signed.output
    body = {"name": "demo", "repository": str(repository), "configuration": signed.stdout}
    assert running.api.rest("POST", "/pipelines", body).status == 201
    running.api.create_build(message="é\n\x1b[31m")
    options = ["--signing-jwks-file", str(private), "--signing-jwks-key-id", "test-key"]
    with stock_agent(running, tmp_path, *options, "--verification-jwks-file", str(public), "--spawn", "2"):
        build = running.api.wait_build("passed", "failed", seconds=60)
    logs = [running.api.log(build, job["id"]) for job in build["jobs"] if job["type"] == "script"]
    assert len(logs) == 7
    assert all(b"Job signature verified" in log for log in logs)
    assert build["state"] == "passed"


@pytest.mark.peer("buildkite-agent")
def test_a_cancelled_job_is_stopped(running: RunningServer, tmp_path: Path) -> None:
    running.api.create_pipeline("steps: [{command: 'echo begun; sleep 60', key: long}]")
    running.api.create_build(env={"BUILDKITE_SKIP_CHECKOUT": "true"})
    with stock_agent(running, tmp_path):
        job_id = find_job(running.api.build(), "long")["id"]
        until(lambda: b"begun" in running.api.log(running.api.build(), job_id), "the job's first line")
        assert running.api.rest("PUT", "/pipelines/demo/builds/1/cancel").status == 200
        build = running.api.wait_build("canceled", seconds=60)
    job = find_job(build, "long")
    assert (job["state"], job["signal"], job["signal_reason"]) == ("canceled", "SIGTERM", "cancel")
