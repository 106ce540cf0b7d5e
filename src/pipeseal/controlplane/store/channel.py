"""A channel between the servers of one PostgreSQL database: short lines of text, heard within milliseconds.

NOTIFY and LISTEN carry them, on two connections of their own, so that no transaction waits for a message. A message
can be lost: when a connection breaks, or when a server dies between its commit and its message. So messages are
hints; who listens is told after every gap that something may have been missed, and looks into the database.
"""

from __future__ import annotations

import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    from pipeseal.controlplane.store.postgres import Connection

_CHANNEL = "pipeseal"
_MAX_BYTES = 7_900  # PostgreSQL takes payloads below 8,000 bytes
_PAUSE_SECONDS = 0.5
_STOP = "stop"
_log = logging.getLogger("pipeseal.server")


class Channel:
    """Sends lines to the other servers and hears theirs, never its own.

    Parameters:
        connect: makes a connection to the database.
        on_line: called with each line, in the listener's thread.
        on_gap: called in the listener's thread whenever lines may have been missed; also at the start.
    """

    max_line_bytes = _MAX_BYTES - 40

    def __init__(
        self, connect: Callable[[], Connection], on_line: Callable[[str], None], on_gap: Callable[[], None]
    ) -> None:
        self._connect = connect
        self._on_line = on_line
        self._on_gap = on_gap
        self._id = secrets.token_hex(8)
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._listen, name="channel-listener", daemon=True),
            threading.Thread(target=self._send, name="channel-sender", daemon=True),
        ]

    def start(self) -> None:
        """Begin to listen and to send."""
        for thread in self._threads:
            thread.start()

    def send(self, line: str) -> None:
        """Send a line to every other server, soon; from any thread.

        Parameters:
            line: without line feeds, at most `max_line_bytes` long in UTF-8.
        """
        self._queue.put(line)

    def close(self) -> None:
        """Send what is queued and stop."""
        self._stopping.set()
        self._queue.put(None)
        for thread in reversed(self._threads):
            thread.join()

    def _listen(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._connect() as connection:
                    connection.execute(f"LISTEN {_CHANNEL}".encode())
                    self._on_gap()  # only now: what is sent from here on is heard
                    self._hear(connection)
            except psycopg.Error as error:
                if not self._stopping.is_set():
                    _log.warning("the channel to the other servers broke: %s", " ".join(str(error).split()))
                    self._stopping.wait(_PAUSE_SECONDS)

    def _hear(self, connection: Connection) -> None:
        while not self._stopping.is_set():
            for notification in connection.notifies(timeout=1.0):
                sender, *lines = notification.payload.split("\n")
                if sender == self._id:
                    if lines == [_STOP]:
                        return
                    continue
                for line in lines:
                    self._on_line(line)
            # Nobody may have anything to say for hours: find out whether the connection still stands.
            connection.execute("SELECT 1")

    def _send(self) -> None:
        connection: Connection | None = None
        stopping = False
        while not stopping:
            lines: list[str] = []
            line = self._queue.get()
            while line is not None:
                lines.append(line)
                try:
                    line = self._queue.get_nowait()
                except queue.Empty:
                    break
            stopping = line is None
            payloads = list(self._pack(dict.fromkeys(lines)))
            if stopping:
                payloads.append(f"{self._id}\n{_STOP}")
            for _ in range(2):  # once more on a new connection; after that the others find out by themselves
                try:
                    if connection is None:
                        connection = self._connect()
                    for payload in payloads:
                        connection.execute("SELECT pg_notify(%s, %s)", (_CHANNEL, payload))
                    break
                except psycopg.Error:
                    if connection is not None:
                        connection.close()
                        connection = None
                    if not stopping:
                        time.sleep(_PAUSE_SECONDS)
        if connection is not None:
            connection.close()

    def _pack(self, lines: dict[str, None]) -> Iterator[str]:
        """As few payloads as hold all the lines."""
        payload, size = self._id, len(self._id)
        for line in lines:
            length = 1 + len(line.encode())
            if size + length > _MAX_BYTES:
                yield payload
                payload, size = self._id, len(self._id)
            payload += "\n" + line
            size += length
        if size > len(self._id):
            yield payload
