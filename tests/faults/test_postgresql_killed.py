"""PostgreSQL is killed in the middle of a commit, and forgets that there ever was one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from pipeseal.controlplane.store.database import Transaction
from pipeseal.controlplane.store.postgres import PostgresDatabase
from tests.faults.postgres_process import PostgresProcess, postgres_process


@pytest.fixture(scope="module")
def process() -> Iterator[PostgresProcess]:
    with postgres_process() as started:
        yield started


@pytest.fixture
def database(process: PostgresProcess) -> Iterator[PostgresDatabase]:
    database = PostgresDatabase.open_url(process.url)
    yield database
    database.close()


def set_value(tx: Transaction, name: str, value: str) -> str:
    tx.run("DELETE FROM settings WHERE name = :name", name=name)
    tx.run("INSERT INTO settings (name, value) VALUES (:name, :value)", name=name, value=value)
    return value


def value_of(database: PostgresDatabase, name: str) -> str | None:
    row = database.read_now(lambda tx: tx.one("SELECT value FROM settings WHERE name = :name", name=name))
    return None if row is None else str(row["value"])


def next_number(connection: psycopg.Connection[Any]) -> str:
    """The number of a transaction that is committed."""
    with connection.transaction():
        row = connection.execute("SELECT pg_current_xact_id()::text").fetchone()
        connection.execute("INSERT INTO others VALUES (1)")
    assert row is not None
    return str(row[0])


@pytest.mark.parametrize("is_kept", [False, True])
def test_a_commit_that_broke_is_done_once_whoever_has_its_number_now(
    process: PostgresProcess, database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch, is_kept: bool
) -> None:
    name = f"kept-{is_kept}"
    with psycopg.connect(process.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS others (one BIGINT)")
    numbers: list[str] = []
    real = psycopg.Connection.execute

    def execute(self: psycopg.Connection[Any], query: Any, *arguments: Any, **options: Any) -> psycopg.Cursor[Any]:
        if query == "COMMIT" and self is database._writing and not numbers:
            row = real(self, "SELECT pg_current_xact_id()::text AS id").fetchone()
            assert row is not None
            numbers.append(row["id"])
            if is_kept:
                real(self, query)
            process.kill()
            process.start()
            with psycopg.connect(process.url, autocommit=True) as other:
                numbers.append(next_number(other))
        return real(self, query, *arguments, **options)

    monkeypatch.setattr(psycopg.Connection, "execute", execute)
    runs: list[int] = []

    def change(tx: Transaction) -> str:
        runs.append(1)
        return set_value(tx, name, "v")

    assert database.submit(change).result(30) == "v"
    assert value_of(database, name) == "v"
    assert len(runs) == (1 if is_kept else 2)
    if not is_kept:
        assert numbers[0] == numbers[1]  # or this would show nothing: PostgreSQL gave the lost one's number away
