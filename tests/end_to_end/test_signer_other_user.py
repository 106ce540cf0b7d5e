"""A signer and its agent as users of their own: what jobs try as another uid comes to nothing."""

from __future__ import annotations

import grp
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeseal.lab.stage import make_repository

SIGNER, AGENT = 70101, 70102
NOBODYS_GROUP = 65_534

PIPELINE = """\
steps:
  - label: try
    command: scripts/try
    agents: {queue: uploader}
"""
# Everything that a job can think of, as the user that it runs as.
TRY = """\
#!/bin/bash
echo "uid $(id -u)"
for file in signing.json signer.toml state state/grants.db; do
    cat "FOLDER/signer/$file" && echo "READ $file"
done
cp FOLDER/signer/signing.json . && echo "COPIED"
echo "steps: [{command: evil}]" > evil.yml
buildkite-agent pipeline upload evil.yml && echo "UPLOADED"
PIPESEAL_UPLOAD_CAPABILITY=$(head -c 32 /dev/urandom | base64) buildkite-agent pipeline upload && echo "UPLOADED"
echo "steps: [{command: evil}]" | PIPESEAL_UPLOAD_CAPABILITY=x buildkite-agent pipeline upload && echo "UPLOADED"
mv FOLDER/socket/socket FOLDER/socket/mine && echo "MOVED"
kill PROCESS && echo "KILLED"
echo "the end"
"""


class Cast:
    """Processes of several users, in a folder that all of them can look into."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: list[subprocess.Popen[bytes]] = []

    def command(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "pipeseal", *words], capture_output=True, text=True, check=False,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, name: str, words: list[str], ready: str, uid: int | None = None) -> subprocess.Popen[bytes]:
        """Start one of our commands, as this user, and wait for what it says when it is ready."""
        log = self.folder / f"{name}.log"
        home = self.folder / name
        home.mkdir(mode=0o700, exist_ok=True)
        if uid is not None:
            os.chown(home, uid, uid)
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "pipeseal", *words],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd="/",
                env={"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"},
                user=uid, group=uid, extra_groups=None if uid is None else [NOBODYS_GROUP],
            )  # fmt: skip
        self.running.append(process)
        deadline = time.monotonic() + 60
        while ready not in (text := log.read_text("utf-8", "replace")):
            if process.poll() is not None or time.monotonic() > deadline:
                if "Permission denied" in text or "No module named" in text:
                    pytest.skip(f"other users cannot run this Python: {text[-200:]}")
                pytest.fail(f"{name} did not get ready: {text[-2000:]}")
            time.sleep(0.02)
        return process

    def close(self) -> None:
        for process in reversed(self.running):
            process.terminate()
        for process in self.running:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def cast() -> Iterator[Cast]:
    folder = Path(tempfile.mkdtemp(prefix="signer-"))
    folder.chmod(0o755)
    cast = Cast(folder)
    yield cast
    cast.close()
    shutil.rmtree(folder)


def _own(folder: Path, uid: int) -> None:
    os.chown(folder, uid, uid)
    for path in folder.rglob("*"):
        os.chown(path, uid, uid)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start processes as other users")
def test_a_job_of_another_user_can_neither_read_the_key_nor_get_anything_signed(cast: Cast) -> None:
    folder = cast.folder
    repository, secret, public = folder / "app", folder / "signer", folder / "public"
    for place, uid in ((secret, SIGNER), (folder / "socket", SIGNER), (folder / "agent", AGENT)):
        place.mkdir(mode=0o755 if place.name == "socket" else 0o700)
        os.chown(place, uid, uid)
    cast.command("init", "--directory", str(secret), "--repository", str(repository), "--pipeline", "app",
                 "--branch", "main", "--signer")  # fmt: skip
    # Once as users do it: the public half for agents, the rest for the signer alone.
    public.mkdir()
    for name in ("verification.json", "policy.toml", "steps.yml"):
        shutil.copy(secret / name, public / name)
    git_config = public / "gitconfig"
    git_config.write_text(f"[safe]\n\tdirectory = {repository}\n\tdirectory = {repository}/.git\n")
    text = (secret / "signer.toml").read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith(("supervisors", "state"))]
    lines += [f"supervisors = [{AGENT}]", f'state = "{secret}/state"', f'git-config = "{git_config}"']
    lines.append(f'socket-group = "{grp.getgrgid(NOBODYS_GROUP).gr_name}"')
    (secret / "signer.toml").write_text("\n".join(lines) + "\n", "utf-8")
    _own(secret, SIGNER)
    socket = folder / "socket" / "socket"
    signer = cast.start(
        "signer-home",
        ["signer", "--config", str(secret / "signer.toml"), "--socket", str(socket)],
        "listening",
        SIGNER,
    )
    script = TRY.replace("FOLDER", str(folder)).replace("PROCESS", str(signer.pid))
    make_repository(repository, {".buildkite/pipeline.yml": PIPELINE, "scripts/try": script})
    cast.start("server", ["server", "--data", str(folder / "data"), "--listen", "127.0.0.1:0"], "Listening on")
    url = (folder / "server.log").read_text("utf-8").split("Listening on", 1)[1].split()[0]
    access = ["--server", url, "--token-file", str(folder / "data" / "api-token")]
    cast.command("pipeline", "create", "app", *access, "--repository", str(repository),
                 "--steps", str(public / "steps.yml"))  # fmt: skip
    token = folder / "agent" / "token"
    shutil.copy(folder / "data" / "agent-token", token)
    _own(folder / "agent", AGENT)
    agent = ["agent", "start", "--name", "uploader", "--queue", "uploader", "--endpoint", f"{url}/v3",
             "--token", f"file://{token}", "--verification-jwks-file", str(public / "verification.json"),
             "--policy-file", str(public / "policy.toml"), "--git-config-file", str(git_config),
             "--build-path", str(folder / "agent" / "builds"), "--signer-socket", str(socket)]  # fmt: skip
    cast.start("agent", agent, "Waiting for jobs", AGENT)
    cast.command("build", "create", "--pipeline", "app", *access, "--watch", "--branch", "main", "--commit", "HEAD")
    build = json.loads(cast.command("build", "show", "1", "--pipeline", "app", *access, "-o", "json"))
    # The twin: the upload step itself has its file signed, and the step that it uploads runs.
    assert [(job["name"], job["state"]) for job in build["jobs"]] == [
        (":pipeline: upload", "passed"),
        ("try", "passed"),
    ]
    log = cast.command("build", "log", "1", "try", "--pipeline", "app", *access)
    said = log.split("scripts/try", 1)[1]
    assert f"uid {AGENT}" in said and "the end" in said
    for success in ("READ", "COPIED", "UPLOADED", "MOVED", "KILLED"):
        assert f"\n{success}" not in said, said
    assert said.count("Permission denied") >= 5 and said.count("[signer.no_grant]") == 1
    assert said.count("[signer.unknown]") == 2 and "Operation not permitted" in said
    assert '"d":' not in log and signer.poll() is None
