"""Ledgers for tests: one of each kind, what is asked of them, and a process that claims."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from pipeseal.agent.ledger.ledger import Ledger
from pipeseal.policy.starts import StartRequest

NOW = 1_790_000_000.0
KEEP = int(NOW) + 100_000
KINDS = ("sqlite", "postgresql")

# Opens the same memory again, as another agent does.
Open = Callable[[], Ledger]


def request(
    place: str = "", *, attempts: int | None = 3, exclusive: bool = False, keep: int | None = KEEP
) -> StartRequest:
    """What a policy asks; without a place in one of its own."""
    return StartRequest(
        place=place or uuid4().hex, subject="seal 1234…", attempts=attempts, exclusive=exclusive, keep_until=keep
    )


def open_where(where: str) -> Ledger:
    """The ledger at a path or address; it has little patience."""
    if "://" in where:
        from pipeseal.agent.ledger.postgres import PostgresLedger

        return PostgresLedger(where, patience_seconds=1)
    from pipeseal.agent.ledger.sqlite import SqliteLedger

    return SqliteLedger(Path(where), patience_seconds=1)


@contextmanager
def place_for(kind: str, folder: Path) -> Iterator[str]:
    """Where a ledger can be: a path, or the address of an empty database."""
    if kind == "sqlite":
        yield str(folder / "ledger.sqlite")
        return
    from tests.controlplane.postgres_server import fresh_database

    with fresh_database() as url:
        yield url


# Claims what its input says, line by line (PLACE JOB ATTEMPTS EXCLUSIVE), and says of each whether it may start.
CLAIMER = """
import sys
from pipeseal.errors import PipesealError
from tests.agent.ledgers import NOW, open_where, request
ledger = open_where(sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    place, job, attempts, exclusive = line.split()
    asked = request(place, attempts=int(attempts), exclusive=exclusive == "yes")
    try:
        start = ledger.claim(asked, job_id=job, agent=sys.argv[2], now=NOW)
        print("started", start.attempt, flush=True)
    except PipesealError as error:
        print("refused", error.code, flush=True)
"""


class Claimer:
    """A process with a ledger of its own."""

    def __init__(self, where: str, name: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CLAIMER, where, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).resolve().parents[2],
        )
        assert self.process.stdout is not None and self.process.stdin is not None
        self._in, self._out = self.process.stdin, self.process.stdout
        assert self._out.readline() == "ready\n"

    def ask(self, place: str, job: str, attempts: int, exclusive: bool) -> None:
        """Ask for a start, without waiting for the answer."""
        self._in.write(f"{place} {job} {attempts} {'yes' if exclusive else 'no'}\n")
        self._in.flush()

    def answer(self) -> list[str]:
        """The oldest answer that was not read: `started ATTEMPT` or `refused CODE`."""
        return self._out.readline().split()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._in.close()
        self._out.close()
