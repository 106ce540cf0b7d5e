"""Bad input of every kind, at every endpoint: the status that it deserves, a message, and nothing half done.

One table goes over all endpoints that are described, so a new one is in it from the start.
"""

from __future__ import annotations

import gzip
import json
import socket
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from pipeseal.agentapi.ping_stream import STREAM_PATH
from pipeseal.controlplane.domain.limits import Limits
from pipeseal.controlplane.domain.webhooks.proof import Provider
from pipeseal.controlplane.http.openapi.document import described_operations
from pipeseal.controlplane.http.openapi.operation import Proof
from pipeseal.controlplane.services.artifact_links import ANNOTATION, PICTURE
from pipeseal.errors import Unavailable
from pipeseal.errors.codes import CODES
from tests.controlplane.http_stage import Scene, proper_body
from tests.controlplane.job_side import announced, batch, create, form, path_of, send_form
from tests.controlplane.running import QUICK, Answer, RunningServer, running_server
from tests.controlplane.webhook_payloads import prove

LIMITS = Limits(
    max_body_bytes=16 * 1024, max_upload_bytes=64 * 1024, max_annotation_bytes=1024, artifact_part_bytes=1024
)
SETTINGS = replace(QUICK, ping_hold=0.0, sweep_interval=1000.0, heartbeat_timeout=1000.0, limits=LIMITS)
OPERATIONS = {key: operation for key, operation in described_operations().items() if STREAM_PATH not in key}
KNOWN = {row.code for row in CODES}
UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"
# What is no JSON, or no JSON that anybody wants.
NONSENSE: dict[str, bytes] = {
    "nothing of the kind": b"nonsense",
    "cut": b'{"key":',
    "another type": b'"text"',
    "a list": b"[]",
    "trailing": b'{"key":"a"} x',
    "no UTF-8": b'{"key":"\xff\xfe","exit_status":"0"}',
    "half a surrogate": b'{"key":"\\ud800"}',
    "NUL": b'{"key":"a\\u0000b"}',
    "deep": b'{"key":' * 1_800 + b"1" + b"}" * 1_800,
    "deep lists": b"[" * 7_000 + b"]" * 7_000,
    "NaN": b'{"key":NaN}',
}
_ANY_SETTING = ("update_job",)  # takes whatever names there are, and refuses those that it does not know


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    settings = SETTINGS
    with running_server(tmp_path_factory.mktemp("server") / "data", settings) as server:
        yield server


