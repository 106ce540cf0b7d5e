"""Listening: the application on uvicorn, until a signal ends it."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from pipeseal.controlplane.http.agent_api import PREFIX
from pipeseal.controlplane.http.app import make_app
from pipeseal.controlplane.http.connections import ConnectionLimits, GuardedProtocol, guarded
from pipeseal.controlplane.http.quick_ping import QuickAnswers
from pipeseal.controlplane.services.events import wait_for
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.errors import ConfigurationError

# uvicorn ticks and counts ten times in a second: for the date in answers, and to notice that it is to stop.
_TICKS_A_SECOND = 10
# Longer than the pauses of agents between two requests, so that a connection is not closed under a request.
KEEP_ALIVE_SECONDS = 75
_BACKLOG = 2048


class Server(uvicorn.Server):
    """uvicorn, saying when it is ready, and letting held requests go when it stops.

    Parameters:
        plane: the control plane to serve.
        listener: a bound socket.
        on_ready: called with the server's URL once it answers.
        limits: what a client may cost.
    """

    def __init__(
        self,
        plane: ControlPlane,
        listener: socket.socket,
        on_ready: Callable[[str], None],
        limits: ConnectionLimits | None = None,
    ) -> None:
        limits = limits or ConnectionLimits()
        self._plane = plane
        self._stopping = asyncio.Event()
        super().__init__(
            uvicorn.Config(
                make_app(plane),
                loop="uvloop",
                http=guarded(limits, QuickAnswers(plane, PREFIX)),
                ws="none",
                lifespan="on",
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=5,
                backlog=_BACKLOG,
            )
        )
        self._listener = listener
        self._on_ready = on_ready
        # Four looks in the shortest time that is looked after.
        ticks = max(1, int(min(limits.head_seconds, limits.stall_seconds) / 4 * _TICKS_A_SECOND))
        self._step = min(ticks, _TICKS_A_SECOND)
        self._ticks = ticks // self._step * self._step

    @property
    def should_exit(self) -> bool:
        """Whether the server is to stop."""
        return self._should_exit

    @should_exit.setter
    def should_exit(self, value: bool) -> None:
        self._should_exit = value
        if value:
            self._plane.events.call(self._stopping.set)

    async def main_loop(self) -> None:
        """Tick until the server is to stop: once a second, since a server that has nothing to do is to do nothing."""
        counter = 0
        while not await self.on_tick(counter):
            counter = (counter + self._step) % 864_000
            await wait_for(self._stopping, self._step / _TICKS_A_SECOND)

    async def on_tick(self, counter: int) -> bool:
        """Let clients go that hold their connections for nothing."""
        if counter % self._ticks == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, GuardedProtocol):
                    connection.drop_if_slow(now)
        return await super().on_tick(counter)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets)
        if self.started:
            self._on_ready(self._plane.url)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer every held request first: otherwise each would keep the server up for as long as it is held."""
        self._plane.dispatcher.close()
        self._plane.events.wake_all()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT. Stopping when asked is no failure, so the signal is not raised once more."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def serve_until_stopped(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        self.run(sockets=[self._listener])


def listen(address: str) -> socket.socket:
    """A socket bound to `HOST:PORT`; port 0 takes a free one.

    Raises:
        ConfigurationError: `server.listen`.
    """
    host, colon, port = address.rpartition(":")
    host = host.strip("[]")
    if not colon or not port.isdecimal() or int(port) > 65_535:
        raise ConfigurationError(
            "server.listen", f"{address!r} is no address to listen on", help="write HOST:PORT, such as 127.0.0.1:8080"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, int(port)))
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            "server.listen",
            f"cannot listen on {address}: {error.strerror}",
            help="stop what uses the address, or choose another with --listen",
        ) from error
    listener.set_inheritable(True)
    return listener


def url_of(listener: socket.socket) -> str:
    """The URL under which a bound socket is reached; a wildcard address is told by the computer's name."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104  (compared, not bound)
        host = socket.gethostname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
