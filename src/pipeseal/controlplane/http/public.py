"""What a stranger can see: one closed list.

Somebody who has shown neither token nor session may read public pipelines, through the very endpoints that everybody
reads them with. What may be read is listed here, endpoint by endpoint and member by member; whatever is not listed is
not shown. A private pipeline and one that does not exist get the same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import urlsplit

import msgspec
from starlette.requests import Request

from pipeseal.controlplane.http.readers import reader_of
from pipeseal.controlplane.services.authenticate import missing_token, not_found
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.services.public import PUBLIC, public_pipelines_allowed
from pipeseal.controlplane.store import builds as build_store
from pipeseal.controlplane.store.database import Transaction

# What is kept of a value: all of it, these members, or what a function makes of it.
View: TypeAlias = "bool | Mapping[str, View] | Callable[[Any], Any]"


class Item(NamedTuple):
    """One entry of the list.

    Parameters:
        what: for people.
        endpoints: where it is read, below `/v2/organizations/{organization}`.
        members: of the JSON answer; None where the answer is no JSON.
    """

    what: str
    endpoints: tuple[str, ...]
    members: Mapping[str, View] | None


def _first_line(message: str) -> str:
    """The rest of a message often speaks to colleagues."""
    return message.partition("\n")[0]


def _without_user(url: str) -> str | None:
    """A repository's address, unless it holds a name or password: those are nobody's business."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return None if parts.password or (parts.username and parts.scheme in {"http", "https"}) else url


_BUILD: Final = "/pipelines/{slug}/builds/{number:whole}"
_JOB: Final = _BUILD + "/jobs/{job_id}"
_PIPELINE_MEMBERS: Final[Mapping[str, View]] = dict.fromkeys(
    ("url", "web_url", "name", "slug", "description", "default_branch", "builds_url", "created_at", "visibility"),
    True,
) | {"repository": _without_user}
_JOB_MEMBERS: Final[Mapping[str, View]] = dict.fromkeys(
    (
        # What it is.
        "id", "type", "name", "label", "step_key", "step", "group_key", "command", "prompt", "blocked_state",
        "matrix", "parallel_group_index", "parallel_group_total", "timeout_in_minutes",
        # How it stands.
        "state", "reason", "unblockable", "created_at", "runnable_at", "scheduled_at", "started_at", "finished_at",
        "exit_status", "signal", "signal_reason", "soft_failed", "retried", "retried_in_job_id", "retries_count",
        "retry_type", "depends_on",
        # Where the rest of it is.
        "build_url", "web_url", "log_url", "raw_log_url", "log_bytes", "log_missing_bytes", "log_deleted_at",
    ),
    True,
) | {"agent": {"name": True, "version": True}, "refusal": {"code": True, "message": True}}  # fmt: skip
_BUILD_MEMBERS: Final[Mapping[str, View]] = dict.fromkeys(
    (
        "id", "url", "web_url", "number", "state", "blocked", "commit", "branch", "tag", "source", "created_at",
        "scheduled_at", "started_at", "finished_at",
    ),
    True,
) | {
    "message": _first_line,
    "pull_request": {"id": True},
    "pipeline": _PIPELINE_MEMBERS,
    "jobs": _JOB_MEMBERS,
}  # fmt: skip
_ARTIFACT_MEMBERS: Final[Mapping[str, View]] = dict.fromkeys(
    (
        "id", "job_id", "url", "download_url", "state", "path", "dirname", "filename", "mime_type", "file_size",
        "sha1sum", "sha256sum", "created_at", "deleted_at",
    ),
    True,
)  # fmt: skip
_SIGNED_MEMBERS: Final[Mapping[str, View]] = {
    **dict.fromkeys(("job_id", "signature", "payload", "withheld"), True),
    "keys": dict.fromkeys(("id", "kid", "algorithm", "jwk", "revoked_at"), True),
    "problem": {"code": True, "message": True},
}
_ANNOTATION_MEMBERS: Final[Mapping[str, View]] = dict.fromkeys(
    (
        "id", "context", "style", "scope", "job_id", "writer_job_id", "priority", "body", "body_html", "frame",
        "created_at", "updated_at",
    ),
    True,
)  # fmt: skip

