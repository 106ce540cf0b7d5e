"""Ways to change a signature, its header or a seal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pipeseal.lab import lies
from pipeseal.lab.honest import JobDocument
from pipeseal.signing.base64url import parse_base64url, render_base64url
from pipeseal.signing.seal.envelope import VARIABLE

if TYPE_CHECKING:
    from pipeseal.lab.lying_server import Lie

CP = ("CP",)
MALFORMED = "signature.malformed"


def with_value(change: Any) -> Lie:
    """The signature's text, changed by a function of its three segments."""

    def lie(job: JobDocument) -> JobDocument:
        segments = job["step"]["signature"]["value"].split(".")
        return lies.set_signature(value=change(*segments))(job)

    return lie


def with_header(**members: Any) -> Lie:
    """Other members of the signature's header; None takes one away."""

    def change(protected: str, content: str, signature: str) -> str:
        header = {**json.loads(parse_base64url(protected)), **members}
        kept = {name: value for name, value in header.items() if value is not None}
        text = json.dumps(kept, separators=(",", ":")).encode()
        return f"{render_base64url(text)}.{content}.{signature}"

    return with_value(change)


def with_seal(change: Any) -> Lie:
    """The seal's text, changed by a function of its three segments, in the step and in the job."""

    def lie(job: JobDocument) -> JobDocument:
        text = change(*job["step"]["env"][VARIABLE].split("."))
        env = {**job["step"]["env"], VARIABLE: text}
        return lies.all_of(lies.set_step(env=env), lies.set_variables({VARIABLE: text}))(job)

    return lie
