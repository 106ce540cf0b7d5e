"""What the server says about sending artifacts, read strictly: nothing it writes can make a command fall over."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeseal.agent.client import check_identifier
from pipeseal.agent.job_client import parse_json
from pipeseal.errors import MalformedInput

# Stores take no more parts than this for one object.
MAX_PARTS = 10_000
_METHODS = {"POST", "PUT"}
_FIELD = re.compile(r"[^\x00-\x1f\x7f\"]{1,1024}")


class FormUpload(NamedTuple):
    """Send the file as one form.

    Parameters:
        url: where to.
        method: POST or PUT.
        fields: names and values that go before the file.
        file_field: name of the field that holds the file.
    """

    url: str
    method: str
    fields: tuple[tuple[str, str], ...]
    file_field: str


class PartUpload(NamedTuple):
    """Send one part of the file.

    Parameters:
        url: where to.
        method: POST or PUT.
        number: of the part, from 1.
    """

    url: str
    method: str
    number: int


class Instructions(NamedTuple):
    """How to send one artifact.

    Parameters:
        artifact_id: what the server calls it.
        form: as a form, when there are no parts.
        parts: in parts, in order of their numbers.
    """

    artifact_id: str
    form: FormUpload | None
    parts: tuple[PartUpload, ...]


def parse_created(body: bytes, paths: list[str]) -> list[Instructions]:
    """Read the answer to creating artifacts.

    Parameters:
        body: the answer.
        paths: the artifacts' paths, in the order in which they were sent.

    Returns:
        How to send each, in the same order.

    Raises:
        MalformedInput: not such an answer: not one id for each artifact, an id twice, an instruction that cannot be
            followed (code `api.answer`).
    """
    created = parse_json(body, "create_artifacts")
    ids = created.get("artifact_ids") if isinstance(created, dict) else None
    if not isinstance(ids, list) or len(ids) != len(paths) or not all(isinstance(one, str) for one in ids):
        raise _bad(f"does not hold the ids of {len(paths)} artifacts")
    if len(set(ids)) != len(ids):
        raise _bad("gives two artifacts the same id")
    template = created.get("upload_instructions")
    specific = created.get("per_artifact_instructions") or {}
    if not isinstance(specific, dict):
        raise _bad("has per-artifact instructions of an unknown kind")
    return [
        _instructions(check_identifier(artifact_id, "the artifact's id"), path, specific.get(artifact_id) or template)
        for artifact_id, path in zip(ids, paths, strict=True)
    ]


def _instructions(artifact_id: str, path: str, raw: object) -> Instructions:
    if not isinstance(raw, dict):
        raise _bad("does not say how to send the artifacts")
    actions = raw.get("actions") or []
    if not isinstance(actions, list) or len(actions) > MAX_PARTS:
        raise _bad("has parts of an unknown kind, or too many of them")
    if actions:
        parts = sorted((_part(action) for action in actions), key=lambda part: part.number)
        if len({part.number for part in parts}) != len(parts):
            raise _bad("numbers two parts the same")
        return Instructions(artifact_id, None, tuple(parts))
    return Instructions(artifact_id, _form(raw, path), ())


def _form(raw: Mapping[str, Any], path: str) -> FormUpload:
    from pipeseal.agentapi.job_messages import PATH_VARIABLE

    action, data = raw.get("action"), raw.get("data") or {}
    if not isinstance(action, dict) or not isinstance(data, dict):
        raise _bad("does not say how to send the artifacts")
    url, method = _target(action)
    file_field = action.get("file_input")
    if not isinstance(file_field, str) or not _FIELD.fullmatch(file_field):
        raise _bad("names no field for the file")
    fields = []
    for name, value in data.items():
        if not isinstance(value, str) or not _FIELD.fullmatch(name):
            raise _bad("has a form field that is no text")
        fields.append((name, value.replace(PATH_VARIABLE, path)))
    return FormUpload(_with_path(url, action.get("path") or ""), method, tuple(fields), file_field)


def _with_path(url: str, path: object) -> str:
    """`url` with its path replaced, its query kept."""
    from urllib.parse import quote, urlsplit, urlunsplit

    if not isinstance(path, str):
        raise _bad("has a path that is no text")
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise _bad("has an address that is none") from error
    escaped = quote(path, safe="/!$&'()*+,;=:@~-._")
    return urlunsplit((parts.scheme, parts.netloc, "/" + escaped.lstrip("/"), parts.query, ""))


def _part(raw: object) -> PartUpload:
    if not isinstance(raw, dict):
        raise _bad("has a part of an unknown kind")
    number = raw.get("part_number")
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= MAX_PARTS:
        raise _bad("has a part without a number")
    url, method = _target(raw)
    return PartUpload(url, method, number)


def _target(action: Mapping[str, Any]) -> tuple[str, str]:
    url, method = action.get("url"), action.get("method")
    if not isinstance(url, str) or not isinstance(method, str) or method.upper() not in _METHODS:
        raise _bad("has an instruction without an address, or with another method than POST and PUT")
    return url, method.upper()


def _bad(problem: str) -> MalformedInput:
    return MalformedInput("api.answer", f"the server's answer to create_artifacts {problem}")
