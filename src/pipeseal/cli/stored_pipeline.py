"""A pipeline that a server keeps, read and replaced over GraphQL; nothing of it is signed before somebody saw it.

A signature vouches for what it is over. What a server says the steps and the repository are is only what that server
says; so it is shown in full, and signed once a person agrees, or once it is what a person agreed to before.
"""

from __future__ import annotations

import hashlib
import json
import sys
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import click

from pipeseal.errors import ConfigurationError, MalformedInput, Unavailable, VerificationError, escape_control

DEFAULT_ENDPOINT = "https://graphql.buildkite.com/v1"
_TIMEOUT_SECONDS = 60.0
_MAX_ANSWER = 64 * 1024 * 1024
_GET = """query GetPipeline($orgPipelineSlug: ID!) {
  pipeline(slug: $orgPipelineSlug) {
    id
    repository { url }
    steps { yaml }
  }
}
"""
_UPDATE = """mutation UpdatePipeline($id: ID!, $yaml: String!) {
  pipelineUpdate(input: {id: $id, steps: {yaml: $yaml}}) {
    clientMutationId
    pipeline { steps { yaml } }
  }
}
"""


class StoredPipeline(NamedTuple):
    """What a server says a pipeline is.

    Parameters:
        id: the server's name for it.
        repository: URL.
        text: its steps, YAML.
    """

    id: str
    repository: str
    text: str

    @property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of repository, a NUL and text: all that a signature would vouch for."""
        whole = f"{self.repository}\0{self.text}"
        return hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()


class PipelineServer:
    """The GraphQL API of one server.

    Parameters:
        endpoint: URL.
        token: API token.

    Raises:
        ConfigurationError: `client.server`, the URL cannot be used.
    """

    def __init__(self, endpoint: str, token: str) -> None:
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ConfigurationError(
                "client.server", f"{endpoint!r} is no GraphQL endpoint", help=f"write it as {DEFAULT_ENDPOINT}"
            )
        self._endpoint = endpoint
        self._parts = parts
        self._token = token

    def fetch_pipeline(self, organization: str, slug: str) -> StoredPipeline:
        """The pipeline.

        Raises:
            Unavailable: `client.unreachable`; `client.refused`, also when there is no such pipeline.
            MalformedInput: `client.answer`.
        """
        answer = self._ask("GetPipeline", _GET, {"orgPipelineSlug": f"{organization}/{slug}"})
        found = answer.get("pipeline")
        if found is None:
            raise Unavailable(
                "client.refused",
                f"the server has no pipeline {escape_control(organization)}/{escape_control(slug)}",
                help="check --organization-slug and --pipeline-slug, and what the token may read",
                status=404,
            )
        try:
            stored = StoredPipeline(found["id"], found["repository"]["url"], found["steps"]["yaml"])
        except (KeyError, TypeError, IndexError):
            raise _nonsense("it describes no pipeline") from None
        if not all(isinstance(value, str) for value in stored):
            raise _nonsense("it describes no pipeline")
        return stored

    def replace_steps(self, stored: StoredPipeline, text: str) -> None:
        """Put other steps in place.

        Raises:
            Unavailable: `client.unreachable`, `client.refused`.
            MalformedInput: `client.answer`, also when it then says that the steps are others.
        """
        answer = self._ask("UpdatePipeline", _UPDATE, {"id": stored.id, "yaml": text})
        try:
            kept = answer["pipelineUpdate"]["pipeline"]["steps"]["yaml"]
        except (KeyError, TypeError, IndexError):
            raise _nonsense("it does not say what it keeps now") from None
        if not isinstance(kept, str) or kept.strip() != text.strip():
            raise _nonsense("it keeps other steps than it was given")

    def _ask(self, name: str, query: str, variables: dict[str, str]) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": variables, "operationName": name}).encode()
        kind = HTTPSConnection if self._parts.scheme == "https" else HTTPConnection
        connection = kind(self._parts.hostname or "", self._parts.port, timeout=_TIMEOUT_SECONDS)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        try:
            connection.request("POST", self._parts.path or "/", body, headers)
            response = connection.getresponse()
            data = response.read(_MAX_ANSWER + 1)
        except (OSError, HTTPException) as error:
            raise Unavailable(
                "client.unreachable",
                f"cannot reach {self._endpoint}: {error or type(error).__name__}",
                help="check --graphql-endpoint",
            ) from error
        finally:
            connection.close()
        if response.status != 200:
            raise Unavailable(
                "client.refused",
                f"{self._endpoint} answered {response.status} {escape_control(response.reason)}",
                help="give a token that may read and change the pipeline: --graphql-token",
                status=response.status,
            )
        return _read_answer(data)


def _read_answer(data: bytes) -> dict[str, Any]:
    if len(data) > _MAX_ANSWER:
        raise _nonsense("its answer is larger than 64 MiB")
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _nonsense("its answer is not JSON") from error
    errors = answer.get("errors") if isinstance(answer, dict) else None
    if errors:
        first = errors[0] if isinstance(errors, list) else errors
        message = first.get("message") if isinstance(first, dict) else first
        raise Unavailable("client.refused", f"the server refused: {escape_control(str(message)[:1000])}")
    found = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(found, dict):
        raise _nonsense("its answer has no data")
    return found


def _nonsense(why: str) -> MalformedInput:
    return MalformedInput("client.answer", f"the server cannot be understood: {why}")


def check_repository(stored: StoredPipeline, wanted: str) -> None:
    """Refuse a server that says another repository than the operator.

    Raises:
        VerificationError: `signing.repository`.
    """
    if stored.repository != wanted:
        theirs, ours = escape_control(stored.repository), escape_control(wanted)
        raise VerificationError(
            "signing.repository",
            f"the server says that the repository is {theirs}, not {ours}",
            help="correct the pipeline on the server, or --repo (BUILDKITE_REPO)",
            evidence={"server": stored.repository, "wanted": wanted},
        )


def confirm_text(stored: StoredPipeline, *, expected_digest: str, ask: bool) -> None:
    """Show what a signature would vouch for, and go on only when somebody vouches for it.

    Parameters:
        expected_digest: of what somebody agreed to before; empty for none.
        ask: whether somebody is to be asked.

    Raises:
        VerificationError: `signing.other_text`: it is not what was agreed to.
        ConfigurationError: `signing.unconfirmed`: nobody agreed.
    """
    click.echo("The server says that this is the pipeline:\n", err=True)
    click.echo(f"repository  {escape_control(stored.repository)}", err=True)
    for number, line in enumerate(stored.text.split("\n"), 1):
        click.echo(f"{number:>5}  {escape_control(line.removesuffix(chr(13)))}", err=True)
    click.echo(f"\ndigest      {stored.digest}", err=True)
    if expected_digest and expected_digest.strip().lower() != stored.digest:
        raise VerificationError(
            "signing.other_text",
            "the server's pipeline is not the one that --expect-digest stands for",
            help="read what it is now; sign it only if it is what you mean",
            evidence={"expected": expected_digest, "found": stored.digest},
        )
    if ask:
        confirm("Do you vouch for exactly this? It will be signed with your key")
    elif not expected_digest:
        raise ConfigurationError(
            "signing.unconfirmed",
            "nobody vouched for the server's pipeline, so it was not signed",
            help="read it, then repeat the command with --expect-digest and the digest above; or sign your own FILE",
        )


def confirm(question: str) -> None:
    """Ask on the terminal.

    Raises:
        ConfigurationError: `signing.unconfirmed`: no, or there is nobody to ask.
    """
    if not sys.stdin.isatty():
        raise ConfigurationError(
            "signing.unconfirmed",
            "there is no terminal to ask on, so nothing was done",
            help="add --no-confirm; to sign what a server says, also --expect-digest with the digest that you read",
        )
    if not click.confirm(question, err=True):
        raise ConfigurationError("signing.unconfirmed", "not confirmed, so nothing was done")
