"""Deliveries as the providers document them, cut down to what matters, and the ways to prove them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

from pipeseal.controlplane.domain.webhooks import Provider

SECRET = "a-secret-of-decent-length"
SIGNING_TOKEN = "whsec_" + base64.b64encode(bytes(range(32))).decode()
NOW = 1_790_000_000.0
COMMIT = "0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c"
TAG_OBJECT = "b0e3f5a7c9d1e2f304152637485960718293a4b5"
NULL = "0" * 40


def encode(payload: Any) -> bytes:
    return json.dumps(payload).encode()


def hub(body: bytes, secret: str = SECRET) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def prove(provider: Provider, event: str, body: bytes, secret: str = SECRET, now: float = NOW) -> dict[str, str]:
    """The headers of a delivery that `provider` sends."""
    moment = str(int(now))
    match provider:
        case Provider.GITHUB:
            return {
                "Content-Type": "application/json",
                "X-GitHub-Event": event,
                "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
                "X-Hub-Signature-256": hub(body, secret),
            }
        case Provider.GITLAB if secret.startswith("whsec_"):
            signed = f"id-1.{moment}.".encode() + body
            key = base64.b64decode(secret.removeprefix("whsec_"))
            signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
            return {
                "X-Gitlab-Event": event,
                "webhook-id": "id-1",
                "webhook-timestamp": moment,
                "webhook-signature": f"v1,{signature}",
            }
        case Provider.GITLAB:
            return {"X-Gitlab-Event": event, "X-Gitlab-Event-UUID": "uuid-1", "X-Gitlab-Token": secret}
        case Provider.BITBUCKET | Provider.BITBUCKET_SERVER:
            return {"X-Event-Key": event, "X-Request-UUID": "u-1", "X-Hub-Signature": hub(body, secret)}
        case Provider.GIT:
            signature = hmac.new(secret.encode(), moment.encode() + b"." + body, hashlib.sha256).hexdigest()
            return {"X-Pipeseal-Signature": f"timestamp={moment},signature={signature}"}


GITHUB_REPOSITORY = {
    "id": 35129377,
    "full_name": "acme/api",
    "clone_url": "https://github.com/acme/api.git",
    "ssh_url": "git@github.com:acme/api.git",
    "html_url": "https://github.com/acme/api",
    "owner": {"login": "acme"},
}
GITHUB_FORK = {
    "id": 999,
    "full_name": "mallory/api",
    "clone_url": "https://github.com/mallory/api.git",
    "owner": {"login": "mallory"},
}


def github_push(**changes: Any) -> dict[str, Any]:
    return {
        "ref": "refs/heads/main",
        "before": NULL,
        "after": COMMIT,
        "created": False,
        "head_commit": {
            "id": COMMIT,
            "message": "Add login\n\nLonger text",
            "author": {"name": "Ada", "email": "ada@example.com", "username": "ada"},
        },
        "repository": GITHUB_REPOSITORY,
        "pusher": {"name": "ada"},
        **changes,
    }


def github_pull_request(action: str = "opened", *, fork: bool = False, **changes: Any) -> dict[str, Any]:
    return {
        "action": action,
        "number": 7,
        "pull_request": {
            "number": 7,
            "title": "Login",
            "draft": False,
            "user": {"login": "ada"},
            "labels": [{"name": "safe"}, {"name": "big"}],
            "head": {"ref": "login", "sha": COMMIT, "repo": GITHUB_FORK if fork else GITHUB_REPOSITORY},
            "base": {"ref": "main", "sha": NULL, "repo": GITHUB_REPOSITORY},
        },
        "repository": GITHUB_REPOSITORY,
        **changes,
    }


GITLAB_PROJECT = {
    "id": 15,
    "git_http_url": "https://gitlab.example.com/acme/api.git",
    "git_ssh_url": "git@gitlab.example.com:acme/api.git",
    "web_url": "https://gitlab.example.com/acme/api",
    "path_with_namespace": "acme/api",
}


def gitlab_push(**changes: Any) -> dict[str, Any]:
    return {
        "object_kind": "push",
        "ref": "refs/heads/main",
        "before": NULL,
        "after": COMMIT,
        "checkout_sha": COMMIT,
        "user_name": "Grace",
        "user_email": "",
        "project": GITLAB_PROJECT,
        "commits": [
            {"id": NULL, "message": "Older", "author": {"name": "Old", "email": "old@example.com"}},
            {"id": COMMIT, "message": "Add login", "author": {"name": "Ada", "email": "ada@example.com"}},
        ],
        **changes,
    }


def gitlab_merge_request(action: str = "open", *, project: int = 15, **changes: Any) -> dict[str, Any]:
    return {
        "object_kind": "merge_request",
        "project": GITLAB_PROJECT,
        "labels": [{"title": "safe"}],
        "object_attributes": {
            "iid": 14,
            "title": "Login",
            "action": action,
            "source_branch": "login",
            "target_branch": "main",
            "source_project_id": project,
            "target_project_id": 15,
            "source": {**GITLAB_PROJECT, "path_with_namespace": "mallory/tools/api" if project != 15 else "acme/api"},
            "draft": True,
            "last_commit": {"id": COMMIT, "message": "x", "author": {"name": "Ada", "email": "ada@example.com"}},
            **changes,
        },
    }


BITBUCKET_REPOSITORY = {
    "full_name": "acme/api",
    "uuid": "{673a6070}",
    "links": {"html": {"href": "https://bitbucket.org/acme/api"}},
}


def bitbucket_ref(kind: str = "branch", name: str = "main", message: str = "Add login") -> dict[str, Any]:
    author = {"raw": "Ada Lovelace <ada@example.com>"}
    return {"type": kind, "name": name, "target": {"hash": COMMIT, "message": message, "author": author}}


def bitbucket_push(*changes: dict[str, Any]) -> dict[str, Any]:
    return {"push": {"changes": list(changes)}, "repository": BITBUCKET_REPOSITORY, "actor": {"display_name": "Ada"}}


def bitbucket_pull_request(*, fork: bool = False, gone: bool = False) -> dict[str, Any]:
    fork_repository = {
        "full_name": "mallory/api",
        "uuid": "{999}",
        "links": {"html": {"href": "https://b.org/m/api"}},
    }
    return {
        "pullrequest": {
            "id": 3,
            "title": "Login",
            "draft": False,
            "source": {
                "branch": {"name": "login"},
                "commit": {"hash": COMMIT[:12]},
                "repository": None if gone else fork_repository if fork else BITBUCKET_REPOSITORY,
            },
            "destination": {"branch": {"name": "main"}, "commit": {"hash": "0" * 12}},
        },
        "repository": BITBUCKET_REPOSITORY,
        "actor": {"display_name": "Ada"},
    }


def server_repository(number: int = 84, key: str = "ACME") -> dict[str, Any]:
    clone = [{"href": "ssh://git@bitbucket.example.com:7999/acme/api.git", "name": "ssh"}]
    return {"slug": "api", "id": number, "project": {"key": key}, "links": {"clone": clone}}


def server_push(*changes: tuple[str, str], **rest: Any) -> dict[str, Any]:
    return {
        "eventKey": "repo:refs_changed",
        "date": "2026-09-19T09:45:32+1000",
        "actor": {"name": "ada", "displayName": "Ada", "emailAddress": "ada@example.com"},
        "repository": server_repository(),
        "changes": [{"ref": {"id": ref}, "refId": ref, "fromHash": NULL, "toHash": to} for ref, to in changes],
        **rest,
    }


def server_pull_request(*, fork: bool = False) -> dict[str, Any]:
    source = server_repository(99, "~MALLORY") if fork else server_repository()
    return {
        "eventKey": "pr:opened",
        "actor": {"displayName": "Ada"},
        "pullRequest": {
            "id": 11,
            "title": "Login",
            "draft": True,
            "fromRef": {
                "id": "refs/heads/login",
                "displayId": "login",
                "latestCommit": COMMIT,
                "repository": source,
            },
            "toRef": {"displayId": "main", "latestCommit": NULL, "repository": server_repository()},
        },
    }
