"""Finding artifacts of a build: asking the server, and reading its answer strictly."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pipeseal.agent.job_client import JobClient, parse_json
from pipeseal.errors import MalformedInput, Unavailable, escape_control


class FoundArtifact(NamedTuple):
    """An artifact, as the server describes it; nothing in it is trusted.

    Parameters:
        artifact_id, job_id: what the server calls it, and the job that made it.
        path: its path.
        size: in bytes; None when unknown.
        sha1, sha256: checksums as the server has them; empty when unknown.
        created_at: when, RFC 3339.
        url: where its bytes are.
        upload_destination: the store's own address, when it is not the server's store.
    """

    artifact_id: str
    job_id: str
    path: str
    size: int | None
    sha1: str
    sha256: str
    created_at: str
    url: str
    upload_destination: str


def search_artifacts(
    client: JobClient,
    build_id: str,
    query: str,
    *,
    step: str = "",
    include_retried_jobs: bool = False,
    include_duplicates: bool = False,
) -> list[FoundArtifact]:
    """Ask for the finished artifacts that match.

    Parameters:
        build_id: the build.
        query: glob pattern of the paths, understood by the server.
        step: key or label of a step, or id of a job, to look at alone.
        include_retried_jobs: also what earlier attempts made.
        include_duplicates: every artifact of a path, not only the newest.

    Raises:
        Unavailable, MalformedInput: as every call of `JobClient`.
    """
    asked = {
        "query": query,
        "scope": step,
        "state": "finished",
        "include_retried_jobs": "true" if include_retried_jobs else "",
        "include_duplicates": "true" if include_duplicates else "",
    }
    return client.search_artifacts(build_id, asked, parse_found)


def parse_found(body: bytes) -> list[FoundArtifact]:
    """Read the answer to a search.

    Raises:
        MalformedInput: not a list of artifacts (code `api.answer`).
    """
    found = parse_json(body, "search_artifacts")
    if not isinstance(found, list):
        raise _bad("is not a list")
    return [_artifact(raw) for raw in found]


def _artifact(raw: object) -> FoundArtifact:
    if not isinstance(raw, dict):
        raise _bad("holds something that is no artifact")

    def text(member: str) -> str:
        value = raw.get(member)
        if value is not None and not isinstance(value, str):
            raise _bad(f"holds an artifact whose {member} is no text")
        return value or ""

    size = raw.get("file_size")
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
        raise _bad("holds an artifact whose file_size is no size")
    return FoundArtifact(
        text("id"),
        text("job_id"),
        text("path"),
        size,
        text("sha1sum"),
        text("sha256sum"),
        text("created_at"),
        text("url"),
        text("upload_destination"),
    )


def _bad(problem: str) -> MalformedInput:
    return MalformedInput("api.answer", f"the server's answer to search_artifacts {problem}")


def none_found(query: str, step: str) -> Unavailable:
    """The error for a search without a result."""
    within = f" of step {escape_control(step)}" if step else ""
    return Unavailable(
        "artifact.none",
        f"no artifact{within} matches {escape_control(query)!r}",
        help="see what there is with: artifact search '*' --allow-empty-results",
        status=404,
    )


def select_checksum(found: Sequence[FoundArtifact], query: str, step: str, *, sha256: bool) -> str:
    """The checksum of the one artifact that was found.

    Raises:
        Unavailable: none was found (code `artifact.none`).
        MalformedInput: several were, or the checksum is not known (codes `artifact.several`, `artifact.checksum`).
    """
    if not found:
        raise none_found(query, step)
    if len(found) > 1:
        raise MalformedInput(
            "artifact.several",
            f"{len(found)} artifacts match {escape_control(query)!r}, such as {escape_control(found[0].path)} "
            f"and {escape_control(found[1].path)}",
            help="name one path in full, or look at one step alone with --step",
        )
    checksum = found[0].sha256 if sha256 else found[0].sha1
    if not checksum:
        kind = "SHA-256" if sha256 else "SHA-1"
        raise MalformedInput("artifact.checksum", f"the server knows no {kind} of {escape_control(found[0].path)}")
    return checksum


_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\'\"])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.?))", re.S
)
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_SPECIFIER = re.compile("%[pcjsSTui]")


def parse_format(text: str) -> str:
    """The format of search results with its escapes, such as `\\n`, replaced by what they stand for.

    Raises:
        MalformedInput: an escape that nobody knows (code `artifact.format`).
    """

    def unescape(match: re.Match[str]) -> str:
        simple, *numbers, octal, unknown = match.groups()
        if simple is not None:
            return _SIMPLE.get(simple, simple)
        if unknown is not None:
            raise MalformedInput(
                "artifact.format",
                f"the format holds the unknown escape \\{escape_control(unknown)}",
                help="write \\\\ for a backslash",
            )
        point = int(octal, 8) if octal is not None else int(next(number for number in numbers if number), 16)
        if point > 0x10FFFF or 0xD800 <= point <= 0xDFFF:
            raise MalformedInput("artifact.format", "the format holds an escape for a character that does not exist")
        return chr(point)

    return _ESCAPE.sub(unescape, text)


def render_found(artifact: FoundArtifact, template: str) -> str:
    """One search result.

    Parameters:
        template: from `parse_format`; `%p` path, `%c` time, `%j` job, `%s` bytes, `%S` SHA-1, `%T` SHA-256, `%u` URL,
            `%i` id; other characters as they are.
    """
    values: dict[str, Callable[[], str]] = {
        "%p": lambda: artifact.path,
        "%c": lambda: _whole_seconds(artifact.created_at),
        "%j": lambda: artifact.job_id,
        "%s": lambda: str(artifact.size or 0),
        "%S": lambda: artifact.sha1,
        "%T": lambda: artifact.sha256,
        "%u": lambda: artifact.url,
        "%i": lambda: artifact.artifact_id,
    }
    return _SPECIFIER.sub(lambda match: values[match[0]](), template)


def _whole_seconds(timestamp: str) -> str:
    """RFC 3339 time without a fraction of a second."""
    return re.sub(r"(:\d\d)[.,]\d+", r"\1", timestamp, count=1)
