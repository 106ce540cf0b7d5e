"""Finds or builds the reference programs that benchmarks and interop tests run beside ours.

- `go`: the program in `benchmarks/peer`, on the published Go module go-pipeline; built with the Go on PATH.
- `chart`: the program in `benchmarks/chart_peer`, which renders Helm charts; built likewise, for tests only.
- `buildkite-agent`: the stock agent; named by PIPESEAL_BUILDKITE_AGENT, else on PATH, else built from its published
  module, as `benchmarks/stock_agent/go.mod` and `go.sum` pin it; with the Go on PATH too.
- `buildbot`: Buildbot's master and worker from PyPI, as `benchmarks/buildbot_peer/requirements.txt` pins them, in a
  virtual environment of their own; for benchmarks only.
- `git`, `git-lfs`, `gpg`, `sshd`, `curl`: on PATH.
- `softhsm2`: a PKCS #11 token in software, from the system's package of that name.

Built programs are kept in `.peers/` at the top of the checkout; `python -m benchmarks.peers` builds all of them. With
PIPESEAL_REQUIRE_PEERS=1 a missing peer is an error instead of a skipped test or an empty column.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / ".peers"
STOCK_AGENT_VERSION = "3.137.0"
STOCK_AGENT_MODULE = "github.com/buildkite/agent/v3"
# A build from an empty module cache on a slow machine; the stock agent alone takes minutes.
BUILD_SECONDS = 900


@dataclass(frozen=True)
class Peer:
    """A reference program, or why there is none.

    Parameters:
        name: as in the `peer(name)` marker of the tests.
        path: the program; None when it is missing.
        detail: where it was found, or the reason why it was not and what to do.
    """

    name: str
    path: Path | None
    detail: str


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
    return _built_by_go("go", "go-pipeline", ROOT / "benchmarks" / "peer", ".")


def find_chart_peer() -> Peer:
    """The Go program that renders Helm charts, built from its sources when they changed since the last build."""
    return _built_by_go("chart", "chart", ROOT / "benchmarks" / "chart_peer", ".")


def find_stock_agent(*, may_build: bool = False) -> Peer:
    """The stock buildkite-agent.

    Parameters:
        may_build: build it when it is nowhere, which takes minutes; also done when peers are required.
    """
    named = os.environ.get("PIPESEAL_BUILDKITE_AGENT") or shutil.which("buildkite-agent")
    if named:
        said = _version_of(named)
        if said.startswith(f"buildkite-agent version {STOCK_AGENT_VERSION}"):
            return Peer("buildkite-agent", Path(named), f"{named}, version {STOCK_AGENT_VERSION}")
        detail = f"{named} is not version {STOCK_AGENT_VERSION} of the stock agent: it says {said[:80]!r}"
        return Peer("buildkite-agent", None, detail)
    sources = ROOT / "benchmarks" / "stock_agent"
    may_build = may_build or peers_are_required()
    return _built_by_go("buildkite-agent", "buildkite-agent", sources, STOCK_AGENT_MODULE, may_build=may_build)


def find_buildbot(*, may_build: bool = False) -> Peer:
    """The folder with Buildbot's programs, `buildbot` and `buildbot-worker`.

    Parameters:
        may_build: install it when it is not there, some 40 packages; also done when peers are required.
    """
    requirements = ROOT / "benchmarks" / "buildbot_peer" / "requirements.txt"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(version.encode() + requirements.read_bytes()).hexdigest()[:16]
    target = PEERS / f"buildbot-{digest}"
    PEERS.mkdir(exist_ok=True)
    with (PEERS / "buildbot.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Programs of a virtual environment know where they lie, so it is not moved into its place when it is whole.
        whole = target / "whole"
        if not whole.exists():
            if not (may_build or peers_are_required()):
                return Peer("buildbot", None, "not installed yet: `python -m benchmarks.peers` does")
            pip = [str(target / "bin" / "python"), "-m", "pip", "install", "--quiet", "--require-hashes"]
            problem = _run([sys.executable, "-m", "venv", "--clear", str(target)], cwd=PEERS) or _run(
                [*pip, "--requirement", str(requirements)], cwd=PEERS
            )
            if problem:
                return Peer("buildbot", None, f"it could not be installed: {problem}")
            whole.touch()
    return Peer("buildbot", target / "bin", f"installed as {target.relative_to(ROOT)}")


def find_git() -> Peer:
    """git, from PATH."""
    git = shutil.which("git")
    return Peer("git", Path(git), git) if git else Peer("git", None, "no `git` on PATH")


def find_chromium() -> Peer:
    """Chromium, from PATH, for looking at the web pages."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    return Peer("chromium", Path(program), program) if program else Peer("chromium", None, "no `chromium` on PATH")


