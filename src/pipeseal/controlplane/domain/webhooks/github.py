"""Deliveries of GitHub: `push`, `pull_request`, `ping` (docs.github.com, "Webhook events and payloads")."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import msgspec

from pipeseal.controlplane.domain.webhooks.outcomes import (
    ChangedPullRequest,
    Ignored,
    Outcome,
    PullRequest,
    PushedRef,
)
from pipeseal.controlplane.domain.webhooks.payloads import decode_payload, malformed
from pipeseal.controlplane.domain.webhooks.proof import VerifiedDelivery

_BUILDING = frozenset(
    {"opened", "synchronize", "reopened", "ready_for_review", "converted_to_draft", "labeled", "unlabeled"}
)


class _User(msgspec.Struct):
    login: str = ""


class _Repository(msgspec.Struct):
    full_name: str
    id: int | None = None
    clone_url: str | None = None
    ssh_url: str | None = None
    html_url: str | None = None
    owner: _User | None = None

    def urls(self) -> tuple[str, ...]:
        return tuple(url for url in (self.clone_url, self.ssh_url, self.html_url) if url)

    def is_same(self, other: _Repository) -> bool:
        if self.id is not None and other.id is not None:
            return self.id == other.id
        return self.full_name.lower() == other.full_name.lower()


class _Author(msgspec.Struct):
    name: str | None = None
    email: str | None = None


class _Commit(msgspec.Struct):
    id: str
    message: str = ""
    author: _Author | None = None


class _Push(msgspec.Struct):
    ref: str
    after: str
    repository: _Repository
    head_commit: _Commit | None = None


class _Label(msgspec.Struct):
    name: str


class _Side(msgspec.Struct):
    ref: str
    sha: str
    repo: _Repository | None = None


class _PullRequest(msgspec.Struct):
    number: int
    title: str
    head: _Side
    base: _Side
    draft: bool | None = None
    labels: list[_Label] = []
    user: _User | None = None


class _Change(msgspec.Struct):
    base: dict[str, Any] | None = None


class _PullRequestEvent(msgspec.Struct):
    action: str
    pull_request: _PullRequest
    repository: _Repository
    label: _Label | None = None
    changes: _Change | None = None


def read(delivery: VerifiedDelivery) -> list[Outcome]:
    """What comes of a delivery.

    Raises:
        MalformedInput: `webhook.malformed`.
    """
    match delivery.event:
        case "push":
            return [_read_push(decode_payload(_json(delivery), _Push))]
        case "pull_request":
            return [_read_pull_request(decode_payload(_json(delivery), _PullRequestEvent))]
        case "ping":
            return [Ignored("pong: the webhook works")]
        case event:
            return [Ignored(f"nothing is built for the event {event!r}")]


def _json(delivery: VerifiedDelivery) -> bytes:
    """The document, which is a form's field when the webhook was set up so; the signature is of the whole form."""
    if delivery.content_type != "application/x-www-form-urlencoded":
        return delivery.body
    try:
        fields = parse_qs(delivery.body.decode("ascii"), max_num_fields=8, strict_parsing=True)
    except ValueError as error:
        raise malformed("the form cannot be read") from error
    if len(fields.get("payload", [])) != 1:
        raise malformed("the form has no field payload")
    return fields["payload"][0].encode("utf-8", "replace")


def _read_push(push: _Push) -> Outcome:
    head = push.head_commit
    # `after` is the tag object of an annotated tag; the commit it stands for is the head commit.
    is_tag = push.ref.startswith("refs/tags/")
    author = (head.author if head else None) or _Author()
    return PushedRef(
        ref=push.ref,
        commit=head.id if is_tag and head is not None and push.after.strip("0") else push.after,
        message=head.message if head else "",
        author_name=author.name or "",
        author_email=author.email or "",
        repositories=push.repository.urls(),
    ).outcome()


def _read_pull_request(event: _PullRequestEvent) -> Outcome:
    request = event.pull_request
    base_branch_changed = event.action == "edited" and event.changes is not None and event.changes.base is not None
    if event.action not in _BUILDING and not base_branch_changed:
        return Ignored(f"nothing is built when a pull request is {event.action[:64]!r}")
    head = request.head.repo
    urls = event.repository.urls()
    return ChangedPullRequest(
        pull_request=PullRequest(
            number=request.number,
            base_branch=request.base.ref,
            # A fork that is gone has no repository any more; it is a fork all the same.
            repository=next(iter(head.urls()), "") if head else "",
            is_fork=head is None or not head.is_same(event.repository),
            draft=request.draft,
            labels=tuple(label.name for label in request.labels),
            label=event.label.name if event.label else None,
            owner=(head.owner.login if head and head.owner else "") or _owner(head),
        ),
        commit=request.head.sha,
        branch=request.head.ref,
        title=request.title,
        source_event="pull_request",
        source_action=event.action,
        author_name=request.user.login if request.user else "",
        repositories=urls,
        base_branch_changed=base_branch_changed,
    ).outcome()


def _owner(repository: _Repository | None) -> str:
    """The account in `account/repository`."""
    return repository.full_name.split("/", 1)[0] if repository else ""
