"""A whole installation for a test: repository, keys, control plane, uploader and runner, each a real process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeseal.lab.stage import Actors, make_repository

UPLOAD = "steps:\n  - label: upload\n    command: buildkite-agent pipeline upload\n    agents: {queue: uploader}\n"


class Installation:
    """One control plane with a pipeline `app`, an uploader that holds the key and a runner that does not."""

    def __init__(self, folder: Path, actors: Actors) -> None:
        self.folder = folder
        self.actors = actors
        self.repository = folder / "app"
        self.keys = folder / "keys"
        self.url = ""

    def begin(self, pipeline: str, files: dict[str, str] | None = None, *, runner: list[str] | None = None) -> str:
        """Set everything up for a repository with this pipeline; returns its commit."""
        commit = make_repository(self.repository, {".buildkite/pipeline.yml": pipeline, **(files or {})})
        self.must("init", "--directory", str(self.keys), "--key-id", "signer")
        self.url = self.actors.start(
            "server",
            ["server", "--data", str(self.folder / "server"), "--listen", "127.0.0.1:0"],
            ready="Listening on",
        ).split()[-1]
        steps = self.folder / "steps.yml"
        steps.write_text(UPLOAD, encoding="utf-8")
        signed = self.must(
            "tool", "sign", str(steps), "--jwks-file", str(self.keys / "signing.json"),
            "--repo", str(self.repository), "--organization-slug", "local", "--pipeline-slug", "app",
        )  # fmt: skip
        steps.write_text(signed, encoding="utf-8")
        self.must(
            "pipeline", "create", "app", *self.access, "--repository", str(self.repository), "--steps", str(steps)
        )
        self.start_agent("uploader", ["--queue", "uploader", "--signing-jwks-file", str(self.keys / "signing.json")])
        self.start_agent("runner", runner or [])
        return commit

    def start_agent(self, name: str, extra: list[str], *, endpoint: str = "") -> None:
        """Start one more agent that verifies."""
        self.actors.start(
            name,
            [
                "agent", "start", "--name", name, "--endpoint", endpoint or f"{self.url}/v3",
                "--token", f"file://{self.folder / 'server' / 'agent-token'}",
                "--verification-jwks-file", str(self.keys / "verification.json"),
                "--policy-file", str(self.keys / "policy.toml"),
                "--build-path", str(self.folder / "builds"), "--plugins-path", str(self.folder / "plugins"), *extra,
            ],
            ready="Waiting for jobs",
        )  # fmt: skip

    @property
    def access(self) -> list[str]:
        """Options that name the control plane and its API token."""
        return ["--server", self.url, "--token-file", str(self.folder / "server" / "api-token")]

    def must(self, *arguments: str) -> str:
        """Standard output of a command of ours that has to work."""
        done = self.actors.run(arguments)
        assert done.returncode == 0, f"pipeseal {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def build(self, *options: str) -> dict[str, Any]:
        """A build of `app`, watched to its end."""
        done = self.actors.run(["build", "create", "--pipeline", "app", *self.access, "--watch", *options])
        number = done.stdout.split("#")[1].split()[0]
        shown = self.must("build", "show", number, "--pipeline", "app", *self.access, "-o", "json")
        build: dict[str, Any] = json.loads(shown)
        return build

    def log(self, number: int, job: str) -> str:
        """A job's log."""
        return self.must("build", "log", str(number), job, "--pipeline", "app", *self.access)


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """An installation that has not begun yet; everything it started is stopped at the end."""
    logs = tmp_path / "logs"
    logs.mkdir()
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "c"), "XDG_DATA_HOME": str(tmp_path / "d")}
    with Actors(logs, home) as actors:
        yield Installation(tmp_path, actors)
