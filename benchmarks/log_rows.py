"""Rows about logs: how fast they come in and are read, what memory they take, and how fast secrets are hidden."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path

from benchmarks.agents import STOCK
from benchmarks.buildbot import Buildbot
from benchmarks.control_plane import log_path, start_build, wait_for_build
from benchmarks.generate import generate_log, generate_secrets
from benchmarks.job_rows import BUILDBOT, STOCK_PAUSE_SECONDS, Place, open_place, pick_peers
from benchmarks.measure import (
    CommandFailed,
    Pairs,
    Sample,
    Series,
    Side,
    Worker,
    alternate,
    alternate_all,
    descendants,
    process_memory,
    tree_cpu_seconds,
)
from benchmarks.peers import ROOT
from benchmarks.report import MEGABYTES, MIB, MILLISECONDS, Row, Target
from benchmarks.workspace import PIPESEAL, Workspace

SECRETS = 20
LOG_MEGABYTES = 100
# Buildbot takes a third of a second for a megabyte; its times are for each megabyte as all others are.
BUILDBOT_MEGABYTES = 20
TAIL_LINES = 100
LIMIT = ("--max-log-bytes", str(4 << 30))


class PeakMemory:
    """The peak of the resident memory of a process and all below it, looked at twenty times a second.

    Parameters:
        pid: the process.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.bytes = 0

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            total = 0
            for pid in descendants(self._pid):
                with suppress(OSError, KeyError):  # it has just ended
                    total += process_memory(pid)["VmRSS"]
            self.bytes = max(self.bytes, total)


def log_steps(space: Workspace, megabytes: int) -> str:
    """A step that prints so much, with secrets in its environment and in some of its lines."""
    secrets = generate_secrets(SECRETS)
    path = space.directory / f"log-{megabytes}.txt"
    if not path.exists():
        with path.open("wb") as file:
            generate_log(file, megabytes * 1_000_000, secrets)
    env = "\n".join(f"      S{number:02}_SECRET: {secret}" for number, secret in enumerate(secrets))
    return f"steps:\n  - command: cat {path}\n    env:\n      BUILDKITE_SKIP_CHECKOUT: 'true'\n{env}\n"


def print_log(place: Place, megabytes: int, *, pause: float = 0.0) -> tuple[Sample, dict[str, object]]:
    """One build whose job prints `megabytes`, until it has ended and all of its log is there; for each megabyte."""
    time.sleep(pause)
    cpu = place.server_seconds() + place.worker_seconds()
    with PeakMemory(place.workers[0]) as peak:
        start = time.monotonic()
        build = start_build(place.rest, "noop")
        wait_for_build(place.rest, "noop", build["number"], seconds=600)
        seconds = time.monotonic() - start
    cpu = place.server_seconds() + place.worker_seconds() - cpu
    tail = place.rest.fetch("GET", log_path(build, "noop"), headers={"Range": "bytes=-4000"})
    size = int(tail.headers["Content-Range"].rpartition("/")[2])
    if size < megabytes * 1_000_000:
        raise CommandFailed(f"the log has {size} bytes, not {megabytes} MB")
    if b"[REDACTED]" not in tail.content or generate_secrets(1)[0].encode() in tail.content:
        raise CommandFailed(f"the log shows a secret: {tail.content[-300:]!r}")
    return Sample(seconds / megabytes, cpu / megabytes, peak.bytes), build


def measure_log(space: Workspace) -> tuple[Row, ...]:
    """One job that prints 100 MB, with twenty secrets hidden: seconds for each megabyte, and memory above idle."""
    with ExitStack() as stack:
        steps = log_steps(space, LOG_MEGABYTES)
        server, ours = open_place(stack, space, PIPESEAL, *LIMIT, steps=steps)
        idle_bytes = process_memory(server.process.pid)["VmRSS"]
        sides: list[Side] = [lambda: print_log(ours, LOG_MEGABYTES)[0]]
        if space.stock.path:
            _, theirs = open_place(stack, space, space.stock.path, *LIMIT, steps=steps)
            sides.append(lambda: print_log(theirs, LOG_MEGABYTES, pause=STOCK_PAUSE_SECONDS)[0])
        if space.buildbot.path:
            sides.append(_buildbot_log(stack, space, space.buildbot.path))
        series, idle = alternate_all(sides, rounds=5, budget_seconds=4 * space.budget_seconds, fewest=3)
        above = process_memory(server.process.pid)["VmHWM"] - idle_bytes
    stock, buildbot = pick_peers(space, series[1:])
    memory = Series([Sample(sample.max_rss_bytes, 0.0, sample.max_rss_bytes) for sample in series[0].samples])
    of_stock = stock and Series([Sample(sample.max_rss_bytes, 0.0, 0) for sample in stock.samples])
    return (
        Row("log.100MB", Pairs(series[0], stock, idle), MILLISECONDS, STOCK, Target(ratio=1 / 1.5)),
        Row("log.100MB.buildbot", Pairs(series[0], buildbot, idle), MILLISECONDS, BUILDBOT, Target(ratio=1 / 5)),
        Row("log.rss.agent", Pairs(memory, of_stock, idle), MEGABYTES, STOCK, Target(ratio=0.5)),
        Row("log.rss.server", Pairs(_one(above), None, idle), MEGABYTES, "", Target(limit=50 * MIB)),
    )


