"""PostgreSQL in SQLite's place: the same promises, and a connection that breaks at the worst moment."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pipeseal.controlplane.store.database import Database, Transaction
from pipeseal.controlplane.store.postgres import PostgresDatabase, translate
from pipeseal.errors import ConfigurationError, MalformedInput
from tests.controlplane.postgres_server import fresh_database
from tests.controlplane.running import FakeAgent, job_states, running_server


@pytest.fixture
def url() -> Iterator[str]:
    with fresh_database() as fresh:
        yield fresh


@pytest.fixture
def database(url: str) -> Iterator[PostgresDatabase]:
    opened = PostgresDatabase.open_url(url)
    yield opened
    opened.close()


def set_value(tx: Transaction, name: str, value: str) -> None:
    tx.run("INSERT INTO settings (name, value) VALUES (:name, :value)", name=name, value=value)


def get_values(database: Database) -> dict[str, str]:
    rows = database.read_now(lambda tx: tx.all("SELECT name, value FROM settings"))
    return {row["name"]: row["value"] for row in rows}


def end_backends(url: str) -> int:
    """End every other connection of the database, as a restart of PostgreSQL would."""
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).rowcount


@pytest.mark.parametrize(
    ("sql", "translated"),
    [
        ("SELECT * FROM a WHERE b = :b AND c < :c_2", "SELECT * FROM a WHERE b = %(b)s AND c < %(c_2)s"),
        ("SELECT ':a', b % 2, '50%' WHERE c LIKE :c", "SELECT ':a', b %% 2, '50%%' WHERE c LIKE %(c)s"),
        ("SELECT a::text, 'it''s :x' FROM b", "SELECT a::text, 'it''s :x' FROM b"),
    ],
)
def test_parameters_are_translated_and_quoted_text_is_not(sql: str, translated: str) -> None:
    assert translate(sql) == translated


def test_many_writers_share_commits_and_each_is_durable(database: PostgresDatabase) -> None:
    first = threading.Event()
    database.submit(lambda tx: first.wait(60))
    futures = [database.submit(partial(set_value, name=f"n{n}", value=str(n))) for n in range(200)]
    first.set()
    for future in futures:
        future.result(60)
    assert len(get_values(database)) == 200
    assert database.commits <= 5


def test_a_failing_transaction_is_undone_alone(database: PostgresDatabase) -> None:
    gate = threading.Event()
    called: list[str] = []

    def fail(tx: Transaction) -> None:
        set_value(tx, "half", "x")
        tx.after_commit(lambda: called.append("failed"))
        raise MalformedInput("request.malformed", "no")

    def succeed(tx: Transaction) -> str:
        set_value(tx, "whole", "x")
        tx.after_commit(lambda: called.append("whole"))
        return "done"

    database.submit(lambda tx: gate.wait(60))
    failing, succeeding = database.submit(fail), database.submit(succeed)
    gate.set()
    assert succeeding.result(60) == "done"
    with pytest.raises(MalformedInput):
        failing.result(60)
    with pytest.raises(MalformedInput):
        database.submit(fail).result(60)  # alone in its commit
    assert get_values(database) == {"whole": "x"}
    assert called == ["whole"]


def test_a_nul_character_is_the_callers_mistake(database: PostgresDatabase) -> None:
    with pytest.raises(MalformedInput) as error:
        database.submit(partial(set_value, name="n", value="a\0b")).result(60)
    assert error.value.code == "request.malformed"


def test_a_connection_that_breaks_inside_a_transaction_is_tried_again(url: str, database: PostgresDatabase) -> None:
    tries: list[int] = []

    def change(tx: Transaction) -> str:
        tries.append(1)
        set_value(tx, "once", "x")
        if len(tries) == 1:
            assert end_backends(url) >= 1
        tx.all("SELECT 1 AS one")
        return "done"

    assert database.submit(change).result(60) == "done"
    assert len(tries) == 2
    assert get_values(database) == {"once": "x"}


@pytest.mark.parametrize("arrives", [True, False])
def test_a_commit_whose_answer_is_lost_is_done_exactly_once(database: PostgresDatabase, arrives: bool) -> None:
    database.submit(lambda tx: tx.run("CREATE TABLE counted (n BIGINT)")).result(60)
    connection = database._writing
    assert connection is not None
    execute = connection.execute
    tries: list[int] = []
    called: list[int] = []

    def break_at_commit(sql: str, *more: Any) -> Any:
        if sql != "COMMIT":
            return execute(sql.encode(), *more)
        if arrives:
            execute("COMMIT")
        connection.close()
        raise psycopg.OperationalError("the connection was cut")

    def count(tx: Transaction) -> str:
        tries.append(1)
        tx.run("INSERT INTO counted VALUES (1)")
        tx.after_commit(lambda: called.append(1))
        if len(tries) == 1:
            vars(connection)["execute"] = break_at_commit
        return "done"

    assert database.submit(count).result(60) == "done"
    rows = database.read_now(lambda tx: tx.all("SELECT n FROM counted"))
    assert len(rows) == 1
    assert len(called) == 1
    assert len(tries) == (1 if arrives else 2)


def test_reads_see_one_snapshot_and_survive_a_restart_of_the_database(url: str, database: PostgresDatabase) -> None:
    def look(tx: Transaction) -> tuple[int, int]:
        before = len(tx.all("SELECT name FROM settings"))
        database.submit(lambda tx: set_value(tx, "later", "x")).result(60)
        return before, len(tx.all("SELECT name FROM settings"))

    assert database.read_now(look) == (0, 0)
    assert end_backends(url) >= 2
    assert get_values(database) == {"later": "x"}


def test_writers_of_two_servers_stand_in_one_line(url: str, database: PostgresDatabase) -> None:
    other = PostgresDatabase.open_url(url)
    try:
        database.submit(partial(set_value, name="n", value="0")).result(60)

        def add(tx: Transaction) -> None:
            row = tx.one("SELECT value FROM settings WHERE name = 'n'")
            assert row is not None
            tx.run("UPDATE settings SET value = :value WHERE name = 'n'", value=str(int(row["value"]) + 1))

        for future in [engine.submit(add) for _ in range(100) for engine in (database, other)]:
            future.result(60)
        assert get_values(other) == {"n": "200"}
    finally:
        other.close()


def test_a_newer_or_unreachable_database_stops_the_start(url: str) -> None:
    PostgresDatabase.open_url(url).close()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("INSERT INTO schema_version VALUES (999)")
    with pytest.raises(ConfigurationError, match="999"):
        PostgresDatabase.open_url(url)
    with pytest.raises(ConfigurationError) as error:
        PostgresDatabase.open_url("postgresql://user:hidden@127.0.0.1:1/none")
    assert error.value.code == "server.data"
    assert "hidden" not in error.value.message


def test_a_build_runs_on_postgresql_and_is_there_after_a_restart(tmp_path: Path, url: str) -> None:
    with running_server(tmp_path / "data", database_url=url) as running:
        running.api.create_pipeline("steps: [{command: a, key: a}, wait, {command: b, key: b, parallelism: 2}]")
        build = running.api.create_build()
        agent = FakeAgent(running.api)
        job = agent.run(log=b"hello\n")
        assert running.api.log(build, job.id) == b"hello\n"
        agent.run()
    with running_server(tmp_path / "data", database_url=url) as running:
        agent.api = running.api
        agent.run()
        build = running.api.wait_build("passed")
        assert job_states(build) == {"a": "passed", "waiter": "passed", "b": "passed", "b#2": "passed"}
        assert running.api.log(build, job.id) == b"hello\n"
