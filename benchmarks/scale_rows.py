"""Rows about many agents and long runs: a thousand that are idle, five thousand jobs on two servers, half an hour."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import linear_regression, quantiles
from typing import TypeAlias

from benchmarks.agents import MARK, NOOP_STEP, agent, signed_server, wait_for_agents
from benchmarks.control_plane import (
    LIMITS,
    Connection,
    Server,
    create_build,
    create_pipeline,
    log_path,
    start_build,
    wait_for_all,
    wait_for_build,
    wait_for_output,
)
from benchmarks.measure import (
    CommandFailed,
    Pairs,
    Sample,
    Series,
    idle_share,
    process_cpu_seconds,
    process_memory,
)
from benchmarks.postgres import fresh_databases
from benchmarks.report import COUNT, KILOBYTES, MEGABYTES, MIB, MILLISECONDS, PERCENT, Row, Target
from benchmarks.simulated import SimulatedAgent, register_agents, run_jobs
from benchmarks.workspace import PIPESEAL, Workspace

IDLE_AGENTS = 1_000
IDLE_SECONDS = 60.0
POLL_SECONDS = 10.0
HEARTBEAT_SECONDS = 60.0
STREAM_SECONDS = 60.0
# Until the first held questions were answered and asked again, and each agent has sent a heartbeat: the first one
# opens a second connection, which stays.
SETTLING_SECONDS = HEARTBEAT_SECONDS + 5.0
QUEUED_JOBS, BUSY_AGENTS = 5_000, 200
QUEUE_SECONDS = 600.0
SOAK_WORKERS = 8
SOAK_PROBE_SECONDS = 2.0


def measure_idle_agents(space: Workspace) -> tuple[Row, ...]:
    """A thousand idle agents for a minute: share of a core that the server uses; memory and open files for each.

    On held pings, and on streams, beside the same agents asking every ten seconds. Agents send a heartbeat every
    minute, as the server tells them.
    """
    held = asyncio.run(_idle(space, (), _hold))
    streamed = asyncio.run(_idle(space, (), _stream))
    polled = asyncio.run(_idle(space, ("--ping-hold", "0"), _poll))
    share = Pairs(_one(held.share), _one(polled.share), held.quiet)
    on_streams = Pairs(_one(streamed.share), _one(polled.share), streamed.quiet)
    peer = "asking every 10 s"
    return (
        Row("scale.idle", share, PERCENT, peer, Target(limit=0.01)),
        Row("scale.idle.stream", on_streams, PERCENT, peer),
        Row(
            "scale.idle.memory", Pairs(_one(held.memory), _one(polled.memory), held.quiet), KILOBYTES, peer,
            Target(limit=100 * 1024),
        ),
        Row("scale.idle.files", Pairs(_one(held.files), _one(polled.files), held.quiet), COUNT, peer),
    )  # fmt: skip


# How an agent waits for a job once; it is called again and again.
Waiting: TypeAlias = Callable[[SimulatedAgent], Awaitable[None]]


class _Idle:
    """What a thousand agents cost a server: share of a core, and for each agent bytes and open files."""

    def __init__(self, share: float, memory: float, files: float, quiet: float) -> None:
        self.share, self.memory, self.files, self.quiet = share, memory, files, quiet


async def _idle(space: Workspace, options: Sequence[str], wait: Waiting) -> _Idle:
    with Server(space.fresh("idle"), space.env, *options) as server:
        pid = server.process.pid
        # The first request of every kind loads what it needs.
        for one in await register_agents([server.url], server.registration_token, 1):
            one.connection.close()
        memory, files = process_memory(pid)["VmRSS"], _open_files(pid)
        agents = await register_agents([server.url], server.registration_token, IDLE_AGENTS)
        tasks = [
            asyncio.create_task(_stay(agent, server.url, number / IDLE_AGENTS, wait))
            for number, agent in enumerate(agents)
        ]
        try:
            await asyncio.sleep(SETTLING_SECONDS)
            before, start, quiet = process_cpu_seconds(pid), time.monotonic(), idle_share()
            await asyncio.sleep(IDLE_SECONDS)
            share = (process_cpu_seconds(pid) - before) / (time.monotonic() - start)
            for task in tasks:
                if task.done():
                    task.result()
            grown = process_memory(pid)["VmRSS"] - memory
            return _Idle(share, grown / IDLE_AGENTS, (_open_files(pid) - files) / IDLE_AGENTS, quiet())
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _stay(agent: SimulatedAgent, url: str, share: float, wait: Waiting) -> None:
    """Wait for jobs for ever, and send heartbeats, which are spread over time as those of real agents."""
    beating = asyncio.create_task(_beat(agent, url, share))
    try:
        await asyncio.sleep(share * 25.0)
        while True:
            await wait(agent)
    finally:
        beating.cancel()
        agent.connection.close()


async def _hold(agent: SimulatedAgent) -> None:
    if await agent.ping() is not None:
        raise CommandFailed("an idle agent was given a job")


async def _poll(agent: SimulatedAgent) -> None:
    await _hold(agent)
    await asyncio.sleep(POLL_SECONDS)


async def _stream(agent: SimulatedAgent) -> None:
    try:
        async with asyncio.timeout(STREAM_SECONDS):
            await agent.stream()
    except TimeoutError:
        agent.connection.close()  # as the stock agent does, which then opens the next one
    else:
        raise CommandFailed("the server ended the stream of an idle agent")


async def _beat(agent: SimulatedAgent, url: str, share: float) -> None:
    # On a second connection, as agents have it whose first one waits for an answer.
    second = SimulatedAgent(url)
    second.token = agent.token
    await asyncio.sleep(share * HEARTBEAT_SECONDS)
    try:
        while True:
            await second.heartbeat()
            await asyncio.sleep(HEARTBEAT_SECONDS)
    finally:
        second.connection.close()


def _open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def measure_two_servers(space: Workspace) -> Row:
    """5,000 queued jobs, 200 agents that run nothing, two servers on one PostgreSQL: every job runs once."""
    with ExitStack() as stack:
        (url,) = stack.enter_context(fresh_databases(1))
        sample = run_on_two_servers(stack, space, url, jobs=QUEUED_JOBS, agents=BUSY_AGENTS)
    return Row("scale.postgres", Pairs(Series([sample]), None, 1.0), MILLISECONDS, "")


def run_on_two_servers(stack: ExitStack, space: Workspace, url: str, *, jobs: int, agents: int) -> Sample:
    """Queue `jobs` jobs and let `agents` agents run them on two servers; what each of them took.

    Raises:
        CommandFailed: a job was not run, or more than once, or has another log than its own.
    """
    options = ("--database-url", url, "--object-store", str(space.fresh("objects")), *LIMITS)
    first = stack.enter_context(Server(space.fresh("server-a"), space.env, *options))
    second = stack.enter_context(Server(space.fresh("server-b"), space.env, *options))
    rest = stack.enter_context(closing(first.rest()))
    create_pipeline(rest, "many", f"steps: [{{command: 'true', parallelism: {jobs}}}]")
    number = create_build(rest, "many")
    cpu = sum(process_cpu_seconds(server.process.pid) for server in (first, second))

    async def work() -> float:
        found = await register_agents([first.url, second.url], first.registration_token, agents)
        start = time.monotonic()
        ran = await run_jobs(found, jobs, seconds=QUEUE_SECONDS)
        seconds = time.monotonic() - start
        if len(ran) != jobs or set(ran.values()) != {1}:
            raise CommandFailed(f"{len(ran)} jobs of {jobs} were run, {ran.total()} times in all")
        return seconds

    seconds = asyncio.run(work())
    cpu = sum(process_cpu_seconds(server.process.pid) for server in (first, second)) - cpu
    wait_for_build(rest, "many", number)
    build = rest.call("GET", f"/pipelines/many/builds/{number}")
    for job in build["jobs"][:: max(1, jobs // 20)]:
        path = f"/pipelines/many/builds/{number}/jobs/{job['id']}/log.txt"
        if rest.fetch("GET", path).content != f"log of {job['id']}\n".encode():
            raise CommandFailed(f"job {job['id']} has another log than its own")
    return Sample(seconds / jobs, cpu / jobs, process_memory(first.process.pid)["VmHWM"])


def measure_soak(space: Workspace) -> tuple[Row, ...]:
    """Half an hour at half of what eight workers can do: growth of memory, and the delay of dispatch late and early.

    Early is the first sixth of the time, late is the rest.
    """
    seconds = space.soak_minutes * 60
    with ExitStack() as stack:
        server, rest = stack.enter_context(signed_server(space, "soak", NOOP_STEP))
        process = stack.enter_context(agent(space, server, PIPESEAL, spawn=SOAK_WORKERS))
        wait_for_agents(space, rest, SOAK_WORKERS)
        for count in (100, 300):  # the first are slower
            start = time.monotonic()
            for _ in range(count):
                create_build(rest, "noop")
            wait_for_all(rest, "noop")
            interval = 2 * (time.monotonic() - start) / count
        loader = stack.enter_context(_Load(server, interval))
        quiet = idle_share()
        start = time.monotonic()
        probes: list[tuple[float, float]] = []
        memory: list[tuple[float, int, int]] = []
        while (now := time.monotonic() - start) < seconds:
            probes.append((now, _probe(rest)))
            resident = [process_memory(pid)["VmRSS"] for pid in (server.process.pid, process.pid)]
            memory.append((now, resident[0], resident[1]))
            loader.check()
            time.sleep(SOAK_PROBE_SECONDS)
        idle = quiet()
    early = [delay for at, delay in probes if at < seconds / 6]
    late = [delay for at, delay in probes if at >= seconds / 6]
    settled = [sample for sample in memory if sample[0] >= seconds / 6]
    minutes = [at / 60 for at, _, _ in settled]
    growth = [linear_regression(minutes, [sample[which] for sample in settled]).slope for which in (1, 2)]
    delays = Pairs(_one(_p95(late)), _one(_p95(early)), idle)
    return (
        Row("soak.delay", delays, MILLISECONDS, "the first sixth", Target(ratio=1.3)),
        Row("soak.growth.server", Pairs(_one(growth[0]), None, idle), MEGABYTES, "", Target(limit=MIB)),
        Row("soak.growth.agent", Pairs(_one(growth[1]), None, idle), MEGABYTES, "", Target(limit=MIB)),
    )


class _Load:
    """Makes a build every `interval` seconds, in a thread, until the block ends."""

    def __init__(self, server: Server, interval: float) -> None:
        self._rest = server.rest()
        self._interval = interval
        self._done = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> _Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._rest.close()

    def check(self) -> None:
        """Raise what stopped it."""
        if self._error is not None:
            raise CommandFailed(f"no more builds could be made: {self._error}")

    def _run(self) -> None:
        due = time.monotonic()
        try:
            while not self._done.wait(max(0.0, due - time.monotonic())):
                create_build(self._rest, "noop")
                due = max(due + self._interval, time.monotonic() - 1.0)
        except Exception as error:  # told to the thread that measures
            self._error = error


def _probe(rest: Connection) -> float:
    """Seconds from a trigger until the output of its job can be read."""
    start = time.monotonic()
    build = start_build(rest, "noop")
    wait_for_output(rest, log_path(build, "noop"), MARK)
    return time.monotonic() - start


def _p95(values: Sequence[float]) -> float:
    return quantiles(values, n=20)[-1] if len(values) >= 2 else max(values)


def _one(amount: float) -> Series:
    return Series([Sample(amount, 0.0, 0)])
