"""The endpoints that commands inside a job call: the same kind of table as `routes`, for the same two readers."""

from __future__ import annotations

from pipeseal.agentapi.routes import ROUTES, Route, Token, fill_path

JOB_SIDE_ROUTES: tuple[Route, ...] = (
    # Called by an agent that was started for one job.
    Route("acquire_job", "PUT", "/jobs/{job_id}/acquire", Token.SESSION),
    Route("stop_agent", "POST", "/stop", Token.JOB),
    Route("pause_agent", "POST", "/pause", Token.JOB),
    Route("resume_agent", "POST", "/resume", Token.JOB),
    Route("update_job", "PUT", "/jobs/{job_id}", Token.JOB),
    Route("promise_failure", "PUT", "/jobs/{job_id}/promise_failure", Token.JOB),
    Route("set_meta_data_batch", "POST", "/jobs/{job_id}/data/set-batch", Token.JOB),
    Route("get_build_meta_data", "POST", "/builds/{build_id}/data/get", Token.JOB),
    Route("has_build_meta_data", "POST", "/builds/{build_id}/data/exists", Token.JOB),
    Route("list_build_meta_data", "POST", "/builds/{build_id}/data/keys", Token.JOB),
    Route("annotate", "POST", "/jobs/{job_id}/annotations", Token.JOB),
    Route("remove_annotation", "DELETE", "/jobs/{job_id}/annotations/{context}", Token.JOB),
    Route("get_secret", "GET", "/jobs/{job_id}/secrets", Token.JOB),
    Route("request_oidc_token", "POST", "/jobs/{job_id}/oidc/tokens", Token.JOB),
    Route("export_step", "POST", "/steps/{step}/export", Token.JOB),
    Route("update_step", "PUT", "/steps/{step}", Token.JOB),
    Route("cancel_step", "POST", "/steps/{step}/cancel", Token.JOB),
    Route("cancel_build", "POST", "/builds/{build_id}/cancel", Token.JOB),
    Route("create_artifacts", "POST", "/jobs/{job_id}/artifacts", Token.JOB),
    Route("update_artifacts", "PUT", "/jobs/{job_id}/artifacts", Token.JOB),
    Route("search_artifacts", "GET", "/builds/{build_id}/artifacts/search", Token.JOB),
)

BY_NAME: dict[str, Route] = {route.name: route for route in (*ROUTES, *JOB_SIDE_ROUTES)}


def job_route_path(name: str, **segments: str) -> str:
    """The path of endpoint `name` of either table, with each segment percent-encoded.

    Parameters:
        name: a name in `JOB_SIDE_ROUTES` or `routes.ROUTES`.
        segments: value for each `{name}` in the path.

    Raises:
        KeyError: unknown endpoint, or a segment missing.
    """
    return fill_path(BY_NAME[name].path, segments)