def find_gpg() -> Peer:
    """GnuPG, from PATH."""
    gpg = shutil.which("gpg")
    return Peer("gpg", Path(gpg), gpg) if gpg else Peer("gpg", None, "no `gpg` on PATH: install gnupg")


def find_curl() -> Peer:
    """curl, from PATH, for the commands of the documentation."""
    curl = shutil.which("curl")
    return Peer("curl", Path(curl), curl) if curl else Peer("curl", None, "no `curl` on PATH")


def find_git_lfs() -> Peer:
    """git's extension for large files, from PATH."""
    program = shutil.which("git-lfs")
    return Peer("git-lfs", Path(program), program) if program else Peer("git-lfs", None, "no `git-lfs` on PATH")


def find_sshd() -> Peer:
    """OpenSSH's server, from PATH or where distributions put it."""
    program = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin")
    return (
        Peer("sshd", Path(program), program) if program else Peer("sshd", None, "no `sshd`: install openssh-server")
    )


def find_softhsm2() -> Peer:
    """The library of SoftHSM2, where distributions put it."""
    if shutil.which("softhsm2-util"):
        for folder in ("/usr/lib/softhsm", "/usr/lib64/softhsm", "/usr/local/lib/softhsm", "/usr/lib64/pkcs11"):
            library = Path(folder) / "libsofthsm2.so"
            if library.exists():
                return Peer("softhsm2", library, str(library))
    return Peer("softhsm2", None, "no `softhsm2-util` on PATH, or no libsofthsm2.so beside it: install softhsm2")


FINDERS: dict[str, Callable[[], Peer]] = {
    "go": find_go_peer,
    "chart": find_chart_peer,
    "buildkite-agent": find_stock_agent,
    "buildbot": find_buildbot,
    "git": find_git,
    "chromium": find_chromium,
    "curl": find_curl,
    "git-lfs": find_git_lfs,
    "gpg": find_gpg,
    "sshd": find_sshd,
    "softhsm2": find_softhsm2,
}
# Peers that take a while to get, so that tests do without them unless they are required.
SLOW: dict[str, Callable[[], Peer]] = {
    "buildkite-agent": lambda: find_stock_agent(may_build=True),
    "buildbot": lambda: find_buildbot(may_build=True),
}


def _built_by_go(name: str, program: str, sources: Path, package: str, *, may_build: bool = True) -> Peer:
    """`program` from a Go package, built when it is not there in the version that `sources` have.

    Processes that ask at the same time wait for one of them to build.

    Parameters:
        sources: folder of a Go module, which pins everything the package needs.
    """
    go = shutil.which("go")
    if go is None:
        return Peer(name, None, "no `go` on PATH: install Go 1.26 or later")
    digest = hashlib.sha256(_version_of(go, "version").encode())
    for source in sorted(sources.iterdir()):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    # In a folder of its own and under its own name: agents put the folder that they lie in on the PATH of their jobs.
    target = PEERS / f"{program}-{digest.hexdigest()[:16]}" / program
    target.parent.mkdir(parents=True, exist_ok=True)
    with (PEERS / f"{program}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            if not may_build:
                return Peer(name, None, "not built yet: `python -m benchmarks.peers` does, in a few minutes")
            partial = target.with_name(target.name + ".partial")
            command = [go, "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-o", str(partial), package]
            problem = _run(command, cwd=sources)
            if problem:
                return Peer(name, None, f"it could not be built: {problem}")
            partial.rename(target)
    return Peer(name, target, f"built as {target.relative_to(ROOT)}")


def _run(command: list[str], *, cwd: Path) -> str:
    """Run `command`; the empty text, or the last lines of what it said when it failed."""
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=BUILD_SECONDS)
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


def main() -> int:
    """Find or build every peer and say where it is; the number of those that are missing."""
    found = [SLOW.get(name, find)() for name, find in FINDERS.items()]
    for peer in found:
        print(f"{peer.name}: {'' if peer.path else 'MISSING: '}{peer.detail}", flush=True)
    return sum(peer.path is None for peer in found)


if __name__ == "__main__":
    sys.exit(main())
