"""Measures programs: one command or one pass of a worker at a time, ours and the peer's alternately, in one run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from types import TracebackType
from typing import Any

LAUNCHER = Path(__file__).with_name("launch.py")
# One command or one pass; the slowest known takes 6 s.
COMMAND_SECONDS = 180
# A row waits this long for the machine to become quiet, once.
QUIET_SECONDS = 15.0
QUIET_SHARE = 0.8
CORES = os.cpu_count() or 1
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class CommandFailed(Exception):
    """A measured command did not do its work, so that its time means nothing."""


@dataclass(frozen=True)
class Sample:
    """What one command or one pass cost.

    Parameters:
        seconds: wall time.
        cpu_seconds: user and system time of it and of the children it waited for.
        max_rss_bytes: peak resident memory of its process, or of the largest child.
    """

    seconds: float
    cpu_seconds: float
    max_rss_bytes: int


@dataclass
class Series:
    """The samples of one side of a row, in the order in which they were taken."""

    samples: list[Sample] = field(default_factory=list)

    @property
    def seconds(self) -> list[float]:
        return [sample.seconds for sample in self.samples]

    @property
    def p50(self) -> float:
        return median(self.seconds)

    @property
    def p95(self) -> float:
        """The 95th percentile; with few samples the largest."""
        return quantiles(self.seconds, n=20)[-1] if len(self.samples) >= 20 else max(self.seconds)

    @property
    def cpu_p50(self) -> float:
        return median(sample.cpu_seconds for sample in self.samples)

    @property
    def max_rss_bytes(self) -> int:
        return max(sample.max_rss_bytes for sample in self.samples)


@dataclass
class Pairs:
    """Both sides of a row from one run, and how quiet the machine was meanwhile.

    Parameters:
        ours: always there.
        peer: None when the peer is missing.
        idle: share of the machine that nobody else used, from 0 to 1; below 0.8 the times say little.
    """

    ours: Series
    peer: Series | None
    idle: float


Side = Callable[[], Sample]


def alternate(ours: Side, peer: Side | None, *, pairs: int, budget_seconds: float, fewest: int = 5) -> Pairs:
    """Run both sides in turn (A B A B ...) after one unmeasured round of each.

    Parameters:
        ours, peer: take one sample each; a missing peer is None.
        pairs: how many pairs to take.
        budget_seconds: stop early once this is used up, but not before `fewest` pairs.
        fewest: the smallest number of pairs worth a median.
    """
    sides = [ours] if peer is None else [ours, peer]
    series, idle = alternate_all(sides, rounds=pairs, budget_seconds=budget_seconds, fewest=fewest)
    return Pairs(series[0], series[1] if peer else None, idle)


def alternate_all(
    sides: Sequence[Side], *, rounds: int, budget_seconds: float, fewest: int = 5
) -> tuple[list[Series], float]:
    """Run any number of sides in turn (A B C A B C ...) after one unmeasured round.

    Parameters:
        sides: take one sample each.
        rounds, budget_seconds, fewest: as for `alternate`.

    Returns:
        A series for each side, and the share of the machine that nobody else used.
    """
    wait_until_quiet()
    for side in sides:
        side()
    series = [Series() for _ in sides]
    idle = idle_share()
    start = time.monotonic()
    for number in range(1, rounds + 1):
        for side, taken in zip(sides, series, strict=True):
            taken.samples.append(side())
        if number >= fewest and time.monotonic() - start > budget_seconds:
            break
    return series, idle()


def idle_share() -> Callable[[], float]:
    """Begin to watch the machine; the function tells which share of it nobody but us has used since, from 0 to 1."""
    start, busy_before, own_before = time.monotonic(), _busy_seconds(), _own_seconds()

    def so_far() -> float:
        others = max(0.0, _busy_seconds() - busy_before - (_own_seconds() - own_before))
        return max(0.0, 1 - others / ((time.monotonic() - start) * CORES))

    return so_far


def run_command(
    command: Sequence[object],
    *,
    env: Mapping[str, str],
    cwd: Path,
    stdout: Path | None = None,
    wanted_status: int = 0,
    timeout_seconds: float = COMMAND_SECONDS,
) -> Sample:
    """Run one command to its end and say what it cost.

    Parameters:
        command: program and arguments, paths or text.
        env: its whole environment.
        stdout: file that receives its output; None throws it away.
        wanted_status: exit status of a run that did its work.

    Raises:
        CommandFailed: another exit status, or no end in time.
    """
    read, write = os.pipe()
    words = [sys.executable, "-I", "-S", str(LAUNCHER), str(write), *map(str, command)]
    with (stdout or Path(os.devnull)).open("wb") as sink:
        try:
            done = subprocess.run(
                words, env=dict(env), cwd=cwd, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.PIPE,
                pass_fds=[write], timeout=timeout_seconds,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            os.close(read)
            raise CommandFailed(f"{words[5]} did not end within {timeout_seconds} s") from error
        finally:
            os.close(write)
    with os.fdopen(read, "rb") as pipe:
        report = pipe.read()
    if done.returncode != wanted_status or not report:
        said = done.stderr.decode(errors="replace").strip()[-600:]
        raise CommandFailed(f"{' '.join(words[5:])} exited with {done.returncode}: {said}")
    return Sample(**json.loads(report))


class Worker(AbstractContextManager["Worker"]):
    """A process that answers each line with the cost of one pass, as a JSON line; see `worker.py`.

    Parameters:
        command, env, cwd: what to start, its whole environment and where.
    """

    def __init__(self, command: Sequence[object], *, env: Mapping[str, str], cwd: Path) -> None:
        self.command = [str(word) for word in command]
        self.process = subprocess.Popen(
            self.command, env=dict(env), cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            # What a dead worker did not read is still in the buffer, and closing tries to write it.
            with suppress(BrokenPipeError):
                if pipe:
                    pipe.close()

    def one_pass(self) -> Sample:
        """One pass over the worker's input; the sample's times are per item.

        Raises:
            CommandFailed: the worker ended; its own message is on standard error.
        """
        assert self.process.stdin and self.process.stdout
        with suppress(BrokenPipeError):
            self.process.stdin.write(b"\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise CommandFailed(f"{' '.join(self.command)} ended with {self.process.wait()}")
        result: dict[str, Any] = json.loads(line)
        items = result["items"]
        return Sample(
            result["seconds"] / items, result["cpu_seconds"] / items, process_memory(self.process.pid)["VmHWM"]
        )


def process_memory(pid: int) -> dict[str, int]:
    """`VmRSS` (resident now) and `VmHWM` (its peak) of a process, in bytes."""
    found = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("VmRSS", "VmHWM"):
            found[name] = int(value.split()[0]) * 1024
    return found


def process_cpu_seconds(pid: int) -> float:
    """User and system time of a process so far, with the children it waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / CLOCK_TICKS


