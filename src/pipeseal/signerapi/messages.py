"""Requests to the signer and its answers: one JSON object each way over a Unix socket, and the connection ends.

A caller sends its request and closes its half of the connection; the signer answers and closes the other. There are
three calls: `grant` (the supervisor: may this job upload?), `revoke` (the supervisor: the job is over) and `sign` (a
job: sign my pipeline file). Who may make which call is decided by the uid at the
other end (SO_PEERCRED), never by the request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pipeseal.errors import (
    ConfigurationError,
    MalformedInput,
    PipesealError,
    Position,
    Unavailable,
    VerificationError,
)

VERSION: Final = 1

# What a job finds in its environment.
SOCKET_VARIABLE: Final = "PIPESEAL_SIGNER_SOCKET"
CAPABILITY_VARIABLE: Final = "PIPESEAL_UPLOAD_CAPABILITY"

# A job's JSON has at most 8 MiB; in a JSON text it can be six times as long.
MAX_GRANT_BYTES: Final = 52 << 20
# The largest generated pipeline, likewise.
MAX_SIGN_BYTES: Final = 24 << 20
MAX_ANSWER_BYTES: Final = 256 << 20
MAX_PATH_CHARACTERS: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantRequest:
    """May this job upload?

    Parameters:
        job: the server's answer to accept, as it was received.
        job_id: the job that the agent accepted.
        agent_id, agent_name: under which the agent is registered.
        tags: the agent's own, each `name=value`.
    """

    job: str
    job_id: str
    agent_id: str
    agent_name: str
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeRequest:
    """The job is over: what it was granted is worth nothing from now on."""

    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SignRequest:
    """Sign the pipeline of this job.

    Parameters:
        capability: what the job was granted.
        job_id: the job that asks.
        file: path of the pipeline file in the repository; empty to search.
        generated: a pipeline that the job made; None for a file.
    """

    capability: str
    job_id: str
    file: str = ""
    generated: str | None = None


Request = GrantRequest | RevokeRequest | SignRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """The answer to `grant`.

    Parameters:
        capability: good for one upload; empty when this job may not upload.
        code, reason: why it may not.
    """

    capability: str = ""
    code: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """The answer to `revoke`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """The answer to `sign`.

    Parameters:
        source: the file that was signed, for people.
        pipelines: the JSON text of each document, signed and sealed.
        summaries: a few words on each.
        notes: lines for the job's log.
    """

    source: str
    pipelines: tuple[str, ...]
    summaries: tuple[str, ...]
    notes: tuple[str, ...] = ()


Answer = Granted | Revoked | Signed

_CALLS: dict[str, type[GrantRequest] | type[RevokeRequest] | type[SignRequest]] = {
    "grant": GrantRequest,
    "revoke": RevokeRequest,
    "sign": SignRequest,
}
_FAMILIES: dict[str, type[PipesealError]] = {
    "malformed": MalformedInput,
    "verification": VerificationError,
    "unavailable": Unavailable,
    "configuration": ConfigurationError,
}


def render_request(request: Request) -> bytes:
    """A request's bytes."""
    call = next(name for name, kind in _CALLS.items() if isinstance(request, kind))
    members = {name: getattr(request, name) for name in type(request).__dataclass_fields__}
    return json.dumps({"version": VERSION, "call": call, **members}).encode()


def parse_request(data: bytes) -> Request:
    """The request in `data`, which anybody on the machine may have written.

    Raises:
        MalformedInput: `signer.request`: it is none.
    """
    members = _object(data, "the request")
    if members.pop("version", None) != VERSION:
        raise _malformed(f"the request is not of version {VERSION} of this protocol")
    kind = _CALLS.get(str(members.pop("call", "")))
    if kind is None:
        raise _malformed("the request asks for nothing that there is")
    unknown = members.keys() - kind.__dataclass_fields__.keys()
    if unknown:
        raise _malformed(f"the request has a member {sorted(unknown)[0][:60]!r}, which means nothing")
    if kind is GrantRequest:
        return GrantRequest(
            job=_text(members, "job"),
            job_id=_text(members, "job_id"),
            agent_id=_text(members, "agent_id"),
            agent_name=_text(members, "agent_name"),
            tags=_texts(members, "tags"),
        )
    if kind is RevokeRequest:
        return RevokeRequest(job_id=_text(members, "job_id"))
    generated = members.get("generated")
    return SignRequest(
        capability=_text(members, "capability"),
        job_id=_text(members, "job_id"),
        file=_text(members, "file"),
        generated=None if generated is None else _text(members, "generated"),
    )


