"""One delivery, from its bytes to what comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeseal.controlplane.domain.webhooks import bitbucket, bitbucket_server, github, gitlab, plain_git
from pipeseal.controlplane.domain.webhooks.outcomes import Outcome
from pipeseal.controlplane.domain.webhooks.payloads import malformed
from pipeseal.controlplane.domain.webhooks.proof import Provider, VerifiedDelivery, verify_delivery

_MAX_OUTCOMES = 200  # branches and tags that one push may move
_READERS = {
    Provider.GITHUB: github.read,
    Provider.GITLAB: gitlab.read,
    Provider.BITBUCKET: bitbucket.read,
    Provider.BITBUCKET_SERVER: bitbucket_server.read,
    Provider.GIT: plain_git.read,
}


@dataclass(frozen=True, slots=True)
class Delivery:
    """A proven delivery and what comes of it.

    Parameters:
        proof: the delivery; remember its `replay_key`.
        outcomes: builds that are asked for, and reasons for building nothing, in the order of the payload.
    """

    proof: VerifiedDelivery
    outcomes: tuple[Outcome, ...]


def read_webhook(
    provider: Provider, headers: Mapping[str, str], body: bytes, *, secrets: Sequence[str], now: float
) -> Delivery:
    """A delivery, proven and read.

    Parameters:
        headers: of the request; names in any case.
        body: of the request, byte for byte.
        secrets: of the webhook: the current one, and during a change the former one too.
        now: seconds since 1970-01-01T00:00:00Z.

    Raises:
        ConfigurationError: `webhook.secret`.
        VerificationError: `webhook.unsigned`, `webhook.signature`, `webhook.stale`; nothing of the body was read.
        MalformedInput: `webhook.malformed`.
    """
    proof = verify_delivery(provider, headers, body, secrets=secrets, now=now)
    outcomes = _READERS[provider](proof)
    if len(outcomes) > _MAX_OUTCOMES:
        raise malformed(f"{len(outcomes)} branches and tags were moved at once, at most {_MAX_OUTCOMES}")
    return Delivery(proof, tuple(outcomes))
