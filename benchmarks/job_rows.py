"""Rows about jobs that do nothing: how soon their output can be read, how many run a minute, and what they cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path

from benchmarks.agents import MARK, NOOP_STEP, POLLING, STOCK, STREAMING, agent, signed_server, wait_for_agents
from benchmarks.buildbot import Buildbot
from benchmarks.control_plane import (
    Connection,
    Server,
    log_path,
    start_build,
    streams_pings,
    wait_for_all,
    wait_for_build,
    wait_for_output,
)
from benchmarks.generate import COMMIT
from benchmarks.measure import (
    Pairs,
    Sample,
    Series,
    Side,
    alternate,
    alternate_all,
    process_memory,
    tree_cpu_seconds,
)
from benchmarks.report import MILLISECONDS, Row, Target
from benchmarks.workspace import PIPESEAL, Workspace

BUILDBOT = "buildbot"
# After a job the stock agent that polls does not ask at once, but up to a second later.
STOCK_PAUSE_SECONDS = 1.2
# Of 40 samples the 95th percentile is the second largest.
DISPATCHES = 40
NOOP = ["sh", "-c", "echo first-out''put"]
CHECKOUT_STEP = """\
steps:
  - command: "echo first-out''put"
    label: checkout
"""


@dataclass(frozen=True)
class Place:
    """A server and the agents that work for it, as processes whose cost is counted.

    Parameters:
        rest: a client of its API.
        servers, workers: process ids.
    """

    rest: Connection
    servers: Sequence[int]
    workers: Sequence[int]

    def server_seconds(self) -> float:
        """CPU seconds of the server so far."""
        return sum(map(tree_cpu_seconds, self.servers))

    def worker_seconds(self) -> float:
        """CPU seconds of the agents and of the jobs that have ended."""
        return sum(map(tree_cpu_seconds, self.workers))

    def worker_memory(self) -> int:
        """Peak memory of the agents' own processes, in bytes."""
        return sum(process_memory(pid)["VmHWM"] for pid in self.workers)


def open_place(
    stack: ExitStack,
    space: Workspace,
    program: Path,
    *options: str,
    steps: str = NOOP_STEP,
    spawn: int = 1,
    stock_flags: Sequence[str] = POLLING,
    repository: str | None = None,
) -> tuple[Server, Place]:
    """A server of ours with a signed pipeline, and an agent that waits for its jobs.

    Parameters:
        stack: closes them.
        program: our agent or the stock agent.
        options: for the server.
    """
    more = {} if repository is None else {"repository": repository}
    server, rest = stack.enter_context(signed_server(space, "jobs", steps, *options, **more))
    process = stack.enter_context(agent(space, server, program, spawn=spawn, stock_flags=stock_flags))
    wait_for_agents(space, rest, spawn)
    return server, Place(rest, [server.process.pid], [process.pid])


def dispatch(place: Place, *, pause: float = 0.0, commit: str = COMMIT) -> Sample:
    """One build: from asking for it until what its job prints can be read; then wait until it is over.

    Parameters:
        pause: seconds to wait first, until the agent is idle, or at another moment of its asking.
    """
    time.sleep(pause)
    cpu = place.server_seconds() + place.worker_seconds()
    start = time.monotonic()
    build = start_build(place.rest, "noop", commit)
    wait_for_output(place.rest, log_path(build, "noop"), MARK)
    seconds = time.monotonic() - start
    wait_for_build(place.rest, "noop", build["number"])
    cpu = place.server_seconds() + place.worker_seconds() - cpu
    return Sample(seconds, cpu, place.worker_memory())