def render_answer(answer: Answer | PipesealError) -> bytes:
    """An answer's bytes; an error keeps its family, code, words and place."""
    if isinstance(answer, PipesealError):
        return json.dumps({"error": _error_members(answer)}).encode()
    return json.dumps({name: getattr(answer, name) for name in type(answer).__dataclass_fields__}).encode()


def parse_granted(data: bytes) -> Granted:
    """The answer to `grant`.

    Raises:
        PipesealError: what the signer says is wrong.
        MalformedInput: `signer.answer`: it is no answer.
    """
    members = _answer(data)
    return Granted(
        capability=_text(members, "capability", _bad_answer),
        code=_text(members, "code", _bad_answer),
        reason=_text(members, "reason", _bad_answer),
    )


def parse_revoked(data: bytes) -> Revoked:
    """The answer to `revoke`.

    Raises:
        PipesealError, MalformedInput: as `parse_granted`.
    """
    _answer(data)
    return Revoked()


def parse_signed(data: bytes) -> Signed:
    """The answer to `sign`.

    Raises:
        PipesealError, MalformedInput: as `parse_granted`.
    """
    members = _answer(data)
    signed = Signed(
        source=_text(members, "source", _bad_answer),
        pipelines=_texts(members, "pipelines", _bad_answer),
        summaries=_texts(members, "summaries", _bad_answer),
        notes=_texts(members, "notes", _bad_answer),
    )
    if len(signed.pipelines) != len(signed.summaries):
        raise _bad_answer("has not as many summaries as pipelines")
    return signed


def _answer(data: bytes) -> dict[str, Any]:
    try:
        members = _object(data, "the answer")
    except MalformedInput as error:
        raise _bad_answer(f"cannot be read: {error.message}") from None
    if "error" in members:
        raise _error_of(members["error"])
    return members


def _error_members(error: PipesealError) -> dict[str, Any]:
    family = next((name for name, kind in _FAMILIES.items() if isinstance(error, kind)), "unavailable")
    members: dict[str, Any] = {"family": family, "code": error.code, "message": error.message, "help": error.help}
    members["evidence"] = dict(error.evidence)
    position = error.position if isinstance(error, MalformedInput) else None
    if position is not None:
        members["position"] = [position.source, position.line, position.column, position.text]
    return members


def _error_of(members: Any) -> PipesealError:
    try:
        kind = _FAMILIES[members["family"]]
        code, message, help_text = (str(members[name]) for name in ("code", "message", "help"))
        evidence = {str(name): str(value) for name, value in members["evidence"].items()}
        position = members.get("position")
        if kind is MalformedInput and position is not None:
            source, line, column, text = position
            place = Position(str(source), int(line), int(column), str(text))
            return MalformedInput(code, message, help=help_text, evidence=evidence, position=place)
        return kind(code, message, help=help_text, evidence=evidence)
    except (KeyError, TypeError, ValueError, AttributeError):
        return _bad_answer("is an error that says nothing")


def _object(data: bytes, what: str) -> dict[str, Any]:
    try:
        members = json.loads(data)
    except (ValueError, RecursionError):
        raise _malformed(f"{what} is not JSON") from None
    if not isinstance(members, dict):
        raise _malformed(f"{what} is not a JSON object")
    return members


def _malformed(message: str) -> MalformedInput:
    return MalformedInput("signer.request", message, help="use the programs that came with this signer")


def _bad_answer(problem: str) -> MalformedInput:
    return MalformedInput("signer.answer", f"the signer's answer {problem}")


def _text(members: Mapping[str, Any], name: str, fail: Any = _malformed) -> str:
    value = members.get(name, "")
    if not isinstance(value, str) or not _is_text(value):
        raise fail(f"`{name}` is not text")
    return value


def _is_text(value: str) -> bool:
    """Whether these characters stand for bytes: bytes that are no UTF-8 travel as surrogate escapes (PEP 383)."""
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _texts(members: Mapping[str, Any], name: str, fail: Any = _malformed) -> tuple[str, ...]:
    value = members.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) and _is_text(item) for item in value):
        raise fail(f"`{name}` is not a list of texts")
    return tuple(value)
