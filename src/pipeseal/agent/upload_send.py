"""Sending a pipeline to the server, and following what becomes of it. Imported by every upload: nothing heavy."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from pipeseal.errors import MalformedInput, Unavailable, escape_control

if TYPE_CHECKING:
    from pipeseal.agent.client import AgentClient
    from pipeseal.agent.connection import Answer

# An upload that the server works on by itself is asked after for so long.
MAX_POLLS = 3600
_REPLACE = ',"replace":true'


def send_pipeline(server: AgentClient, job: str, pipeline: str, *, replace: bool) -> None:
    """Add a pipeline to a job's build, and wait until the server is done with it.

    Parameters:
        server: shows the job's token.
        job: id of the job that uploads.
        pipeline: its JSON.
        replace: put the steps in place of all that did not start yet.

    Raises:
        PipesealError: the server did not take it.
    """
    upload_id = make_uuid()
    body = f'{{"uuid":"{upload_id}","pipeline":{pipeline}{_REPLACE if replace else ""}}}\n'
    answer = server.upload_pipeline(job, body.encode("utf-8", "surrogatepass"))
    if answer.status == 202:
        _follow(server, job, upload_id, answer)


def _follow(server: AgentClient, job: str, upload_id: str, answer: Answer) -> None:
    """The server works on the upload by itself: ask until it is done."""
    import json

    if f"jobs/{job}/pipelines/{upload_id}" not in answer.headers.get("location", ""):
        raise MalformedInput(
            "api.answer", "the server accepted the upload, and says nothing about where to ask for it"
        )
    delay = _delay(answer)
    for _ in range(MAX_POLLS):
        time.sleep(delay)
        answer = server.upload_state(job, upload_id)
        try:
            content = json.loads(answer.body)
            state, message = content["state"], str(content.get("message", ""))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise MalformedInput(
                "api.answer", "the server's answer about the upload is not what it should be"
            ) from error
        if state == "applied":
            return
        if state not in ("pending", "processing"):
            raise Unavailable(
                "upload.rejected", f"the server says {escape_control(str(state))}: {escape_control(message[:500])}"
            )
        delay = _delay(answer)
    raise Unavailable("upload.rejected", "the server did not finish with the upload in time")


def _delay(answer: Answer) -> float:
    try:
        return min(max(float(answer.headers.get("retry-after", "1")), 0.0), 60.0)
    except ValueError:
        return 1.0


def make_uuid() -> str:
    """A random UUID, RFC 9562 section 5.4 (`uuid` itself is slow to import)."""
    raw = bytearray(os.urandom(16))
    raw[6] = raw[6] & 0x0F | 0x40
    raw[8] = raw[8] & 0x3F | 0x80
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
