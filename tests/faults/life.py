"""A representative build with everything in it that writes, driven by the agent's own client in this process.

What a failure leads to is what the agent would do: its table of retries decides, and only its pauses are shortened.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeseal.agent.artifacts.find import Search, collect_files
from pipeseal.agent.artifacts.stores import StorePolicy
from pipeseal.agent.artifacts.upload import ArtifactUpload
from pipeseal.agent.job_client import JobClient
from pipeseal.agentapi.messages import Decision, FinishRequest, ObservedFinding, RegisterRequest
from pipeseal.controlplane.domain.webhooks import Provider
from pipeseal.errors import PipesealError, Unavailable
from tests.controlplane.running import Answer, Api, until
from tests.controlplane.test_notify import Receiver
from tests.controlplane.webhook_payloads import SECRET, encode, github_push, prove
from tests.faults.invariants import ALL_JOBS, Outcomes, check_build, numbered_lines

PARENT, CHILD, HOOKED = "demo", "child", "hooked"
_STEPS = {
    "steps": [
        {"command": "a", "key": "first", "label": "first"},
        "wait",
        {"command": "b", "key": "fails", "label": "fails", "retry": {"automatic": [{"exit_status": 7}]}},
        {"block": "go on?", "key": "gate", "depends_on": "fails"},
        {"command": "c", "key": "again", "label": "again", "depends_on": "gate"},
        {"trigger": CHILD, "key": "trigger", "depends_on": "gate"},
    ]
}
DECISION = Decision(mode="observe", proof="signature", findings=[ObservedFinding(code="proof.not_enough")])
_UPLOADED = {"steps": [{"command": "u", "key": "uploaded", "label": "uploaded"}]}


class Impatient(threading.Event):
    """A stop event whose waits are short: the table of retries decides how often, not how long."""

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(None if timeout is None else min(timeout, 0.01))


class Life:
    """Drives builds at one server, with one agent.

    Parameters:
        api: the server.
        folder: for the files of artifacts.
        on_trouble: called whenever a call failed and will be made again, from whichever thread made it.
    """

    def __init__(self, api: Api, folder: Path, on_trouble: Callable[[], None] = lambda: None) -> None:
        self.api = api
        self.ran: Counter[str] = Counter()
        self._folder = folder
        self._on_trouble = on_trouble
        self._commands: set[str] = set()
        self._webhook = ""
        self._receiver: Receiver | None = None

    def prepare(self, receiver: Receiver | None = None) -> None:
        """Make the pipelines.

        Parameters:
            receiver: is told that the main build passed.
        """
        self._receiver = receiver
        notify = {} if receiver is None else {"notify": [{"webhook": receiver.url, "if": 'build.state == "passed"'}]}
        self.api.create_pipeline(json.dumps(_STEPS | notify), PARENT)
        self.api.create_pipeline('steps: [{command: c, label: "child"}]', CHILD)
        body = {"name": HOOKED, "slug": HOOKED, "repository": "git@github.com:acme/api.git"}
        steps = {"configuration": 'steps: [{command: h, label: "hooked"}]'}
        assert self.api.rest("POST", "/pipelines", body | steps).status == 201
        made = self.api.rest("POST", f"/pipelines/{HOOKED}/webhooks", {"provider": "github", "secret": SECRET})
        assert made.status == 201, made.json
        self._webhook = made.json["webhook_url"]

    def run(self) -> None:
        """One build of each kind from its making to its end, and what must hold then."""
        mark = uuid.uuid4().hex
        number = self._create(mark)
        hooked = self._deliver(mark)
        with Agent(self) as agent:
            outcomes = Outcomes()
            parent = self._drive(agent, number, mark, outcomes)
            check_build(self.api, parent, self.ran)
            child = next(job["triggered_build"] for job in parent["jobs"] if job["type"] == "trigger")
            for slug, of_slug in ((CHILD, child["number"]), (HOOKED, hooked)):
                build = self._until_ended(agent, slug, of_slug, outcomes)
                check_build(self.api, build, self.ran)
            self._check_contents(parent, mark)
        if self._receiver is not None:
            self._check_told(self._receiver, parent)
        for slug in (PARENT, HOOKED):
            builds = [build for build in self._builds(slug) if build["message"].startswith(mark)]
            assert len(builds) == 1, f"{slug} has {len(builds)} builds where one was asked for"
        children = [build for build in self._builds(CHILD) if build["triggered_from"]["build_id"] == parent["id"]]
        assert len(children) == 1, f"one trigger step made {len(children)} builds"

    def _check_told(self, receiver: Receiver, build: dict[str, Any]) -> None:
        """The receiver is told once, or more often with one identifier by which it knows that."""
        path = f"/pipelines/{PARENT}/builds/{build['number']}/notifications"
        until(lambda: [row["status"] for row in self._rest("GET", path).json] == ["sent (204)"], "the notification")
        (row,) = self._rest("GET", path).json
        told = {
            headers["webhook-id"]
            for headers, body in list(receiver.requests)
            if json.loads(body)["build"]["id"] == build["id"]
        }
        assert told == {row["id"]}

    def _builds(self, slug: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._rest("GET", f"/pipelines/{slug}/builds").json
        return found

    # --- a person and a provider ----------------------------------------------------------------------------------

    def _rest(self, method: str, path: str, body: Any = None) -> Answer:
        return self._again(lambda: self.api.rest(method, path, body, timeout=60))

    def _again(self, call: Callable[[], Answer]) -> Answer:
        for _ in range(40):
            try:
                answer = call()
            except OSError:
                self._on_trouble()
                continue
            if answer.status < 500:
                return answer
            self._on_trouble()
        raise AssertionError(f"the server does not recover: {answer.status} {answer.json}")

    def _create(self, mark: str) -> int:
        """A build. A person who hears an error looks whether it was made before trying again."""
        for _ in range(10):
            body = {"message": mark, "commit": "a" * 40}
            with suppress(OSError):
                answer = self.api.rest("POST", f"/pipelines/{PARENT}/builds", body)
                if answer.status == 201:
                    return int(answer.json["number"])
            self._on_trouble()
            builds = self._rest("GET", f"/pipelines/{PARENT}/builds").json
            for build in builds:
                if build["message"] == mark:
                    return int(build["number"])
        raise AssertionError("no build could be made")

    def _deliver(self, mark: str) -> int:
        payload = github_push()
        payload["head_commit"]["message"] = mark
        body = encode(payload)
        headers = prove(Provider.GITHUB, "push", body, now=time.time()) | {"X-GitHub-Delivery": mark}
        path = self._webhook.removeprefix(self.api.url)
        answer = self._again(lambda: self.api.call("POST", path, raw=body, headers=headers))
        assert answer.status == 200, answer.json
        return int(answer.json["outcomes"][0]["build"]["number"])

    def _unblock(self, number: int, job_id: str) -> None:
        answer = self._rest("PUT", f"/pipelines/{PARENT}/builds/{number}/jobs/{job_id}/unblock", {})
        # Said again after an answer that was lost, it is not blocked any more.
        assert answer.status == 200 or answer.json["code"] == "state.not_blocked", answer.json

    def _retry(self, number: int, job_id: str) -> None:
        answer = self._rest("PUT", f"/pipelines/{PARENT}/builds/{number}/jobs/{job_id}/retry")
        assert answer.status == 200 or answer.json["code"] == "state.not_retryable", answer.json

    # --- a build, and its agent -------------------------------------------------------------------------------------

    def _drive(self, agent: Agent, number: int, mark: str, outcomes: Outcomes) -> dict[str, Any]:
        """Until the main build has ended: unblock it, and have its last step run again by hand."""
        path = f"/pipelines/{PARENT}/builds/{number}"
        deadline = time.monotonic() + 120
        by_hand = False
        while True:
            build: dict[str, Any] = self._rest("GET", f"{path}?{ALL_JOBS}").json
            outcomes.look(build)
            for job in build["jobs"]:
                if job["state"] == "blocked":
                    self._unblock(number, job["id"])
                if job["label"] == "again" and job["state"] == "failed" and not job["retried"] and not by_hand:
                    self._retry(number, job["id"])
                    by_hand = True
            if build["state"] in ("passed", "failed") and by_hand:
                assert build["state"] == "passed", [(job["label"], job["state"]) for job in build["jobs"]]
                return build
            assert time.monotonic() < deadline, [(job["label"], job["state"]) for job in build["jobs"]]
            agent.work(mark)

    def _until_ended(self, agent: Agent, slug: str, number: int, outcomes: Outcomes) -> dict[str, Any]:
        deadline = time.monotonic() + 120
        while True:
            build: dict[str, Any] = self._rest("GET", f"/pipelines/{slug}/builds/{number}?{ALL_JOBS}").json
            outcomes.look(build)
            if build["state"] == "passed":
                return build
            assert time.monotonic() < deadline, (slug, [(job["label"], job["state"]) for job in build["jobs"]])
            agent.work("")

    def _check_contents(self, build: dict[str, Any], mark: str) -> None:
        """What jobs left in the build is there, once."""
        assert build["meta_data"] == {"mark": mark}
        path = f"/pipelines/{PARENT}/builds/{build['number']}"
        annotations = self._rest("GET", f"{path}/annotations").json
        assert [(item["context"], item["style"]) for item in annotations] == [("note", "info")]
        artifacts = self._rest("GET", f"{path}/artifacts").json
        assert [(item["path"], item["state"]) for item in artifacts] == [("report.txt", "finished")]
        content = self.api.call(
            "GET", _path_of(artifacts[0]["download_url"]), authorization=f"Bearer {self.api.api_token}"
        )
        if content.status == 302:
            content = self.api.call("GET", _path_of(content.headers["location"]))
        assert content.body == mark.encode(), content
        # What an agent told with the end of a job is kept with it, or neither is.
        told = [job["decision"] for job in build["jobs"] if job["type"] == "script" and job["state"] == "passed"]
        assert told and all(one is not None and one["proof"] == DECISION.proof for one in told), told
        labels = Counter(job["label"] for job in build["jobs"] if job["type"] == "script")
        assert labels == {"first": 1, "uploaded": 1, "fails": 2, "again": 2}

    # --- what a job does --------------------------------------------------------------------------------------------

    def command(self, client: JobClient, job_id: str, env: dict[str, str], mark: str) -> int:
        """Run a job's command; its exit status."""
        assert job_id not in self._commands, f"job {job_id} runs twice"
        self._commands.add(job_id)
        self.ran[job_id] += 1
        label, attempt = env.get("BUILDKITE_LABEL", ""), env.get("BUILDKITE_RETRY_COUNT", "0")
        if label == "first":
            client.set_meta_data(job_id, "mark", mark)
            client.annotate(job_id, {"body": "look", "context": "note", "style": "info", "append": False})
            file = self._folder / "report.txt"
            file.write_text(mark, "utf-8")
            policy = StorePolicy(client.endpoint)
            upload = ArtifactUpload(client, job_id, policy, workers=1, warn=lambda _text: self._on_trouble())
            upload.run(collect_files(Search("report.txt", directory=str(self._folder))))
            body = {"uuid": str(uuid.uuid4()), "pipeline": _UPLOADED}
            client.upload_pipeline(job_id, json.dumps(body).encode())
        if label in ("fails", "again") and attempt == "0":
            return 7 if label == "fails" else 1
        return 0


