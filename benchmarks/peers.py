"""Finds or builds the reference programs that benchmarks and interop tests run beside ours.

- `go`: the program in `benchmarks/peer`, on the published Go module go-pipeline; built with the Go on PATH.
- `buildkite-agent`: the stock agent; named by PIPESEAL_BUILDKITE_AGENT, else on PATH, else built from the Go module
  proxy (which some proxies refuse, because of one of its dependencies).
- `git`: on PATH.

Built programs are kept in `.peers/` at the top of the checkout. With PIPESEAL_REQUIRE_PEERS=1 a missing required peer
is an error instead of a skipped test or an empty column.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / ".peers"
SOURCES = ROOT / "benchmarks" / "peer"
STOCK_AGENT_VERSION = "3.137.0"
STOCK_AGENT_MODULE = f"github.com/buildkite/agent/v3@v{STOCK_AGENT_VERSION}"
# A build from an empty module cache on a slow machine; the stock agent alone takes minutes.
BUILD_SECONDS = 900


@dataclass(frozen=True)
class Peer:
    """A reference program, or why there is none.

    Parameters:
        name: as in the `peer(name)` marker of the tests.
        path: the program; None when it is missing.
        detail: where it was found, or the reason why it was not and what to do.
        required: whether its absence is an error under PIPESEAL_REQUIRE_PEERS=1.
    """

    name: str
    path: Path | None
    detail: str
    required: bool = True

    @property
    def is_demanded(self) -> bool:
        """Whether going on without this peer is an error here."""
        return self.required and peers_are_required()


def peers_are_required() -> bool:
    """Whether PIPESEAL_REQUIRE_PEERS=1 is set, as it is in CI."""
    return os.environ.get("PIPESEAL_REQUIRE_PEERS") == "1"


@cache
def find_peer(name: str) -> Peer:
    """The peer called `name`, for a test: never starts a build of minutes unless peers are required.

    Raises:
        KeyError: no such peer; a spelling mistake in a marker.
    """
    return FINDERS[name]()


def find_go_peer() -> Peer:
    """The Go program on go-pipeline, built from its sources when they changed since the last build."""
    go = shutil.which("go")
    if go is None:
        return Peer("go", None, "no `go` on PATH: install Go 1.25 or later")
    digest = hashlib.sha256(_version_of(go, "version").encode())
    for source in sorted(SOURCES.iterdir()):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    target = PEERS / f"go-pipeline-{digest.hexdigest()[:16]}"
    command = [go, "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-o"]
    return _built("go", target, lambda partial: _run([*command, str(partial), "."], cwd=SOURCES))


def find_stock_agent(*, may_build: bool = False) -> Peer:
    """The stock buildkite-agent: not required, because some module proxies do not serve all of its dependencies.

    Parameters:
        may_build: build it when it is nowhere, which takes minutes; also done when peers are required.
    """
    named = os.environ.get("PIPESEAL_BUILDKITE_AGENT") or shutil.which("buildkite-agent")
    if named:
        said = _version_of(named)
        if said.startswith(f"buildkite-agent version {STOCK_AGENT_VERSION}"):
            return Peer("buildkite-agent", Path(named), f"{named}, version {STOCK_AGENT_VERSION}", required=False)
        detail = f"{named} is not version {STOCK_AGENT_VERSION} of the stock agent: it says {said[:80]!r}"
        return Peer("buildkite-agent", None, detail, required=False)
    target = PEERS / f"buildkite-agent-{STOCK_AGENT_VERSION}"
    go = shutil.which("go")
    if not target.exists() and (go is None or not (may_build or peers_are_required())):
        detail = "not on PATH, and PIPESEAL_BUILDKITE_AGENT does not say where it is"
        return Peer("buildkite-agent", None, detail, required=False)

    def install(partial: Path) -> str:
        folder = partial.parent / f"{partial.name}.gobin"
        problem = _run([go or "go", "install", STOCK_AGENT_MODULE], cwd=PEERS, env={"GOBIN": str(folder)})
        if not problem:
            # The module's own name for its main package is `v3` or `agent`, depending on the version of Go.
            next(folder.iterdir()).rename(partial)
        shutil.rmtree(folder, ignore_errors=True)
        return problem

    return _built("buildkite-agent", target, install, required=False)


def find_git() -> Peer:
    """git, from PATH."""
    git = shutil.which("git")
    return Peer("git", Path(git), git) if git else Peer("git", None, "no `git` on PATH")


FINDERS: dict[str, Callable[[], Peer]] = {
    "go": find_go_peer,
    "buildkite-agent": find_stock_agent,
    "git": find_git,
}


def _built(name: str, target: Path, build: Callable[[Path], str], *, required: bool = True) -> Peer:
    """`target`, built when it is not there; processes that ask at the same time wait for one of them to build.

    Parameters:
        build: makes the program at the path it is given; says what went wrong, or nothing.
    """
    PEERS.mkdir(exist_ok=True)
    with (PEERS / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            partial = target.with_name(target.name + ".partial")
            problem = build(partial)
            if problem:
                return Peer(name, None, f"it could not be built: {problem}", required=required)
            partial.chmod(0o755)
            partial.rename(target)
    return Peer(name, target, f"built as {target.relative_to(ROOT)}", required=required)


def _run(command: list[str], *, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Run `command`; the empty text, or the last lines of what it said when it failed."""
    try:
        done = subprocess.run(
            command, cwd=cwd, env=os.environ | (env or {}), capture_output=True, text=True, timeout=BUILD_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return ""
    said = [line for line in done.stderr.splitlines() if line and not line.startswith("go: downloading")]
    return "\n".join(said[-3:]) or f"exit status {done.returncode}"


def _version_of(program: str, *arguments: str) -> str:
    try:
        done = subprocess.run([program, *(arguments or ["--version"])], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stdout.strip()
