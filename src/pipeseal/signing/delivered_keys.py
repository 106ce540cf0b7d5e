"""Keys that a control plane hands out beside signed steps: those a reader pinned, and those it calls revoked."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from pipeseal.errors import MalformedInput
from pipeseal.signing.keys.jwk import Jwk, parse_jwks
from pipeseal.signing.keys.verification_keys import VerificationKeys

# RFC 7638 with SHA-256: 32 bytes in base64url.
_THUMBPRINT: Final = re.compile(r"[A-Za-z0-9_-]{43}")


def parse_pin(text: str) -> str:
    """The thumbprint that a pin names; spaces between its groups are left out.

    Raises:
        MalformedInput: `key.pin`.
    """
    thumbprint = "".join(text.split())
    if not _THUMBPRINT.fullmatch(thumbprint):
        raise MalformedInput(
            "key.pin",
            f"{text[:60]!r} is no thumbprint of a key",
            help="give all 43 characters, as `pipeseal keys show` prints them; digits are for comparing",
        )
    return thumbprint


def find_pinned_keys(steps: Iterable[Mapping[str, Any]], pins: Collection[str]) -> VerificationKeys:
    """The public keys that have a pinned thumbprint, among those that came with the steps.

    A thumbprint says which key it is, so it does not matter who delivers the key. What the thumbprint does not cover
    (its id, its algorithm) is the control plane's word until a signature holds with it. Shared secrets and private
    keys are left out: whoever reads them could have signed.

    Parameters:
        steps: `signed-steps` of a build, with their `keys`.
        pins: thumbprints, of which any may have signed.
    """
    seen: dict[str, list[Jwk]] = {}
    for step in steps:
        for entry in _entries(step):
            text = json.dumps(entry["jwk"], sort_keys=True)
            if text not in seen:
                seen[text] = _read(text)
    keys = (key for found in seen.values() for key in found)
    return VerificationKeys(
        key for key in keys if key.alg and key.kty != "oct" and not key.is_private and key.thumbprint() in pins
    )


def find_revocation(step: Mapping[str, Any], thumbprint: str) -> str:
    """When the control plane says that a key was revoked; empty when it says nothing of it.

    It is the server's word: believing it can only make an outcome worse.

    Parameters:
        step: a `signed-step`, with its `keys`.
        thumbprint: of the key that signed it.
    """
    for entry in _entries(step):
        if entry.get("revoked_at") and any(
            key.thumbprint() == thumbprint for key in _read(json.dumps(entry["jwk"], sort_keys=True))
        ):
            return str(entry["revoked_at"])[:40]
    return ""


def _entries(step: Mapping[str, Any]) -> list[dict[str, Any]]:
    keys = step.get("keys")
    return [
        entry
        for entry in (keys if isinstance(keys, list) else ())
        if isinstance(entry, dict) and isinstance(entry.get("jwk"), dict)
    ]


def _read(text: str) -> list[Jwk]:
    try:
        return parse_jwks(text.encode("utf-8", "replace"))
    except MalformedInput:
        return []  # a key that cannot be read has signed nothing that could be proven