def dump(running: RunningServer) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that the database holds."""

    def look(tx: Any) -> dict[str, list[tuple[Any, ...]]]:
        tables = tx.all("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        return {
            row["name"]: [tuple(line) for line in tx.all(f"SELECT * FROM {row['name']} ORDER BY rowid")]
            for row in tables
        }

    return running.plane.database.submit(look).result()


def address(scene: Scene, key: str, /, **changes: Any) -> str:
    """The path of an operation, with the segments that lead to something, apart from the changes."""
    segments = {**scene.segments(key), **changes}
    path = key.partition(" ")[2]
    for name, value in segments.items():
        path = path.replace(f"{{{name}}}", quote(str(value), safe=""))
    if described_operations()[key].name == "append_log" and "?" not in path:
        path += "?sequence=9&offset=11&size=3"
    if described_operations()[key].name == "get_secret":
        path += f"?key={scene.secret}"
    return path


def send(scene: Scene, key: str, path: str, authorization: str | None, body: bytes | None, **more: Any) -> Answer:
    return scene.api.call(key.partition(" ")[0], path, authorization=authorization, raw=body, timeout=60, **more)


def content(scene: Scene, key: str) -> tuple[bytes | None, dict[str, str]]:
    """A body that the operation takes, and its headers."""
    operation = OPERATIONS[key]
    if operation.name == "append_log":
        return gzip.compress(b"abc"), {"Content-Encoding": "gzip"}
    if operation.name == "upload_artifact":
        return form(b"bytes")
    if operation.form is not None:
        return b"{}", {"Content-Type": operation.form[0]}
    body = proper_body(key, scene)
    return None if body is None else json.dumps(body).encode(), {}


def refused(answer: Answer, statuses: int | tuple[int, ...], what: Any) -> None:
    """An answer that says no, as a client of the ecosystem can read it."""
    wanted = (statuses,) if isinstance(statuses, int) else statuses
    assert answer.status in wanted, (what, answer.status, answer.body[:300])
    assert answer.headers["content-type"] == "application/json", what
    assert answer.json["message"], what
    assert answer.json["code"] in KNOWN, what


@pytest.mark.parametrize(
    "key", [key for key, operation in OPERATIONS.items() if operation.proof is not Proof.ADDRESS]
)
def test_nobody_gets_in_with_a_wrong_token(running: RunningServer, key: str) -> None:
    operation = OPERATIONS[key]
    scene = Scene(running)
    body, headers = content(scene, key)
    path = address(scene, key)
    right = scene.token(operation.proof, key)
    agents = (scene.api.registration_token, scene.agent.token, scene.job.token)
    wrong = {"missing": None, "unknown": "Token nobody", "empty": "Token ", "long": "Token " + "x" * 5_000}
    wrong |= {"basic": "Basic eA==", "API": f"Bearer {scene.api.api_token}", "as API": f"Bearer {agents[0]}"}
    wrong |= {f"of an agent, {number}": f"Token {token}" for number, token in enumerate(agents)}
    narrow = scene.narrow_tokens()
    before = dump(running)
    for what, authorization in wrong.items():
        if authorization == right or (operation.proof is Proof.ANY_AGENT and what.startswith("of an agent")):
            continue
        if what == "API" and operation.proof is Proof.API:
            continue
        refused(send(scene, key, path, authorization, body, headers=headers), 401, what)
    if operation.proof is Proof.JOB and "{job_id}" in key:
        other = send(scene, key, path, f"Token {scene.other_job.token}", body, headers=headers)
        refused(other, 403, "another job's token")
    if operation.proof is Proof.API and 403 in operation.refusals:
        answers = [send(scene, key, path, f"Bearer {token}", body, headers=headers) for token in narrow]
        assert 403 in [answer.status for answer in answers]
    assert dump(running) == before


@pytest.mark.parametrize("key", [key for key, operation in OPERATIONS.items() if operation.body is not None])
def test_bodies_that_are_not_what_is_wanted_are_refused(running: RunningServer, key: str) -> None:
    operation, scene = OPERATIONS[key], Scene(running)
    path, authorization = address(scene, key), scene.token(operation.proof, key)
    # Without a token it may be the address, or the page that is asking, that is looked at first.
    first = (403,) if operation.proof is Proof.ADDRESS else ()
    before = dump(running)
    for what, body in NONSENSE.items():
        refused(send(scene, key, path, authorization, body), (422, *first), what)
    proper = proper_body(key, scene)
    if proper:  # a member of the wrong type, wherever there is one
        name = next(iter(proper))
        wrong = {**proper, name: [[]] if not isinstance(proper[name], list) else {"a": 1}}
        refused(send(scene, key, path, authorization, json.dumps(wrong).encode()), (422, *first), "wrong member")
    if not operation.optional_body:
        refused(send(scene, key, path, authorization, b""), (422, *first), "no body")
    most = 8 * 1024 * 1024
    huge = b'{"key":"' + b"x" * most + b'"}'
    refused(send(scene, key, path, authorization, huge), (413, *first), "too large")
    declared = {"Content-Length": "99999999999", "Connection": "close"}
    refused(send(scene, key, path, authorization, None, headers=declared), (413, *first), "said to be too large")
    assert dump(running) == before


def test_a_body_that_grows_beyond_its_limit_is_cut_off(running: RunningServer) -> None:
    """Without a length nobody knows beforehand; the server reads no further than its limit."""
    scene = Scene(running)
    before = dump(running)
    head = f"POST /v3/jobs/{scene.job.id}/data/set HTTP/1.1\r\nAuthorization: Token {scene.job.token}\r\n"
    with socket.create_connection((scene.api.host, scene.api.port), timeout=10) as client:
        client.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        try:
            for _ in range(64):
                client.sendall(b"1000\r\n" + b" " * 0x1000 + b"\r\n")
        except ConnectionError:
            pass
        assert client.recv(65536).startswith(b"HTTP/1.1 413 ")
    assert dump(running) == before


def test_unknown_members_mean_nothing_and_the_content_type_neither(running: RunningServer) -> None:
    scene = Scene(running)
    body = json.dumps({"key": "x", "value": "y", "unheard_of": {"a": [1]}}).encode()
    for content_type in ("application/json", "text/plain", "application/x-www-form-urlencoded", ""):
        answer = scene.job.call("POST", "/data/set", raw=body, headers={"Content-Type": content_type})
        assert answer.status == 200, content_type
    assert scene.job.call("POST", "/data/get", {"key": "x"}).json["value"] == "y"


@pytest.mark.parametrize("key", OPERATIONS)
def test_addresses_that_mean_nothing_are_refused(running: RunningServer, key: str) -> None:
    operation, scene = OPERATIONS[key], Scene(running)
    authorization = scene.token(operation.proof, key)
    body, headers = content(scene, key)
    path = address(scene, key)
    before = dump(running)
    separator = "&" if "?" in path else "?"
    nul = send(scene, key, f"{path}{separator}x=%00", authorization, body, headers=headers)
    refused(nul, 422, "NUL in the query")
    nul = send(scene, key, path.partition("?")[0] + "%00", authorization, body, headers=headers)
    refused(nul, 422, "NUL in the path")
    wrong = scene.api.call("TRACE", path, authorization=authorization)
    refused(wrong, 405, "wrong method")
    assert key.partition(" ")[0] in wrong.headers["allow"]
    longer = send(scene, key, path.partition("?")[0] + "/" + "x" * 9_000, authorization, body, headers=headers)
    if operation.name not in ("remove_annotation", "export_step", "update_step", "cancel_step"):
        refused(longer, (404, 405), "a path that is not there")
    for name, value in scene.segments(key).items():
        if f"{{{name}}}" not in key or name == "context":
            continue
        unknown: tuple[Any, ...] = (UNKNOWN_ID, "x" * 3_000, "../../etc", "%", "é", "'; DROP TABLE jobs --", " ")
        if isinstance(value, int):
            unknown = (9_999_999, 10**30, "1e3", "-1", "0x1", "x" * 5_000, "9" * 5_000)
        if name == "pipeline_id":
            continue  # a badge says `unknown` of whatever there is not
        for other in unknown:
            answer = send(scene, key, address(scene, key, **{name: other}), authorization, body, headers=headers)
            # A name of a secret to be set, or a step, has rules of its own.
            refused(answer, (401, 403, 404, 422), (name, other))
    assert dump(running) == before


@pytest.mark.parametrize("name", ["sequence", "offset", "size"])
@pytest.mark.parametrize("value", ["", "-1", "1.5", "x", "9" * 17, "9" * 5_000, "١", "1e3", None])
def test_numbers_of_a_chunk_that_make_no_sense(running: RunningServer, name: str, value: str | None) -> None:
    scene = Scene(running)
    before = dump(running)
    query = {"sequence": "9", "offset": "11", "size": "3"}
    if value is None:
        del query[name]
    else:
        query[name] = value
    text = "&".join(f"{key}={quote(part)}" for key, part in query.items())
    answer = scene.job.call(
        "POST", f"/chunks?{text}", raw=gzip.compress(b"abc"), headers={"Content-Encoding": "gzip"}
    )
    refused(answer, 422, value)
    assert dump(running) == before


CHUNKS: dict[str, tuple[bytes, str, int]] = {
    "plain": (b"abc", "gzip", 422),
    "cut": (gzip.compress(b"abc")[:-4], "gzip", 422),
    "longer": (gzip.compress(b"abc") + b"more", "gzip", 422),
    "another size": (gzip.compress(b"abcd"), "gzip", 422),
    "another compression": (gzip.compress(b"abc"), "br", 422),
    "compressed twice": (gzip.compress(b"abc"), "gzip, gzip", 422),
    "a bomb": (gzip.compress(bytes(50_000_000)), "gzip", 413),
    "nothing": (b"", "gzip", 422),
}


@pytest.mark.parametrize("what", CHUNKS)
def test_chunks_that_are_not_what_they_say(running: RunningServer, what: str) -> None:
    body, encoding, status = CHUNKS[what]
    scene = Scene(running)
    before = dump(running)
    path = "/chunks?sequence=9&offset=11&size=3"
    refused(scene.job.call("POST", path, raw=body, headers={"Content-Encoding": encoding}), status, body[:20])
    assert dump(running) == before


PIPELINES: dict[str, Any] = {
    "no mapping": 5,
    "text": "steps",
    "no steps": {"step": []},
    "steps that are none": {"steps": 5},
    "a step that is none": {"steps": [5]},
    "a step of no kind": {"steps": [{"nothing": 1}]},
    "steps that wait for themselves": {"steps": [{"command": "a", "key": "a", "depends_on": "a"}]},
    "a key twice": {"steps": [{"command": "a", "key": "a"}, {"command": "b", "key": "a"}]},
    "a matrix without end": {"steps": [{"command": "{{matrix}}", "matrix": [str(n) for n in range(999)]}]},
    "too many jobs": {"steps": [{"command": "a", "parallelism": 10_000}]},
    "a condition that is none": {"steps": [{"command": "a", "if": "build.branch =="}]},
    "a deep thing": json.loads('{"steps":[{"command":"a","x":' + "[" * 900 + "]" * 900 + "}]}"),
}


@pytest.mark.parametrize("what", PIPELINES)
def test_pipelines_that_cannot_be_used_leave_nothing_behind(running: RunningServer, what: str) -> None:
    scene = Scene(running)
    before = dump(running)
    answer = scene.job.upload(PIPELINES[what])
    if answer.status == 200:  # understood in part, and said so
        assert answer.json["warnings"], what
        return
    refused(answer, 422, what)
    assert dump(running) == before


def test_what_a_job_does_in_the_wrong_state(running: RunningServer) -> None:
    scene = Scene(running)
    job = scene.job
    assert job.start().status == 200, "started again by the same agent: the answer may have been lost"
    state = job.state().json["state"]
    assert state == "running"
    assert job.finish(0).status == 200
    before = dump(running)
    for what, answer in {
        "started after its end": job.start(),
        "a chunk after its end": job.chunk(5, 11, b"late"),
        "meta-data after its end": job.call("POST", "/data/set", {"key": "late", "value": "x"}),
        "an annotation after its end": job.call("POST", "/annotations", {"body": "late"}),
        "an upload after its end": job.upload({"steps": [{"command": "late"}]}),
        "artifacts after its end": job.call("POST", "/artifacts", batch(announced("late", b"x"))),
        "another end": job.finish(1),
    }.items():
        if what in ("a chunk after its end", "another end") and answer.status == 200:
            continue  # the last piece of a log may be late, and the answer to an end may have been lost
        refused(answer, (409, 422), what)
    after = dump(running)
    changed = {name for name in after if after[name] != before[name]}
    assert changed <= {"log_chunks", "jobs"}
    assert scene.api.build(1, scene.slug)["jobs"][0]["exit_status"] == 0


class _Broken:
    """A database that cannot be reached."""

    def __getattr__(self, _name: str) -> Any:
        raise Unavailable("database.unavailable", "the database cannot be reached")


def test_every_described_refusal_occurs(tmp_path: Path) -> None:
    """What the description says of an operation's refusals is no invention, 503 included."""
    occurred: dict[str, set[int]] = defaultdict(set)
    settings = SETTINGS
    with running_server(tmp_path / "data", settings) as running:
        for key in OPERATIONS:
            _refuse_in_every_way(Scene(running), key, occurred[key])
        _special_refusals(Scene(running), occurred)
        scene = Scene(running)
        paths = {
            key: (address(scene, key), content(scene, key), scene.token(operation.proof, key))
            for key, operation in OPERATIONS.items()
        }
        whole, running.plane.database = running.plane.database, _Broken()  # type: ignore[assignment]  # (as if it were away)
        try:
            for key in OPERATIONS:
                path, (body, headers), authorization = paths[key]
                answer = send(scene, key, path, authorization, body, headers=headers)
                occurred[key].add(answer.status)
        finally:
            running.plane.database = whole
    described = {key: set(operation.refusals) for key, operation in OPERATIONS.items()}
    for key in ("POST /v3/connect", "POST /v3/heartbeat"):
        described[key].discard(503)  # only where several servers share a database: here the session is in memory
    # Those of browsers need a page of the server's own that asks; their own tests do.
    assert not {
        key: statuses - occurred[key]
        for key, statuses in described.items()
        if "/session" not in key and statuses - occurred[key]
    }
    ways = {key: set(operation.refusals) | set(operation.answers) for key, operation in OPERATIONS.items()}
    assert not {key: occurred[key] - ways[key] for key in ways if occurred[key] - ways[key]}


