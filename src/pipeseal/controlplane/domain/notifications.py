"""Outgoing webhooks: which events there are, what a request says, how it is signed, and what `notify` asks for.

A request carries the ecosystem's headers and those of Standard Webhooks, so that receivers of either kind need
nothing new. Its signature proves that this server sent it; whether what it says is true is another matter, which it
says itself. Where a request may go at all is decided in `destinations`.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Any

import msgspec

from pipeseal.controlplane.domain.conditions import (
    Condition,
    ConditionFacts,
    MatchBudget,
    Place,
    evaluate_condition,
    parse_condition,
)
from pipeseal.controlplane.domain.destinations import Destination, parse_destination
from pipeseal.errors import ConfigurationError, MalformedInput

MIN_SECRET_LENGTH = 16  # characters
_MAX_RULES = 100
_STANDARD_PREFIX = "whsec_"
_PROOF = "the signature proves that this server sent this, and nothing about what it says"


class Event(StrEnum):
    """What a webhook can be about; the names are the ecosystem's, `job.refused` is ours."""

    PING = "ping"
    BUILD_SCHEDULED = "build.scheduled"
    BUILD_RUNNING = "build.running"
    BUILD_FAILING = "build.failing"
    BUILD_FINISHED = "build.finished"  # also when it is blocked; then `build.blocked` is true
    BUILD_SKIPPED = "build.skipped"
    JOB_SCHEDULED = "job.scheduled"
    JOB_STARTED = "job.started"
    JOB_FINISHED = "job.finished"
    JOB_ACTIVATED = "job.activated"
    JOB_REFUSED = "job.refused"
    AGENT_CONNECTED = "agent.connected"
    AGENT_LOST = "agent.lost"
    AGENT_DISCONNECTED = "agent.disconnected"
    AGENT_STOPPING = "agent.stopping"
    AGENT_STOPPED = "agent.stopped"


# What a request about each family of events has besides `event` and `sender`.
_MEMBERS = {
    "ping": ("service", "organization"),
    "build": ("build", "pipeline"),
    "job": ("job", "build", "pipeline"),
    "agent": ("agent",),
}
# What `notify` with a webhook is told of: that of a pipeline, and that of a step.
NOTIFY_EVENTS = frozenset({Event.BUILD_SCHEDULED, Event.BUILD_RUNNING, Event.BUILD_FINISHED})
STEP_NOTIFY_EVENTS = frozenset({Event.JOB_FINISHED})


class SignatureStyle(StrEnum):
    """How a receiver wants to recognise the sender."""

    SIGNATURE = auto()  # signed, in both forms
    TOKEN = auto()  # the token itself is sent along, which older receivers expect


def render_notification(event: Event, members: Mapping[str, Any], *, sender: Mapping[str, str]) -> bytes:
    """The body of a request, as JSON.

    Parameters:
        members: what the event is about, each in the shape the REST API gives it: `build` and `pipeline` for build
            events, and `job` for job events; `agent` for agent events; `service` and `organization` for a ping.
            The jobs inside a build are left out, they have events of their own.
        sender: `id` and `name` of whoever set the webhook up.

    Raises:
        ValueError: a member is missing or does not belong to the event.
    """
    expected = _MEMBERS[event.split(".", 1)[0]]
    if set(members) != set(expected):
        raise ValueError(f"a request about {event} has the members {expected}, not {sorted(members)}")
    document: dict[str, Any] = {"event": str(event)}
    for name in expected:
        value = members[name]
        if name == "build":
            value = {key: item for key, item in value.items() if key != "jobs"}
        document[name] = value
    document["sender"] = dict(sender)
    document["proof"] = _PROOF
    return msgspec.json.encode(document)


def notification_headers(
    event: Event,
    body: bytes,
    *,
    identifier: str,
    secret: str | None,
    now: float,
    style: SignatureStyle = SignatureStyle.SIGNATURE,
) -> dict[str, str]:
    """The headers of a request; made anew for every attempt, because receivers look at the time.

    Parameters:
        body: exactly as it is sent.
        identifier: of the event, the same in every attempt, so that a receiver can tell a repetition.
        secret: shared with the receiver; a `whsec_` one is taken as Standard Webhooks says. None sends it unsigned.
        now: seconds since 1970-01-01T00:00:00Z.

    Raises:
        ConfigurationError: `notification.secret`, the secret is short or damaged.
    """
    headers = {
        "Content-Type": "application/json",
        "X-Buildkite-Event": str(event),
        "webhook-id": identifier,
        "webhook-timestamp": str(int(now)),
    }
    if secret is None:
        return headers
    if len(secret) < MIN_SECRET_LENGTH:
        raise ConfigurationError(
            "notification.secret",
            f"the secret of a webhook has {len(secret)} characters, at least {MIN_SECRET_LENGTH} are needed",
            help="make a random one: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'",
        )
    if style is SignatureStyle.TOKEN:
        return headers | {"X-Buildkite-Token": secret}
    moment = headers["webhook-timestamp"]
    # Buildkite, "Webhook signature": hexadecimal HMAC-SHA256 of `timestamp.body` under the token.
    own = hmac.new(secret.encode(), f"{moment}.".encode() + body, "sha256").hexdigest()
    # Standard Webhooks, "Signature scheme": base64 HMAC-SHA256 of `id.timestamp.body`.
    standard = hmac.digest(_standard_key(secret), f"{identifier}.{moment}.".encode() + body, "sha256")
    return headers | {
        "X-Buildkite-Signature": f"timestamp={moment},signature={own}",
        "webhook-signature": f"v1,{base64.b64encode(standard).decode()}",
    }


