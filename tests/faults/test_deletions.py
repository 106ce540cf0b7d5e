"""Every commit of a deletion fails, lost and kept: asked again it has happened, once, and nothing is left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.controlplane.job_side import upload
from tests.controlplane.running import FakeAgent, RunningServer, running_server
from tests.controlplane.test_deletions import until_removed
from tests.faults.breaking import Twin, Writes, break_sqlite
from tests.faults.test_server_twins import SETTINGS

# The deletion itself, its line among the changes, the removal of its bytes: fewer commits than this.
MOST_COMMITS = 8


def delete(running: RunningServer, path: str) -> None:
    """Delete, and ask again as long as an error comes."""
    for _ in range(10):
        answer = running.api.rest("DELETE", path)
        if answer.status < 500:
            break
    assert answer.status == 204, answer.json


@pytest.mark.parametrize("twin", list(Twin))
def test_a_deletion_whose_commits_fail_happens_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, twin: Twin
) -> None:
    writes = Writes()
    break_sqlite(monkeypatch, writes)
    struck = 0
    with running_server(tmp_path / "data", SETTINGS) as running:
        api = running.api
        api.create_pipeline("steps: [{command: x}]")
        agent = FakeAgent(api)
        for number in range(1, MOST_COMMITS + 1):
            api.create_build()
            job = agent.take()
            assert job.chunk(1, 0, b"line\n").status == 200
            artifact = upload(job, "a.txt", b"a")
            job.finish()
            base = f"/pipelines/demo/builds/{number}/jobs/{job.id}"
            writes.arm(twin, number)
            delete(running, f"{base}/log")
            delete(running, f"{base}/artifacts/{artifact}")
            until_removed(running)
            struck += len(writes.struck)
            writes.arm(twin, 0)
            assert api.rest("GET", f"{base}/log.txt").body == b""
            (listed,) = api.rest("GET", f"{base}/artifacts").json
            assert (listed["state"], bool(listed["deleted_by"])) == ("deleted", True)
            subjects = [one["subject"] for one in api.rest("GET", "/changes").json]
            assert {f"{base}/log", f"{base}/artifacts/{artifact}"} <= set(subjects)
    assert struck >= 4
