"""A small control plane and artifact store for the commands inside a job: real sockets, everything in memory."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "job-token-of-the-tests"


@dataclass
class Recorded:
    """One request."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    segments: list[str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answered:
    """One answer: status, JSON or bytes, headers."""

    status: int = 200
    content: Any = None
    headers: dict[str, str] = field(default_factory=dict)


class FakeJobServer:
    """State of the fake, and what it was asked.

    `failures` maps "METHOD path-pattern" to statuses that are answered first, one after the other. `answer` maps the
    same to content that is answered in place of the fake's own.
    """

    def __init__(self) -> None:
        self.requests: list[Recorded] = []
        self.lock = threading.Lock()
        self.failures: dict[str, list[int]] = {}
        self.answers: dict[str, Answered] = {}
        self.meta_data: dict[str, str] = {}
        self.secrets: dict[str, str] = {}
        self.artifacts: dict[str, dict[str, Any]] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.stored: dict[str, bytes] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.forms: list[list[tuple[str, str, bytes]]] = []
        self.part_count = 0
        self.at_once = 0
        self.most_at_once = 0
        self.gate: Callable[[Recorded], None] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def endpoint(self) -> str:
        return f"{self.url}/v3"

    def environment(self) -> dict[str, str]:
        """What a job of this server has."""
        return {
            "BUILDKITE_AGENT_ACCESS_TOKEN": TOKEN,
            "BUILDKITE_AGENT_ENDPOINT": self.endpoint,
            "BUILDKITE_JOB_ID": "job-1",
            "BUILDKITE_BUILD_ID": "build-1",
            "BUILDKITE_STEP_ID": "step-1",
        }

    def asked(self, method: str, pattern: str) -> list[Recorded]:
        """The requests of this kind, in order."""
        with self.lock:
            return [one for one in self.requests if one.method == method and re.fullmatch(pattern, one.path)]

    # --- answering ------------------------------------------------------------------------------------------------

    def handle(self, request: Recorded) -> Answered:
        if self.gate is not None:
            self.gate(request)
        with self.lock:
            self.requests.append(request)
            for rule, statuses in self.failures.items():
                if statuses and self._is(rule, request):
                    return Answered(statuses.pop(0), {"message": "as the test wants it"})
            for rule, answer in self.answers.items():
                if self._is(rule, request):
                    return answer
            if request.path.startswith("/v3/"):
                if request.headers.get("authorization") != f"Token {TOKEN}":
                    return Answered(401, {"message": "no such token"})
                return self._api(request)
            if "authorization" in request.headers:
                return Answered(400, {"message": "a store was given a token"})
            return self._store(request)

    @staticmethod
    def _is(rule: str, request: Recorded) -> bool:
        method, _, pattern = rule.partition(" ")
        return request.method == method and re.fullmatch(pattern, request.path) is not None

    def _api(self, request: Recorded) -> Answered:
        match request.method, request.segments[1:]:
            case "POST", [("jobs" | "builds"), _, "data", "set"]:
                self.meta_data[request.json["key"]] = request.json["value"]
                return Answered(200)
            case "POST", ["jobs", _, "data", "set-batch"]:
                self.meta_data |= {item["key"]: item["value"] for item in request.json["items"]}
                return Answered(200)
            case "POST", [("jobs" | "builds"), _, "data", "get"]:
                key = request.json["key"]
                if key not in self.meta_data:
                    return Answered(404, {"message": "no such key"})
                return Answered(200, {"key": key, "value": self.meta_data[key]})
            case "POST", [("jobs" | "builds"), _, "data", "exists"]:
                return Answered(200, {"exists": request.json["key"] in self.meta_data})
            case "POST", [("jobs" | "builds"), _, "data", "keys"]:
                return Answered(200, list(self.meta_data))
            case "POST", ["jobs", _, "annotations"]:
                return Answered(200)
            case "DELETE", ["jobs", _, "annotations", _]:
                return Answered(204)
            case "GET", ["jobs", _, "secrets"]:
                key = request.query["key"]
                if key not in self.secrets:
                    return Answered(404, {"message": "no such secret"})
                return Answered(200, {"key": key, "value": self.secrets[key], "uuid": "s-1"})
            case "POST", ["jobs", _, "oidc", "tokens"]:
                return Answered(200, {"token": "header.claims.signature"})
            case "POST", ["steps", _, "export"]:
                return Answered(200, {"output": "the step"})
            case "PUT", ["steps", _]:
                return Answered(200)
            case "POST", ["steps", _, "cancel"] | ["builds", _, "cancel"]:
                return Answered(200, {"uuid": "what-was-cancelled"})
            case "PUT", ["jobs", job, "artifacts"]:
                return self._update_artifacts(job, request.json)
            case "POST", ["jobs", job, "artifacts"]:
                return self._create_artifacts(job, request.json)
            case "GET", ["builds", _, "artifacts", "search"]:
                return self._search_artifacts(request.query)
            case "PUT", ["jobs", _, "promise_failure"]:
                return Answered(204)
            case "PUT", ["jobs", job]:
                return Answered(200, {"id": job})
            case "POST", [("stop" | "pause" | "resume")]:
                return Answered(200)
        return Answered(404, {"message": "not found"})

    def _create_artifacts(self, job: str, batch: dict[str, Any]) -> Answered:
        if batch["id"] in self.batches:
            return Answered(200, self.batches[batch["id"]])
        ids, specific = [], {}
        for artifact in batch["artifacts"]:
            number = f"artifact-{len(self.artifacts) + 1}"
            ids.append(number)
            self.artifacts[number] = {**artifact, "id": number, "job_id": job, "state": "new"}
            if self.part_count and batch.get("multipart_supported"):
                specific[number] = {
                    "actions": [
                        {"url": f"{self.url}/part/{number}/{part}", "method": "PUT", "part_number": part}
                        for part in reversed(range(1, self.part_count + 1))
                    ]
                }
        answer = {
            "id": batch["id"],
            "artifact_ids": ids,
            "upload_instructions": {
                "data": {"key": "${artifact:path}", "policy": "p"},
                "action": {
                    "url": f"{self.url}/ignored?x=1",
                    "method": "POST",
                    "path": "upload",
                    "file_input": "file",
                },
            },
            "per_artifact_instructions": specific,
        }
        self.batches[batch["id"]] = answer
        return Answered(200, answer)

    def _update_artifacts(self, _job: str, message: dict[str, Any]) -> Answered:
        for state in message["artifacts"]:
            artifact = self.artifacts[state["id"]]
            artifact["state"] = state["state"]
            if state.get("multipart") and state["state"] == "finished":
                numbers = [tag["part_number"] for tag in state["multipart_etags"]]
                parts = self.parts[state["id"]]
                assert numbers == sorted(parts)
                assert [tag["etag"] for tag in state["multipart_etags"]] == [f'"tag-{number}"' for number in numbers]
                self.stored[artifact["path"]] = b"".join(parts[number] for number in numbers)
        return Answered(200)

    def _search_artifacts(self, query: dict[str, str]) -> Answered:
        pattern = re.escape(query["query"]).replace(r"\*", ".*")
        found = [
            {**artifact, "url": f"{self.url}/get/{number}"}
            for number, artifact in self.artifacts.items()
            if re.fullmatch(pattern, artifact["path"]) and artifact["state"] == query["state"]
        ]
        for artifact in found:
            artifact.pop("state")
        return Answered(200, found)

    def add_artifact(self, path: str, content: bytes, **members: Any) -> dict[str, Any]:
        """An artifact that is there already."""
        import hashlib

        number = f"artifact-{len(self.artifacts) + 1}"
        artifact = {
            "id": number,
            "path": path,
            "absolute_path": "",
            "glob_path": "",
            "file_size": len(content),
            "sha1sum": hashlib.sha1(content).hexdigest(),
            "sha256sum": hashlib.sha256(content).hexdigest(),
            "job_id": "job-0",
            "created_at": "2026-01-02T03:04:05.678Z",
            "content_type": "text/plain",
            "state": "finished",
            **members,
        }
        self.artifacts[number] = artifact
        self.stored[path] = content
        return artifact

    # --- the store ------------------------------------------------------------------------------------------------

    def _store(self, request: Recorded) -> Answered:
        match request.method, request.segments:
            case "POST", ["upload"]:
                form = parse_form(request)
                self.forms.append(form)
                fields = {name: content for name, _, content in form}
                self.stored[fields["key"].decode()] = fields["file"]
                return Answered(204)
            case "PUT", ["part", artifact, number]:
                self.parts.setdefault(artifact, {})[int(number)] = request.body
                return Answered(200, headers={"ETag": f'"tag-{number}"'})
            case "GET", ["get", artifact]:
                return Answered(200, self.stored[self.artifacts[artifact]["path"]])
            case "GET", ["redirect", artifact]:
                return Answered(302, headers={"Location": f"/get/{artifact}"})
        return Answered(404)