def descendants(pid: int) -> list[int]:
    """The process and all that it started and that still run."""
    found = [pid]
    for parent in found:
        for path in Path(f"/proc/{parent}/task").glob("*/children"):
            with suppress(OSError):  # it has just ended
                found += [int(word) for word in path.read_text().split()]
    return found


def tree_cpu_seconds(pid: int) -> float:
    """User and system time of a process and of all below it so far, those that were waited for included."""
    total = 0.0
    for process in descendants(pid):
        with suppress(OSError):
            total += process_cpu_seconds(process)
    return total


def wait_until_quiet() -> float:
    """Wait, for a bounded time, until most of the machine is idle; the idle share last seen."""
    end = time.monotonic() + QUIET_SECONDS
    while True:
        start, before = time.monotonic(), _busy_seconds()
        time.sleep(0.3)
        idle = 1 - (_busy_seconds() - before) / ((time.monotonic() - start) * CORES)
        if idle >= QUIET_SHARE or time.monotonic() > end:
            return idle


def _busy_seconds() -> float:
    """CPU seconds that the machine used since it started, all cores; waiting for disks is not use."""
    fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields[:8]
    return (user + nice + system + irq + softirq + steal) / CLOCK_TICKS


def _own_seconds() -> float:
    """CPU seconds of this process and its children so far, those that still run (workers, servers) included."""
    return tree_cpu_seconds(os.getpid())
