"""Jobs without a signature for tests, and what became of them."""

from __future__ import annotations

from typing import Any

from tests.agent.fake_server import FakeServer, JobRecord

REPOSITORY = "https://git.example.test/acme/widgets.git"
# Flags of an agent that runs what it is sent, and checks nothing out.
OPEN = ("--no-verification", "--skip-checkout")


def unsigned(command: str, **more: Any) -> dict[str, Any]:
    """A job without signature; `step` holds further members of its step."""
    env = {
        "BUILDKITE_COMMAND": command,
        "BUILDKITE_REPO": more.pop("repository", REPOSITORY),
        "BUILDKITE_ORGANIZATION_SLUG": "acme",
        "BUILDKITE_PIPELINE_SLUG": "widgets",
        "BUILDKITE_BRANCH": "main",
        "BUILDKITE_COMMIT": more.pop("commit", "HEAD"),
        **more.pop("env", {}),
    }
    step = {"command": command, **more.pop("step", {})}
    return {"id": "JOB", "token": "JOBTOKEN-JOBTOKEN", "env": env, "step": step, **more}


def run(server: FakeServer, raw: dict[str, Any], job_id: str = "job-1", seconds: float = 60) -> JobRecord:
    """Run a job to its end."""
    job = server.add_job({**raw, "id": job_id}, job_id)
    assert job.finished.wait(seconds), f"the job did not finish; its log: {job.text}"
    assert job.finish is not None
    return job


def begin(server: FakeServer, raw: dict[str, Any], job_id: str, word: str = "begun") -> JobRecord:
    """Start a job, and wait until a line of its log begins with `word`."""
    job = server.add_job({**raw, "id": job_id}, job_id)
    server.wait_for(lambda: f"\n{word}" in job.text)
    return job


def outcome(job: JobRecord) -> tuple[str, str, str]:
    """Exit status, signal and signal reason."""
    assert job.finish is not None
    return job.finish["exit_status"], job.finish["signal"], job.finish["signal_reason"]
