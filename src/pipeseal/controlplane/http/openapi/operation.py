"""How one operation is described: what its route does not say by itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any


class Proof(Enum):
    """What a caller shows; the values are names of security schemes, and what the schemes say of themselves."""

    REGISTRATION = "registrationToken"
    SESSION = "sessionToken"
    JOB = "jobToken"
    ANY_AGENT = "agentToken"
    API = "apiToken"
    ADDRESS = ""  # the address itself, or nothing


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the query, or with `header` a header.

    Parameters:
        schema: JSON Schema of its value.
    """

    name: str
    description: str
    schema: dict[str, Any]
    required: bool = False
    header: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """One way of answering.

    Parameters:
        description: what it means.
        type: of the JSON body; None when there is none.
        media_type: of a body that is no JSON.
        headers: name to description.
    """

    description: str = "Done."
    type: Any = None
    media_type: str = ""
    headers: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation.

    Parameters:
        name: unique; clients that are generated name their functions by it.
        summary: what it does, in a few words.
        proof: what the caller shows.
        answers: status to answer, for what went well.
        refusals: statuses of what did not; each has a body of `ErrorMessage`.
        body: type of the JSON body; None when none is read.
        optional_body: the body may be left out.
        form: media type of a body that is no JSON, and its schema.
        parameters: of query and headers.
        pages: it is a list in pages.
    """

    name: str
    summary: str
    proof: Proof
    answers: dict[int, Answer]
    refusals: tuple[int, ...] = ()
    body: Any = None
    optional_body: bool = False
    form: tuple[str, dict[str, Any]] | None = None
    parameters: tuple[Parameter, ...] = ()
    pages: bool = False


TEXT: dict[str, Any] = {"type": "string"}
FLAG: dict[str, Any] = {"type": "string", "enum": ["true", "false"]}


def whole(most: int, least: int = 0) -> dict[str, Any]:
    """The schema of a whole number."""
    return {"type": "integer", "minimum": least, "maximum": most}
