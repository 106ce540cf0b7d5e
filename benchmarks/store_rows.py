"""Rows about what is stored: claims beside a bare statement, dispatch from a full database, and the size of a job."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from itertools import islice
from pathlib import Path

import psycopg
from psycopg.rows import dict_row

from benchmarks.agents import NOOP_STEP, agent, signed_server, wait_for_agents
from benchmarks.buildbot import Buildbot
from benchmarks.control_plane import (
    LIMITS,
    Connection,
    PretendAgent,
    Server,
    create_build,
    create_pipeline,
    wait_for_all,
)
from benchmarks.job_rows import BUILDBOT, NOOP
from benchmarks.measure import CommandFailed, Pairs, Sample, Series, Side, alternate
from benchmarks.postgres import fresh_databases
from benchmarks.report import BYTES, COUNT, MICROSECONDS, MILLISECONDS, Row, Target
from benchmarks.simulated import register_agents
from benchmarks.workspace import PIPESEAL, Workspace
from pipeseal.controlplane.store.database import Database
from pipeseal.controlplane.store.jobs import claim_job

CLAIMS = 500
CLAIM_BATCHES = 9
RAW_CONNECTIONS = 8
QUEUED, ENDED = 10_000, 100_000
_RAW_CLAIM = (
    "UPDATE jobs SET state = 'accepted', agent_id = {agent}, token_digest = id, accepted_at = 1 WHERE id = "
    "(SELECT id FROM jobs WHERE state = 'scheduled' AND kind = 'script' LIMIT 1{lock}) RETURNING *"
)


def measure_claim(space: Workspace, agents: str, *, engine: str) -> Row:
    """A job claimed as an accept claims it, by so many agents at once, beside one bare `UPDATE ... RETURNING`.

    The bare statement runs on the same engine and tables, durably: on SQLite one connection does nothing else, on
    PostgreSQL eight (`FOR UPDATE SKIP LOCKED`).
    """
    count = int(agents)
    jobs = CLAIMS * (CLAIM_BATCHES + 1)
    with ExitStack() as stack:
        urls: Sequence[str] = ("", "")
        if engine == "postgres":
            urls = stack.enter_context(fresh_databases(2))
        mine, theirs = (_claimable(space, url, jobs, count) for url in urls)
        database = stack.enter_context(closing(_open(mine.data, mine.url)))
        ids = iter(mine.job_ids)

        def ours() -> Sample:
            batch = list(islice(ids, CLAIMS))
            start = time.monotonic()
            asyncio.run(_claim_all(database, batch, mine.agent_ids))
            return Sample((time.monotonic() - start) / CLAIMS, 0.0, 0)

        raw = _raw_postgres(stack, theirs) if engine == "postgres" else _raw_sqlite(stack, theirs)
        pairs = alternate(ours, raw, pairs=CLAIM_BATCHES, budget_seconds=space.budget_seconds)
    return Row(f"store.claim.{engine}.{agents}", pairs, MICROSECONDS, "bare statement", Target(ratio=2.0))


class _Claimable:
    """A database with scheduled jobs and agents, whose server has ended."""

    def __init__(self, data: Path, url: str, job_ids: list[str], agent_ids: list[str]) -> None:
        self.data, self.url, self.job_ids, self.agent_ids = data, url, job_ids, agent_ids


def _claimable(space: Workspace, url: str, jobs: int, agents: int) -> _Claimable:
    options = ("--database-url", url) if url else ()
    data = space.fresh("claims")
    with Server(data, space.env, *LIMITS, *options) as server, closing(server.rest()) as rest:
        create_pipeline(rest, "many", f"steps: [{{command: 'true', parallelism: {jobs}}}]")
        number = create_build(rest, "many")
        job_ids = [job["id"] for job in rest.call("GET", f"/pipelines/many/builds/{number}")["jobs"]]
        found = asyncio.run(register_agents([server.url], server.registration_token, agents))
    return _Claimable(data, url, job_ids, [one.id for one in found])


def _open(data: Path, url: str) -> Database:
    if url:
        from pipeseal.controlplane.store.postgres import PostgresDatabase

        return PostgresDatabase.open_url(url)
    return Database.open(data / "control-plane.sqlite")


async def _claim_all(database: Database, job_ids: Sequence[str], agent_ids: Sequence[str]) -> None:
    left = iter(job_ids)

    async def claim(agent_id: str) -> None:
        for job_id in left:
            row = await database.write(
                lambda tx, job_id=job_id: claim_job(  # type: ignore[misc]  # a default binds the loop's value
                    tx, job_id, agent_id=agent_id, token_digest=job_id, now=1
                )
            )
            if row is None:
                raise CommandFailed(f"job {job_id} could not be claimed")

    await asyncio.gather(*map(claim, agent_ids))


def _raw_sqlite(stack: ExitStack, place: _Claimable) -> Side:
    connection = stack.enter_context(
        closing(sqlite3.connect(place.data / "control-plane.sqlite", isolation_level=None))
    )
    connection.execute("PRAGMA synchronous = FULL")
    statement = _RAW_CLAIM.format(agent="?", lock="")

    def side() -> Sample:
        start = time.monotonic()
        for _ in range(CLAIMS):
            if connection.execute(statement, (place.agent_ids[0],)).fetchone() is None:
                raise CommandFailed("no job is left")
        return Sample((time.monotonic() - start) / CLAIMS, 0.0, 0)

    return side


def _raw_postgres(stack: ExitStack, place: _Claimable) -> Side:
    connections = [
        stack.enter_context(psycopg.connect(place.url, autocommit=True, row_factory=dict_row))
        for _ in range(RAW_CONNECTIONS)
    ]
    statement = _RAW_CLAIM.format(agent="%s", lock=" FOR UPDATE SKIP LOCKED").encode()
    each = CLAIMS // RAW_CONNECTIONS

    def claim(connection: psycopg.Connection[dict[str, object]], missed: list[int]) -> None:
        for _ in range(each):
            if connection.execute(statement, (place.agent_ids[0],)).fetchone() is None:
                missed.append(1)

    def side() -> Sample:
        missed: list[int] = []
        threads = [threading.Thread(target=claim, args=(connection, missed)) for connection in connections]
        start = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if missed:
            raise CommandFailed("no job is left")
        return Sample((time.monotonic() - start) / (each * RAW_CONNECTIONS), 0.0, 0)

    return side


def measure_queue(space: Workspace) -> Row:
    """From a trigger to the job's end with 10,000 jobs runnable and 100,000 ended, beside an empty database.

    The new job goes before those that wait, so both sides do the same; an agent that runs nothing takes it.
    """
    with ExitStack() as stack:
        full = stack.enter_context(_queue_place(space, fill_queue))
        empty = stack.enter_context(_queue_place(space, lambda _rest: None))
        pairs = alternate(
            lambda: _take(*full), lambda: _take(*empty),
            pairs=100, budget_seconds=space.budget_seconds, fewest=60,
        )  # fmt: skip
    ours, peer = pairs.ours, pairs.peer
    assert peer is not None
    tails = Pairs(_at_p95(ours), _at_p95(peer), pairs.idle)
    return Row("scale.queue", tails, MILLISECONDS, "empty database", Target(ratio=1.5))


def fill_queue(rest: Connection) -> None:
    """10,000 jobs that could run, and 100,000 that have ended, in builds of 500 and of 5,000."""
    create_pipeline(rest, "many", "steps: [{command: 'true', parallelism: 500}]")
    create_pipeline(rest, "more", "steps: [{command: 'true', parallelism: 5000}]")
    for slug, builds in (("many", 40), ("more", (ENDED - 40 * 500) // 5000)):
        for _ in range(builds):
            number = create_build(rest, slug)
            rest.call("PUT", f"/pipelines/{slug}/builds/{number}/cancel")
    for _ in range(QUEUED // 500):
        create_build(rest, "many")


@contextmanager
def _queue_place(space: Workspace, fill: Callable[[Connection], None]) -> Iterator[tuple[Connection, PretendAgent]]:
    with Server(space.fresh("queue"), space.env, *LIMITS) as server, closing(server.rest()) as rest:
        fill(rest)
        create_pipeline(rest, "first", "steps: [{command: 'true', priority: 10}]")
        taker = PretendAgent(server)
        yield rest, taker
        taker.close()


def _take(rest: Connection, taker: PretendAgent) -> Sample:
    start = time.monotonic()
    create_build(rest, "first")
    job = taker.start_next_job()
    taker.finish(job)
    seconds = time.monotonic() - start
    if job["env"]["BUILDKITE_PIPELINE_SLUG"] != "first":
        raise CommandFailed("an older job was taken before one that goes first")
    return Sample(seconds, 0.0, 0)


def _at_p95(series: Series) -> Series:
    return Series([Sample(series.p95, 0.0, 0)])


def measure_job_size(space: Workspace) -> tuple[Row, ...]:
    """Rows, and bytes beyond the text of its step, that one job which does nothing leaves in the database."""
    count = 100
    with ExitStack() as stack:
        server, rest = stack.enter_context(signed_server(space, "size", NOOP_STEP))
        stack.enter_context(agent(space, server, PIPESEAL))
        wait_for_agents(space, rest, 1)

        def run() -> None:
            for _ in range(count):
                create_build(rest, "noop")
            wait_for_all(rest, "noop")

        database = server.data / "control-plane.sqlite"
        ours = _growth(database, run, count)
        with closing(sqlite3.connect(database)) as connection:
            (text,) = connection.execute("SELECT avg(length(content)) FROM steps WHERE kind <> 'group'").fetchone()
        peer = None
        if space.buildbot.path:
            buildbot = stack.enter_context(Buildbot(space, space.buildbot.path, {"noop": NOOP}))
            builds = 0

            def run_theirs() -> None:
                nonlocal builds
                builds += count // 5
                for _ in range(count // 5):
                    buildbot.force("noop")
                buildbot.wait_for_builds("noop", builds)

            peer = _growth(buildbot.database, run_theirs, count // 5)
    rows = Pairs(_single(ours[0]), _single(peer[0]) if peer else None, 1.0)
    size = Pairs(_single(ours[1] - text), _single(peer[1]) if peer else None, 1.0)
    return (
        Row("db.job.rows", rows, COUNT, BUILDBOT, Target(limit=10)),
        Row("db.job.bytes", size, BYTES, BUILDBOT, Target(limit=2048)),
    )


def _single(amount: float) -> Series:
    return Series([Sample(amount, 0.0, 0)])


def _growth(database: Path, run: Callable[[], None], count: int) -> tuple[float, float]:
    """Rows and bytes that a database grows by for each of `count` jobs; the first jobs make what is made once."""
    run()
    rows, size = _measure(database)
    run()
    more_rows, more_size = _measure(database)
    return (more_rows - rows) / count, (more_size - size) / count


def _measure(database: Path) -> tuple[int, int]:
    """Rows of all tables, and bytes in the cells of all tables and indexes."""
    with closing(sqlite3.connect(database)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = sum(connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in tables)
        try:
            (size,) = connection.execute("SELECT sum(payload) FROM dbstat").fetchone()
        except sqlite3.OperationalError as error:
            raise CommandFailed(f"this SQLite cannot say how large tables are: {error}") from error
    return rows, size