def parse_form(request: Recorded) -> list[tuple[str, str, bytes]]:
    """The fields of a multipart form: name, file name, content; in order."""
    kind = request.headers["content-type"]
    assert kind.startswith("multipart/form-data; boundary="), kind
    boundary = b"--" + kind.partition("boundary=")[2].encode()
    first, *pieces, last = request.body.split(boundary)
    assert first == b"" and last == b"--\r\n"
    fields = []
    for piece in pieces:
        head, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        text = head.decode()
        name = re.search(r'name="([^"]*)"', text)
        file_name = re.search(r'filename="([^"]*)"', text)
        assert name is not None and content.endswith(b"\r\n")
        fields.append((name[1], file_name[1] if file_name else "", content[:-2]))
    return fields


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeJobServer

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        with self.fake.lock:
            self.fake.at_once += 1
            self.fake.most_at_once = max(self.fake.most_at_once, self.fake.at_once)
        try:
            request = Recorded(
                self.command,
                unquote(parts.path),
                {name: values[0] for name, values in parse_qs(parts.query).items()},
                {name.lower(): value for name, value in self.headers.items()},
                self.rfile.read(length),
                [unquote(segment) for segment in parts.path.split("/")[1:]],
            )
            answer = self.fake.handle(request)
        finally:
            with self.fake.lock:
                self.fake.at_once -= 1
        content = answer.content
        body = content if isinstance(content, bytes) else b"" if content is None else json.dumps(content).encode()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = _serve

    def log_message(self, *_arguments: object) -> None:
        pass


@contextmanager
def fake_job_server() -> Iterator[FakeJobServer]:
    """A running fake."""
    fake = FakeJobServer()
    handler = type("Handler", (_Handler,), {"fake": fake})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    fake.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
