"""Kept-alive connections to a server that is not trusted, for a program that lives long, from any thread.

On `http.client`. Nothing a server answers can make a call take longer than its deadline, hold more memory than its
limit, or go to another address.
"""

from __future__ import annotations

import errno
import http.client
import io
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping

from pipeseal.agent.connection import MAX_ANSWER_BYTES, TIMEOUT_SECONDS, Answer, Endpoint, parse_endpoint, unreachable
from pipeseal.errors import MalformedInput, Unavailable


class _DeadlineReader(io.RawIOBase):
    """Reads a socket, and never beyond a deadline however slowly the bytes come."""

    def __init__(self, source: socket.socket, deadline: Callable[[], float]) -> None:
        self._socket = source
        self._raw = source.makefile("rb", buffering=0)
        self._deadline = deadline
        self.ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int | None:
        left = self._deadline() - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer took too long")
        self._socket.settimeout(left)
        count = self._raw.readinto(buffer)  # type: ignore[arg-type]  # the buffer type has no name before Python 3.12
        self.ended = count == 0
        return count

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


class _DeadlineSocket:
    """The part of a socket that `HTTPResponse` uses."""

    def __init__(self, source: socket.socket, deadline: Callable[[], float]) -> None:
        self.reader = io.BufferedReader(_DeadlineReader(source, deadline), 16_384)

    def makefile(self, _mode: str) -> io.BufferedReader[_DeadlineReader]:
        return self.reader


