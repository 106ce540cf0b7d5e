"""Deliveries of GitLab: pushes, tags and merge requests (docs.gitlab.com, "Webhook events")."""

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

# What GitLab calls the things that GitHub's words are known for.
_ACTIONS = {"open": "opened", "reopen": "reopened", "update": "synchronize"}


class _Kind(msgspec.Struct):
    object_kind: str = ""


class _Project(msgspec.Struct):
    id: int | None = None
    git_http_url: str | None = None
    git_ssh_url: str | None = None
    web_url: str | None = None
    path_with_namespace: str | None = None

    def urls(self) -> tuple[str, ...]:
        return tuple(url for url in (self.git_http_url, self.git_ssh_url, self.web_url) if url)


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
    project: _Project
    checkout_sha: str | None = None
    commits: list[_Commit] = []
    user_name: str | None = None
    user_email: str | None = None


class _Attributes(msgspec.Struct):
    iid: int
    title: str
    source_branch: str
    target_branch: str
    last_commit: _Commit | None = None
    action: str | None = None
    oldrev: str | None = None
    source_project_id: int | None = None
    target_project_id: int | None = None
    source: _Project | None = None
    draft: bool | None = None
    work_in_progress: bool | None = None


class _Label(msgspec.Struct):
    title: str


class _MergeRequest(msgspec.Struct):
    object_attributes: _Attributes
    project: _Project
    labels: list[_Label] | None = None


def read(delivery: VerifiedDelivery) -> list[Outcome]:
    """What comes of a delivery.

    Raises:
        MalformedInput: `webhook.malformed`.
    """
    # The body says what it is, and unlike the header it may be signed.
    kind = decode_payload(delivery.body, _Kind).object_kind
    match kind:
        case "push" | "tag_push":
            return [_read_push(decode_payload(delivery.body, _Push), kind)]
        case "merge_request":
            return [_read_merge_request(decode_payload(delivery.body, _MergeRequest))]
        case _:
            return [Ignored(f"nothing is built for the event {(kind or delivery.event)[:64]!r}")]


def _read_push(push: _Push, kind: str) -> Outcome:
    # `after` is the tag object of an annotated tag; `checkout_sha` is the commit, and null when the ref is gone.
    commit = push.checkout_sha or push.after if push.after.strip("0") else push.after
    head = next((entry for entry in push.commits if entry.id == commit), None)
    author = (head.author if head else None) or _Author(push.user_name, push.user_email)
    return PushedRef(
        ref=push.ref,
        commit=commit,
        message=head.message if head else "",
        author_name=author.name or "",
        author_email=author.email or "",
        repositories=push.project.urls(),
        source_event=kind,
    ).outcome()


def _read_merge_request(event: _MergeRequest) -> Outcome:
    attributes = event.object_attributes
    action = attributes.action or ""
    if action not in _ACTIONS:
        return Ignored(f"nothing is built for a merge request's {action[:64]!r}")
    if action == "update" and attributes.oldrev is None:
        return Ignored("the merge request was changed, and its commits were not")
    source = attributes.source or _Project()
    same = attributes.source_project_id is not None and attributes.source_project_id == attributes.target_project_id
    commit = attributes.last_commit
    author = (commit.author if commit else None) or _Author()
    draft = attributes.draft if attributes.draft is not None else attributes.work_in_progress
    return ChangedPullRequest(
        pull_request=PullRequest(
            number=attributes.iid,
            base_branch=attributes.target_branch,
            repository=next(iter(source.urls()), ""),
            is_fork=not same,
            draft=draft,
            labels=tuple(label.title for label in event.labels or ()),
            owner=(source.path_with_namespace or "").rpartition("/")[0],
        ),
        commit=commit.id if commit else "",
        branch=attributes.source_branch,
        title=attributes.title,
        source_event="merge_request",
        source_action=_ACTIONS[action],
        author_name=author.name or "",
        author_email=author.email or "",
        repositories=event.project.urls(),
    ).outcome()
