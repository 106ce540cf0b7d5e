"""Agents beside a server of ours: the same start, flags and environment for our agent and for the stock one."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.control_plane import Connection, Server, create_pipeline
from benchmarks.generate import REPOSITORY_URL
from benchmarks.measure import CommandFailed, run_command
from benchmarks.workspace import PIPESEAL, Workspace

STOCK = "buildkite-agent"
# Their streaming pings are a row of their own; everywhere else both agents ask in the same way.
POLLING = ("--ping-mode", "poll-only")
STREAMING = ("--ping-mode", "stream-only")
CONNECT_SECONDS = 30.0
# What a job prints; its command, which the log shows too, spells it otherwise.
MARK = b"first-output"
NOOP_STEP = """\
steps:
  - command: "echo first-out''put"
    label: no-op
    env:
      BUILDKITE_SKIP_CHECKOUT: "true"
"""


@contextmanager
def signed_server(
    space: Workspace, name: str, steps: str, *options: str, repository: str = REPOSITORY_URL
) -> Iterator[tuple[Server, Connection]]:
    """A fresh server whose pipeline `noop` holds `steps`, signed and sealed, and a client of its REST API.

    Parameters:
        name: begins the name of its data directory.
        steps: a pipeline, YAML text.
        options: more for the server's command line.
        repository: what the pipeline is of, and its steps are signed for.
    """
    data = space.fresh(name)
    written, signed = data.with_suffix(".yml"), data.with_suffix(".signed.yml")
    written.write_text(steps, encoding="utf-8")
    command = [PIPESEAL, "tool", "sign", "--jwks-file", space.private_keys, "--repo", repository, written]
    run_command(command, env=space.env, cwd=space.directory, stdout=signed)
    with Server(data, space.env, *options) as server:
        rest = server.rest()
        create_pipeline(rest, "noop", signed.read_text(encoding="utf-8"), repository=repository)
        yield server, rest
        rest.close()


@contextmanager
def agent(
    space: Workspace,
    server: Server,
    program: Path,
    *flags: str,
    spawn: int = 1,
    stock_flags: Sequence[str] = POLLING,
) -> Iterator[subprocess.Popen[bytes]]:
    """An agent that verifies, started from nothing but a token and the public key.

    Parameters:
        program: ours or the stock agent.
        flags: for either.
        spawn: how many jobs it runs at a time.
        stock_flags: for the stock agent alone.
    """
    ours = program == PIPESEAL
    build_path = space.fresh("builds")
    build_path.mkdir()
    command = [str(program), *(["agent", "start"] if ours else ["start", *stock_flags])]
    command += ["--endpoint", server.agent_endpoint, "--build-path", str(build_path), *flags]
    command += ["--verification-jwks-file", str(space.public_keys), "--spawn", str(spawn)]
    env = space.env | {"BUILDKITE_AGENT_TOKEN": server.registration_token}
    with log_file(space).open("wb") as log:
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


def wait_for_agents(space: Workspace, rest: Connection, count: int) -> None:
    """Wait until so many agents have connected and are asking for jobs.

    Raises:
        CommandFailed: they did not come; with what an agent said.
    """
    end = time.monotonic() + CONNECT_SECONDS
    while len(rest.call("GET", f"/agents?per_page={count}")) < count:
        if time.monotonic() > end:
            raise CommandFailed(f"{count} agents did not connect within {CONNECT_SECONDS} s: {agent_log(space)}")
        time.sleep(0.05)
    time.sleep(0.5)  # connected; the first ping follows at once


def log_file(space: Workspace) -> Path:
    """What the agent that was started last says."""
    return space.directory / "agent.log"


def agent_log(space: Workspace) -> str:
    """The end of it."""
    return log_file(space).read_text(encoding="utf-8", errors="replace")[-600:]
