"""Verifying a seal: who made it, that it is whole, and that it is for now and for this agent."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from pipeseal.errors import MalformedInput, VerificationError
from pipeseal.signing.jws import signer_evidence
from pipeseal.signing.keys.crypto import SignatureMismatch
from pipeseal.signing.keys.verification_keys import TrustedKey, VerificationKeys
from pipeseal.signing.seal.envelope import Seal
from pipeseal.signing.seal.jws import parse_seal_jws
from pipeseal.signing.seal.parse import parse_payload

# Clocks of uploaders and agents differ a little (RFC 7519 section 4.1.4 allows for it).
LEEWAY_SECONDS: Final = 120
DEFAULT_QUEUE: Final = "default"
_ANY: Final = "*"
_QUEUE: Final = "queue="

_PROOF: Final = object()


class VerifiedSeal:
    """A seal that a trusted key made and that is for now and for here. Only `verify_seal` makes one.

    Parameters:
        seal: what it says, proven.
        key: the trusted key that signed.
    """

    __slots__ = ("key", "seal")

    def __init__(self, proof: object, *, seal: Seal, key: TrustedKey) -> None:
        if proof is not _PROOF:
            raise TypeError("a VerifiedSeal is made by verify_seal, and by nothing else")
        self.seal = seal
        self.key = key

    @property
    def digest(self) -> str:
        """The seal's name in ledgers and receipts, see `Seal`."""
        return self.seal.digest

    def __repr__(self) -> str:
        return f"<VerifiedSeal {self.digest[:12]}… signed by {self.key.kid!r}>"


def verify_seal(
    text: str,
    keys: VerificationKeys,
    *,
    now: float,
    agent_tags: Collection[str] | None = None,
    organization: str | None = None,
    pipeline: str | None = None,
    repository: str | None = None,
    default_queue: str = DEFAULT_QUEUE,
    leeway_seconds: float = LEEWAY_SECONDS,
) -> VerifiedSeal:
    """The seal, proven to be what a trusted key sealed, for this time and this agent.

    Plan:
        1. `text` is a compact JWS with the header of a seal, in its one spelling.
        2. `keys` has a key with the header's key id, for signatures, and for the header's algorithm.
        3. The signature over header and payload is right by the key's algorithm.
        4. The payload is canonical JSON, of this version, with every member there and of its kind, and none besides.
        5. Now is neither before `not_before` nor after `expires`, give or take `leeway_seconds`.
        6. The audience is this organisation, pipeline and repository, and these are the tags of an agent that may run
           it, as far as each is asked.

    Does not check: that a job keeps to the seal (see `compare.py`); how often it was used before; what the key may
    sign; that the commit is on a branch that may be built; that a static seal should run now.

    Parameters:
        text: the seal.
        keys: the trusted keys.
        now: seconds since 1970.
        agent_tags: this agent's own tags as `tag=value`, never the server's word on them; None not to ask.
        organization, pipeline, repository: what this agent is for; None not to ask.
        default_queue: the queue of agents and of steps that name none.
        leeway_seconds: how far clocks may differ.

    Raises:
        VerificationError: `seal.too_large`, `seal.malformed`, `seal.type`, `seal.header`; `key.unknown`,
            `key.unsuitable`, `algorithm.mismatch`; `seal.signature`; `seal.json`, `seal.canonical`, `seal.version`,
            `seal.member`; `seal.early`, `seal.expired`; `seal.audience`. Checked in this order.
    """
    # 1.
    try:
        jws = parse_seal_jws(text)
    except MalformedInput as error:
        raise VerificationError(error.code, error.message, help=error.help, evidence=error.evidence) from None
    # 2. RFC 8725 section 3.1: the key decides, and a header that disagrees with it is refused.
    key = keys.key(jws.kid)
    signer = signer_evidence(key)
    if jws.alg != key.alg:
        raise VerificationError(
            "algorithm.mismatch",
            f"the seal is for {jws.alg}, its key {key.kid!r} for {key.alg}",
            evidence=signer,
        )
    # 3. RFC 7515 section 5.2 step 8
    try:
        key.verifier(jws.signature, jws.signing_input)
    except SignatureMismatch:
        raise VerificationError(
            "seal.signature", f"the seal is not one that {key.kid!r} made", evidence=signer
        ) from None
    # 4. Only now: nothing that a stranger wrote is read further than its header.
    try:
        seal = parse_payload(text, jws)
    except MalformedInput as error:
        raise VerificationError(
            error.code, error.message, help=error.help, evidence=signer | error.evidence
        ) from None
    # 5.
    _check_time(seal, now, leeway_seconds, signer)
    # 6.
    _check_audience(seal, {"organization": organization, "pipeline": pipeline, "repository": repository}, signer)
    if agent_tags is not None:
        _check_agent(seal, agent_tags, default_queue, signer)
    return VerifiedSeal(_PROOF, seal=seal, key=key)


def _check_time(seal: Seal, now: float, leeway_seconds: float, signer: dict[str, str]) -> None:
    # Written so that a clock without a number (NaN) proves nothing.
    if not now >= seal.not_before - leeway_seconds:
        raise VerificationError(
            "seal.early",
            f"the seal is good from {_time(seal.not_before)} on, and it is {_time(now)}",
            help="set the clocks of uploader and agent",
            evidence=signer | {"not before": _time(seal.not_before), "now": _time(now)},
        )
    if seal.expires is not None and not now <= seal.expires + leeway_seconds:
        raise VerificationError(
            "seal.expired",
            f"the seal was good until {_time(seal.expires)}, and it is {_time(now)}",
            help="upload the steps again, with a new build",
            evidence=signer | {"expires": _time(seal.expires), "now": _time(now)},
        )


def _time(seconds: float) -> str:
    from pipeseal.clock import render_timestamp

    try:
        return render_timestamp(seconds)
    except (ValueError, OverflowError, OSError):  # no calendar has it
        return f"second {seconds}"


def _check_audience(seal: Seal, wanted: dict[str, str | None], signer: dict[str, str]) -> None:
    differing = {
        name: (sealed, value)
        for name, value in wanted.items()
        if value is not None and (sealed := getattr(seal.audience, name)) is not None and sealed != value
    }
    if differing:
        raise VerificationError(
            "seal.audience",
            f"the step was sealed for another {' and another '.join(differing)}",
            evidence=signer
            | {
                name: f"sealed for {sealed}, this agent is for {value}" for name, (sealed, value) in differing.items()
            },
            fields=[f"audience.{name}" for name in differing],
        )


def _check_agent(seal: Seal, agent_tags: Collection[str], default_queue: str, signer: dict[str, str]) -> None:
    queue = f"{_QUEUE}{default_queue}"
    tags = set(agent_tags)
    if not any(tag.startswith(_QUEUE) for tag in tags):
        tags.add(queue)
    rules = list(seal.audience.agents)
    if not any(rule.startswith(_QUEUE) for rule in rules):
        rules.append(queue)
    unmet = [rule for rule in rules if not _is_met(rule, tags)]
    if unmet:
        raise VerificationError(
            "seal.audience",
            f"the step was sealed for other agents: this one is not {', '.join(unmet)}",
            help="give the step the right `agents`, or this agent the tags that it should have",
            evidence=signer | {"wanted": ", ".join(rules), "this agent": ", ".join(sorted(tags))},
            fields=["audience.agents"],
        )


def _is_met(rule: str, tags: Collection[str]) -> bool:
    tag, _, value = rule.partition("=")
    return rule in tags or (value == _ANY and any(own.startswith(f"{tag}=") for own in tags))
