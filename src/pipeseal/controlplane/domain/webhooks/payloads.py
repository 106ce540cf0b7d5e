"""From a delivery's bytes to the typed payload of its provider."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from pipeseal.errors import MalformedInput

T = TypeVar("T")


def decode_payload(body: bytes, kind: type[T]) -> T:
    """The JSON document `body`, as far as `kind` describes it; members it does not describe are skipped.

    Raises:
        MalformedInput: `webhook.malformed`, with the path of the member at fault.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise malformed(reason) from error


def malformed(reason: str) -> MalformedInput:
    """The error for a payload that cannot be read."""
    return MalformedInput(
        "webhook.malformed",
        f"the delivery cannot be read: {reason}",
        help="choose JSON as the content type and send the events for pushes and pull requests",
    )