def _path_of(url: str) -> str:
    return "/" + url.split("/", 3)[3]


class Agent:
    """An agent as `worker` and `run_job` are, without its processes."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._client = self._open(life.api.registration_token)

    def _open(self, token: str) -> JobClient:
        return JobClient(
            f"{self._life.api.url}/v3",
            token,
            stop=Impatient(),
            on_failure=lambda _name, _error, _delay: self._life._on_trouble(),
        )

    def __enter__(self) -> Agent:
        made = self._client.register(RegisterRequest(name="agent", hostname="host", version="1"))
        self._session = self._open(made.access_token)
        self._session.connect()
        return self

    def __exit__(self, *_error: object) -> None:
        if _error[0] is None:
            with suppress(Unavailable):  # said again after it was kept, the token is unknown by then
                self._session.disconnect()

    def work(self, mark: str) -> None:
        """Ask once for a job, and run it when there is one."""
        life = self._life
        try:
            answer = self._session.ping(5)
        except PipesealError:
            life._on_trouble()
            return
        if answer.job is None:
            return
        job_id = answer.job.id
        try:
            assignment = json.loads(self._session.accept_job(job_id))
        except PipesealError:
            life._on_trouble()
            return
        client = self._open(assignment["token"])
        try:
            client.start_job(job_id, "2026-01-01T00:00:00Z")
        except PipesealError:
            return
        status = life.command(client, job_id, assignment["env"], mark)
        offset, log = 0, numbered_lines(job_id)
        # One job has a log of several chunks; more of them would make every round longer and show nothing else.
        chunks = log.splitlines(keepends=True) if assignment["env"].get("BUILDKITE_LABEL") == "first" else [log]
        for sequence, chunk in enumerate(chunks, 1):
            compressor = zlib.compressobj(1, zlib.DEFLATED, 31)
            compressed = compressor.compress(chunk) + compressor.flush()
            client.append_log(job_id, sequence, offset, len(chunk), compressed)
            offset += len(chunk)
        end = FinishRequest(exit_status=str(status), finished_at="2026-01-01T00:00:01Z", decision=DECISION)
        client.finish_job(job_id, end)
