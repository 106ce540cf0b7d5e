"""Many agents in one process: they speak the Agent API over a connection each, and run nothing."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from benchmarks.control_plane import STREAM_PATH
from benchmarks.measure import CommandFailed


class AsyncConnection:
    """One kept-alive connection; answers have a length.

    Parameters:
        url: of the server.
    """

    def __init__(self, url: str) -> None:
        self._host, self._port = urlsplit(url).hostname, urlsplit(url).port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def call(
        self, method: str, path: str, token: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """Status and decoded answer; None when it has no body.

        Raises:
            CommandFailed: there was no whole answer.
        """
        try:
            return await self._exchange(method, path, token, body, headers or {})
        except (OSError, EOFError) as error:
            raise CommandFailed(f"{method} {path}: {error!r}") from error

    async def _exchange(
        self, method: str, path: str, token: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, Any]:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        assert self._reader is not None
        lines = [f"{method} /v3{path} HTTP/1.1", "Host: bench", f"Authorization: Token {token}"]
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._writer.write("\r\n".join([*lines, "", ""]).encode() + (body or b""))
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = int(head.split(" ", 2)[1])
        length = int(head.partition("content-length:")[2].split("\r\n", 1)[0] or 0)
        content = await self._reader.readexactly(length)
        return status, json.loads(content) if content else None

    async def follow(self, path: str, token: str, body: bytes, content_type: str) -> None:
        """Ask for an answer that does not end, and read what comes of it until it does.

        Raises:
            CommandFailed: it is no such answer.
        """
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        lines = [f"POST {path} HTTP/1.1", "Host: bench", f"Authorization: Token {token}"]
        lines += [f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
        self._writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        if head.split(" ", 2)[1] != "200":
            raise CommandFailed(f"POST {path}: {head[:200]}")
        while await self._reader.read(65_536):
            pass

    def close(self) -> None:
        """Hang up."""
        if self._writer is not None:
            self._writer.close()


class SimulatedAgent:
    """An agent that has registered.

    Parameters:
        url: the server it speaks to.
    """

    def __init__(self, url: str) -> None:
        self.connection = AsyncConnection(url)
        self.id = ""
        self.token = ""

    async def register(self, token: str, name: str) -> None:
        """Register and connect."""
        body = {"name": name, "hostname": "bench", "version": "3.137.0", "meta_data": ["queue=default"], "pid": 1}
        registered = await self._wanted("POST", "/register", token, body)
        self.id, self.token = registered["id"], registered["access_token"]
        await self._wanted("POST", "/connect", self.token, {})

    async def ping(self) -> str | None:
        """The job to take, if there is one."""
        job = (await self._wanted("GET", "/ping", self.token)).get("job")
        return str(job["id"]) if job else None

    async def stream(self) -> None:
        """Wait on a stream until the server ends it."""
        await self.connection.follow(STREAM_PATH, self.token, bytes(5), "application/grpc+proto")

    async def heartbeat(self) -> None:
        """A sign of life."""
        await self._wanted("POST", "/heartbeat", self.token, {"sent_at": _now()})

    async def run(self, job_id: str) -> bool:
        """Accept a job, start it, send a line of its log and finish it; False when another agent has it."""
        status, job = await self.connection.call("PUT", f"/jobs/{job_id}/accept", self.token, b"{}")
        if status == 422:
            return False
        _check(status, "accept", job)
        token, line = job["token"], f"log of {job_id}\n".encode()
        await self._wanted("PUT", f"/jobs/{job_id}/start", token, {"started_at": _now()})
        status, answer = await self.connection.call(
            "POST", f"/jobs/{job_id}/chunks?sequence=1&offset=0&size={len(line)}", token, gzip.compress(line, 1),
            {"Content-Encoding": "gzip"},
        )  # fmt: skip
        _check(status, "chunks", answer)
        finish = {"exit_status": "0", "finished_at": _now(), "chunks_failed_count": 0}
        await self._wanted("PUT", f"/jobs/{job_id}/finish", token, finish)
        return True

    async def _wanted(self, method: str, path: str, token: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        status, answer = await self.connection.call(method, path, token, data)
        _check(status, path, answer)
        return answer


async def register_agents(urls: Sequence[str], token: str, count: int) -> list[SimulatedAgent]:
    """So many agents, each at the next of the servers."""
    agents = [SimulatedAgent(urls[number % len(urls)]) for number in range(count)]
    for start in range(0, count, 50):
        await asyncio.gather(
            *(agent.register(token, f"agent-{start + at}") for at, agent in enumerate(agents[start : start + 50]))
        )
    return agents


async def run_jobs(agents: Sequence[SimulatedAgent], count: int, *, seconds: float) -> Counter[str]:
    """Let all agents take jobs until `count` were run; how often each was.

    Raises:
        CommandFailed: they were not run in time.
    """
    ran: Counter[str] = Counter()

    async def work(agent: SimulatedAgent) -> None:
        while True:
            job_id = await agent.ping()
            if job_id is not None and await agent.run(job_id):
                ran[job_id] += 1

    tasks = [asyncio.create_task(work(agent)) for agent in agents]
    end = time.monotonic() + seconds
    try:
        while ran.total() < count:
            for task in tasks:
                if task.done():
                    task.result()
            if time.monotonic() > end:
                raise CommandFailed(f"{ran.total()} of {count} jobs were run within {seconds} s")
            await asyncio.sleep(0.02)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for agent in agents:
            agent.connection.close()
    return ran


def _check(status: int, what: str, answer: Any) -> None:
    if status // 100 != 2:
        raise CommandFailed(f"{what}: {status} {answer}")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
