"""Which scope each endpoint of the REST API needs: one table, and an endpoint without a row is not served."""

from __future__ import annotations

from typing import Final

_BUILD: Final = "/pipelines/{slug}/builds/{number:whole}"
_JOB: Final = _BUILD + "/jobs/{job_id}"

# By method and path below `/v2`, or below `/v2/organizations/{organization}`; an empty scope: any token or account.
NEEDED: Final[dict[str, str]] = {
    "GET /organizations": "read_organizations",
    "GET /builds": "read_builds",
    "GET /access-token": "",
    "GET ": "read_organizations",
    "PATCH ": "write_organizations",
    "GET /pipelines": "read_pipelines",
    "POST /pipelines": "write_pipelines",
    "GET /pipelines/{slug}": "read_pipelines",
    "PATCH /pipelines/{slug}": "write_pipelines",
    "GET /pipelines/{slug}/builds": "read_builds",
    "POST /pipelines/{slug}/builds": "write_builds",
    f"GET {_BUILD}": "read_builds",
    f"PUT {_BUILD}/cancel": "write_builds",
    f"PUT {_BUILD}/rebuild": "write_builds",
    f"GET {_JOB}": "read_builds",
    f"GET {_JOB}/env": "read_job_env",
    f"GET {_JOB}/log": "read_build_logs",
    f"GET {_JOB}/log.txt": "read_build_logs",
    f"PUT {_JOB}/unblock": "write_builds",
    f"PUT {_JOB}/retry": "write_builds",
    f"GET {_BUILD}/artifacts": "read_artifacts",
    f"GET {_JOB}/artifacts": "read_artifacts",
    f"GET {_JOB}/artifacts/{{artifact_id}}": "read_artifacts",
    f"GET {_JOB}/artifacts/{{artifact_id}}/download": "read_artifacts",
    f"GET {_BUILD}/annotations": "read_builds",
    f"GET {_JOB}/annotations": "read_builds",
    "GET /secrets": "write_secrets",
    "PUT /secrets/{key}": "write_secrets",
    "DELETE /secrets/{key}": "write_secrets",
    "GET /pipelines/{slug}/schedules": "read_pipelines",
    "POST /pipelines/{slug}/schedules": "write_pipelines",
    "GET /pipelines/{slug}/schedules/{schedule_id}": "read_pipelines",
    "PATCH /pipelines/{slug}/schedules/{schedule_id}": "write_pipelines",
    "DELETE /pipelines/{slug}/schedules/{schedule_id}": "write_pipelines",
    "GET /pipelines/{slug}/webhooks": "write_pipelines",
    "POST /pipelines/{slug}/webhooks": "write_pipelines",
    "PUT /pipelines/{slug}/webhooks/{webhook_id}/secret": "write_pipelines",
    "DELETE /pipelines/{slug}/webhooks/{webhook_id}": "write_pipelines",
    f"GET {_BUILD}/notifications": "read_builds",
    "GET /notification-secret": "write_organizations",
    "GET /agents": "read_agents",
    "GET /agents/{agent_id}": "read_agents",
    "PUT /agents/{agent_id}/pause": "write_agents",
    "PUT /agents/{agent_id}/resume": "write_agents",
    "PUT /agents/{agent_id}/stop": "write_agents",
    "GET /members": "read_organizations",
    "POST /members": "write_organizations",
    "PATCH /members/{member_id}": "write_organizations",
    "GET /tokens": "write_organizations",
    "POST /tokens": "write_organizations",
    "DELETE /tokens/{token_id}": "write_organizations",
}