ITEMS: Final[tuple[Item, ...]] = (
    Item("the public pipelines", ("GET /pipelines", "GET /pipelines/{slug}"), _PIPELINE_MEMBERS),
    Item(
        "build pages: builds with their jobs, and the name and version of the agents that ran them",
        ("GET /pipelines/{slug}/builds", f"GET {_BUILD}", f"GET {_BUILD}/events"),
        _BUILD_MEMBERS,
    ),
    Item("the feed for build monitors", ("GET /cc.xml",), None),
    Item("the jobs of a build, by page", (f"GET {_BUILD}/jobs",), {"items": _JOB_MEMBERS, "links": True}),
    Item("one job", (f"GET {_JOB}",), _JOB_MEMBERS),
    Item("build logs", (f"GET {_JOB}/log", f"GET {_JOB}/log.txt", f"GET {_JOB}/log/stream"), None),
    Item(
        "artifacts: their names, sizes and checksums",
        (f"GET {_BUILD}/artifacts", f"GET {_JOB}/artifacts", f"GET {_JOB}/artifacts/{{artifact_id}}"),
        _ARTIFACT_MEMBERS,
    ),
    Item("artifacts themselves", (f"GET {_JOB}/artifacts/{{artifact_id}}/download",), None),
    Item(
        "annotations, which are part of build pages",
        (f"GET {_BUILD}/annotations", f"GET {_JOB}/annotations"),
        _ANNOTATION_MEMBERS,
    ),
    Item(
        "signatures of steps, the public keys they name, and what they cover where all of that can be read here "
        "anyway",
        (f"GET {_BUILD}/signed-steps", f"GET {_JOB}/signed-step"),
        _SIGNED_MEMBERS,
    ),
    Item(
        "environment configuration from the pipeline: variables that the uploaded pipeline and the step set; values "
        "of names that are hidden in logs are hidden here too",
        (f"GET {_JOB}/env",),
        {"env": True, "set_by": True},
    ),
)  # fmt: skip
_BY_ENDPOINT: Final = {endpoint: item for item in ITEMS for endpoint in item.endpoints}


async def check_public(plane: ControlPlane, request: Request, endpoint: str) -> None:
    """Nothing, when a stranger may read this: the endpoint is listed, and the pipeline that it names is public.

    Parameters:
        endpoint: method and path as in the table of endpoints.

    Raises:
        VerificationError: `access.no_token`, the same whether the pipeline is private or does not exist.
        MalformedInput: `request.not_found`, a build from before the pipeline was public.
    """
    item = _BY_ENDPOINT.get(endpoint)
    if item is None:
        raise missing_token("Bearer")
    request.state.view = item.members
    slug, number = request.path_params.get("slug"), request.path_params.get("number")

    def look(tx: Transaction) -> int | None:
        if not public_pipelines_allowed(tx):
            return None
        if slug is None:
            return 0
        pipeline = build_store.find_pipeline(tx, slug)
        if pipeline is None or pipeline["visibility"] != PUBLIC:
            return None
        since = int(pipeline["public_since"])
        build = None if number is None else build_store.find_build(tx, slug, number)
        if build is not None and build["created_at"] < since:
            raise not_found("such build")
        return since

    since = await plane.database.read(look)
    if since is None:
        raise missing_token("Bearer")
    request.state.public_since = since


def is_stranger(request: Request) -> bool:
    """Whether whoever asks has shown nothing."""
    return reader_of(request).kind == "anonymous"


def shown(request: Request, value: Any) -> Any:
    """`value`, or the part of it that a stranger may see.

    Parameters:
        value: what everybody else gets as JSON: an object, or a list of objects.
    """
    if not is_stranger(request):
        return value
    view = request.state.view
    assert view is not None, "an endpoint whose answer is no JSON"
    return _keep(msgspec.json.decode(msgspec.json.encode(value)), view)


def _keep(value: Any, view: View) -> Any:
    if value is None or view is True:
        return value
    if isinstance(value, list):
        return [_keep(one, view) for one in value]
    if callable(view):
        return view(value)
    assert isinstance(view, Mapping)
    return {name: _keep(value[name], part) for name, part in view.items() if name in value}
