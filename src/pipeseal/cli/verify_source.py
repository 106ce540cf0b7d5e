"""Where `pipeseal verify` gets a build from: a file, or a control plane, which gets no token by accident."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

import click

from pipeseal.cli.rest_client import ALL_JOBS, DEFAULT_SERVER, RestClient, open_client
from pipeseal.errors import ConfigurationError, MalformedInput, PipesealError, Unavailable
from pipeseal.signing.delivered_keys import parse_pin
from pipeseal.signing.evidence import Evidence, make_evidence, parse_evidence
from pipeseal.signing.strictjson import decode_strict_json

if TYPE_CHECKING:
    from collections.abc import Sequence

_PAGE: Final = 100
_MAX_PAGES: Final = 1000
# What a build's page is called, with tabs, jobs and whatever else stands behind it.
_BUILD: Final = re.compile(
    r"(?P<prefix>(?:/[^/]+)*)/(?P<org>[^/]+)/(?P<slug>[^/]+)/builds/(?P<number>[0-9]{1,9})(?:/.*)?"
)


class Asked(NamedTuple):
    """What was looked at, and as whom.

    Parameters:
        evidence: a build as the control plane shows it.
        steps: its `signed-steps`, which keys came with.
        stranger: whether it was read without a token.
    """

    evidence: Evidence
    steps: list[Any]
    stranger: bool = False


def pins_of(target: str, given: Sequence[str]) -> tuple[str, ...]:
    """Thumbprints that the options or the link pin.

    Raises:
        MalformedInput: `key.pin`.
    """
    fragment = urlsplit(target).fragment if "://" in target else ""
    linked = [
        pin
        for part in fragment.split("&")
        if part.startswith("pin=")
        for pin in unquote(part.removeprefix("pin=")).split(",")
    ]
    return tuple(dict.fromkeys(parse_pin(text) for text in (*given, *linked)))


def read_file(path: Path) -> Asked:
    """A build from the evidence that its Trust tab saved.

    Raises:
        ConfigurationError: `signing.file`.
        MalformedInput: as `parse_evidence`.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            "signing.file", f"{path} cannot be read: {error.strerror}", help="check the path, and who may read it"
        ) from None
    evidence = parse_evidence(data, source=str(path))
    document = decode_strict_json(data, source=str(path))
    return Asked(evidence, document["steps"] if isinstance(document, dict) else [])


def fetch_build(address: str, token_file: Path | None) -> Asked:
    """A build from the control plane that shows it.

    Parameters:
        address: of the build's page, or of one below it.
        token_file: the API token that somebody named for this address; None: see `_open`.

    Raises:
        Unavailable: `client.unreachable`, `client.refused`.
        ConfigurationError: `client.token`, `client.server`.
        MalformedInput: `client.answer`, `evidence.malformed`.
    """
    parts = urlsplit(address)
    found = _BUILD.fullmatch(parts.path)
    if found is None:
        raise click.UsageError(
            f"{address!r} is not the address of a build, such as https://HOST/ORG/SLUG/builds/148."
        )
    server = f"{parts.scheme}://{parts.netloc}{found['prefix']}"
    organization, pipeline, number = unquote(found["org"]), unquote(found["slug"]), int(found["number"])
    client, stranger = _open(server, token_file, organization)
    try:
        build = client.get("pipelines", pipeline, "builds", number, query=ALL_JOBS)
        steps = _fetch_steps(client, pipeline, number)
    except Unavailable as error:
        if stranger and error.status in (401, 404):
            raise Unavailable(
                error.code,
                f"{error.message}; it was asked without a token",
                help="only builds of public pipelines can be read so; for others: --token-file",
                evidence=error.evidence,
                status=error.status,
            ) from None
        raise
    finally:
        client.close()
    if not isinstance(build, dict) or not isinstance(build.get("jobs"), list):
        raise MalformedInput("evidence.malformed", "the server's answer is no build with jobs")
    evidence = make_evidence(
        server=server, organization=organization, pipeline=pipeline, build=build, jobs=build["jobs"], steps=steps
    )
    return Asked(evidence, steps, stranger)


def _open(server: str, token_file: Path | None, organization: str) -> tuple[RestClient, bool]:
    """A client for an address that may have come from anybody, and whether it shows no token.

    The token of a setting or of a server on this machine is for that server alone: an address in a chat must not be
    able to collect it.
    """
    if token_file is not None:
        return open_client(server, token_file, organization), False
    own = os.environ.get("PIPESEAL_SERVER") or DEFAULT_SERVER
    if _origin(own) == _origin(server):
        named = os.environ.get("PIPESEAL_TOKEN_FILE")
        try:
            return open_client(server, Path(named) if named else None, organization), False
        except PipesealError:
            if named:
                raise
    return RestClient(server, "", organization), True


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    return parts.scheme, (parts.hostname or "").lower(), port or {"http": 80, "https": 443}.get(parts.scheme)


def _fetch_steps(client: RestClient, pipeline: str, number: int) -> list[Any]:
    steps: list[Any] = []
    for page in range(1, _MAX_PAGES + 1):
        query: dict[str, str | int] = {"per_page": _PAGE, "page": page}
        found = client.get("pipelines", pipeline, "builds", number, "signed-steps", query=query)
        if not isinstance(found, list):
            raise MalformedInput("evidence.malformed", "the server's answer is no list of steps")
        steps += found
        if len(found) < _PAGE:
            return steps
    raise MalformedInput("evidence.malformed", "the server lists more steps than a build can have")
