"""The one table of Agent API endpoints: the server mounts it, the client builds its paths from it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple
from urllib.parse import quote, unquote


class Token(Enum):
    """Which token a call carries in `Authorization: Token ...`."""

    REGISTRATION = "registration"
    SESSION = "session"
    JOB = "job"


class Route(NamedTuple):
    """One endpoint.

    Parameters:
        name: the word both programs know it by.
        method: HTTP method.
        path: below the endpoint (which ends in `/v3`); `{names}` are path segments.
        token: what the caller proves with.
        inside: commands inside a job make this call; an agent passes it on for them. Without it the call is the
            agent's own.
    """

    name: str
    method: str
    path: str
    token: Token
    inside: bool = False


ROUTES: tuple[Route, ...] = (
    Route("register", "POST", "/register", Token.REGISTRATION),
    Route("connect", "POST", "/connect", Token.SESSION),
    Route("disconnect", "POST", "/disconnect", Token.SESSION),
    Route("ping", "GET", "/ping", Token.SESSION),
    Route("heartbeat", "POST", "/heartbeat", Token.SESSION),
    Route("accept_job", "PUT", "/jobs/{job_id}/accept", Token.SESSION),
    Route("start_job", "PUT", "/jobs/{job_id}/start", Token.JOB),
    Route("job_state", "GET", "/jobs/{job_id}", Token.JOB),
    Route("finish_job", "PUT", "/jobs/{job_id}/finish", Token.JOB),
    Route("append_log", "POST", "/jobs/{job_id}/chunks", Token.JOB),
    Route("header_times", "POST", "/jobs/{job_id}/header_times", Token.JOB),
    Route("upload_pipeline", "POST", "/jobs/{job_id}/pipelines", Token.JOB, inside=True),
    Route("upload_state", "GET", "/jobs/{job_id}/pipelines/{upload_id}", Token.JOB, inside=True),
    Route("set_meta_data", "POST", "/jobs/{job_id}/data/set", Token.JOB, inside=True),
    Route("get_meta_data", "POST", "/jobs/{job_id}/data/get", Token.JOB, inside=True),
    Route("has_meta_data", "POST", "/jobs/{job_id}/data/exists", Token.JOB, inside=True),
    Route("list_meta_data", "POST", "/jobs/{job_id}/data/keys", Token.JOB, inside=True),
    # Called by an agent that was started for one job.
    Route("acquire_job", "PUT", "/jobs/{job_id}/acquire", Token.SESSION),
    Route("stop_agent", "POST", "/stop", Token.JOB, inside=True),
    Route("pause_agent", "POST", "/pause", Token.JOB, inside=True),
    Route("resume_agent", "POST", "/resume", Token.JOB, inside=True),
    Route("update_job", "PUT", "/jobs/{job_id}", Token.JOB, inside=True),
    Route("promise_failure", "PUT", "/jobs/{job_id}/promise_failure", Token.JOB, inside=True),
    Route("set_meta_data_batch", "POST", "/jobs/{job_id}/data/set-batch", Token.JOB, inside=True),
    Route("get_build_meta_data", "POST", "/builds/{build_id}/data/get", Token.JOB, inside=True),
    Route("has_build_meta_data", "POST", "/builds/{build_id}/data/exists", Token.JOB, inside=True),
    Route("list_build_meta_data", "POST", "/builds/{build_id}/data/keys", Token.JOB, inside=True),
    Route("annotate", "POST", "/jobs/{job_id}/annotations", Token.JOB, inside=True),
    Route("remove_annotation", "DELETE", "/jobs/{job_id}/annotations/{context}", Token.JOB, inside=True),
    Route("get_secret", "GET", "/jobs/{job_id}/secrets", Token.JOB, inside=True),
    Route("request_oidc_token", "POST", "/jobs/{job_id}/oidc/tokens", Token.JOB, inside=True),
    Route("export_step", "POST", "/steps/{step}/export", Token.JOB, inside=True),
    Route("update_step", "PUT", "/steps/{step}", Token.JOB, inside=True),
    Route("cancel_step", "POST", "/steps/{step}/cancel", Token.JOB, inside=True),
    Route("cancel_build", "POST", "/builds/{build_id}/cancel", Token.JOB, inside=True),
    Route("create_artifacts", "POST", "/jobs/{job_id}/artifacts", Token.JOB, inside=True),
    Route("update_artifacts", "PUT", "/jobs/{job_id}/artifacts", Token.JOB, inside=True),
    Route("search_artifacts", "GET", "/builds/{build_id}/artifacts/search", Token.JOB, inside=True),
)

BY_NAME: dict[str, Route] = {route.name: route for route in ROUTES}
_SEGMENT = re.compile(r"\{([a-z_]+)\}")
_PATTERNS = [
    (route, re.compile(_SEGMENT.sub(lambda found: f"(?P<{found[1]}>[^/]+)", route.path))) for route in ROUTES
]


def find_route(method: str, path: str) -> tuple[Route, dict[str, str]] | None:
    """The endpoint that a call is for, and its segments, decoded; None when there is no such endpoint.

    Parameters:
        path: below the endpoint URL, without a query.
    """
    for route, pattern in _PATTERNS:
        found = pattern.fullmatch(path) if route.method == method else None
        if found:
            return route, {name: unquote(value, errors="replace") for name, value in found.groupdict().items()}
    return None


def route_path(name: str, **segments: str) -> str:
    """The path of endpoint `name` below the endpoint URL, with each segment percent-encoded.

    Parameters:
        name: a name in `ROUTES`.
        segments: value for each `{name}` in the path; `.` is encoded too, as the stock client does.

    Raises:
        KeyError: unknown endpoint, or a segment missing.
    """
    return fill_path(BY_NAME[name].path, segments)


def fill_path(path: str, segments: Mapping[str, str]) -> str:
    """`path` with each `{name}` replaced by its segment, percent-encoded: `.` too, as the stock client does.

    Raises:
        KeyError: a segment is missing.
    """
    encoded = {key: quote(value, safe="").replace(".", "%2E") for key, value in segments.items()}
    return path.format(**encoded)
