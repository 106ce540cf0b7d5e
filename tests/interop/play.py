"""Playing a scenario with a pairing: pipeline, build, what is done meanwhile, and the outcome."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

from pipeseal.cli.rest_client import RestClient
from pipeseal.lab import lies
from pipeseal.lab.lying_server import Job, Lie
from pipeseal.lab.stage import run_git
from tests.interop.installation import Installation, Workshop, wait_for_build
from tests.interop.outcome import Outcome, clean_log
from tests.interop.scenario import Pairing, Scenario

# Far more than a build takes here, for machines that are busy with other things.
BUILD_SECONDS = 120.0


class Stage:
    """All installations of one test process, and the scenarios played on them.

    Parameters:
        root: an empty folder.
    """

    def __init__(self, root: Path) -> None:
        self._workshop = Workshop(root)
        self._installations: dict[str, Installation] = {}
        self._broken: dict[str, BaseException] = {}
        self._lock = Lock()
        self._starting = Lock()
        self._plays: dict[tuple[str, str], Future[Outcome]] = {}
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="play")

    def begin(self, scenario: Scenario, pairing: Pairing) -> Future[Outcome]:
        """Start playing, unless that was done already: the future holds the outcome."""
        with self._lock:
            key = (str(scenario.folder), pairing.name)
            if key not in self._plays:
                self._plays[key] = self._threads.submit(self._play, scenario, pairing)
            return self._plays[key]

    def close(self) -> None:
        """Stop everything."""
        self._threads.shutdown(cancel_futures=True)
        for installation in self._installations.values():
            installation.close()
        self._workshop.reaper.close()

    def _installation(self, kind: str) -> Installation:
        with self._starting:
            if kind not in self._installations:
                # One that does not start is an error of every scenario, and is not tried again.
                if kind in self._broken:
                    raise self._broken[kind]
                try:
                    self._installations[kind] = Installation(kind, self._workshop)
                except BaseException as error:
                    self._broken[kind] = error
                    raise
            return self._installations[kind]

    def _play(self, scenario: Scenario, pairing: Pairing) -> Outcome:
        installation = self._installation(pairing.runner)
        slug = f"{scenario.name}-{pairing.name}"
        repository = self._workshop.repository(scenario)
        options = scenario.options
        if "lie" in options:
            installation.need_liar(slug, read_lie(options["lie"]))
        installation.need_runner_for(scenario)
        if options.get("stored"):
            configuration = installation.sign_stored(pairing.signer, scenario, slug)
        else:
            queue = installation.need_uploader(pairing.signer)
            command = options.get("upload", "buildkite-agent pipeline upload")
            configuration = upload_step(command, queue)
        client = installation.client()
        try:
            for key, value in options.get("secrets", {}).items():
                client.put("secrets", key, body={"value": value})
            if "child" in options:
                queue = installation.need_uploader(pairing.signer)
                steps = options["child"].replace("$QUEUE", queue)
                child = {"name": f"{slug}-child", "repository": str(repository), "configuration": steps}
                client.post("pipelines", body=child)
            client.post(
                "pipelines",
                body={"name": slug, "slug": slug, "repository": str(repository), "configuration": configuration},
            )
            return _play_build(client, slug, scenario, repository)
        finally:
            client.close()


def upload_step(command: str, queue: str) -> str:
    """The steps of a pipeline that uploads its own."""
    lines = "".join(f"      {line}\n" for line in command.splitlines())
    return f"steps:\n  - label: upload\n    agents: {{queue: {queue}}}\n    command: |\n{lines}"


def _play_build(client: RestClient, slug: str, scenario: Scenario, repository: Path) -> Outcome:
    options = scenario.options
    body = {"commit": "HEAD", "branch": "main", "message": "Begin", **options.get("build", {})}
    if "pull_request" in options:
        number = options["pull_request"]["number"]
        body |= {"pull_request_id": number, "commit": run_git(repository, "rev-parse", f"refs/pull/{number}/head")}
    elif body["commit"] == "resolved":
        body["commit"] = run_git(repository, "rev-parse", "HEAD")
    build = client.post("pipelines", slug, "builds", body=body)
    path: tuple[str | int, ...] = ("pipelines", slug, "builds", build["number"])
    for action in options.get("during", ()):
        _act(client, path, action)
    ends = scenario.expect["state"]
    build = wait_for_build(client, path, lambda seen: seen["state"] == ends and ends == "blocked", BUILD_SECONDS)
    logs = {job["id"]: _log(client, path, job) for job in build["jobs"] if job["type"] == "script"}
    uploader = "" if options.get("stored") else build["jobs"][0]["id"]
    annotations, artifacts = {}, {}
    if "annotations" in scenario.expect:
        annotations = {row["context"]: row for row in client.get(*path, "annotations")}
    if "artifacts" in scenario.expect:
        artifacts = {row["path"]: row["sha256sum"] for row in client.get(*path, "artifacts")}
    return Outcome(build, logs, uploader, annotations, artifacts)


def _log(client: RestClient, path: tuple[str | int, ...], job: dict[str, Any]) -> str:
    data = b""
    while True:
        part = client.read_log(*path, "jobs", job["id"], "log.txt", offset=len(data), wait_seconds=0)
        data += part.data
        if not part.data:
            return clean_log(data)


def _act(client: RestClient, path: tuple[str | int, ...], action: dict[str, Any]) -> None:
    """Wait for what `when` says, then do what `do` says."""
    when = action["when"]

    def job_of(build: dict[str, Any]) -> dict[str, Any] | None:
        found = [job for job in build["jobs"] if when["job"] in (job["step_key"], job["label"])]
        return found[-1] if found else None

    def is_there(build: dict[str, Any]) -> bool:
        job = job_of(build)
        return job is not None and job["state"] == when["state"]

    build = wait_for_build(client, path, is_there, BUILD_SECONDS)
    job = job_of(build)
    assert job is not None, f"there is no job {when['job']!r}: the build is {build['state']}"
    deadline = time.monotonic() + BUILD_SECONDS
    while "logs" in when and when["logs"] not in _log(client, path, job).splitlines():
        assert time.monotonic() < deadline, f"the log of {when['job']} never had a line {when['logs']!r}"
        time.sleep(0.05)
    match action["do"]:
        case "cancel":
            client.put(*path, "cancel")
        case "unblock":
            client.put(*path, "jobs", job["id"], "unblock", body={"fields": action.get("fields", {})})
        case "retry":
            client.put(*path, "jobs", job["id"], "retry")
        case other:
            raise ValueError(f"`do` is {other!r}")


def read_lie(value: dict[str, Any]) -> Lie:
    """The lie that `build.json` describes.

    `{"use": NAME, "with": [...]}` is one of `pipeseal.lab.lies`; `job`, `step` and `env` are laid over the job and
    its two members, where null takes a member away.
    """
    if "use" in value:
        lie: Lie = getattr(lies, value["use"])(*value["with"])
        return lie

    def lay_over(job: Job) -> Job:
        changed = _merged(job, value.get("job", {}))
        return {**changed, **{part: _merged(job[part], value.get(part, {})) for part in ("step", "env")}}

    return lay_over


def _merged(before: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**before, **changes}.items() if value is not None}
