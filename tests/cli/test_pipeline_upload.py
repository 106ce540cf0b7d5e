"""`pipeline upload` as people and scripts run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeseal.agent.launcher import Launcher, render_launcher
from pipeseal.signing.keys.files import write_key_file
from pipeseal.signing.keys.generate import generate_key_pair
from tests.agent.fake_server import fake_server


def run(
    folder: Path, *arguments: str, input_text: str | None = None, program: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    command = [program] if program else [sys.executable, "-m", "pipeseal"]
    return subprocess.run(
        [*command, "pipeline", "upload", *arguments],
        cwd=folder,
        input=input_text,
        stdin=subprocess.DEVNULL if input_text is None else None,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_dry_run_prints_json_on_standard_output_and_talks_on_standard_error(tmp_path: Path) -> None:
    (tmp_path / "buildkite.yml").write_text("steps: [{command: 'echo <$WHO>'}]")
    done = run(tmp_path, "--dry-run", WHO="you")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"steps": [{"command": "echo <you>"}]}
    assert '"command": "echo <you>"' in done.stdout
    assert done.stderr == "Using buildkite.yml (1 step)\n"


def test_standard_input(tmp_path: Path) -> None:
    (tmp_path / "buildkite.yml").write_text("steps: [{command: file}]")
    done = run(tmp_path, "--dry-run", "--format", "yaml", input_text="steps: [{command: input}]")
    assert done.returncode == 0 and "command: input" in done.stdout


def test_flags_come_from_the_environment_too(tmp_path: Path) -> None:
    pair = generate_key_pair("EdDSA", "signer")
    write_key_file(tmp_path / "signing.json", pair.private_set)
    (tmp_path / "buildkite.yml").write_text("steps: [{command: '$X'}]")
    done = run(
        tmp_path,
        BUILDKITE_PIPELINE_UPLOAD_DRY_RUN="true",
        BUILDKITE_PIPELINE_NO_INTERPOLATION="true",
        BUILDKITE_AGENT_JWKS_FILE=str(tmp_path / "signing.json"),
        BUILDKITE_REPO="r",
    )
    (step,) = json.loads(done.stdout)["steps"]
    assert step["command"] == "$X" and step["signature"]["algorithm"] == "EdDSA"


@pytest.mark.parametrize(
    ("text", "flags", "words"),
    [
        ("steps: [{command: 'x $SECRET_TOKEN'}]", ["--reject-secrets"], ["upload.secret", "SECRET_TOKEN"]),
        ("steps: [{command: '${OOPS?must be set}'}]", [], ["interpolation.unset", "must be set"]),
        ("steps:\n  - command: [unclosed\n", [], ["buildkite.yml:", "error["]),
        ("steps: [{command: x}]", ["--job", ""], ["upload.no_job"]),
        ("steps: [{command: x}]", ["--job", "j"], ["token.missing"]),
    ],
)
def test_errors_say_what_where_and_what_to_do(tmp_path: Path, text: str, flags: list[str], words: list[str]) -> None:
    (tmp_path / "buildkite.yml").write_text(text)
    done = run(tmp_path, *flags, SECRET_TOKEN="sesame-sesame")
    assert done.returncode not in (0, 1) and not done.stdout
    assert all(word in done.stderr for word in words), done.stderr
    assert "sesame" not in done.stderr and "Traceback" not in done.stderr


def test_as_buildkite_agent_inside_a_job(tmp_path: Path) -> None:
    (tmp_path / "buildkite.yml").write_text("steps: [{command: x}]")
    launcher = Launcher()
    try:
        program = str(launcher.folder / "buildkite-agent")
        with fake_server() as server:
            server.add_job(b"{}", "job-1")
            place = {"BUILDKITE_AGENT_ENDPOINT": server.endpoint, "BUILDKITE_AGENT_ACCESS_TOKEN": "JOBTOKEN"}
            done = run(tmp_path, program=program, BUILDKITE_JOB_ID="job-1", PYTHONPATH="/evil", **place)
            assert done.returncode == 0, done.stderr
            assert server.uploads[0]["pipeline"] == {"steps": [{"command": "x"}]}
            failed = run(tmp_path, "missing.yml", program=program, BUILDKITE_JOB_ID="job-1", **place)
            assert failed.returncode == 1 and "upload.no_file" in failed.stderr
    finally:
        launcher.close()
    assert not launcher.folder.exists()


def test_launcher_with_an_interpreter_that_no_first_line_can_name(tmp_path: Path) -> None:
    folder = tmp_path / "a folder with spaces"
    folder.mkdir()
    (folder / "python").symlink_to(sys.executable)
    text = render_launcher(str(folder / "python"), [path for path in sys.path if path])
    (tmp_path / "launcher").write_text(text)
    (tmp_path / "launcher").chmod(0o755)
    done = subprocess.run([str(tmp_path / "launcher"), "--version"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.startswith("pipeseal "), done.stderr
