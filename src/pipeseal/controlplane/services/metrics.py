"""Measures of the server for Prometheus: what waits, what runs, how jobs ended and why agents refused them.

No label holds what somebody chose: no names of pipelines, branches, people or agents, and nothing of what jobs print.
Queues are the exception, since who scales agents needs them; they are cut, and only the fullest are told.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from pipeseal.controlplane.store.database import Transaction

if TYPE_CHECKING:
    from pipeseal.controlplane.services.plane import ControlPlane

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_FRESH_SECONDS: Final = 5.0
_MAX_QUEUES: Final = 50
_MAX_LABEL: Final = 60
_RULES: Final = msgspec.json.Decoder(list[tuple[str, str]])

Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Counts requests as they are answered, and reads the rest from the database, at most every few seconds.

    Parameters:
        plane: the control plane.
    """

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._requests: Counter[tuple[str, int]] = Counter()
        self._seconds = 0.0
        self._read = ""
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    def count(self, method: str, status: int, seconds: float) -> None:
        """One answer more.

        Parameters:
            seconds: until it began.
        """
        known = method if method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} else "other"
        self._requests[known, status] += 1
        self._seconds += seconds

    async def render(self) -> str:
        """All measures as text."""
        async with self._reading:
            now = self._plane.steady()
            if now - self._read_at >= _FRESH_SECONDS:
                self._read = await self._plane.database.read(_read)
                self._read_at = now
        requests: dict[Labels, float] = {
            (("method", method), ("status", str(status))): count
            for (method, status), count in sorted(self._requests.items())
        }
        return "".join(
            (
                self._read,
                _family("http_requests_total", "counter", "Answers of this server.", requests),
                _family(
                    "http_request_seconds_total",
                    "counter",
                    "Time until they began, held requests included.",
                    {(): round(self._seconds, 6)},
                ),
            )
        )


def _read(tx: Transaction) -> str:
    jobs: Counter[str] = Counter()
    for row in tx.all(
        "SELECT state, count(*) AS n FROM jobs WHERE kind = 'script' AND finished_at IS NULL GROUP BY state"
    ):
        jobs[row["state"]] = row["n"]
    ended: Counter[str] = Counter()
    for row in tx.all(
        "SELECT state, count(*) AS n FROM jobs WHERE kind = 'script' AND finished_at IS NOT NULL GROUP BY state"
    ):
        ended[row["state"]] = row["n"]
    builds = {
        row["state"]: row["n"]
        for row in tx.all("SELECT state, count(*) AS n FROM builds WHERE finished_at IS NULL GROUP BY state")
    }
    waiting: Counter[str] = Counter()
    for row in tx.all("SELECT agent_rules, count(*) AS n FROM jobs WHERE state = 'scheduled' GROUP BY agent_rules"):
        waiting[_queue(row["agent_rules"])] += row["n"]
    refused: Counter[str] = Counter()
    for row in tx.all("SELECT refusal FROM jobs WHERE refusal IS NOT NULL"):
        refused[known_code(row["refusal"])] += 1
    agents = {
        "paused" if row["paused"] else "ready": row["n"]
        for row in tx.all("SELECT paused, count(*) AS n FROM agents WHERE state = 'connected' GROUP BY paused")
    }
    return "".join(
        (
            _family("agents", "gauge", "Agents that are connected, to any server.", _by("state", agents)),
            _family("jobs", "gauge", "Jobs that have not ended, by state.", _by("state", jobs)),
            _family(
                "jobs_waiting",
                "gauge",
                "Jobs that an agent of their queue could take.",
                _by("queue", waiting, _MAX_QUEUES),
            ),
            _family("jobs_ended_total", "counter", "Jobs that have ended, by state.", _by("state", ended)),
            _family("jobs_refused_total", "counter", "Jobs that agents refused, by code.", _by("code", refused)),
            _family("builds", "gauge", "Builds that have not ended, by state.", _by("state", builds)),
        )
    )


def _queue(rules: str) -> str:
    """The queue of a job's rules; the usual one without."""
    try:
        return dict(_RULES.decode(rules)).get("queue", "default")
    except msgspec.MsgspecError:
        return "unknown"


class _Refusal(msgspec.Struct):
    code: str = ""


def known_code(refusal: str) -> str:
    """The code of a refusal, if it is one that there is: an agent's word is free text otherwise."""
    from pipeseal.errors.codes import find_code

    try:
        code = msgspec.json.decode(refusal, type=_Refusal).code
    except msgspec.MsgspecError:
        return "unknown"
    return code if find_code(code) is not None else "unknown"


def _by(label: str, counts: Mapping[str, int], most: int | None = None) -> dict[Labels, float]:
    """Counts with one label, the largest first when not all are told."""
    rows: Iterable[tuple[str, int]] = sorted(counts.items())
    if most is not None:
        rows = sorted(counts.items(), key=lambda row: (-row[1], row[0]))[:most]
    return {((label, value[:_MAX_LABEL]),): count for value, count in rows}


def _family(name: str, kind: str, help_text: str, samples: Mapping[Labels, float]) -> str:
    full = f"pipeseal_server_{name}"
    lines = [f"# HELP {full} {help_text}", f"# TYPE {full} {kind}"]
    for labels, value in samples.items():
        shown = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
        lines.append(f"{full}{{{shown}}} {value}" if shown else f"{full} {value}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
