"""Rows about the two programs that stay: how soon they do their first work, and what they cost while idle."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.control_plane import Connection, Server, create_build, create_pipeline
from benchmarks.generate import REPOSITORY_URL
from benchmarks.measure import (
    CommandFailed,
    Sample,
    alternate,
    process_cpu_seconds,
    process_memory,
    run_command,
)
from benchmarks.report import MIB, PERCENT, SECONDS, Row, Target
from benchmarks.workspace import PIPESEAL, Workspace

STOCK = "buildkite-agent"
FIRST_JOB_SECONDS = 60
IDLE_SECONDS = 5.0
NOOP_STEP = """\
steps:
  - command: "true"
    label: no-op
    env:
      BUILDKITE_SKIP_CHECKOUT: "true"
"""


def measure_server_start(space: Workspace) -> Row:
    """Our server, from nothing at all to listening; no peer has one."""

    def side() -> Sample:
        with Server(_fresh(space, "server"), space.env) as server:
            pid = server.process.pid
            return Sample(server.ready_seconds, process_cpu_seconds(pid), process_memory(pid)["VmHWM"])

    pairs = alternate(side, None, pairs=space.pairs, budget_seconds=space.budget_seconds)
    return Row("start.server", pairs, SECONDS, "", time=Target(limit=1.0))


def measure_agent_start(space: Workspace) -> Row:
    """An agent, from its start to its first job finished: signed, verified, no checkout; both on our server."""
    with _signed_pipeline(space, "start") as (server, rest):

        def side(program: Path) -> Sample:
            number = create_build(rest, "noop")
            start = time.monotonic()
            with _agent(space, server, program) as process:
                while rest.call("GET", f"/pipelines/noop/builds/{number}")["state"] != "passed":
                    if time.monotonic() - start > FIRST_JOB_SECONDS or process.poll() is not None:
                        raise CommandFailed(f"{program.name} did not finish its first job: {_log(space)}")
                    time.sleep(0.005)
                seconds = time.monotonic() - start
                return Sample(seconds, process_cpu_seconds(process.pid), process_memory(process.pid)["VmHWM"])

        stock = space.stock.path
        peer = (lambda: side(stock)) if stock else None
        pairs = alternate(lambda: side(PIPESEAL), peer, pairs=space.pairs, budget_seconds=space.budget_seconds)
    return Row("start.agent", pairs, SECONDS, STOCK, time=Target(ratio=0.7))


def measure_agent_idle(space: Workspace) -> Row:
    """An agent that has run a job and waits for the next: share of a core it uses, and its resident memory now."""
    with _signed_pipeline(space, "idle") as (server, rest):

        def side(program: Path) -> Sample:
            number = create_build(rest, "noop")
            with _agent(space, server, program) as process:
                end = time.monotonic() + FIRST_JOB_SECONDS
                while rest.call("GET", f"/pipelines/noop/builds/{number}")["state"] != "passed":
                    if time.monotonic() > end or process.poll() is not None:
                        raise CommandFailed(f"{program.name} did not finish its first job: {_log(space)}")
                    time.sleep(0.05)
                return _idle(process.pid)

        stock = space.stock.path
        peer = (lambda: side(stock)) if stock else None
        pairs = alternate(lambda: side(PIPESEAL), peer, pairs=3, budget_seconds=space.budget_seconds, fewest=3)
    return Row("idle.agent", pairs, PERCENT, STOCK, time=Target(limit=0.003), memory=Target(limit=40 * MIB))


def measure_server_idle(space: Workspace) -> Row:
    """Our server with one idle agent on a held ping: share of a core it uses, and its resident memory now."""
    with _signed_pipeline(space, "idle-server") as (server, _), _agent(space, server, PIPESEAL):
        time.sleep(1.0)
        pairs = alternate(
            lambda: _idle(server.process.pid), None, pairs=3, budget_seconds=space.budget_seconds, fewest=3
        )
    return Row("idle.server", pairs, PERCENT, "", time=Target(limit=0.003), memory=Target(limit=80 * MIB))


def _idle(pid: int) -> Sample:
    """CPU share and resident memory of a process over `IDLE_SECONDS`, after a moment to settle."""
    time.sleep(1.0)
    start, before = time.monotonic(), process_cpu_seconds(pid)
    time.sleep(IDLE_SECONDS)
    share = (process_cpu_seconds(pid) - before) / (time.monotonic() - start)
    return Sample(share, share, process_memory(pid)["VmRSS"])


@contextmanager
def _signed_pipeline(space: Workspace, name: str) -> Iterator[tuple[Server, Connection]]:
    """A server whose pipeline `noop` has one signed step that does nothing."""
    steps, signed = space.directory / "noop.yml", space.directory / "noop-signed.yml"
    steps.write_text(NOOP_STEP, encoding="utf-8")
    command = [PIPESEAL, "tool", "sign", "--jwks-file", space.private_keys, "--repo", REPOSITORY_URL, steps]
    run_command(command, env=space.env, cwd=space.directory, stdout=signed)
    with Server(_fresh(space, name), space.env) as server:
        rest = server.rest()
        create_pipeline(rest, "noop", signed.read_text(encoding="utf-8"))
        yield server, rest
        rest.close()


@contextmanager
def _agent(space: Workspace, server: Server, program: Path) -> Iterator[subprocess.Popen[bytes]]:
    """An agent that verifies, started from nothing but a token and the public key."""
    build_path = space.directory / "builds"
    build_path.mkdir(exist_ok=True)
    words = ["agent", "start"] if program == PIPESEAL else ["start"]
    words += ["--endpoint", server.agent_endpoint, "--build-path", str(build_path)]
    command = [str(program), *words, "--verification-jwks-file", str(space.public_keys)]
    env = space.env | {"BUILDKITE_AGENT_TOKEN": server.registration_token}
    with _log_file(space).open("wb") as log:
        process = subprocess.Popen(command, env=env, cwd=space.directory, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _log_file(space: Workspace) -> Path:
    return space.directory / "agent.log"


def _log(space: Workspace) -> str:
    return _log_file(space).read_text(encoding="utf-8", errors="replace")[-600:]


def _fresh(space: Workspace, name: str) -> Path:
    """A path for a data directory that does not exist yet."""
    return space.directory / f"{name}-{time.monotonic_ns()}-{os.getpid()}"
