"""Incoming webhooks: a delivery is proved to come from the provider first, and read afterwards.

    delivery = read_webhook(Provider.GITHUB, headers, body, secrets=[secret], now=clock.now())
    for outcome in delivery.outcomes: ...          # BuildRequest, or Ignored with the reason

What a delivery says is the word of whoever pushed: branch names, messages, authors and fork repositories are for
showing and scheduling. Nothing an agent verifies rests on them.
"""

from __future__ import annotations

from pipeseal.controlplane.domain.webhooks.deliveries import Delivery, read_webhook
from pipeseal.controlplane.domain.webhooks.outcomes import BuildRequest, Ignored, PullRequest
from pipeseal.controlplane.domain.webhooks.proof import Provider, VerifiedDelivery, verify_delivery
from pipeseal.controlplane.domain.webhooks.repositories import same_repository
from pipeseal.controlplane.domain.webhooks.triggers import TriggerSettings, admit, request_facts

__all__ = [
    "BuildRequest",
    "Delivery",
    "Ignored",
    "Provider",
    "PullRequest",
    "TriggerSettings",
    "VerifiedDelivery",
    "admit",
    "read_webhook",
    "request_facts",
    "same_repository",
    "verify_delivery",
]