def _standard_key(secret: str) -> bytes:
    if not secret.startswith(_STANDARD_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_STANDARD_PREFIX), validate=True)
    except ValueError as error:  # binascii.Error is one
        raise ConfigurationError(
            "notification.secret",
            "a secret that starts with whsec_ must go on in base64",
            help="copy it again, whole",
        ) from error


@dataclass(frozen=True, slots=True)
class NotifyRule:
    """One entry of the `notify` of a pipeline or a step.

    Parameters:
        destination: where to send.
        condition: when; None for every event that there is.
    """

    destination: Destination
    condition: Condition | None = None


@dataclass(frozen=True, slots=True)
class Notify:
    """The `notify` of a pipeline or a step: what is sent, and a warning for each entry for which nothing is."""

    rules: tuple[NotifyRule, ...] = ()
    warnings: tuple[str, ...] = ()


def parse_notify(
    value: Any, *, source: str, allow_http: bool = False, place: Place = Place.BUILD_NOTIFICATION
) -> Notify:
    """What the `notify` of a pipeline or a step asks for.

    Parameters:
        value: the member as written; None when there is none.
        source: what people call the pipeline or the step, for errors.
        allow_http: destinations without TLS are allowed.
        place: `Place.STEP_NOTIFICATION` for a step's.

    Raises:
        MalformedInput: `notification.malformed`, `notification.url`, and those of `parse_condition`.
    """
    if value is None:
        return Notify()
    entries = value if isinstance(value, list) else [value]
    if len(entries) > _MAX_RULES:
        raise _malformed(f"{source}: `notify` has {len(entries)} entries, at most {_MAX_RULES}")
    rules: list[NotifyRule] = []
    warnings: list[str] = []
    for number, entry in enumerate(entries, 1):
        where = f"{source}: notify {number}"
        match entry:
            case {"webhook": str(url)}:
                rules.append(
                    NotifyRule(parse_destination(url, allow_http=allow_http), _condition(entry, where, place))
                )
            case {"webhook": _}:
                raise _malformed(f"{where}: `webhook` must be a URL")
            case dict() if kinds := [name for name in entry if isinstance(name, str) and name != "if"]:
                _condition(entry, where, place)  # a mistake in it is a mistake all the same
                warnings.append(f"{where}: this server sends webhooks only, nothing to {kinds[0]!r}")
            case str() if entry:
                warnings.append(f"{where}: this server sends webhooks only, nothing to {entry!r}")
            case _:
                raise _malformed(f"{where}: an entry must be a mapping such as `webhook: https://...`")
    return Notify(tuple(rules), tuple(warnings))


def due_rules(
    rules: Sequence[NotifyRule],
    event: Event,
    facts: ConditionFacts,
    *,
    among: frozenset[Event] = NOTIFY_EVENTS,
) -> tuple[NotifyRule, ...]:
    """The rules by which `event` is sent on. A rule whose condition cannot be decided sends nothing.

    Parameters:
        facts: about the build, and the step, made for the place where the rules stand.
        among: the events that there are in that place.
    """
    if event not in among:
        return ()
    budget = MatchBudget()
    return tuple(rule for rule in rules if rule.condition is None or _holds(rule.condition, facts, budget))


def _holds(condition: Condition, facts: ConditionFacts, budget: MatchBudget) -> bool:
    try:
        return evaluate_condition(condition, facts, budget)
    except MalformedInput:
        # As the ecosystem does: the build is over or running, there is nobody to tell, and silence harms less.
        return False


def _condition(entry: Mapping[str, Any], where: str, place: Place) -> Condition | None:
    text = entry.get("if")
    if text is None:
        return None
    if not isinstance(text, str):
        raise _malformed(f"{where}: `if` must be text")
    return parse_condition(text, source=f"{where}, if", place=place)


def _malformed(message: str) -> MalformedInput:
    return MalformedInput(
        "notification.malformed",
        message,
        help='write a list, as in notify: [{webhook: "https://example.com/hook", if: \'build.state == "failed"\'}]',
    )
