"""Rows about the ledger: a start claimed before its job runs, beside a bare insert that is as durable."""

from __future__ import annotations

import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.measure import CommandFailed, Sample, Side, alternate
from benchmarks.postgres import fresh_databases
from benchmarks.report import MICROSECONDS, Row, Target
from benchmarks.workspace import Workspace
from pipeseal.agent.ledger.ledger import Ledger
from pipeseal.agent.ledger.postgres import PostgresLedger
from pipeseal.agent.ledger.sqlite import SqliteLedger
from pipeseal.policy.starts import StartRequest

CLAIMS = 400
BATCHES = 15
# What is there before: starts of a week on a busy machine.
FILLED = 20_000
_NOW, _KEEP = 1_790_000_000.0, 1_800_000_000
_COLUMNS = "place, attempt, job_id, agent, started_at, keep_until, nonce"


def measure_claim(space: Workspace, agents: str, *, engine: str) -> Row:
    """A start claimed by so many agents at once, each with a ledger of its own on one memory, beside a bare insert.

    The bare insert is of the same row into the same table, by as many connections, one commit each.
    """
    count = int(agents)
    with ExitStack() as stack:
        if engine == "postgres":
            urls = stack.enter_context(fresh_databases(2))
            ledgers: Sequence[Ledger] = [stack.enter_context(closing(PostgresLedger(urls[0]))) for _ in range(count)]
            stack.enter_context(closing(PostgresLedger(urls[1])))
            for url in urls:
                with psycopg.connect(url) as filling:
                    filling.cursor().executemany(_statement("%s").encode(), _rows())
            raw = [_raw_postgres(stack, urls[1]) for _ in range(count)]
        else:
            paths = [space.fresh(f"ledger-{side}") / "ledger.sqlite" for side in ("ours", "bare")]
            ledgers = [stack.enter_context(closing(SqliteLedger(paths[0]))) for _ in range(count)]
            stack.enter_context(closing(SqliteLedger(paths[1])))
            for path in paths:
                with closing(sqlite3.connect(path)) as connection, connection:
                    connection.executemany(_statement("?"), _rows())
            raw = [_raw_sqlite(stack, paths[1]) for _ in range(count)]
        ours, bare = _side([_claimer(ledger) for ledger in ledgers]), _side(raw)
        pairs = alternate(ours, bare, pairs=BATCHES, budget_seconds=space.budget_seconds)
    return Row(f"ledger.claim.{engine}.{agents}", pairs, MICROSECONDS, "bare insert", Target(ratio=2.0))


def _claimer(ledger: Ledger) -> Callable[[], None]:
    def claim() -> None:
        asked = StartRequest(place=uuid.uuid4().hex, subject="", attempts=1, exclusive=True, keep_until=_KEEP)
        ledger.claim(asked, job_id=uuid.uuid4().hex, agent="agent", now=_NOW)

    return claim


def _row() -> tuple[Any, ...]:
    return uuid.uuid4().hex, 1, uuid.uuid4().hex, "agent", _NOW, _KEEP, uuid.uuid4().hex


def _rows() -> list[tuple[Any, ...]]:
    """Enough of them that an index has to be searched."""
    return [_row() for _ in range(FILLED)]


def _statement(parameter: str) -> str:
    return f"INSERT INTO pipeseal_starts ({_COLUMNS}) VALUES ({', '.join([parameter] * 7)})"


def _raw_sqlite(stack: ExitStack, path: Path) -> Callable[[], None]:
    connection = stack.enter_context(
        closing(sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False))
    )
    connection.execute("PRAGMA synchronous = FULL")
    statement = _statement("?")

    def insert() -> None:
        connection.execute(statement, _row())

    return insert


def _raw_postgres(stack: ExitStack, url: str) -> Callable[[], None]:
    connection = stack.enter_context(psycopg.connect(url, autocommit=True))
    statement = _statement("%s").encode()

    def insert() -> None:
        connection.execute(statement, _row())

    return insert


def _side(adders: Sequence[Callable[[], None]]) -> Side:
    each = CLAIMS // len(adders)

    def add_many(add: Callable[[], None], failed: list[BaseException]) -> None:
        try:
            for _ in range(each):
                add()
        except Exception as error:  # told by the thread that waits
            failed.append(error)

    def side() -> Sample:
        failed: list[BaseException] = []
        threads = [threading.Thread(target=add_many, args=(add, failed)) for add in adders]
        begun, cpu = time.monotonic(), time.process_time()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise CommandFailed(f"a claim failed: {failed[0]}")
        total = each * len(adders)
        return Sample((time.monotonic() - begun) / total, (time.process_time() - cpu) / total, 0)

    return side
