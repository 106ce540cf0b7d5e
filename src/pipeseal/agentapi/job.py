"""`Job`: what a server says should be run. Nothing in it is trusted; `policy.evaluate` decides what may become of it.

The stock agent reads a job's JSON loosely: member names in any case, the last of several members, objects merged. Two
readers can so take one text for two jobs. Here such a text still becomes a `Job`, so that it can be refused by its id
and shown; but it says of itself that it is `ambiguous`, and no ambiguous job is ever approved.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from pipeseal.errors import MalformedInput
from pipeseal.pipeline.jsontext import decode_json
from pipeseal.pipeline.parse import parse_command_step
from pipeseal.pipeline.steps import CommandStep
from pipeseal.pipeline.yaml import Limits
from pipeseal.signing.strictjson import AMBIGUOUS, decode_strict_json

# A job carries one step and its environment. Linux gives a process 2 MiB for both its arguments and its environment.
JOB_LIMITS = Limits(max_bytes=8 * 1024 * 1024)

DEFAULT_CHUNK_BYTES = 102_400
MAX_CHUNK_BYTES = 10 * 1024 * 1024
DEFAULT_CHUNK_SECONDS = 1
MAX_CHUNK_SECONDS = 60
DEFAULT_LOG_BYTES = 1_073_741_824


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as a server sent it: a claim, nothing more.

    Parameters:
        id: the job's id; empty when the server left it out.
        token: bearer for this job's calls; empty means that the session's token serves.
        state: what the server says of the job's progress.
        env: variables, read-only. A variable that was null is empty.
        step: the command step as the server stored it, with its signature; an empty one when the server sent none.
        matrix_permutation: dimension to value (`""` for the anonymous one); None when there is none.
        chunk_bytes: largest part of the log to send at once, above zero.
        chunk_seconds: how often to send the log, in seconds, above zero.
        log_bytes: the log's size from which the server does not want more, above zero.
        runnable_at: when the job could first have run, RFC 3339; empty when not said.
        priority: the server's own ordering.
        traceparent: which trace the job belongs to, as the server says; may be anything.
        ambiguity: why the text can be read in two ways, one sentence; empty when it cannot.
    """

    id: str = ""
    token: str = field(default="", repr=False)
    state: str = ""
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    step: CommandStep = field(default_factory=CommandStep)
    matrix_permutation: Mapping[str, str] | None = None
    chunk_bytes: int = DEFAULT_CHUNK_BYTES
    chunk_seconds: int = DEFAULT_CHUNK_SECONDS
    log_bytes: int = DEFAULT_LOG_BYTES
    runnable_at: str = ""
    priority: int = 0
    traceparent: str = ""
    ambiguity: str = ""


def parse_job(data: bytes, *, source: str = "<job>", limits: Limits = JOB_LIMITS) -> Job:
    """The job that a server's JSON describes.

    Parameters:
        data: the body of the answer to accept or acquire.
        source: its name, for positions in errors.
        limits: size and depth beyond which it is refused.

    Raises:
        MalformedInput: not JSON (`json.syntax` and its kin), or members of the wrong kind (`job.malformed`, and what
            `parse_command_step` raises). Unknown members are ignored.
    """
    document, ambiguity = _decode(data, source, limits)
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise _malformed("the job is not a JSON object")
    for name, (kind, words) in _MEMBERS.items():
        value = document.get(name)
        # `type`, not `isinstance`: true and false are no numbers here.
        if value is not None and type(value) is not kind:
            raise _malformed(f"the job's member `{name}` is not {words}")
    if not _MEMBERS.keys() >= document.keys():
        for name in document:
            if name not in _MEMBERS and name.casefold() in _MEMBERS:
                ambiguity = ambiguity or f"the member `{name}` differs from `{name.casefold()}` by case alone"
    step = document.get("step")
    permutation = document.get("matrix_permutation")
    return Job(
        id=document.get("id") or "",
        token=document.get("token") or "",
        state=document.get("state") or "",
        env=MappingProxyType(_texts(document.get("env") or {}, "env")),
        step=CommandStep() if step is None else parse_command_step(step),
        matrix_permutation=None if permutation is None else _texts(permutation, "matrix_permutation"),
        chunk_bytes=_within(document.get("chunks_max_size_bytes"), DEFAULT_CHUNK_BYTES, MAX_CHUNK_BYTES),
        chunk_seconds=_within(document.get("chunks_interval_seconds"), DEFAULT_CHUNK_SECONDS, MAX_CHUNK_SECONDS),
        log_bytes=_within(document.get("log_max_size_bytes"), DEFAULT_LOG_BYTES, 2**63),
        runnable_at=document.get("runnable_at") or "",
        priority=document.get("priority") or 0,
        traceparent=document.get("traceparent") or "",
        ambiguity=ambiguity,
    )


# The members the protocol has, also those that nobody reads: a stock agent fails on any of another kind.
_MEMBERS: dict[str, tuple[type, str]] = {
    "id": (str, "text"),
    "endpoint": (str, "text"),
    "state": (str, "text"),
    "env": (dict, "a mapping"),
    "step": (dict, "a mapping"),
    "matrix_permutation": (dict, "a mapping"),
    "chunks_max_size_bytes": (int, "a whole number"),
    "chunks_interval_seconds": (int, "a whole number"),
    "log_max_size_bytes": (int, "a whole number"),
    "token": (str, "text"),
    "exit_status": (str, "text"),
    "signal": (str, "text"),
    "signal_reason": (str, "text"),
    "started_at": (str, "text"),
    "finished_at": (str, "text"),
    "runnable_at": (str, "text"),
    "chunks_failed_count": (int, "a whole number"),
    "traceparent": (str, "text"),
    "tracestate": (str, "text"),
    "priority": (int, "a whole number"),
}


def _decode(data: bytes, source: str, limits: Limits) -> tuple[Any, str]:
    """The text's value, and why it is ambiguous if it is."""
    try:
        return decode_strict_json(data, source=source, limits=limits), ""
    except MalformedInput as error:
        if error.code not in AMBIGUOUS:
            raise
        return decode_json(data, source=source, limits=limits), error.message


def _texts(value: dict[str, Any], name: str) -> dict[str, str]:
    for key, item in value.items():
        if not isinstance(item, str | None):
            raise _malformed(f"`{key}` in the job's `{name}` is not text")
    return {key: item or "" for key, item in value.items()}


def _within(value: int | None, default: int, largest: int) -> int:
    return default if not value or value < 0 else min(value, largest)


def _malformed(message: str) -> MalformedInput:
    return MalformedInput("job.malformed", message, help="report it to whoever runs the control plane")
