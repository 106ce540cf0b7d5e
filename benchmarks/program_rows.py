"""Rows about the two programs that stay: how soon they do their first work, and what they cost while idle."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.agents import NOOP_STEP, STOCK, agent, agent_log, signed_server
from benchmarks.control_plane import Server, create_build
from benchmarks.measure import CommandFailed, Sample, alternate, process_cpu_seconds, process_memory
from benchmarks.report import MIB, PERCENT, SECONDS, Row, Target
from benchmarks.workspace import PIPESEAL, Workspace

FIRST_JOB_SECONDS = 60
IDLE_SECONDS = 5.0


def measure_server_start(space: Workspace) -> Row:
    """Our server, from nothing at all to listening; no peer has one."""

    def side() -> Sample:
        with Server(space.fresh("server"), space.env) as server:
            pid = server.process.pid
            return Sample(server.ready_seconds, process_cpu_seconds(pid), process_memory(pid)["VmHWM"])

    pairs = alternate(side, None, pairs=space.pairs, budget_seconds=space.budget_seconds)
    return Row("start.server", pairs, SECONDS, "", time=Target(limit=1.0))


def measure_agent_start(space: Workspace) -> Row:
    """An agent, from its start to its first job finished: signed, verified, no checkout; both on our server."""
    with signed_server(space, "start", NOOP_STEP) as (server, rest):

        def side(program: Path) -> Sample:
            number = create_build(rest, "noop")
            start = time.monotonic()
            with agent(space, server, program) as process:
                while rest.call("GET", f"/pipelines/noop/builds/{number}")["state"] != "passed":
                    if time.monotonic() - start > FIRST_JOB_SECONDS or process.poll() is not None:
                        raise CommandFailed(f"{program.name} did not finish its first job: {agent_log(space)}")
                    time.sleep(0.005)
                seconds = time.monotonic() - start
                return Sample(seconds, process_cpu_seconds(process.pid), process_memory(process.pid)["VmHWM"])

        stock = space.stock.path
        peer = (lambda: side(stock)) if stock else None
        pairs = alternate(lambda: side(PIPESEAL), peer, pairs=space.pairs, budget_seconds=space.budget_seconds)
    return Row("start.agent", pairs, SECONDS, STOCK, time=Target(ratio=0.7))


def measure_agent_idle(space: Workspace) -> Row:
    """An agent that has run a job and waits for the next: share of a core it uses, and its resident memory now."""
    with signed_server(space, "idle", NOOP_STEP) as (server, rest):

        def side(program: Path) -> Sample:
            number = create_build(rest, "noop")
            with agent(space, server, program) as process:
                end = time.monotonic() + FIRST_JOB_SECONDS
                while rest.call("GET", f"/pipelines/noop/builds/{number}")["state"] != "passed":
                    if time.monotonic() > end or process.poll() is not None:
                        raise CommandFailed(f"{program.name} did not finish its first job: {agent_log(space)}")
                    time.sleep(0.05)
                return _idle(process.pid)

        stock = space.stock.path
        peer = (lambda: side(stock)) if stock else None
        pairs = alternate(lambda: side(PIPESEAL), peer, pairs=3, budget_seconds=space.budget_seconds, fewest=3)
    return Row("idle.agent", pairs, PERCENT, STOCK, time=Target(limit=0.003), memory=Target(limit=40 * MIB))


def measure_server_idle(space: Workspace) -> Row:
    """Our server with one idle agent on a held ping: share of a core it uses, and its resident memory now."""
    with signed_server(space, "idle-server", NOOP_STEP) as (server, _), agent(space, server, PIPESEAL):
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