def measure_dispatch(space: Workspace) -> tuple[Row, ...]:
    """From the trigger to the first byte that the job printed, readable over the API; one agent on a held ping."""
    with ExitStack() as stack:
        _, ours = open_place(stack, space, PIPESEAL)
        sides: list[Side] = [lambda: dispatch(ours)]
        if space.stock.path:
            _, theirs = open_place(stack, space, space.stock.path)
            sides.append(lambda: dispatch(theirs, pause=STOCK_PAUSE_SECONDS))
        if space.buildbot.path:
            sides.append(_buildbot_dispatch(stack, space, space.buildbot.path))
        series, idle = alternate_all(
            sides, rounds=DISPATCHES, budget_seconds=3 * space.budget_seconds, fewest=DISPATCHES
        )
    stock, buildbot = pick_peers(space, series[1:])
    return (
        Row("dispatch.noop", Pairs(series[0], stock, idle), MILLISECONDS, STOCK, time=Target(ratio=0.4, limit=0.015)),
        Row("dispatch.noop.buildbot", Pairs(series[0], buildbot, idle), MILLISECONDS, BUILDBOT, Target(ratio=1 / 15)),
    )


def measure_dispatch_official(space: Workspace) -> tuple[Row, ...]:
    """The stock agent on our held ping, and on our streaming ping, beside itself asking every second."""
    program = space.stock.path
    if program is None:
        return ()
    with ExitStack() as stack:
        _, held = open_place(stack, space, program)
        _, polled = open_place(stack, space, program, "--ping-hold", "0")
        pauses = cycle(0.13 * number for number in range(8))
        sides: list[Side] = [
            lambda: dispatch(held, pause=STOCK_PAUSE_SECONDS),
            lambda: dispatch(polled, pause=STOCK_PAUSE_SECONDS + next(pauses)),
        ]
        if streams_pings(polled.rest):
            _, streamed = open_place(stack, space, program, stock_flags=STREAMING)
            sides.append(lambda: dispatch(streamed))
        series, idle = alternate_all(sides, rounds=24, budget_seconds=3 * space.budget_seconds, fewest=16)
    peer = f"{STOCK}, asking every second"
    names = ("dispatch.official", "dispatch.official.stream")
    return tuple(
        Row(name, Pairs(ours, series[1], idle), MILLISECONDS, peer, time=Target(ratio=0.1))
        for name, ours in zip(names, [series[0], *series[2:]], strict=False)
    )


def measure_dispatch_checkout(space: Workspace) -> Row:
    """The same with a checkout: an existing clone of a small repository on this machine."""
    repository, commit = f"file://{space.checkout}", space.commit
    with ExitStack() as stack:
        _, ours = open_place(stack, space, PIPESEAL, steps=CHECKOUT_STEP, repository=repository)
        peer = None
        if space.stock.path:
            _, theirs = open_place(stack, space, space.stock.path, steps=CHECKOUT_STEP, repository=repository)
            peer = partial(dispatch, theirs, pause=STOCK_PAUSE_SECONDS, commit=commit)
        pairs = alternate(
            partial(dispatch, ours, commit=commit), peer, pairs=20, budget_seconds=2 * space.budget_seconds, fewest=15
        )
    return Row("dispatch.checkout", pairs, MILLISECONDS, STOCK, time=Target(ratio=0.6))


@dataclass(frozen=True)
class _Batch:
    """What one batch of jobs took, for each of them: seconds, and CPU seconds of the server and of the agents."""

    seconds: float
    server: float
    worker: float
    memory: int


