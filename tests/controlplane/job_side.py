"""What tests of the job-side endpoints share: a server with a running job, and its artifacts sent by hand."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from tests.cli.job_commands import Done, run_command
from tests.controlplane.running import Answer, FakeAgent, FakeJob, RunningServer

STEPS = "steps:\n  - command: a\n    key: one\n    label: One\n  - command: b\n    key: two\n"


def running_jobs(running: RunningServer, steps: str = STEPS, slug: str = "demo", count: int = 1) -> list[FakeJob]:
    """Started jobs of a new build, each in the hands of an agent of its own."""
    running.api.create_pipeline(steps, slug)
    running.api.create_build(slug)
    return [FakeAgent(running.api).take() for _ in range(count)]


def announced(path: str, data: bytes, **changes: Any) -> dict[str, Any]:
    """An artifact as an agent announces it."""
    return {
        "id": "",
        "path": path,
        "absolute_path": f"/build/{path}",
        "glob_path": "**/*",
        "file_size": len(data),
        "sha1sum": hashlib.sha1(data).hexdigest(),
        "sha256sum": hashlib.sha256(data).hexdigest(),
        "job_id": "",
        "created_at": "0001-01-01T00:00:00Z",
        "content_type": "text/plain",
        **changes,
    }


def batch(*artifacts: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """A batch of announced artifacts."""
    return {"id": str(uuid.uuid4()), "artifacts": list(artifacts), "upload_destination": "", **changes}


def form(data: bytes, field: str = "file", boundary: str = "xYzZY") -> tuple[bytes, dict[str, str]]:
    """The body of a form with one field before the file, and its headers."""
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="key"\r\n\r\nvalue\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="a b"\r\n'
        f"Content-Type: application/octet-stream\r\n\r\n"
    ).encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return body + data + f"\r\n--{boundary}--\r\n".encode(), headers


def send_form(job: FakeJob, instructions: Mapping[str, Any], data: bytes) -> Answer:
    """Send a file as the instructions say."""
    action = instructions["action"]
    assert action["url"] == job.api.url
    body, headers = form(data, action["file_input"])
    return job.api.call(action["method"], action["path"], raw=body, headers=headers)


def create(job: FakeJob, artifact: Mapping[str, Any], **changes: Any) -> tuple[str, dict[str, Any]]:
    """Announce one artifact: its id, and how to send it."""
    answer = job.call("POST", "/artifacts", batch(artifact, **changes))
    assert answer.status == 201, answer.json
    (artifact_id,) = answer.json["artifact_ids"]
    return artifact_id, answer.json["per_artifact_instructions"][artifact_id]


def upload(job: FakeJob, path: str, data: bytes, **changes: Any) -> str:
    """A finished artifact; returns its id."""
    artifact_id, instructions = create(job, announced(path, data, **changes))
    assert send_form(job, instructions, data).status == 204
    answer = job.call("PUT", "/artifacts", {"artifacts": [{"id": artifact_id, "state": "finished"}]})
    assert answer.status == 200, answer.json
    return artifact_id


def build_of(job: FakeJob) -> str:
    """The id of a job's build."""
    return job.env["BUILDKITE_BUILD_ID"]


def search(job: FakeJob, query: str, build_id: str = "", **more: str) -> Answer:
    """Search a build's artifacts."""
    from urllib.parse import urlencode

    path = f"/builds/{build_id or build_of(job)}/artifacts/search?{urlencode({'query': query, **more})}"
    return job.api.agent_call("GET", path, job.token)


def found_paths(job: FakeJob, query: str, **more: str) -> list[str]:
    """The paths that a search finds."""
    answer = search(job, query, **more)
    assert answer.status == 200, answer.json
    return [artifact["path"] for artifact in answer.json]


def path_of(url: str) -> str:
    """The path of an address on this server."""
    return urlsplit(url).path


def command(job: FakeJob, *arguments: str, **more: Any) -> Done:
    """Run a command of ours as the job would."""
    environment = {
        **job.env,
        "BUILDKITE_AGENT_ENDPOINT": f"{job.api.url}/v3",
        "BUILDKITE_AGENT_ACCESS_TOKEN": job.token,
    }
    return run_command(environment, *arguments, **more)
