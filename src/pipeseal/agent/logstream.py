"""A job's log on its way to the server: in chunks, compressed, in the background, never more than a little in memory.

Bytes come in through `write`, which waits when the server cannot keep up, so that a job that prints a lot is slowed
down instead of filling memory. Sequence numbers start at 1; offsets and sizes count uncompressed bytes. Chunks are
made in order and may arrive out of order; the server puts them together by offset.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable
from typing import Protocol

from pipeseal.errors import PipesealError

# How fast the first chunks go out: a person who watches sees the beginning at once, a long job costs few requests.
FIRST_INTERVAL_SECONDS = 0.05
# How long the agent's first lines wait for the output that they stand above, to go with it in one request.
HEAD_SECONDS = 0.05
MAX_UPLOADERS = 3


class AppendLog(Protocol):
    """Sends one chunk: its number, where it is in the log, its size, and its bytes compressed with gzip."""

    def __call__(self, sequence: int, offset: int, size: int, compressed: bytes, /) -> None: ...


class LogStream:
    """Sends a log.

    Parameters:
        append: sends one chunk; tries again by itself, and raises `PipesealError` when the chunk is lost.
        max_chunk_bytes: how much one chunk may hold, uncompressed.
        interval_seconds: how often what there is goes out when it does not fill a chunk.
        on_lost: told of each chunk that could not be sent.
    """

    def __init__(
        self,
        append: AppendLog,
        *,
        max_chunk_bytes: int,
        interval_seconds: float,
        on_lost: Callable[[PipesealError], None] | None = None,
    ) -> None:
        self._append = append
        self._max_chunk_bytes = max_chunk_bytes
        self._interval_seconds = interval_seconds
        self._on_lost = on_lost
        self._changed = threading.Condition()
        self._pending = bytearray()
        self._most_pending = max(4 * max_chunk_bytes, 1 << 18)
        self._flush_at = 0.0
        self._sequence = 0
        self._offset = 0
        self._waiting = 0
        self._uploaders: list[threading.Thread] = []
        self._closing = False
        self.failed_chunks = 0

    def write(self, data: bytes, *, is_head: bool = False) -> None:
        """Add bytes to the log; waits while too many are still to be sent.

        Parameters:
            is_head: they say what comes; the first ones of a log wait a moment for that.
        """
        view = memoryview(data)
        while view:
            with self._changed:
                while len(self._pending) >= self._most_pending:
                    self._changed.wait()
                # Who waits for the time of what is pending need not hear of every byte that is added to it.
                is_news = not self._pending
                if not self._sequence and (is_news or not is_head):
                    self._flush_at = time.monotonic() + HEAD_SECONDS if is_head else 0.0
                    is_news = True
                room = self._most_pending - len(self._pending)
                self._pending += view[:room]
                view = view[room:]
                self._start_uploader()
                if is_news or len(self._pending) >= self._max_chunk_bytes:
                    self._changed.notify_all()

    def close(self) -> None:
        """Send what is left and wait until it is sent."""
        with self._changed:
            self._closing = True
            self._start_uploader()
            self._changed.notify_all()
        for thread in self._uploaders:
            thread.join()

    def _start_uploader(self) -> None:
        # One is enough for most logs; another joins when a whole chunk waits and nobody is free to take it.
        needed = not self._uploaders or (not self._waiting and len(self._pending) >= self._max_chunk_bytes)
        if self._pending and needed and len(self._uploaders) < MAX_UPLOADERS:
            thread = threading.Thread(target=self._upload, name="log-uploader", daemon=True)
            self._uploaders.append(thread)
            thread.start()

    def _upload(self) -> None:
        while (chunk := self._next_chunk()) is not None:
            sequence, offset, data = chunk
            # RFC 1952, level 1: a log shrinks by four already, and the job needs the processor more than the network.
            compressor = zlib.compressobj(1, zlib.DEFLATED, 31)
            compressed = compressor.compress(data) + compressor.flush()
            try:
                self._append(sequence, offset, len(data), compressed)
            except PipesealError as error:
                with self._changed:
                    self.failed_chunks += 1
                if self._on_lost is not None:
                    self._on_lost(error)

    def _next_chunk(self) -> tuple[int, int, bytes] | None:
        """Wait for the next chunk that is due, and take it; None when the log is closed and all is taken."""
        with self._changed:
            while True:
                now = time.monotonic()
                full = len(self._pending) >= self._max_chunk_bytes
                if self._pending and (full or self._closing or now >= self._flush_at):
                    break
                if self._closing:
                    return None
                self._waiting += 1
                self._changed.wait(self._flush_at - now if self._pending else None)
                self._waiting -= 1
            data = bytes(self._pending[: self._max_chunk_bytes])
            del self._pending[: len(data)]
            self._sequence += 1
            offset, self._offset = self._offset, self._offset + len(data)
            self._flush_at = now + min(
                self._interval_seconds, FIRST_INTERVAL_SECONDS * 2 ** min(self._sequence - 1, 16)
            )
            self._changed.notify_all()
            return self._sequence, offset, data
