"""Watching a build: each job's state as it changes, and the logs of running jobs, line by line."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import click

from pipeseal.cli.build_render import clean_line, duration, job_name, job_state
from pipeseal.cli.rest_client import ALL_JOBS, RestClient, items, members
from pipeseal.errors import PipesealError

_HOLD_SECONDS = 25
FINISHED = frozenset({"passed", "failed", "canceled", "skipped", "not_run"})
# A job in one of these has a log that may still grow, or one that was never shown.
_WITH_LOG = frozenset({"running", "canceling", "timing_out", "passed", "failed", "canceled", "timed_out"})
_QUIET = frozenset({"waiting", "limited", "scheduled", "accepted"})


class BuildWatch:
    """One watch of one build.

    Parameters:
        open_client: makes a further client; each log is read over a connection of its own.
        slug: the pipeline.
        number: the build.
        write: takes each finished line.
        colours: keep colours of logs.
    """

    def __init__(
        self,
        open_client: Callable[[], RestClient],
        slug: str,
        number: int,
        *,
        write: Callable[[str], None],
        colours: bool,
    ) -> None:
        self._open_client = open_client
        self._path = ("pipelines", slug, "builds", number)
        self._write = write
        self._colours = colours
        self._lock = threading.Lock()
        self._states: dict[str, str] = {}
        self._readers: dict[str, threading.Thread] = {}

    def run(self) -> dict[str, Any]:
        """Watch until the build is over or waits for a person; returns it as it is then."""
        client = self._open_client()
        tag = ""
        build: dict[str, Any] = {}
        try:
            while True:
                changed = client.watch(*self._path, seen=tag, wait_seconds=_HOLD_SECONDS, query=ALL_JOBS)
                if changed is None:
                    continue
                build, tag = members(changed[0]), changed[1]
                self._show_jobs(items(build.get("jobs") or []))
                if build.get("state") in FINISHED or build.get("state") == "blocked":
                    break
        finally:
            client.close()
        for reader in self._readers.values():
            reader.join()
        return build

    def _show_jobs(self, jobs: list[dict[str, Any]]) -> None:
        for job in jobs:
            job_id, state = str(job.get("id")), str(job.get("state"))
            before = self._states.get(job_id)
            if before == state or job.get("type") == "waiter":
                continue
            self._states[job_id] = state
            name = job_name(job)
            if state in _WITH_LOG and job.get("type") == "script" and job_id not in self._readers:
                reader = threading.Thread(target=self._follow, args=(job_id, name), daemon=True)
                self._readers[job_id] = reader
                reader.start()
            if state in FINISHED and job_id in self._readers:
                self._readers[job_id].join()  # its last lines come before its result
            if state not in _QUIET:
                self._line(f"{name}: {job_state(job)} {duration(job)}".rstrip())

    def _follow(self, job_id: str, name: str) -> None:
        """Show one log until it ends."""
        client = self._open_client()
        offset, rest = 0, b""
        try:
            while True:
                path = (*self._path, "jobs", job_id, "log.txt")
                part = client.read_log(*path, offset=offset, wait_seconds=_HOLD_SECONDS)
                offset += len(part.data)
                *lines, rest = (rest + part.data).split(b"\n")
                for line in lines:
                    self._log_line(name, line)
                if part.ended:
                    break
            if rest:
                self._log_line(name, rest)
        except PipesealError as error:
            self._line(f"{name}: the log cannot be read: {error.message}")
        finally:
            client.close()

    def _log_line(self, name: str, line: bytes) -> None:
        cleaned = clean_line(line.decode("utf-8", "replace"), colours=self._colours)
        self._line(f"{click.style(name, dim=True) if self._colours else name} | {cleaned}")

    def _line(self, line: str) -> None:
        with self._lock:
            self._write(line)
