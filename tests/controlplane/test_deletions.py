"""Logs and artifacts that are deleted: who may, what is told of it, and that nothing of them is left anywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from pipeseal.controlplane.store.log_objects import LogObjects, claim_packing
from pipeseal.controlplane.store.objects import store_failed
from tests.controlplane.job_side import announced, create, found_paths, path_of, search, send_form, upload
from tests.controlplane.running import QUICK, FakeAgent, FakeJob, RunningServer, running_server, until
from tests.controlplane.test_artifacts import MovableClock

TEXT = b"a line\n" * 100


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningServer]:
    with running_server(tmp_path / "data") as server:
        server.api.create_pipeline("steps: [{command: x}, {block: gate}]")
        server.api.create_build()
        yield server


def path_to(job: FakeJob, rest: str = "/log") -> str:
    return f"/pipelines/demo/builds/1/jobs/{job.id}{rest}"


def take(running: RunningServer) -> FakeJob:
    job = FakeAgent(running.api).take()
    assert job.chunk(1, 0, TEXT).status == 200
    return job


def stored(running: RunningServer) -> list[str]:
    """Files of logs and artifacts, wherever they are."""
    folders = (running.folder / "logs", running.folder / "objects", running.folder.parent / "objects")
    return sorted(
        path.name
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and folder.name in path.parts and ({"logs", "artifacts"} & set(path.parts))
    )


def unremoved(running: RunningServer) -> int:
    row = running.plane.database.read_now(
        lambda tx: tx.one("SELECT (SELECT count(*) FROM removals) + (SELECT count(*) FROM log_chunks) AS n")
    )
    assert row is not None
    return int(row["n"])


def until_removed(running: RunningServer) -> None:
    until(lambda: stored(running) == [] and unremoved(running) == 0, "bytes that are deleted are removed")


def test_a_log_is_deleted_and_the_job_says_by_whom(running: RunningServer) -> None:
    api = running.api
    job = take(running)
    answer = api.rest("DELETE", path_to(job))
    assert (answer.status, answer.json["code"]) == (409, "state.unfinished")
    assert api.rest("GET", path_to(job, "/log.txt")).body == TEXT
    job.finish()
    tag = api.rest("GET", path_to(job, "/log.txt")).headers["etag"]
    assert stored(running) == [f"{job.id}.log"]
    made = api.rest("POST", "/tokens", {"description": "cleaner", "scopes": ["write_build_logs"]}).json["token"]
    assert api.call("DELETE", f"/v2/organizations/local{path_to(job)}", authorization=f"Bearer {made}").status == 204
    shape = api.rest("GET", path_to(job, "")).json
    assert (shape["log_bytes"], shape["log_deleted_by"]) == (0, "cleaner")
    assert shape["log_deleted_at"] is not None
    for member in ("content", "size"):
        assert not api.rest("GET", path_to(job)).json[member]
    text = api.rest("GET", path_to(job, "/log.txt"), headers={"If-None-Match": tag})
    assert (text.status, text.body) == (200, b"")
    until_removed(running)
    assert api.rest("DELETE", path_to(job)).status == 204, "again"
    assert api.rest("GET", path_to(job, "")).json == shape
    job.chunk(1, 0, TEXT)
    job.chunk(2, len(TEXT), TEXT)
    assert api.rest("GET", path_to(job, "/log.txt")).body == b""
    assert stored(running) == []
    (change, *_) = [one for one in api.rest("GET", "/changes").json if one["by"] == "cleaner"]
    assert (change["method"], change["subject"]) == ("DELETE", path_to(job))


def test_logs_are_deleted_by_whom_may_and_where_there_are_some(running: RunningServer) -> None:
    api = running.api
    job = take(running)
    artifact = upload(job, "a.txt", b"a")
    job.finish()
    scopes = ["read_build_logs", "read_artifacts", "write_builds", "read_builds"]
    token = api.rest("POST", "/tokens", {"description": "reader", "scopes": scopes}).json["token"]
    for path in (path_to(job), path_to(job, f"/artifacts/{artifact}")):
        full = f"/v2/organizations/local{path}"
        assert api.call("DELETE", full, authorization=f"Bearer {token}").json["code"] == "access.scope"
        assert api.call("DELETE", full).status == 401
    gate = next(one["id"] for one in api.build()["jobs"] if one["type"] == "manual")
    for path in (
        f"/pipelines/demo/builds/1/jobs/{gate}/log",
        path_to(job).replace("builds/1", "builds/2"),
        path_to(job).replace(job.id, gate[::-1]),
        path_to(job, f"/artifacts/{gate}"),
        f"/pipelines/demo/builds/1/jobs/{gate}/artifacts/{artifact}",
    ):
        assert api.rest("DELETE", path).status == 404, path
    assert api.rest("GET", path_to(job, "/log.txt")).body == TEXT


def test_an_artifact_is_deleted_and_stays_in_the_list(running: RunningServer) -> None:
    api = running.api
    job = take(running)
    kept, gone = upload(job, "kept.txt", b"kept"), upload(job, "gone.txt", b"gone")
    pending, instructions = create(job, announced("pending.txt", b"late"))
    address = path_of(next(one["url"] for one in search(job, "*").json if one["id"] == gone))
    assert api.call("GET", address).body == b"gone"
    answer = api.rest("DELETE", path_to(job, f"/artifacts/{pending}"))
    assert (answer.status, answer.json["code"]) == (409, "state.unfinished")
    assert send_form(job, instructions, b"late").status == 204, "it can still come"
    for _ in range(2):
        assert api.rest("DELETE", path_to(job, f"/artifacts/{gone}")).status == 204
    assert api.call("GET", address).status == 404
    assert api.rest("GET", path_to(job, f"/artifacts/{gone}/download")).status == 404
    assert found_paths(job, "*") == ["kept.txt"]
    listed = {one["id"]: one for one in api.rest("GET", path_to(job, "/artifacts")).json}
    assert (listed[gone]["state"], listed[kept]["deleted_at"]) == ("deleted", None)
    assert listed[gone]["deleted_at"] is not None and listed[gone]["deleted_by"]
    assert listed[gone]["sha256sum"] == hashlib.sha256(b"gone").hexdigest()
    assert [one["id"] for one in api.rest("GET", path_to(job, "/artifacts?state=deleted")).json] == [gone]
    until(lambda: gone not in stored(running), "its bytes are removed")
    assert {kept, pending} <= set(stored(running))
    again = {"artifacts": [{"id": gone, "state": "finished"}]}
    assert job.call("PUT", "/artifacts", again).status == 200
    assert found_paths(job, "*") == ["kept.txt"]


def test_of_many_deletions_at_once_one_counts(running: RunningServer) -> None:
    job = take(running)
    artifact = upload(job, "a.txt", b"a")
    job.finish()
    tokens = [
        running.api.rest("POST", "/tokens", {"description": f"cleaner {number}"}).json["token"] for number in range(4)
    ]
    for path in (path_to(job), path_to(job, f"/artifacts/{artifact}")):

        def delete(token: str, path: str = path) -> int:
            full = f"/v2/organizations/local{path}"
            return running.api.call("DELETE", full, authorization=f"Bearer {token}").status

        with ThreadPoolExecutor(len(tokens)) as pool:
            assert set(pool.map(delete, tokens)) == {204}
    until_removed(running)
    told = running.api.rest("GET", path_to(job, "")).json
    assert told["log_deleted_by"] in {f"cleaner {number}" for number in range(4)}
    assert running.api.rest("DELETE", path_to(job)).status == 204
    assert running.api.rest("GET", path_to(job, "")).json == told


@pytest.mark.parametrize("packs", ["never", "before", "meanwhile"])
def test_nothing_of_a_log_is_left_in_an_object_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packs: str
) -> None:
    settings = replace(QUICK, log_packing_delay=3600)
    with running_server(tmp_path / "data", settings, object_store=str(tmp_path / "objects")) as running:
        running.api.create_pipeline("steps: [{command: x}]")
        running.api.create_build()
        job = take(running)
        job.finish()
        logs = running.plane.logs
        assert isinstance(logs, LogObjects)

        def delete() -> None:
            assert running.api.rest("DELETE", path_to(job)).status == 204

        if packs == "before":
            logs.pack(job.id)
        if packs == "meanwhile":
            read = logs._read  # between its look at the log and its write of the one object

            def read_and_delete(*arguments: object) -> bytes:
                data = read(*arguments)  # type: ignore[arg-type]  # the same ones
                delete()
                return data

            monkeypatch.setattr(logs, "_read", read_and_delete)
            logs.pack(job.id)
        else:
            delete()
        until_removed(running)
        logs.pack(job.id)
        assert stored(running) == []
        assert running.api.rest("GET", path_to(job, "/log.txt")).body == b""


def test_a_log_that_a_server_packs_is_left_to_it_for_a_while(tmp_path: Path) -> None:
    clock = MovableClock()
    with running_server(
        tmp_path / "data", replace(QUICK, log_packing_delay=3600), clock=clock, object_store=str(tmp_path / "objects")
    ) as running:
        running.api.create_pipeline("steps: [{command: x}]")
        running.api.create_build()
        job = take(running)
        job.finish()
        now = running.plane.now()
        claimed = running.plane.database.submit(
            lambda tx: claim_packing(tx, finished_before=now + 1, now=now, until=now + 600_000_000)
        ).result()
        assert claimed == job.id
        assert running.api.rest("DELETE", path_to(job)).status == 204
        due = running.plane.database.read_now(lambda tx: tx.one("SELECT due_at FROM removals"))
        assert due is not None and due["due_at"] == now + 600_000_000
        assert running.api.rest("GET", path_to(job, "/log.txt")).body == b"", "nobody can read it meanwhile"
        clock.ahead = 601.0
        until_removed(running)


def test_what_cannot_be_removed_is_removed_later_by_whichever_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_server(tmp_path / "data") as running:
        running.api.create_pipeline("steps: [{command: x}]")
        running.api.create_build()
        job = take(running)
        artifact = upload(job, "a.txt", b"a")
        job.finish()
        tried: list[str] = []

        def fail(key: str) -> None:
            tried.append(key)
            raise store_failed("delete", "it is read-only")

        monkeypatch.setattr(running.plane.logs, "remove", fail)
        monkeypatch.setattr(running.plane.objects, "delete", fail)
        for path in (path_to(job), path_to(job, f"/artifacts/{artifact}")):
            assert running.api.rest("DELETE", path).status == 204
        until(lambda: len(set(tried)) == 2, "both are tried")
        assert running.api.rest("GET", path_to(job, "/log.txt")).body == b""
        assert running.api.rest("GET", path_to(job, f"/artifacts/{artifact}/download")).status == 404
        assert len(stored(running)) == 2
    with running_server(tmp_path / "data") as running:
        until_removed(running)
        assert running.api.rest("GET", path_to(job, "/artifacts")).json[0]["state"] == "deleted"