def _refuse_in_every_way(scene: Scene, key: str, statuses: set[int]) -> None:
    operation = OPERATIONS[key]
    authorization = scene.token(operation.proof, key)
    body, headers = content(scene, key)
    path = address(scene, key)
    if operation.proof is not Proof.ADDRESS:
        statuses.add(send(scene, key, path, None, body).status)
    for name in scene.segments(key):
        if f"{{{name}}}" in key:
            other: Any = 9_999 if name in ("number", "part", "expires") else UNKNOWN_ID
            answer = send(scene, key, address(scene, key, **{name: other}), authorization, body, headers=headers)
            statuses.add(answer.status)
    if operation.proof is Proof.API:
        for token in scene.narrow_tokens():
            statuses.add(send(scene, key, path, f"Bearer {token}", body, headers=headers).status)
    if operation.proof is Proof.JOB:
        other_token = f"Token {scene.other_job.token}"
        statuses.add(send(scene, key, path, other_token, body, headers=headers).status)
        foreign = Scene(scene.running)
        changed = address(scene, key, build_id=foreign.build_id)
        statuses.add(send(scene, key, changed, authorization, body, headers=headers).status)
    if operation.body is not None or operation.form is not None:
        huge = {**headers, "Content-Length": "99999999999", "Connection": "close"}
        statuses.add(send(scene, key, path, authorization, None, headers=huge).status)
    statuses.add(send(scene, key, path, authorization, b"nonsense", headers=headers).status)
    for query in ("page=x", "wait=x", "scope=x", "state=x", "offset=x", "include_retried_jobs=x", "days=x"):
        statuses.add(send(scene, key, path.partition("?")[0] + f"?{query}", authorization, body).status)
    statuses.add(send(scene, key, path, authorization, body, headers={**headers, "Range": "bytes=999999-"}).status)
    if body is not None and operation.body is not None:
        statuses.add(send(scene, key, path, authorization, b"{}").status)


