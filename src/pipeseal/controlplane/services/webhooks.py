"""Incoming webhooks: made for a pipeline and a provider, and their deliveries turned into builds, each once."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from sqlite3 import Row
from typing import Any, NamedTuple

import msgspec

from pipeseal.controlplane.domain.build_origin import BuildOrigin, Value
from pipeseal.controlplane.domain.conditions import MatchBudget
from pipeseal.controlplane.domain.environment import NO_PULL_REQUEST
from pipeseal.controlplane.domain.pipeline_settings import PipelineSettings, decode_settings, trigger_settings
from pipeseal.controlplane.domain.tokens import digest_token, make_token
from pipeseal.controlplane.domain.webhooks import (
    BuildRequest,
    Ignored,
    Provider,
    admit,
    read_webhook,
    request_facts,
    same_repository,
)
from pipeseal.controlplane.domain.webhooks.proof import MIN_SECRET_LENGTH
from pipeseal.controlplane.services.advance_build import cancel_build
from pipeseal.controlplane.services.authenticate import not_found
from pipeseal.controlplane.services.create_build import NewBuild, PreparedBuild, insert_build, prepare_build
from pipeseal.controlplane.services.plan_pipeline import run_sized
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.services.secrets import open_text, seal_text
from pipeseal.controlplane.store import builds as build_store
from pipeseal.controlplane.store import webhooks as webhook_store
from pipeseal.controlplane.store.database import Transaction
from pipeseal.errors import MalformedInput

_log = logging.getLogger("pipeseal.server")
TOKEN_PREFIX = "pswh_"  # noqa: S105  (what tokens begin with)
_SEALED_AS = "webhook"
_MAX_SECRET = 1_024
_MAX_WEBHOOKS = 50  # of one pipeline
_REMEMBER = 90 * 24 * 3600 * 1_000_000  # microseconds for which a delivery that comes again is recognised


class NewWebhook(NamedTuple):
    """A webhook as it is told once: the secret and the URL are not shown again."""

    id: str
    url: str
    secret: str


async def create_webhook(plane: ControlPlane, slug: str, provider: str, secret: str = "") -> NewWebhook:
    """Make a webhook of a pipeline.

    Parameters:
        provider: a value of `Provider`.
        secret: shared with the provider; empty makes one.

    Raises:
        MalformedInput: `request.not_found`, `request.malformed`.
    """
    kind = _provider(provider)
    secret = _check_secret(plane, secret)
    token = make_token(TOKEN_PREFIX, plane.randomness)
    webhook_id = plane.new_id()
    sealed = seal_text(plane, webhook_id, _SEALED_AS, secret)
    now = plane.now()

    def change(tx: Transaction) -> None:
        pipeline = build_store.find_pipeline(tx, slug)
        if pipeline is None:
            raise not_found("such pipeline")
        if len(webhook_store.list_webhooks(tx, pipeline["id"])) >= _MAX_WEBHOOKS:
            raise MalformedInput("request.malformed", f"a pipeline has at most {_MAX_WEBHOOKS} webhooks")
        webhook_store.insert_webhook(
            tx,
            id=webhook_id,
            pipeline_id=pipeline["id"],
            provider=kind,
            token_digest=digest_token(token),
            secret=sealed,
            now=now,
        )

    await plane.database.write(change)
    return NewWebhook(webhook_id, f"{plane.url}/webhooks/{kind}/{token}", secret)


async def replace_secret(plane: ControlPlane, slug: str, webhook_id: str, secret: str = "") -> str:
    """Give a webhook another secret; the one before goes on working until the next change. Returns the new one.

    Raises:
        MalformedInput: `request.not_found`, `request.malformed`.
    """
    secret = _check_secret(plane, secret)
    sealed = seal_text(plane, webhook_id, _SEALED_AS, secret)

    def change(tx: Transaction) -> None:
        webhook_store.replace_secret(tx, _find(tx, slug, webhook_id)["id"], sealed)

    await plane.database.write(change)
    return secret


async def delete_webhook(plane: ControlPlane, slug: str, webhook_id: str) -> None:
    """Remove a webhook: its URL stops working.

    Raises:
        MalformedInput: `request.not_found`.
    """
    await plane.database.write(lambda tx: webhook_store.delete_webhook(tx, _find(tx, slug, webhook_id)["id"]))


async def find_receiver(plane: ControlPlane, provider: str, token: str) -> Row:
    """The webhook that a URL belongs to.

    Raises:
        MalformedInput: `request.not_found`.
    """
    if provider not in set(Provider):
        raise not_found("such webhook")
    row = await plane.database.read(lambda tx: webhook_store.find_by_token(tx, provider, digest_token(token)))
    if row is None:
        raise not_found("such webhook")
    return row


async def receive(plane: ControlPlane, webhook: Row, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """Make the builds that a delivery asks for. The same delivery sent again makes nothing anew.

    Parameters:
        webhook: from `find_receiver`.
        headers, body: of the request; nothing in them is believed before the signature is found right.

    Returns:
        The answer: `outcomes`, one for each branch, tag or pull request in it, with a `build` or why there is none;
        and `repeated`, whether it came before.

    Raises:
        ConfigurationError: `webhook.secret`.
        VerificationError: `webhook.unsigned`, `webhook.signature`, `webhook.stale`.
        MalformedInput: `webhook.malformed`.
    """
    secrets = [
        open_text(plane, webhook["id"], _SEALED_AS, sealed)
        for sealed in (webhook["secret"], webhook["former_secret"])
        if sealed is not None
    ]
    provider, now = Provider(webhook["provider"]), plane.clock.now()
    delivery = await run_sized(len(body), lambda: read_webhook(provider, headers, body, secrets=secrets, now=now))
    key = delivery.proof.replay_key
    known = await plane.database.read(lambda tx: webhook_store.find_answer(tx, webhook["id"], key))
    if known is not None:
        return _repeated(known)
    pipeline = await plane.database.read(lambda tx: build_store.find_pipeline(tx, webhook["slug"]))
    if pipeline is None:
        raise not_found("such pipeline")
    budget = MatchBudget()
    steps = [await _prepare(plane, pipeline, outcome, provider, budget) for outcome in delivery.outcomes]

    def change(tx: Transaction) -> dict[str, Any]:
        now = plane.now()
        if not webhook_store.note_delivery(tx, webhook["id"], key, now=now):
            return _repeated(webhook_store.find_answer(tx, webhook["id"], key) or "{}")
        outcomes = [_apply(tx, plane, pipeline, step) for step in steps]
        answer = {"outcomes": outcomes, "repeated": False}
        webhook_store.set_answer(tx, webhook["id"], key, msgspec.json.encode(answer).decode())
        webhook_store.forget_deliveries(tx, now - _REMEMBER)
        return answer

    answer = await asyncio.shield(plane.database.write(change))
    _log.info("webhook of %s, delivery %s: %s", webhook["slug"], delivery.proof.identifier or "-", _summary(answer))
    return answer


async def _prepare(
    plane: ControlPlane, pipeline: Row, outcome: BuildRequest | Ignored, provider: Provider, budget: MatchBudget
) -> PreparedBuild | Ignored:
    """The build that is asked for, ready to be written; or why none is made."""
    if isinstance(outcome, Ignored):
        return outcome
    urls = outcome.repositories
    if urls and not any(same_repository(url, pipeline["repository"]) for url in urls):
        return Ignored("the delivery is about another repository than the pipeline's")
    facts: dict[str, Value] = {
        "pipeline.id": pipeline["id"],
        "pipeline.slug": pipeline["slug"],
        "pipeline.repository": pipeline["repository"],
        "pipeline.default_branch": pipeline["default_branch"],
        "organization.id": plane.organization_id,
        "organization.slug": plane.settings.organization,
    }
    try:
        settings = trigger_settings(decode_settings(pipeline["settings"]), default_branch=pipeline["default_branch"])
        request = admit(outcome, settings, pipeline=facts, env={}, budget=budget)
        if isinstance(request, Ignored):
            return request
        return await prepare_build(plane, pipeline["slug"], _new_build(request, facts, provider))
    except MalformedInput as error:
        # Sending it again would end the same way: the provider is told, and the delivery is done with.
        return Ignored(f"no build could be made: {error.message}")


def _new_build(request: BuildRequest, facts: Mapping[str, Value], provider: Provider) -> NewBuild:
    known = request_facts(request, pipeline=facts, env={})
    kept = ("build.source_event", "build.source_action", "build.author.email", "build.pull_request.")
    variables = {name: known.find(name) for name in known.variables if name.startswith(kept)}
    env = {
        name: text
        for name, text in known.env.items()
        if name.startswith("BUILDKITE_PULL_REQUEST_") and text and text.isprintable()
    }
    if request.pull_request is not None and provider == Provider.GITHUB:
        # By this agents know that the commit is to be had as `refs/pull/NUMBER/head`.
        env["BUILDKITE_PIPELINE_PROVIDER"] = "github"
    pull_request = NO_PULL_REQUEST if request.pull_request is None else str(request.pull_request.number)
    return NewBuild(
        commit=request.commit,
        branch=request.branch,
        message=request.message,
        tag=request.tag,
        pull_request=pull_request,
        author=re.sub(r"[\x00-\x1f]", " ", request.author_name),
        source="webhook",
        origin=BuildOrigin(variables, env),
    )


def _apply(tx: Transaction, plane: ControlPlane, pipeline: Row, step: PreparedBuild | Ignored) -> dict[str, Any]:
    if isinstance(step, PreparedBuild):
        number = insert_build(tx, plane, step)
        path = f"{plane.settings.organization}/{pipeline['slug']}/builds/{number}"
        return {"build": {"id": step.id, "number": number, "web_url": f"{plane.url}/{path}"}}
    if step.deleted_branch is not None and _cancels_deleted(decode_settings(pipeline["settings"])):
        builds = build_store.unfinished_builds(
            tx, pipeline["id"], step.deleted_branch, before=pipeline["last_build_number"] + 1
        )
        for build in builds:
            cancel_build(tx, plane, build, now=plane.now(), reason="its branch was deleted")
    return {"ignored": step.reason}


def _cancels_deleted(settings: PipelineSettings) -> bool:
    return settings.provider_settings.cancel_deleted_branch_builds


def _repeated(answer: str) -> dict[str, Any]:
    return {**msgspec.json.decode(answer, type=dict[str, Any]), "repeated": True}


def _summary(answer: Mapping[str, Any]) -> str:
    builds = [f"#{outcome['build']['number']}" for outcome in answer.get("outcomes", ()) if "build" in outcome]
    return ", ".join(builds) or "no build"


def _find(tx: Transaction, slug: str, webhook_id: str) -> Row:
    row = webhook_store.find_webhook(tx, slug, webhook_id)
    if row is None:
        raise not_found("such webhook")
    return row


def _provider(text: str) -> Provider:
    try:
        return Provider(text)
    except ValueError as error:
        known = ", ".join(Provider)
        raise MalformedInput("request.malformed", f"`provider` is one of {known}, not {text[:80]!r}") from error


def _check_secret(plane: ControlPlane, secret: str) -> str:
    if not secret:
        return make_token("", plane.randomness)
    if not MIN_SECRET_LENGTH <= len(secret) <= _MAX_SECRET or not re.fullmatch(r"[!-~]+", secret):
        raise MalformedInput(
            "request.malformed", f"a `secret` has {MIN_SECRET_LENGTH} to {_MAX_SECRET} characters, none of them blank"
        )
    return secret