def measure_log_growth(space: Workspace) -> tuple[Row, ...]:
    """Peak memory of agent and server with a log of 1 GB, beside one of 10 MB: it must not grow with the log."""

    def peaks(megabytes: int) -> tuple[int, int]:
        with ExitStack() as stack:
            server, place = open_place(stack, space, PIPESEAL, *LIMIT, steps=log_steps(space, megabytes))
            sample, _ = print_log(place, megabytes)
            return sample.max_rss_bytes, process_memory(server.process.pid)["VmHWM"]

    small, large = peaks(10), peaks(1000)
    return tuple(
        Row(f"log.flat.{name}", Pairs(_one(big), _one(little), 1.0), MEGABYTES, "10 MB", Target(ratio=1.25))
        for name, big, little in zip(("agent", "server"), large, small, strict=True)
    )


def measure_log_read(space: Workspace) -> tuple[Row, ...]:
    """The raw log of 100 MB read back, for each megabyte; and its last 100 lines."""
    with ExitStack() as stack:
        _, place = open_place(stack, space, PIPESEAL, *LIMIT, steps=log_steps(space, LOG_MEGABYTES))
        path = log_path(print_log(place, LOG_MEGABYTES)[1], "noop")
        # A line has 120 bytes and the time at its beginning; twice that holds a hundred of them for sure.
        last = {"Range": f"bytes=-{TAIL_LINES * 300}"}
        whole_peer = tail_peer = None
        if space.buildbot.path:
            buildbot = stack.enter_context(_open_buildbot(space, space.buildbot.path))
            buildbot.force("log")
            buildbot.wait_for_builds("log", 1)
            theirs = buildbot.log_of_build("log", 1)
            lines = int(buildbot.call("GET", theirs)["logs"][0]["num_lines"])
            contents = f"{theirs}/contents?offset={lines - TAIL_LINES}&limit={TAIL_LINES}"
            whole_peer = _timed(lambda: buildbot.read(f"{theirs}/raw"), BUILDBOT_MEGABYTES)
            tail_peer = _timed(lambda: buildbot.read(contents), 1)
        whole = alternate(
            _timed(lambda: place.rest.fetch("GET", path).content, LOG_MEGABYTES), whole_peer,
            pairs=5, budget_seconds=space.budget_seconds, fewest=5,
        )  # fmt: skip

        def read_tail() -> bytes:
            content = place.rest.fetch("GET", path, headers=last).content
            if content.count(b"\n") < TAIL_LINES:
                raise CommandFailed(f"the end of the log has fewer than {TAIL_LINES} lines")
            return content

        tail = alternate(_timed(read_tail, 1), tail_peer, pairs=30, budget_seconds=space.budget_seconds)
    return (
        Row("log.read", whole, MILLISECONDS, BUILDBOT, Target(ratio=1 / 20)),
        Row("log.read.tail", tail, MILLISECONDS, BUILDBOT),
    )


def measure_redaction(space: Workspace, secrets: str) -> Row:
    """Per megabyte: a log through the redactor in reads of 64 KiB, beside one alternation of `re` on each read.

    The alternation misses what lies across two reads, and keeps nothing back; ours finds it.
    """
    log_steps(space, BUILDBOT_MEGABYTES)
    path = space.directory / f"log-{BUILDBOT_MEGABYTES}.txt"
    arguments = ["--input", path, "--secrets", secrets]
    with ExitStack() as stack:
        ours, regular = (
            stack.enter_context(
                Worker([sys.executable, "-m", "benchmarks.worker", name, *arguments], env=space.env, cwd=ROOT)
            )
            for name in ("redact", "redact-re")
        )
        pairs = alternate(ours.one_pass, regular.one_pass, pairs=space.pairs, budget_seconds=space.budget_seconds)
    target = Target(ratio=1 / 5 if secrets == "20" else 1 / 20)
    return Row(f"redact.stream.{secrets}", pairs, MILLISECONDS, "re", target)


def _one(size: int) -> Series:
    return Series([Sample(size, 0.0, size)])


def _timed(read: Callable[[], bytes], megabytes: int) -> Side:
    def side() -> Sample:
        start = time.monotonic()
        content = read()
        seconds = time.monotonic() - start
        if megabytes > 1 and len(content) < megabytes * 1_000_000:
            raise CommandFailed(f"read {len(content)} bytes of a log of {megabytes} MB")
        return Sample(seconds / megabytes, 0.0, 0)

    return side


def _open_buildbot(space: Workspace, programs: Path) -> Buildbot:
    log_steps(space, BUILDBOT_MEGABYTES)
    return Buildbot(space, programs, {"log": ["cat", str(space.directory / f"log-{BUILDBOT_MEGABYTES}.txt")]})


def _buildbot_log(stack: ExitStack, space: Workspace, programs: Path) -> Side:
    buildbot = stack.enter_context(_open_buildbot(space, programs))
    numbers = count(1)

    def side() -> Sample:
        cpu = sum(tree_cpu_seconds(process.pid) for process in buildbot.processes)
        with PeakMemory(buildbot.processes[1].pid) as peak:
            start = time.monotonic()
            buildbot.force("log")
            buildbot.wait_for_builds("log", next(numbers))
            seconds = time.monotonic() - start
        cpu = sum(tree_cpu_seconds(process.pid) for process in buildbot.processes) - cpu
        return Sample(seconds / BUILDBOT_MEGABYTES, cpu / BUILDBOT_MEGABYTES, peak.bytes)

    return side
