"""Every call of an agent and of its jobs breaks off once, before the server acts and after; each job runs once."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.agent.agent_process import agent_process
from tests.controlplane.running import QUICK, RunningServer, running_server, until
from tests.faults.cutting_proxy import SEND_ARTIFACT, Cut, CuttingProxy, cutting_proxy
from tests.faults.invariants import check_build, read_ran, shell_job, wait_for_end

IMPATIENT = Path(__file__).with_name("impatient.py")
SETTINGS = replace(QUICK, ping_hold=0.3, heartbeat_interval=1, job_status_interval=1)
WORKERS = 4
# What a job calls in every run of it; more may come, and is then cut as well.
EXPECTED = {
    *("accept_job", "start_job", "append_log", "finish_job", "create_artifacts", SEND_ARTIFACT, "update_artifacts"),
    *("set_meta_data", "get_meta_data", "annotate", "upload_pipeline"),
}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningServer]:
    with running_server(tmp_path / "data", SETTINGS) as running:
        yield running


@pytest.fixture
def proxy(running: RunningServer) -> Iterator[CuttingProxy]:
    with cutting_proxy(running.api.url) as proxy:
        running.plane.url = proxy.url  # so that artifacts go through it too
        yield proxy


class Endpoint:
    """The proxy, as agents see it."""

    def __init__(self, proxy: CuttingProxy) -> None:
        self.endpoint = f"{proxy.url}/v3"


def start_agent(proxy: CuttingProxy, running: RunningServer, folder: Path) -> Any:
    token = f"file://{running.folder / 'agent-token'}"
    flags = ("--token", token, "--no-verification", "--skip-checkout", "--spawn", str(WORKERS))
    return agent_process(Endpoint(proxy), folder, *flags, program=[str(IMPATIENT)])


def busy_step(label: str, ran: Path) -> dict[str, Any]:
    """A step whose job makes every kind of call."""
    uploaded = json.dumps({"steps": [{"command": "x", "label": f"from {label}", "skip": "only to be there"}]})
    lines = [
        f"meta-data set {label} value",
        f"meta-data get {label}",
        f"annotate text --context {label}",
        "pipeline upload --no-interpolation pipeline.json",
    ]
    calls = " ".join(shlex.quote(line) for line in lines)
    command = [
        shell_job(ran),
        f"echo content of {label} > {label}.txt",
        f"echo {shlex.quote(uploaded)} > pipeline.json",
        f"{sys.executable} {IMPATIENT} each {calls}",
    ]
    return {"command": "\n".join(command), "label": label, "artifact_paths": f"{label}.txt"}


def run_build(
    running: RunningServer, proxy: CuttingProxy, plan: dict[str, tuple[str, Cut]], ran: Path
) -> dict[str, Any]:
    """Run a build with one busy step for each label; the connection breaks in it as planned."""
    slug = f"of-{len(plan)}"
    running.api.create_pipeline(json.dumps({"steps": [busy_step(label, ran) for label in plan]}), slug)
    proxy.open.clear()
    build = running.api.create_build(slug)
    ids = {job["label"]: job["id"] for job in build["jobs"]}
    proxy.of_jobs = {ids[label]: cut for label, cut in plan.items() if cut[0]}
    proxy.open.set()
    return build


def check(running: RunningServer, build: dict[str, Any], labels: set[str], ran: Path) -> None:
    """What must hold of a build, and of what its jobs left in it."""
    api, slug = running.api, build["pipeline"]["slug"]
    build = wait_for_end(api, 1, slug, seconds=60)
    logs = {job["label"]: api.log(build, job["id"])[-2000:] for job in build["jobs"] if job["state"] == "failed"}
    assert build["state"] == "passed", logs
    scripts = [job for job in build["jobs"] if job["state"] != "skipped"]
    check_build(api, {**build, "jobs": scripts}, read_ran(ran))
    assert sorted(job["label"] for job in scripts) == sorted(labels)
    skipped = [job["label"] for job in build["jobs"] if job["state"] == "skipped"]
    assert sorted(skipped) == sorted(f"from {label}" for label in labels)
    assert build["meta_data"] == dict.fromkeys(labels, "value")
    path = f"/pipelines/{slug}/builds/1"
    annotations = api.rest("GET", f"{path}/annotations?per_page=100").json
    assert sorted(item["context"] for item in annotations) == sorted(labels)
    artifacts = api.rest("GET", f"{path}/artifacts?per_page=100").json
    assert sorted((item["path"], item["state"]) for item in artifacts) == sorted(
        (f"{label}.txt", "finished") for label in labels
    )


def test_every_call_breaks_off_once(running: RunningServer, proxy: CuttingProxy, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    clean = run_build(running, proxy, {"clean": ("", Cut.AFTER)}, ran)
    proxy.of_sessions = {
        name: [Cut.BEFORE, Cut.AFTER, Cut.HALF] for name in ("register", "connect", "ping", "heartbeat", "disconnect")
    }
    with start_agent(proxy, running, tmp_path / "agent") as agent:
        check(running, clean, {"clean"}, ran)
        (of_job,) = (seen for job_id, seen in proxy.seen.items() if job_id)
        routes = sorted(of_job.keys() | {"job_state"})
        assert of_job.keys() >= EXPECTED
        routes.remove("job_state")  # asked once a second, and so only by jobs that take that long
        plan = {f"{route}-{cut.name.lower()}": (route, cut) for route in routes for cut in Cut}
        build = run_build(running, proxy, plan, ran)
        check(running, build, set(plan), ran)
        struck = {(route, cut) for job_id, route, cut in proxy.cuts if job_id}
        assert struck == set(plan.values())
        until(lambda: not proxy.of_sessions["heartbeat"], "three heartbeats to break off")
    assert agent.process.returncode == 0, agent.log
    assert not any(proxy.of_sessions.values()), proxy.of_sessions
    states = [row["connection_state"] for row in running.api.rest("GET", "/agents?per_page=100").json]
    assert states.count("connected") <= 2, "agents whose registering was kept and never heard of; no others"
