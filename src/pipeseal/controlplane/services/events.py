"""Waking those who wait for a change, without polling: held requests listen to a topic, transactions publish it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class Events:
    """Topics and their listeners. `publish` may be called from any thread, the rest on the event loop."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listeners: dict[str, set[asyncio.Event]] = {}
        # Tells the other servers of the same database, if there can be any.
        self.relay: Callable[[str], None] | None = None

    def bind(self) -> None:
        """Deliver on the event loop that runs now."""
        self._loop = asyncio.get_running_loop()

    def publish(self, topic: str) -> None:
        """Wake every listener of `topic`, here and at other servers.

        A listener that comes after the check reads the database after it came, so it sees what was committed before.
        """
        if self.relay is not None:
            self.relay(topic)
        if self._loop is not None and topic in self._listeners:
            self.call(lambda: self.wake(topic))

    def call(self, function: Callable[[], object]) -> None:
        """Run `function` on the event loop soon, from any thread; nothing once the loop is closed."""
        if self._loop is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(function)

    @contextmanager
    def listen(self, topic: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever `topic` is published; listen first, read the state then, wait last."""
        event = asyncio.Event()
        self._listeners.setdefault(topic, set()).add(event)
        try:
            yield event
        finally:
            listeners = self._listeners[topic]
            listeners.discard(event)
            if not listeners:
                del self._listeners[topic]

    def wake(self, topic: str) -> None:
        """Wake every listener of `topic` at this server."""
        for event in self._listeners.get(topic, ()):
            event.set()

    def wake_all(self) -> None:
        """Wake everybody, when the server stops."""
        for listeners in self._listeners.values():
            for event in listeners:
                event.set()


async def wait_for(event: asyncio.Event, seconds: float) -> bool:
    """Wait until `event` is set, but not longer; says whether it was, and clears it."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    event.clear()
    return True


# Trigger steps have builds to make.
TRIGGERS = "triggers"
# Requests to receivers of notifications are to be sent.
NOTIFICATIONS = "notifications"


# Bytes of what was deleted are to be removed.
REMOVALS = "removals"


def build_topic(build_id: str) -> str:
    """The topic of a build: its state, or that of one of its jobs, changed."""
    return f"build/{build_id}"


def log_topic(job_id: str) -> str:
    """The topic of a log: it grew, or it ended."""
    return f"log/{job_id}"
