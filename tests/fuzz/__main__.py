"""`make fuzz`: mutate what readers are given, for as long as is asked for, and keep what is new and what fails.

    python -m tests.fuzz [--seconds 300] [--corpus .fuzz] [TARGET ...]

An input is kept in the corpus when it runs lines that no other has run. What fails is kept beside it as `fault-...`,
printed, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
import traceback
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

from pipeseal.errors import PipesealError
from tests.fuzz.mutation import mutate
from tests.fuzz.targets import BY_NAME, TARGETS, Target

SLOW_SECONDS = 5.0
MAX_GROWTH_KILOBYTES = 512 << 10


class Lines:
    """Which lines of ours have been run so far."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, int]] = set()
        self.new = 0

    def _trace(self, frame: FrameType, event: str, _argument: Any) -> Callable[..., Any] | None:
        if "/pipeseal/" not in frame.f_code.co_filename:
            return None
        if event == "line":
            place = (frame.f_code.co_filename, frame.f_lineno)
            if place not in self.seen:
                self.seen.add(place)
                self.new += 1
        return self._trace

    def run(self, read: Callable[[bytes], object], data: bytes) -> int:
        """Run a reader; how many new lines that was."""
        self.new = 0
        sys.settrace(self._trace)
        try:
            read(data)
        finally:
            sys.settrace(None)
        return self.new


def fuzz(target: Target, folder: Path, seconds: float, random: Random) -> tuple[int, int]:
    """Fuzz one target; how many inputs were tried, and how many failed."""
    folder.mkdir(parents=True, exist_ok=True)
    corpus = target.seeds() + [path.read_bytes() for path in sorted(folder.glob("new-*"))]
    lines = Lines()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tried = faults = 0
    deadline = time.monotonic() + seconds
    queue = list(corpus)
    while time.monotonic() < deadline:
        data = queue.pop() if queue else mutate(corpus, random)
        tried += 1
        begun = time.monotonic()
        problem = ""
        try:
            lines.run(target.read, data)
        except PipesealError:
            pass
        except Exception:
            problem = traceback.format_exc()
        took = time.monotonic() - begun
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
        if took > SLOW_SECONDS:
            problem = problem or f"it took {took:.1f} s"
        if grown > MAX_GROWTH_KILOBYTES:
            problem = problem or f"the process has grown by {grown >> 10} MiB"
            memory += grown
        name = sha256(data).hexdigest()[:16]
        if problem:
            faults += 1
            (folder / f"fault-{name}").write_bytes(data)
            print(f"{target.name}: {folder / f'fault-{name}'} ({len(data)} bytes)\n{problem}")
        elif lines.new:
            (folder / f"new-{name}").write_bytes(data)
            corpus.append(data)
    return tried, faults


def main(arguments: list[str]) -> int:
    """Fuzz what is named, each for its share of the time."""
    parser = argparse.ArgumentParser(prog="make fuzz")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(BY_NAME))
    parser.add_argument("--seconds", type=float, default=300.0, help="for all of them together")
    parser.add_argument("--corpus", type=Path, default=Path(".fuzz"), help="where inputs are kept")
    parser.add_argument("--seed", type=int, default=None, help="of the random numbers; the time when left out")
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.targets if name not in BY_NAME]:
        parser.error(f"there is no target {unknown[0]!r}; there are {', '.join(BY_NAME)}")
    chosen = [BY_NAME[name] for name in given.targets] or list(TARGETS)
    seed = int(time.time()) if given.seed is None else given.seed
    print(f"seed {seed}")
    total = 0
    for target in chosen:
        folder = given.corpus / target.name.replace(" ", "-")
        tried, faults = fuzz(target, folder, given.seconds / len(chosen), Random(seed))
        total += faults
        print(f"{target.name:<18} {tried:>8} inputs, {len(list(folder.glob('new-*'))):>5} kept, {faults} faults")
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
