"""One seed of `chaos` for each database; all of them with `make chaos`."""

from __future__ import annotations

from pathlib import Path

from tests.faults.chaos import run_seed
from tests.faults.postgres_process import postgres_process


def test_server_and_agents_are_killed_on_sqlite(tmp_path: Path) -> None:
    report = run_seed(1, tmp_path)
    assert report.kills


def test_two_servers_database_and_agents_are_killed_on_postgresql(tmp_path: Path) -> None:
    with postgres_process() as postgres:
        report = run_seed(2, tmp_path, postgres=postgres, database_url=postgres.fresh_database(), servers=2)
    assert report.kills["database"]
