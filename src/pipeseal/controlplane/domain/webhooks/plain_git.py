"""Deliveries of a plain git server: what a `post-receive` hook reads on its standard input, sent on as it is.

    body="$(cat)"
    now="$(date +%s)"
    signature="$(printf '%s.%s' "$now" "$body" | openssl dgst -sha256 -hmac "$SECRET" | sed 's/^.*= //')"
    curl --data-binary "$body" -H "X-Pipeseal-Signature: timestamp=$now,signature=$signature" "$URL"

Each line is `<old id> <new id> <full ref>` (githooks(5), post-receive). A hook that knows more may send JSON instead:

    {"updates": [{"ref": "refs/heads/main", "new": "<id>", "message": "...",
                  "author": {"name": "...", "email": "..."}}]}
"""

from __future__ import annotations

import msgspec

from pipeseal.controlplane.domain.webhooks.outcomes import Outcome, PushedRef
from pipeseal.controlplane.domain.webhooks.payloads import decode_payload, malformed
from pipeseal.controlplane.domain.webhooks.proof import VerifiedDelivery


class _Author(msgspec.Struct):
    name: str = ""
    email: str = ""


class _Update(msgspec.Struct):
    ref: str
    new: str
    message: str = ""
    author: _Author | None = None


class _Updates(msgspec.Struct):
    updates: list[_Update]


def read(delivery: VerifiedDelivery) -> list[Outcome]:
    """What comes of a delivery; a push may have moved several branches.

    Raises:
        MalformedInput: `webhook.malformed`.
    """
    body = delivery.body
    updates = decode_payload(body, _Updates).updates if body.lstrip()[:1] == b"{" else _read_lines(body)
    outcomes: list[Outcome] = []
    for update in updates:
        author = update.author or _Author()
        outcomes.append(PushedRef(update.ref, update.new, update.message, author.name, author.email).outcome())
    return outcomes


def _read_lines(body: bytes) -> list[_Update]:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise malformed(f"it is not UTF-8 at byte {error.start}") from error
    updates = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip("\r"):
            continue
        words = line.strip("\r").split(" ")
        if len(words) != 3:
            raise malformed(f"line {number} is not of the form <old id> <new id> <ref>")
        updates.append(_Update(ref=words[2], new=words[1]))
    return updates