def measure_throughput(space: Workspace, workers: str) -> tuple[Row, ...]:
    """Builds of one job each, asked for one after the other over one connection, until the last has ended.

    Times are for each job. With eight workers this is also where the cost of a job is taken.
    """
    count = int(workers)
    with ExitStack() as stack:
        _, ours = open_place(stack, space, PIPESEAL, spawn=count)
        batches: list[Callable[[], _Batch]] = [lambda: _batch(ours, 100 * min(count, 2))]
        if space.stock.path:
            _, theirs = open_place(stack, space, space.stock.path, spawn=count)
            batches.append(lambda: _batch(theirs, 5 * count))
        if space.buildbot.path:
            batches.append(_buildbot_batch(stack, space, space.buildbot.path, count))
        taken: list[list[_Batch]] = [[] for _ in batches]

        def side(number: int) -> Side:
            def one() -> Sample:
                batch = batches[number]()
                taken[number].append(batch)
                return Sample(batch.seconds, batch.server + batch.worker, batch.memory)

            return one

        series, idle = alternate_all(
            [side(number) for number in range(len(batches))],
            rounds=space.pairs, budget_seconds=2 * space.budget_seconds,
        )  # fmt: skip
    measured = [each[1:] for each in taken]  # the first round is not
    stock, buildbot = pick_peers(space, series[1:])
    rows = [
        Row(f"throughput.{workers}", Pairs(series[0], buildbot, idle), MILLISECONDS, BUILDBOT, Target(ratio=0.1)),
        Row(f"throughput.{workers}.stock", Pairs(series[0], stock, idle), MILLISECONDS, STOCK),
    ]
    if count > 1:
        whole = [_cpu(each, lambda batch: batch.server + batch.worker) for each in measured]
        agents = [_cpu(each, lambda batch: batch.worker) for each in measured]
        stock, buildbot = pick_peers(space, whole[1:])
        rows.append(Row("cpu.job", Pairs(whole[0], buildbot, idle), MILLISECONDS, BUILDBOT, Target(ratio=0.1)))
        stock, _ = pick_peers(space, agents[1:])
        rows.append(Row("cpu.job.agent", Pairs(agents[0], stock, idle), MILLISECONDS, STOCK, Target(ratio=0.5)))
    return tuple(rows)


def _batch(place: Place, jobs: int) -> _Batch:
    server, worker, start = place.server_seconds(), place.worker_seconds(), time.monotonic()
    for _ in range(jobs):
        start_build(place.rest, "noop")
    wait_for_all(place.rest, "noop")
    seconds = time.monotonic() - start
    time.sleep(0.1)  # until the agents have taken leave of their last jobs' processes
    server, worker = place.server_seconds() - server, place.worker_seconds() - worker
    return _Batch(seconds / jobs, server / jobs, worker / jobs, place.worker_memory())


def _cpu(batches: Sequence[_Batch], cost: Callable[[_Batch], float]) -> Series:
    return Series([Sample(cost(batch), cost(batch), batch.memory) for batch in batches])


def pick_peers(space: Workspace, series: Sequence[Series]) -> tuple[Series | None, Series | None]:
    """The stock agent's and Buildbot's series, of those that were measured."""
    left = list(series)
    stock = left.pop(0) if space.stock.path else None
    return stock, left.pop(0) if space.buildbot.path else None


def _buildbot_dispatch(stack: ExitStack, space: Workspace, programs: Path) -> Side:
    buildbot = stack.enter_context(Buildbot(space, programs, {"noop": NOOP}))
    number = 0

    def side() -> Sample:
        nonlocal number
        number += 1
        start = time.monotonic()
        request = buildbot.force("noop")
        buildbot.wait_for_output(request, MARK)
        seconds = time.monotonic() - start
        buildbot.wait_for_builds("noop", number)
        return Sample(seconds, 0.0, process_memory(buildbot.processes[1].pid)["VmHWM"])

    return side


def _buildbot_batch(stack: ExitStack, space: Workspace, programs: Path, workers: int) -> Callable[[], _Batch]:
    buildbot = stack.enter_context(Buildbot(space, programs, {"noop": NOOP}, workers=workers))
    master, *others = (process.pid for process in buildbot.processes)
    done = 0
    jobs = 24

    def batch() -> _Batch:
        nonlocal done
        done += jobs
        server, worker, start = tree_cpu_seconds(master), sum(map(tree_cpu_seconds, others)), time.monotonic()
        for _ in range(jobs):
            buildbot.force("noop")
        buildbot.wait_for_builds("noop", done)
        seconds = time.monotonic() - start
        server, worker = tree_cpu_seconds(master) - server, sum(map(tree_cpu_seconds, others)) - worker
        memory = sum(process_memory(pid)["VmHWM"] for pid in others)
        return _Batch(seconds / jobs, server / jobs, worker / jobs, memory)

    return batch
