"""How this agent is, for whoever watches over it: `/`, `/agent/N`, `/status.json`, and `/metrics` for Prometheus.

Read only, and without secrets; still, it says what this machine is doing. Without a host in its address it listens on
loopback alone.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeseal import __version__
from pipeseal.clock import Clock, render_timestamp
from pipeseal.errors import ConfigurationError

MAX_HEAD_BYTES = 8_192
PATIENCE_SECONDS = 5.0
MAX_CONNECTIONS = 32

STATES = ("starting", "idle", "busy", "paused", "ended")
OUTCOMES = ("passed", "failed", "refused", "cancelled")

_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\[\]:]*):(?P<port>[0-9]{1,5})")


@dataclass(slots=True)
class WorkerHealth:
    """One worker, as it is now; only its own event loop writes here.

    Parameters:
        index: which worker, from 1.
        name: as the server calls it; empty before it is registered.
        state: one of `STATES`.
        job: id of the job that runs; empty when none does.
        heartbeat_at: when the server last took a heartbeat, seconds since the epoch; None before the first.
        heartbeat_error: what was wrong with the last one; empty when it was taken.
        ping_errors: how many pings came to nothing.
        jobs: how many jobs ended in which way.
        job_seconds: how long they took together.
    """

    index: int
    name: str = ""
    state: str = "starting"
    job: str = ""
    heartbeat_at: float | None = None
    heartbeat_error: str = ""
    ping_errors: int = 0
    jobs: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    job_seconds: float = 0.0


class Page(NamedTuple):
    """What a path answers: status, media type, text."""

    status: int
    kind: str
    text: str


_PLAIN = "text/plain; charset=utf-8"
_JSON = "application/json"
# Prometheus text exposition format 0.0.4
_METRICS = "text/plain; version=0.0.4; charset=utf-8"


class HealthPages:
    """The pages.

    Parameters:
        workers: all workers.
        clock: the time.
    """

    def __init__(self, workers: Sequence[WorkerHealth], clock: Clock) -> None:
        self._workers = workers
        self._clock = clock
        self._started_at = clock.now()

    def page(self, path: str) -> Page:
        """What `path` answers."""
        if path == "/":
            return Page(200, _PLAIN, "OK: the agent is running\n")
        if path == "/status.json":
            return Page(200, _JSON, json.dumps(self._status(), indent=2) + "\n")
        if path == "/metrics":
            return Page(200, _METRICS, self._metrics())
        if match := re.fullmatch(r"/agent/([0-9]{1,4})", path):
            return self._worker(int(match[1]))
        return Page(404, _PLAIN, "There are /, /agent/N, /status.json and /metrics\n")

    def _worker(self, index: int) -> Page:
        for worker in self._workers:
            if worker.index == index:
                if worker.heartbeat_error:
                    return Page(503, _PLAIN, f"ERROR: the last heartbeat failed: {worker.heartbeat_error}\n")
                when = "none yet" if worker.heartbeat_at is None else render_timestamp(worker.heartbeat_at)
                return Page(200, _PLAIN, f"OK: {worker.state}, last heartbeat: {when}\n")
        return Page(404, _PLAIN, f"There is no worker {index}\n")

    def _status(self) -> object:
        return {
            "version": __version__,
            "started_at": render_timestamp(self._started_at),
            "uptime_seconds": round(self._clock.now() - self._started_at, 3),
            "workers": [
                {
                    "index": worker.index,
                    "name": worker.name,
                    "state": worker.state,
                    "job": worker.job,
                    "heartbeat_at": None if worker.heartbeat_at is None else render_timestamp(worker.heartbeat_at),
                    "heartbeat_error": worker.heartbeat_error,
                    "ping_errors": worker.ping_errors,
                    "jobs": worker.jobs,
                    "job_seconds": round(worker.job_seconds, 3),
                }
                for worker in self._workers
            ],
        }

    def _metrics(self) -> str:
        lines: list[str] = []

        def metric(name: str, kind: str, help_text: str, samples: Sequence[tuple[str, float]]) -> None:
            lines.extend((f"# HELP pipeseal_agent_{name} {help_text}", f"# TYPE pipeseal_agent_{name} {kind}"))
            lines.extend(f"pipeseal_agent_{name}{labels} {value:.15g}" for labels, value in samples)

        workers = self._workers
        metric("info", "gauge", "The version of this agent.", [(f'{{version="{__version__}"}}', 1)])
        metric("start_time_seconds", "gauge", "When it started.", [("", self._started_at)])
        metric(
            "workers",
            "gauge",
            "Workers by what they do.",
            [(f'{{state="{state}"}}', sum(worker.state == state for worker in workers)) for state in STATES],
        )
        metric(
            "jobs_total",
            "counter",
            "Jobs that ended, by how.",
            [(f'{{outcome="{name}"}}', sum(worker.jobs[name] for worker in workers)) for name in OUTCOMES],
        )
        metric(
            "job_seconds_total",
            "counter",
            "Time that jobs took.",
            [("", sum(worker.job_seconds for worker in workers))],
        )
        metric(
            "ping_errors_total", "counter", "Pings that came to nothing.", [("", sum(w.ping_errors for w in workers))]
        )
        metric(
            "heartbeat_time_seconds",
            "gauge",
            "When the server last took a worker's heartbeat.",
            [
                (f'{{worker="{worker.index}"}}', worker.heartbeat_at)
                for worker in workers
                if worker.heartbeat_at is not None
            ],
        )
        return "\n".join(lines) + "\n"


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`; `:PORT` means loopback.

    Raises:
        ConfigurationError: it is no such text (code `health.address`).
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > 65_535:
        raise ConfigurationError(
            "health.address",
            f"health-check-addr is {text!r}; it has to be HOST:PORT",
            help="such as 127.0.0.1:8090, or 0.0.0.0:8090 for every address of this machine",
        )
    return match["host"].strip("[]") or "127.0.0.1", int(match["port"])


class HealthServer:
    """Serves the pages.

    Parameters:
        pages: see there.
    """

    def __init__(self, pages: HealthPages) -> None:
        self._pages = pages
        self._server: asyncio.Server | None = None
        self._open = 0

    async def start(self, address: str) -> str:
        """Begin to serve; gives the URL.

        Raises:
            ConfigurationError: no address, or one that cannot be listened on (code `health.address`).
        """
        host, port = parse_address(address)
        try:
            self._server = await asyncio.start_server(self._serve, host, port, limit=MAX_HEAD_BYTES)
        except OSError as error:
            raise ConfigurationError(
                "health.address",
                f"cannot listen on {address} for health checks: {error.strerror or error}",
                help="choose another port, or end what listens there",
            ) from error
        shown = f"[{host}]" if ":" in host else host
        return f"http://{shown}:{self._server.sockets[0].getsockname()[1]}/"

    async def close(self) -> None:
        """Serve nothing more."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= MAX_CONNECTIONS:
                await asyncio.wait_for(self._answer(reader, writer), PATIENCE_SECONDS)
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever asked is slow, gone, or speaks something else
        finally:
            self._open -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        words = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            page = Page(400, _PLAIN, "This is not HTTP/1.1\n")
        elif words[0] not in {"GET", "HEAD"}:
            page = Page(405, _PLAIN, "These pages can only be read\n")
        else:
            page = self._pages.page(words[1].partition("?")[0])
        body = page.text.encode()
        writer.write(
            f"HTTP/1.1 {page.status} {_REASONS[page.status]}\r\nContent-Type: {page.kind}\r\n"
            f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        if words[0] != "HEAD":
            writer.write(body)
        await writer.drain()


_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    503: "Service Unavailable",
}
