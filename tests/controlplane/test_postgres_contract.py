"""Made-up requests for a server on PostgreSQL, which refuses text and numbers that SQLite takes: a smaller sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from schemathesis import GenerationMode

from tests.controlplane.postgres_server import fresh_database
from tests.controlplane.running import QUICK, RunningServer, running_server
from tests.controlplane.test_contract import KEYS, check_answers
from tests.controlplane.test_contract import schema as schema

# The server runs in a thread of this process and draws random numbers while a strategy does.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("server") / "data"
    with fresh_database() as url, running_server(folder, replace(QUICK, ping_hold=0.0), database_url=url) as server:
        yield server


@pytest.mark.parametrize("key", KEYS)
def test_answers_are_as_described(running: RunningServer, schema: Any, key: str) -> None:
    check_answers(running, schema, key, GenerationMode.POSITIVE, examples=4)
