"""Deliveries of Bitbucket Data Center and Server: `repo:refs_changed`, `pr:*` (Atlassian, "Event payload")."""

from __future__ import annotations

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

_ACTIONS = {"pr:opened": "opened", "pr:from_ref_updated": "synchronize", "pr:reopened": "reopened"}


class _Link(msgspec.Struct):
    href: str


class _Links(msgspec.Struct):
    clone: list[_Link] = []
    self: list[_Link] = []


class _Project(msgspec.Struct):
    key: str = ""


class _Repository(msgspec.Struct):
    slug: str
    project: _Project
    id: int | None = None
    links: _Links | None = None

    def urls(self) -> tuple[str, ...]:
        return tuple(link.href for link in [*self.links.clone, *self.links.self]) if self.links else ()

    def is_same(self, other: _Repository) -> bool:
        if self.id is not None and other.id is not None:
            return self.id == other.id
        return (self.project.key, self.slug) == (other.project.key, other.slug)


class _Actor(msgspec.Struct, rename="camel"):
    display_name: str | None = None
    email_address: str | None = None


class _Ref(msgspec.Struct):
    id: str


class _Change(msgspec.Struct, rename="camel"):
    ref: _Ref
    to_hash: str


class _Commit(msgspec.Struct):
    id: str
    message: str = ""
    author: _Actor | None = None


class _Push(msgspec.Struct, rename="camel"):
    changes: list[_Change]
    repository: _Repository
    actor: _Actor | None = None
    commits: list[_Commit] = []
    to_commit: _Commit | None = None


class _Side(msgspec.Struct, rename="camel"):
    display_id: str
    latest_commit: str
    repository: _Repository


class _PullRequest(msgspec.Struct, rename="camel"):
    id: int
    title: str
    from_ref: _Side
    to_ref: _Side
    draft: bool | None = None


class _PullRequestEvent(msgspec.Struct, rename="camel"):
    pull_request: _PullRequest
    actor: _Actor | None = None


def read(delivery: VerifiedDelivery) -> list[Outcome]:
    """What comes of a delivery; a push may have moved several branches.

    Raises:
        MalformedInput: `webhook.malformed`.
    """
    if delivery.event == "repo:refs_changed":
        push = decode_payload(delivery.body, _Push)
        return [_read_change(change, push) for change in push.changes]
    if delivery.event in _ACTIONS:
        event = decode_payload(delivery.body, _PullRequestEvent)
        return [_read_pull_request(event, _ACTIONS[delivery.event])]
    if delivery.event == "diagnostics:ping":
        return [Ignored("pong: the webhook works")]
    return [Ignored(f"nothing is built for the event {delivery.event!r}")]


def _read_change(change: _Change, push: _Push) -> Outcome:
    # Older servers send no commits, so that there is no message and nothing to skip by.
    known = [*push.commits, *([push.to_commit] if push.to_commit else [])]
    head = next((commit for commit in known if commit.id == change.to_hash), None)
    author = (head.author if head else None) or push.actor or _Actor()
    return PushedRef(
        ref=change.ref.id,
        commit=change.to_hash,
        message=head.message if head else "",
        author_name=author.display_name or "",
        author_email=author.email_address or "",
        repositories=push.repository.urls(),
        source_event="repo:refs_changed",
    ).outcome()


def _read_pull_request(event: _PullRequestEvent, action: str) -> Outcome:
    request = event.pull_request
    source, target = request.from_ref.repository, request.to_ref.repository
    actor = event.actor or _Actor()
    return ChangedPullRequest(
        pull_request=PullRequest(
            number=request.id,
            base_branch=request.to_ref.display_id,
            repository=next(iter(source.urls()), ""),
            is_fork=not source.is_same(target),
            draft=request.draft,
            owner=source.project.key,
        ),
        commit=request.from_ref.latest_commit,
        branch=request.from_ref.display_id,
        title=request.title,
        source_event="pr",
        source_action=action,
        author_name=actor.display_name or "",
        author_email=actor.email_address or "",
        repositories=target.urls(),
    ).outcome()
