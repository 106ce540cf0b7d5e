"""Seals for `pipeseal tool verify`: whether the one that a step in a file carries holds, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeseal.pipeline.steps import CommandStep, Pipeline
    from pipeseal.signing.keys.verification_keys import VerificationKeys
    from pipeseal.signing.seal.verify import VerifiedSeal

_NOT_SEALED = (
    "not sealed: its label, agents, retries, artifacts, and when and how often it runs are the server's word"
)


def verify_step_seal(
    step: CommandStep,
    pipeline: Pipeline,
    given: Mapping[str, str],
    repository: str,
    keys: VerificationKeys,
    *,
    signer: str,
) -> VerifiedSeal | None:
    """The seal of a step whose signature holds; None when it has none.

    Parameters:
        step: the step as it stands in the file.
        pipeline: its pipeline.
        given: variables that the steps are bound to, as the user has them.
        repository: URL, as jobs have it.
        keys: the trusted keys.
        signer: id of the key that signed the step.

    Raises:
        VerificationError: as `verify_seal` and `verify_sealed_text`; `seal.differs` when another key made the
            signature.
    """
    from pipeseal.clock import SystemClock
    from pipeseal.errors import VerificationError
    from pipeseal.signing.seal.compare import verify_sealed_text
    from pipeseal.signing.seal.envelope import VARIABLE
    from pipeseal.signing.seal.verify import verify_seal

    text = step.env.get(VARIABLE)
    if not text:
        return None
    seal = verify_seal(
        text,
        keys,
        now=SystemClock().now(),
        organization=given.get("BUILDKITE_ORGANIZATION_SLUG"),
        pipeline=given.get("BUILDKITE_PIPELINE_SLUG"),
        repository=repository,
    )
    if seal.key.kid != signer:
        raise VerificationError(
            "seal.differs",
            f"the step was sealed by {seal.key.kid!r} and signed by {signer!r}",
            help="sign it again, with one key",
            fields=["signature"],
        )
    env = {name: value for name, value in pipeline.env.items() if name != VARIABLE}
    return verify_sealed_text(seal, step=step, env=env, checkout=pipeline.checkout)


def describe_seal(verified: VerifiedSeal | None) -> dict[str, Any]:
    """What a proven seal says, for JSON; `{"state": "missing"}` without one."""
    if verified is None:
        return {"state": "missing"}
    seal = verified.seal
    return {
        "state": "verified",
        "digest": seal.digest,
        "kid": verified.key.kid,
        "thumbprint": verified.key.thumbprint,
        "static": seal.is_static,
        "build": None if seal.build is None else seal.build._asdict(),
        "organization": seal.audience.organization,
        "pipeline": seal.audience.pipeline,
        "agents": list(seal.audience.agents),
        "not_before": _time(seal.not_before),
        "expires": None if seal.expires is None else _time(seal.expires),
        "attempts": seal.attempts,
        "exclusive": seal.exclusive,
    }


def words_of_seal(seal: Mapping[str, Any] | None) -> str:
    """The same in a line, for people."""
    if seal is None or seal["state"] != "verified":
        return _NOT_SEALED
    build = seal["build"] or {}
    place = "/".join(seal[name] or "any" for name in ("organization", "pipeline"))
    what = "outside a build" if seal["static"] else f"for build {build['id']}"
    commit = f" at {build['commit'][:12]}" if build.get("commit") else ""
    starts = "1 start" if seal["exclusive"] or seal["attempts"] == 1 else f"up to {seal['attempts']} starts"
    since = "" if seal["not_before"] == _time(0) else f" from {seal['not_before']}"
    until = f" until {seal['expires']}" if seal["expires"] else " without end"
    agents = f", agents {' '.join(seal['agents'])}" if seal["agents"] else ""
    return (
        f"sealed {seal['digest'][:12]}… by {seal['kid']}, the whole step, {what}{commit}, for {place}{agents}; "
        f"good{since}{until}; {starts}{' (exclusive)' if seal['exclusive'] else ''}"
    )


def _time(seconds: int) -> str:
    from datetime import UTC, datetime

    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):  # no calendar has it
        return f"second {seconds}"
