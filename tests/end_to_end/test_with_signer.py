"""A whole installation whose key is kept by a signer, set up as `init` says: builds run, and jobs sign nothing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeseal.lab.stage import make_repository

if TYPE_CHECKING:
    from .conftest import Installation

PIPELINE = """\
env: {COLOUR: blue}
steps:
  - {label: one, command: scripts/one, agents: {queue: default}}
  - label: more
    command: buildkite-agent pipeline upload .buildkite/more.yml
    agents: {queue: uploader}
  - {label: sneak, command: scripts/sneak, agents: {queue: uploader}, soft_fail: true}
"""
MORE = "steps: [{label: two, command: echo two $BUILDKITE_BRANCH $BUILDKITE_BUILD_ID, agents: {queue: default}}]\n"
SNEAK = """\
#!/bin/bash
# What a job can do on the agent that uploads: look for the key, and try to upload.
env | grep -c CAPABILITY=. && exit 1
cat "$KEY_FOLDER/signing.json" 2>/dev/null
echo "steps: [{command: evil}]" > evil.yml
buildkite-agent pipeline upload evil.yml
"""


def _states(build: dict[str, Any]) -> dict[str, str]:
    return {job["name"]: job["state"] for job in build["jobs"] if job["type"] == "script"}


def test_builds_run_with_a_signer_set_up_as_init_says(installation: Installation) -> None:
    files = {
        ".buildkite/pipeline.yml": PIPELINE,
        ".buildkite/more.yml": MORE,
        "scripts/one": "#!/bin/sh\necho one $COLOUR\n",
        "scripts/sneak": SNEAK,
    }
    make_repository(installation.repository, files)
    here = installation.keys
    said = installation.must(
        "init", "--directory", str(here), "--repository", str(installation.repository), "--pipeline", "app",
        "--branch", "main", "--signer",
    )  # fmt: skip
    assert "pipeseal signer --config" in said
    words = ["--config", str(here / "signer.toml"), "--socket", str(here / "signer.socket")]
    checked = installation.must("signer", "--check", *words)
    assert "any plain upload step" in checked and "warning: jobs run as the user" in checked
    installation.actors.start("signer", ["signer", *words], ready="listening at")
    installation.url = installation.actors.start(
        "server",
        ["server", "--data", str(installation.folder / "server"), "--listen", "127.0.0.1:0"],
        ready="Listening on",
    ).split()[-1]
    installation.must(
        "pipeline", "create", "app", *installation.access, "--repository", str(installation.repository),
        "--steps", str(here / "steps.yml"),
    )  # fmt: skip
    for name in ("uploader", "runner"):
        installation.actors.start(
            name,
            ["agent", "start", "--name", name, "--config", str(here / f"{name}.cfg"),
             "--endpoint", f"{installation.url}/v3",
             "--token", f"file://{installation.folder / 'server' / 'agent-token'}"],
            ready="Waiting for jobs",
        )  # fmt: skip
    build = installation.build("--commit", "HEAD", "--branch", "main")
    if build["commit"] == "HEAD" or build["state"] != "passed":
        logs = {job["name"]: installation.log(build["number"], job["name"])[-1500:] for job in build["jobs"]}
        pytest.fail(json.dumps([_states(build), logs], indent=1))
    assert _states(build) == {
        ":pipeline: upload": "passed",
        "one": "passed",
        "more": "passed",
        "two": "passed",
        "sneak": "failed",
    }
    assert "one blue" in installation.log(build["number"], "one")
    assert "sealed: sha256" in installation.log(build["number"], "two")
    assert f"two main {build['id']}" in installation.log(build["number"], "two")
    sneaked = installation.log(build["number"], "sneak")
    assert "[signer.no_grant]" in sneaked and "evil" not in json.dumps(build)


def test_an_upload_through_a_signer_imports_nothing_of_pipelines_or_keys() -> None:
    code = """
import sys, json, socket, threading, tempfile, pathlib, os
from pipeseal.agent import inside
folder = tempfile.mkdtemp()
path = folder + "/s"
listener = socket.socket(socket.AF_UNIX); listener.bind(path); listener.listen()
def answer():
    connection, _ = listener.accept()
    connection.makefile("rb").read()
    signed = {"source": "p.yml", "pipelines": ["{}"], "summaries": ["1 step"], "notes": []}
    connection.sendall(json.dumps(signed).encode()); connection.close()
thread = threading.Thread(target=answer); thread.start()
sent = []
import pipeseal.agent.upload_signed as module
module.send_pipeline = lambda server, job, text, replace: sent.append((job, text, replace))
os.environ |= {"PIPESEAL_SIGNER_SOCKET": path, "PIPESEAL_UPLOAD_CAPABILITY": "c", "BUILDKITE_JOB_ID": "j",
               "BUILDKITE_AGENT_ACCESS_TOKEN": "t"}
before = set(sys.modules)
assert inside.run(["pipeline", "upload", "p.yml", "--replace"])
thread.join()
assert sent == [("j", "{}", True)], sent
names = ("yaml", "cryptography", "orjson", "msgspec", "nacl", "click")
heavy = [name for name in sys.modules if name.split(".")[0] in names]
ours = [name for name in sys.modules if name.startswith(("pipeseal.signing", "pipeseal.policy"))]
print("LOADED", heavy + ours, len(sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("LOADED [] "), done.stdout


def test_the_unit_of_the_signer_keeps_it_to_itself(tmp_path: Path) -> None:
    unit = (Path(__file__).resolve().parents[2] / "packaging/systemd/pipeseal-signer.service").read_text("utf-8")
    lines = [line for line in unit.splitlines() if line and not line.startswith("#")]
    for wanted in (
        "User=pipeseal-signer", "StateDirectoryMode=0700", "NoNewPrivileges=yes", "ProtectSystem=strict",
        "CapabilityBoundingSet=", "LimitCORE=0", "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6", "Type=notify",
    ):  # fmt: skip
        assert wanted in lines
    if (analyze := shutil.which("systemd-analyze")) is None:
        pytest.skip("systemd-analyze is not installed")
    path = tmp_path / "pipeseal-signer.service"
    path.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit, flags=re.M), "utf-8")
    done = subprocess.run([analyze, "verify", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