def _refusals_of_parts(scene: Scene, occurred: dict[str, set[int]]) -> None:
    """Of an artifact that comes in parts: the address of a part, and what is sent there."""
    key = next(key for key in OPERATIONS if key.startswith("PUT /artifacts/"))
    artifact_id, parts = create(scene.job, announced("parts", b"p" * 3000), multipart_supported=True)
    paths = [path_of(action["url"]) for action in parts["actions"]]

    def put(path: str, body: bytes | None, **headers: str) -> None:
        occurred[key].add(send(scene, key, path, None, body, headers=headers).status)

    put(paths[0], None, **{"Content-Length": "99999999999", "Connection": "close"})
    put(paths[0].replace("/1/", "/x/"), b"p")
    put(paths[0], b"p")
    whole, scene.running.plane.database = scene.running.plane.database, _Broken()  # type: ignore[assignment]  # (as if it were away)
    put(paths[0], b"p")
    scene.running.plane.database = whole
    scene.job.call("PUT", "/artifacts", {"artifacts": [{"id": artifact_id, "state": "error"}]})
    put(paths[0], b"p")


def _special_refusals(scene: Scene, occurred: dict[str, set[int]]) -> None:
    def note(key: str, answer: Answer) -> None:
        occurred[key].add(answer.status)

    job, api = scene.job, scene.api
    session = f"Token {scene.agent.token}"
    accept, acquire = "PUT /v3/jobs/{job_id}/accept", "PUT /v3/jobs/{job_id}/acquire"
    note(accept, api.call("PUT", f"/v3/jobs/{scene.other_job.id}/accept", authorization=session))
    note(acquire, api.call("PUT", f"/v3/jobs/{scene.other_job.id}/acquire", authorization=session))
    api.create_pipeline("steps: [{command: a}, wait, {command: b, key: later}]", f"{scene.slug}-w")
    waiting = next(one for one in api.create_build(f"{scene.slug}-w")["jobs"] if one["step_key"] == "later")
    note(acquire, api.call("PUT", f"/v3/jobs/{waiting['id']}/acquire", authorization=session))
    note("PUT /v3/jobs/{job_id}/promise_failure", job.call("PUT", "/promise_failure", {"exit_status": 3}))
    note("PUT /v3/jobs/{job_id}/promise_failure", job.call("PUT", "/promise_failure", {"exit_status": 4}))
    create = "POST /v3/jobs/{job_id}/artifacts"
    same = batch(announced("one", b"1"))
    note(create, job.call("POST", "/artifacts", same))
    note(create, job.call("POST", "/artifacts", {**same, "artifacts": [announced("two", b"2")]}))
    made = job.call("POST", "/artifacts", batch(announced("three", b"3"))).json
    (artifact_id,) = made["artifact_ids"]
    instructions = made["per_artifact_instructions"][artifact_id]
    deletion = next(key for key in OPERATIONS if key.startswith("DELETE ") and "/artifacts/" in key)
    note(deletion, api.rest("DELETE", f"/pipelines/{scene.slug}/builds/1/jobs/{job.id}/artifacts/{artifact_id}"))
    states = "PUT /v3/jobs/{job_id}/artifacts"
    note(states, job.call("PUT", "/artifacts", {"artifacts": [{"id": artifact_id, "state": "finished"}]}))
    note(states, job.call("PUT", "/artifacts", {"artifacts": [{"id": UNKNOWN_ID, "state": "finished"}]}))
    note("POST /v3/jobs/{job_id}/data/get", job.call("POST", "/data/get", {"key": "absent"}))
    upload = next(key for key in OPERATIONS if key.startswith("POST /artifacts/"))
    download = next(key for key in OPERATIONS if key.startswith("GET /artifacts/"))
    for key in (upload, download):
        note(key, send(scene, key, address(scene, key, expires="x"), None, None))
    for purpose in (ANNOTATION, PICTURE):
        key = next(key for key in OPERATIONS if key.startswith(f"GET /artifacts/{purpose}/"))
        gone = address(scene, key, **scene.link(purpose, UNKNOWN_ID))
        note(key, send(scene, key, gone, None, None))
    _refusals_of_parts(scene, occurred)
    delivery = "POST /webhooks/{provider}/{token}"
    nonsense = b"nonsense"
    proof = prove(Provider.GIT, "push", nonsense, scene.webhook_secret, time.time())
    note(delivery, send(scene, delivery, address(scene, delivery), None, nonsense, headers=proof))
    note(upload, send_form(job, instructions, b"much more than three" * 40_000))
    note(upload, send_form(job, instructions, b"3"))
    job.call("PUT", "/artifacts", {"artifacts": [{"id": artifact_id, "state": "error"}]})
    note(upload, send_form(job, instructions, b"3"))
    job.finish(0)
    for key, operation in OPERATIONS.items():
        if operation.proof is Proof.JOB:
            body, headers = content(scene, key)
            note(key, send(scene, key, address(scene, key), f"Token {job.token}", body, headers=headers))
    for key in ("cancel", "rebuild"):
        path = f"/pipelines/{scene.slug}/builds/1/{key}"
        name = f"PUT /v2/organizations/{{organization}}/pipelines/{{slug}}/builds/{{number}}/{key}"
        for _ in range(2):
            note(name, api.rest("PUT", path))
    retry = "PUT /v2/organizations/{organization}/pipelines/{slug}/builds/{number}/jobs/{job_id}/retry"
    note(retry, api.rest("PUT", f"/pipelines/{scene.slug}/builds/1/jobs/{scene.blocked_id}/retry"))
