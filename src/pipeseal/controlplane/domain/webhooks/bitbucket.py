"""Deliveries of Bitbucket, the cloud service: `repo:push`, `pullrequest:*` (Atlassian, "Event payloads")."""

from __future__ import annotations

import re

import msgspec

from pipeseal.controlplane.domain.webhooks.outcomes import (
    ChangedPullRequest,
    Ignored,
    Outcome,
    PullRequest,
    PushedRef,
)
from pipeseal.controlplane.domain.webhooks.payloads import decode_payload
from pipeseal.controlplane.domain.webhooks.proof import VerifiedDelivery

_ACTIONS = {"pullrequest:created": "opened", "pullrequest:updated": "synchronize"}
_RAW_AUTHOR = re.compile(r"\s*(?P<name>[^<]*?)\s*<(?P<email>[^>]*)>\s*")


class _Link(msgspec.Struct):
    href: str


class _Links(msgspec.Struct):
    html: _Link | None = None


class _Repository(msgspec.Struct):
    full_name: str
    uuid: str | None = None
    links: _Links | None = None

    def urls(self) -> tuple[str, ...]:
        return (self.links.html.href,) if self.links and self.links.html else ()

    def is_same(self, other: _Repository) -> bool:
        if self.uuid and other.uuid:
            return self.uuid == other.uuid
        return self.full_name.lower() == other.full_name.lower()


class _Author(msgspec.Struct):
    raw: str = ""


class _Target(msgspec.Struct):
    hash: str
    message: str = ""
    author: _Author | None = None


class _Ref(msgspec.Struct):
    type: str
    name: str
    target: _Target


class _Change(msgspec.Struct):
    old: _Ref | None = None
    new: _Ref | None = None


class _Changes(msgspec.Struct):
    changes: list[_Change]


class _Push(msgspec.Struct):
    push: _Changes
    repository: _Repository


class _Branch(msgspec.Struct):
    name: str


class _CommitId(msgspec.Struct):
    hash: str


class _Side(msgspec.Struct):
    branch: _Branch
    commit: _CommitId | None = None
    repository: _Repository | None = None


class _PullRequest(msgspec.Struct):
    id: int
    title: str
    source: _Side
    destination: _Side
    draft: bool | None = None


class _Actor(msgspec.Struct):
    display_name: str | None = None


class _PullRequestEvent(msgspec.Struct):
    pullrequest: _PullRequest
    repository: _Repository
    actor: _Actor | None = None


def read(delivery: VerifiedDelivery) -> list[Outcome]:
    """What comes of a delivery; a push may have moved several branches.

    Raises:
        MalformedInput: `webhook.malformed`.
    """
    if delivery.event == "repo:push":
        push = decode_payload(delivery.body, _Push)
        return [_read_change(change, push.repository) for change in push.push.changes]
    if delivery.event in _ACTIONS:
        event = decode_payload(delivery.body, _PullRequestEvent)
        return [_read_pull_request(event, _ACTIONS[delivery.event])]
    return [Ignored(f"nothing is built for the event {delivery.event!r}")]


def _read_change(change: _Change, repository: _Repository) -> Outcome:
    ref = change.new or change.old
    if ref is None:
        return Ignored("a change without a branch")
    author = _RAW_AUTHOR.fullmatch((ref.target.author.raw if ref.target.author else "")[:1024])
    prefix = {"branch": "refs/heads/", "tag": "refs/tags/", "annotated_tag": "refs/tags/"}.get(ref.type, "")
    return PushedRef(
        ref=prefix + ref.name,
        commit=ref.target.hash if change.new else "",
        message=ref.target.message,
        author_name=author["name"] if author else "",
        author_email=author["email"] if author else "",
        repositories=repository.urls(),
        source_event="repo:push",
    ).outcome()


def _read_pull_request(event: _PullRequestEvent, action: str) -> Outcome:
    request = event.pullrequest
    source = request.source.repository
    return ChangedPullRequest(
        pull_request=PullRequest(
            number=request.id,
            base_branch=request.destination.branch.name,
            repository=next(iter(source.urls()), "") if source else "",
            is_fork=source is None or not source.is_same(event.repository),
            draft=request.draft,
            owner=source.full_name.split("/", 1)[0] if source else "",
        ),
        commit=request.source.commit.hash if request.source.commit else "",
        branch=request.source.branch.name,
        title=request.title,
        source_event="pullrequest",
        source_action=action,
        author_name=(event.actor.display_name if event.actor else None) or "",
        repositories=event.repository.urls(),
    ).outcome()