class _Connection:
    """One connection and its current deadline."""

    def __init__(self, endpoint: Endpoint, context: object | None) -> None:
        self.deadline = 0.0
        self.used = False
        self.aborted = False
        self._reader: io.BufferedReader[_DeadlineReader] | None = None
        if endpoint.scheme == "https":
            self.http: http.client.HTTPConnection = http.client.HTTPSConnection(
                endpoint.host,
                endpoint.port,
                context=context,  # type: ignore[arg-type]  # typed as object so that ssl is imported for https alone
            )
        else:
            self.http = http.client.HTTPConnection(endpoint.host, endpoint.port)
        self.http.response_class = self._response  # type: ignore[assignment]  # called exactly like the class

    def _response(self, source: socket.socket, method: str | None = None) -> http.client.HTTPResponse:
        wrapped = _DeadlineSocket(source, lambda: self.deadline)
        self._reader = wrapped.reader
        return http.client.HTTPResponse(wrapped, method=method)  # type: ignore[arg-type]  # uses makefile alone

    @property
    def ended_early(self) -> bool:
        """Whether the other side closed the connection where more was to come."""
        return self._reader is not None and self._reader.raw.ended

    def is_stale(self) -> bool:
        """Whether the server has closed a kept-alive connection meanwhile (or sent what nobody asked for)."""
        source = self.http.sock
        if source is None:
            return True
        poll = select.poll()
        poll.register(source, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Close it; `http.client` alone would leave the reader open after an answer that broke off."""
        self.http.close()
        if self._reader is not None:
            self._reader.close()

    def abort(self) -> None:
        """Make a call in progress on another thread end at once."""
        self.aborted = True
        source = self.http.sock
        if source is not None:
            try:
                source.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # already gone, which is what was wanted


class ConnectionPool:
    """Kept-alive connections to one endpoint, for calls from several threads.

    Parameters:
        endpoint: where; never changed by anything a server says.
        user_agent: value of the `User-Agent` header.
    """

    def __init__(self, endpoint: Endpoint, *, user_agent: str) -> None:
        self.endpoint = endpoint
        self._user_agent = user_agent
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []
        self._busy: set[_Connection] = set()
        self._closed = threading.Event()
        self._context: object | None = None
        if endpoint.scheme == "https":
            import ssl

            self._context = ssl.create_default_context()

    def request(
        self,
        method: str,
        path: str,
        *,
        token: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> Answer:
        """As `Transport.request`."""
        sent = {"Authorization": f"Token {token}", "User-Agent": self._user_agent, "Accept-Encoding": "identity"}
        if body is not None:
            sent["Content-Type"] = "application/json"
        sent |= headers or {}
        deadline = time.monotonic() + timeout_seconds
        while True:
            connection = self._take(deadline)
            reused = connection.used
            try:
                answer = self._exchange(connection, method, path, body, sent, max_bytes)
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as error:
                # A kept-alive connection that the server closed just now: nothing was answered, so ask again once.
                self._drop(connection)
                if reused and not connection.aborted:
                    continue
                raise unreachable(self.endpoint, error) from error
            except OSError as error:
                self._drop(connection)
                raise unreachable(self.endpoint, error) from error
            except (http.client.HTTPException, ValueError) as error:
                # `http.client` lets a ValueError out too, for a chunk whose length is below zero.
                self._drop(connection)
                if connection.ended_early:
                    raise Unavailable("api.unreachable", f"the answer to {method} {path} ended early") from error
                raise MalformedInput(
                    "api.answer", f"the server's answer to {method} {path} is not HTTP: {type(error).__name__}"
                ) from error
            except BaseException:
                self._drop(connection)
                raise
            return answer

    def close(self) -> None:
        """Close every connection; calls in progress end at once with `api.unreachable`."""
        with self._lock:
            self._closed.set()
            idle, self._idle = self._idle, []
            busy = list(self._busy)
        for connection in idle:
            connection.close()
        for connection in busy:
            connection.abort()

    def _take(self, deadline: float) -> _Connection:
        with self._lock:
            if self._closed.is_set():
                raise Unavailable("api.unreachable", "the connection to the server was closed")
            connection = self._idle.pop() if self._idle else None
        if connection is not None and connection.is_stale():
            connection.close()
            connection = None
        connection = connection or _Connection(self.endpoint, self._context)
        connection.deadline = deadline
        with self._lock:
            self._busy.add(connection)
            if self._closed.is_set():  # meanwhile, by another thread that did not see this connection
                connection.aborted = True
        return connection

    def _drop(self, connection: _Connection) -> None:
        with self._lock:
            self._busy.discard(connection)
        connection.close()

    def _exchange(
        self,
        connection: _Connection,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        max_bytes: int,
    ) -> Answer:
        client = connection.http
        left = max(connection.deadline - time.monotonic(), 0.001)
        if client.sock is None:
            client.timeout = left
            client.connect()  # http.client sets TCP_NODELAY
        else:
            client.sock.settimeout(left)
        if connection.aborted:  # before there was a socket to shut down
            raise ConnectionAbortedError(errno.ECONNABORTED, "the connection to the server was closed")
        client.request(method, self.endpoint.path + path, body=body, headers=dict(headers))
        response = client.getresponse()
        if connection.ended_early:  # `http.client` takes the end of the connection for the end of the headers
            raise http.client.RemoteDisconnected("the answer ended early")
        length = response.length
        if length is not None and length > max_bytes:
            raise MalformedInput(
                "api.too_long", f"the answer to {method} {path} has {length} bytes, over {max_bytes}"
            )
        content = response.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise MalformedInput("api.too_long", f"the answer to {method} {path} has more than {max_bytes} bytes")
        if length is not None and len(content) < length:
            raise http.client.RemoteDisconnected("the answer ended early")
        received = {name.lower(): value.strip() for name, value in response.getheaders()}
        answer = Answer(response.status, received, content)
        reusable = not response.will_close
        response.close()
        connection.used = True
        with self._lock:
            self._busy.discard(connection)
            if reusable and not self._closed.is_set():
                self._idle.append(connection)
                return answer
        connection.close()
        return answer


def open_pool(url: str, *, user_agent: str) -> ConnectionPool:
    """Connections to an endpoint.

    Raises:
        ConfigurationError: as `parse_endpoint`.
    """
    return ConnectionPool(parse_endpoint(url), user_agent=user_agent)
