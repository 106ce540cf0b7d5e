"""What all rows share: the peers, the keys, the generated pipelines, signed once, and a clean environment."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import peers
from benchmarks.generate import REPOSITORY_URL, generate_jobs, generate_pipeline
from pipeseal.agent.launcher import NAME, render_launcher

PIPESEAL = Path(sys.executable).with_name("pipeseal")
KEY_ID = "bench"
# The example key of RFC 8037 appendix A.1: public since 2017, so it can stand here.
_PRIVATE = {
    "alg": "EdDSA",
    "crv": "Ed25519",
    "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "kid": KEY_ID,
    "kty": "OKP",
    "use": "sig",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
}
SIZES = {"1": 1, "1k": 1_000, "10k": 10_000}


@dataclass(frozen=True)
class Workspace:
    """A folder for one run of the suite.

    Parameters:
        directory: empty, removed by the caller.
        go: the Go program on go-pipeline.
        stock: the stock agent.
        buildbot: the folder with Buildbot's programs.
        pairs: how many pairs a row takes when it is quick.
        budget_seconds: a row stops early after this, with at least 5 pairs.
        soak_minutes: how long the row `soak` takes.
    """

    directory: Path
    go: peers.Peer
    stock: peers.Peer
    buildbot: peers.Peer
    pairs: int
    budget_seconds: float
    soak_minutes: float = 30.0

    @property
    def env(self) -> dict[str, str]:
        """The environment of everything that is measured: nothing of the caller's that could change its speed."""
        home = str(self.directory)
        return {"PATH": os.environ["PATH"], "HOME": home, "LANG": "C.UTF-8", "TMPDIR": home}

    @property
    def job_command(self) -> Path:
        """Our command as jobs have it: the launcher that an agent puts first in their PATH."""
        path = self.directory / "job-bin" / NAME
        if not path.exists():
            path.parent.mkdir()
            folders = [str(peers.ROOT / "src"), *filter(os.path.isdir, site.getsitepackages())]
            path.write_text(render_launcher(sys.executable, folders))
            path.chmod(0o755)
        return path

    @property
    def private_keys(self) -> Path:
        """JWK set with the signing key."""
        return self._key_file("private.json", _PRIVATE)

    @property
    def public_keys(self) -> Path:
        """JWK set with the key that verifies."""
        return self._key_file("public.json", {name: value for name, value in _PRIVATE.items() if name != "d"})

    def _key_file(self, name: str, key: dict[str, str]) -> Path:
        path = self.directory / name
        if not path.exists():
            descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump({"keys": [key]}, file)
        return path

    @property
    def checkout(self) -> Path:
        """A git repository with one commit, where commands inside a job run."""
        path = self.directory / "checkout"
        if not path.exists():
            path.mkdir()
            (path / "README").write_text("A checkout for measurements.\n", encoding="utf-8")
            identity = ["-c", "user.name=bench", "-c", "user.email=bench@example.invalid"]
            for words in (["init", "--quiet"], ["add", "."], [*identity, "commit", "--quiet", "--message", "Begin"]):
                subprocess.run(["git", *words], cwd=path, env=self.env, check=True)
        return path

    @property
    def commit(self) -> str:
        """The id of that commit."""
        words = ["git", "rev-parse", "HEAD"]
        return (
            subprocess.run(words, cwd=self.checkout, env=self.env, check=True, capture_output=True)
            .stdout.decode()
            .strip()
        )

    def fresh(self, name: str) -> Path:
        """A path that does not exist yet."""
        return self.directory / f"{name}-{time.monotonic_ns()}"

    def pipeline(self, size: str) -> Path:
        """The generated pipeline of `size` (a name in `SIZES`) as a YAML file."""
        path = self.directory / f"pipeline-{size}.yml"
        if not path.exists():
            path.write_text(generate_pipeline(SIZES[size]), encoding="utf-8")
        return path

    def signed(self, size: str) -> Path:
        """The generated pipeline as signed JSON: by the Go peer, or by ours when that is missing."""
        path = self.directory / f"signed-{size}.json"
        if path.exists():
            return path
        command: list[str | Path] = (
            [self.go.path, "sign", "--jwks", self.private_keys, "--repo", REPOSITORY_URL]
            if self.go.path
            else [
                sys.executable,
                "-m",
                "benchmarks.worker",
                "signed",
                "--jwks",
                self.private_keys,
                "--repo",
                REPOSITORY_URL,
            ]
        )
        with self.pipeline(size).open("rb") as source, path.open("wb") as target:
            subprocess.run(command, stdin=source, stdout=target, env=self.env, cwd=peers.ROOT, check=True)
        return path

    def jobs(self, size: str) -> Path:
        """One job a line, as a control plane sends them, for the command steps of `signed`."""
        path = self.directory / f"jobs-{size}.jsonl"
        if path.exists():
            return path
        with path.open("w", encoding="utf-8") as file:
            for job in generate_jobs(json.loads(self.signed(size).read_bytes())):
                file.write(json.dumps(job, separators=(",", ":")) + "\n")
        return path
