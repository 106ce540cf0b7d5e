"""Artifacts over real HTTP: announced, sent, checked, found and fetched; and everything that is refused."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.clock import SystemClock
from pipeseal.controlplane.domain.limits import Limits
from pipeseal.controlplane.domain.path_patterns import parse_path_pattern
from pipeseal.controlplane.http.forms import parse_boundary, read_file_field
from pipeseal.controlplane.services.artifact_links import DOWNLOAD_SECONDS, UPLOAD_SECONDS
from pipeseal.errors import MalformedInput
from tests.controlplane.job_side import (
    announced,
    batch,
    build_of,
    command,
    create,
    form,
    found_paths,
    path_of,
    running_jobs,
    search,
    send_form,
    upload,
)
from tests.controlplane.running import (
    QUICK,
    FakeAgent,
    RunningServer,
    running_server,
    server_process,
    until,
)
from tests.loops import run_coroutine

PART = 1000
SETTINGS = replace(
    QUICK, limits=Limits(artifact_part_bytes=PART, max_artifact_bytes=50_000, max_artifacts_per_build=40)
)


class MovableClock:
    """The system's clock, some seconds ahead."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> float:
        return SystemClock().now() + self.ahead


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def running(tmp_path: Path, clock: MovableClock) -> Iterator[RunningServer]:
    with running_server(tmp_path / "data", SETTINGS, clock=clock) as server:
        yield server


def objects(running: RunningServer) -> list[str]:
    """Keys of all artifacts and parts that are stored."""
    folder = running.folder / "objects"
    return sorted(str(path.relative_to(folder)) for path in (folder / "artifacts").rglob("*") if path.is_file())


def test_an_artifact_is_announced_sent_found_and_fetched(running: RunningServer) -> None:
    (job,) = running_jobs(running)
    data = b"line\r\n--xYz\r\n\0binary" * 30
    artifact_id, instructions = create(job, announced("log/a b.txt", data))
    assert found_paths(job, "*") == []
    assert send_form(job, instructions, data).status == 204
    assert found_paths(job, "*") == [], "the agent has not said that it is finished"
    states = {"artifacts": [{"id": artifact_id, "state": "finished"}]}
    assert job.call("PUT", "/artifacts", states).status == 200
    assert job.call("PUT", "/artifacts", states).status == 200, "said again"
    (artifact,) = search(job, "log/*").json
    assert artifact["id"] == artifact_id
    assert artifact["job_id"] == job.id
    assert artifact["file_size"] == len(data)
    assert artifact["sha256sum"] == hashlib.sha256(data).hexdigest()
    answer = job.api.call("GET", path_of(artifact["url"]))
    assert answer.status == 200
    assert answer.body == data
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"] == ("attachment; filename=\"a b.txt\"; filename*=UTF-8''a%20b.txt")
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["content-type"] == "text/plain"
    head = job.api.call("HEAD", path_of(artifact["url"]))
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(data)))


@pytest.mark.parametrize(
    ("wanted", "status", "part"),
    [
        ("bytes=0-3", 206, slice(0, 4)),
        ("bytes=5-", 206, slice(5, None)),
        ("bytes=-4", 206, slice(-4, None)),
        ("bytes=2-100000", 206, slice(2, None)),
        ("bytes=20-", 416, None),
        # What is not one range of bytes is as good as none. RFC 9110 14.2
        ("bytes=x", 200, slice(None)),
    ],
)
def test_ranges(running: RunningServer, wanted: str, status: int, part: slice | None) -> None:
    (job,) = running_jobs(running)
    data = b"0123456789abcdef"
    upload(job, "a", data)
    url = path_of(search(job, "a").json[0]["url"])
    answer = job.api.call("GET", url, headers={"Range": wanted})
    assert answer.status == status
    if part is not None:
        assert answer.body == data[part]
    else:
        assert answer.headers["content-range"] == "bytes */16"
    other = job.api.call("GET", url, headers={"Range": wanted, "If-Range": '"other"'})
    assert (other.status, other.body) == (200, data)


def test_markup_and_odd_types_are_only_ever_downloads(running: RunningServer) -> None:
    (job,) = running_jobs(running)
    upload(job, "x.html", b"<script>", content_type="text/html")
    upload(job, "y\r\nSet-Cookie: a=b", b"y", content_type="text/html\r\nSet-Cookie: a=b")
    types = {}
    for artifact in search(job, "*").json:
        answer = job.api.call("GET", path_of(artifact["url"]))
        assert answer.headers["content-disposition"].startswith("attachment; ")
        assert "sandbox" in answer.headers["content-security-policy"]
        assert "set-cookie" not in answer.headers
        types[artifact["path"][0]] = answer.headers["content-type"]
    assert types == {"x": "text/html", "y": "application/octet-stream"}


def test_the_same_batch_again_gets_the_same_ids_and_another_under_its_id_is_refused(running: RunningServer) -> None:
    (job,) = running_jobs(running)
    body = batch(announced("b", b"b"), announced("a", b"a"))
    first = job.call("POST", "/artifacts", body).json["artifact_ids"]
    again = job.call("POST", "/artifacts", body)
    assert again.json["artifact_ids"] == first
    body["artifacts"] = [announced("b", b"b")]
    answer = job.call("POST", "/artifacts", body)
    assert (answer.status, answer.json["code"]) == (409, "artifact.conflict")


def send_parts(job: Any, instructions: dict[str, Any], data: bytes) -> list[dict[str, Any]]:
    """Send a file in parts, evenly; returns their tags."""
    actions = instructions["actions"]
    size, longer = divmod(len(data), len(actions))
    tags, offset = [], 0
    for index, action in enumerate(actions):
        length = size + (index < longer)
        answer = job.api.call(action["method"], path_of(action["url"]), raw=data[offset : offset + length])
        assert answer.status == 200, answer.json
        tags.append({"part_number": action["part_number"], "etag": answer.headers["etag"]})
        offset += length
    return tags


def test_a_large_file_comes_in_parts(running: RunningServer) -> None:
    (job,) = running_jobs(running)
    data = bytes(range(256)) * 13
    artifact_id, instructions = create(job, announced("big", data), multipart_supported=True)
    assert [action["part_number"] for action in instructions["actions"]] == [1, 2, 3, 4]
    send_parts(job, instructions, b"x" * len(data))  # a try that was interrupted
    tags = send_parts(job, instructions, data)
    state = {"id": artifact_id, "state": "finished", "multipart": True}
    for missing in (
        [],
        tags[1:],
        [*tags[:3], {"part_number": 4, "etag": "mine"}],
        [*tags[:3], {**tags[0], "part_number": 4}],
    ):
        answer = job.call("PUT", "/artifacts", {"artifacts": [{**state, "multipart_etags": missing}]})
        assert (answer.status, answer.json["code"]) == (422, "artifact.incomplete"), missing
    assert found_paths(job, "*") == []
    done = {"artifacts": [{**state, "multipart_etags": tags}]}
    assert job.call("PUT", "/artifacts", done).status == 200
    assert job.call("PUT", "/artifacts", done).status == 200
    url = search(job, "big").json[0]["url"]
    assert job.api.call("GET", path_of(url)).body == data
    assert objects(running) == [f"artifacts/{build_of(job)}/{artifact_id}"], "no parts are left"


def test_small_files_and_old_agents_get_forms(running: RunningServer) -> None:
    (job,) = running_jobs(running)
    assert "action" in create(job, announced("small", b"x" * PART), multipart_supported=True)[1]
    assert "action" in create(job, announced("large", b"x" * 5 * PART))[1]


@pytest.mark.parametrize("sent", [b"other bytes of..", b"short", b""])
def test_other_bytes_than_announced_are_not_kept(running: RunningServer, sent: bytes) -> None:
    (job,) = running_jobs(running)
    artifact_id, instructions = create(job, announced("a", b"announced bytes."))
    answer = send_form(job, instructions, sent)
    assert (answer.status, answer.json["code"]) == (422, "artifact.mismatch")
    answer = job.call("PUT", "/artifacts", {"artifacts": [{"id": artifact_id, "state": "finished"}]})
    assert (answer.status, answer.json["code"]) == (422, "artifact.incomplete")
    assert objects(running) == []
    assert send_form(job, instructions, b"announced bytes.").status == 204, "and the right ones may still come"


def test_parts_that_do_not_make_up_the_whole_are_refused(running: RunningServer) -> None:
    (job,) = running_jobs(running)
    data = b"a" * (3 * PART)
    artifact_id, instructions = create(job, announced("big", data), multipart_supported=True)
    tags = send_parts(job, instructions, b"b" * len(data))
    state = {"id": artifact_id, "state": "finished", "multipart_etags": tags}
    answer = job.call("PUT", "/artifacts", {"artifacts": [state]})
    assert (answer.status, answer.json["code"]) == (422, "artifact.mismatch")


def test_more_bytes_than_announced_are_not_read(running: RunningServer) -> None:
    (job,) = running_jobs(running)
    _, instructions = create(job, announced("a", b"a"))
    answer = send_form(job, instructions, b"a" * 2_000_000)
    assert (answer.status, answer.json["code"]) == (413, "request.too_large")
    _, parts = create(job, announced("b", b"b" * 2 * PART), multipart_supported=True)
    answer = job.api.call("PUT", path_of(parts["actions"][0]["url"]), raw=b"b" * 3 * PART)
    assert answer.status == 413


def test_bytes_after_the_end_of_an_upload_are_refused(running: RunningServer) -> None:
    (job,) = running_jobs(running)
    artifact_id, instructions = create(job, announced("a", b"a"))
    job.call("PUT", "/artifacts", {"artifacts": [{"id": artifact_id, "state": "error"}]})
    answer = send_form(job, instructions, b"a")
    assert (answer.status, answer.json["code"]) == (409, "state.not_expected")
    assert found_paths(job, "*") == []
    assert found_paths(job, "*", state="error") == ["a"]


def test_addresses_expire_and_cannot_be_made_up(running: RunningServer, clock: MovableClock) -> None:
    (job,) = running_jobs(running)
    upload(job, "a", b"a")
    url = path_of(search(job, "a").json[0]["url"])
    _, instructions = create(job, announced("b", b"b"))
    api = job.api
    pieces = url.split("/")
    for index, forged in ((3, "0" * 8), (4, "1"), (5, str(int(pieces[5]) + 9)), (6, "A" * 43)):
        changed = "/".join([*pieces[:index], forged, *pieces[index + 1 :]])
        answer = api.call("GET", changed)
        assert answer.status in (403, 404), changed
    upload_path = instructions["action"]["path"]
    assert api.call("GET", upload_path.replace("/uploads/", "/files/")).json["code"] == "access.link"
    clock.ahead = DOWNLOAD_SECONDS + 1
    answer = api.call("GET", url)
    assert (answer.status, answer.json["code"]) == (403, "access.link")
    clock.ahead = UPLOAD_SECONDS + 1
    assert send_form(job, instructions, b"b").json["code"] == "access.link"


def test_uploads_that_nobody_goes_on_with_are_given_up(running: RunningServer, clock: MovableClock) -> None:
    (job,) = running_jobs(running)
    data = b"a" * 3 * PART
    _, instructions = create(job, announced("big", data), multipart_supported=True)
    send_parts(job, instructions, data)
    _, small = create(job, announced("small", b"s"))
    send_form(job, small, b"s")
    upload(job, "kept", b"k")
    assert len(objects(running)) == 5
    clock.ahead = 2 * UPLOAD_SECONDS + 60
    until(lambda: len(objects(running)) == 1, "the clearing")
    failed = "/pipelines/demo/builds/1/artifacts?state=error"
    until(lambda: len(running.api.rest("GET", failed).json) == 2, "the note")


def test_what_came_of_a_failed_upload_is_removed(running: RunningServer) -> None:
    (job,) = running_jobs(running)
    artifact_id, instructions = create(job, announced("a", b"a"))
    send_form(job, instructions, b"a")
    assert len(objects(running)) == 1
    job.call("PUT", "/artifacts", {"artifacts": [{"id": artifact_id, "state": "error"}]})
    assert objects(running) == []


def test_an_upload_outlives_a_server_that_is_killed_at_any_step(tmp_path: Path) -> None:
    with server_process(tmp_path / "data") as server:
        api = server.start()
        api.create_pipeline("steps: [{command: a}]")
        api.create_build()
        job = FakeAgent(api).take()
        data = b"bytes" * 1000
        body = batch(announced("a", data))

        def restarted() -> None:
            server.kill()
            job.api = server.start()

        created = job.call("POST", "/artifacts", body)
        restarted()
        again = job.call("POST", "/artifacts", body)
        assert again.json["artifact_ids"] == created.json["artifact_ids"]
        (artifact_id,) = created.json["artifact_ids"]
        assert send_form(job, created.json["per_artifact_instructions"][artifact_id], data).status == 204
        restarted()
        states = {"artifacts": [{"id": artifact_id, "state": "finished"}]}
        assert job.call("PUT", "/artifacts", states).status == 200
        restarted()
        assert job.call("PUT", "/artifacts", states).status == 200
        (artifact,) = search(job, "a").json
        assert job.api.call("GET", path_of(artifact["url"])).body == data


def test_searching(running: RunningServer) -> None:
    first, second = running_jobs(running, count=2)
    jobs = {job.env["BUILDKITE_STEP_KEY"]: job for job in (first, second)}
    one, two = jobs["one"], jobs["two"]
    upload(one, "pkg/a.tar.gz", b"1")
    upload(two, "pkg/deep/b.tar.gz", b"2")
    newer = upload(two, "pkg/a.tar.gz", b"3")
    assert found_paths(one, "pkg/*.tar.gz") == ["pkg/a.tar.gz", "pkg/deep/b.tar.gz"]
    assert search(one, "pkg/a.tar.gz").json[0]["id"] == newer
    assert found_paths(one, "pkg/a*", include_duplicates="true") == ["pkg/a.tar.gz"] * 2
    assert found_paths(one, "*", scope="one") == ["pkg/a.tar.gz"]
    assert found_paths(one, "*", scope="One") == ["pkg/a.tar.gz"]
    assert found_paths(one, "*", scope=two.id) == ["pkg/deep/b.tar.gz", "pkg/a.tar.gz"]
    assert found_paths(one, "*", scope="nobody") == []
    assert search(one, "[").status == 422
    assert search(one, "x", state="odd").status == 422


def test_artifacts_of_retried_jobs_are_found_on_request(running: RunningServer) -> None:
    steps = "steps: [{command: a, key: a, retry: {automatic: true}}]"
    (job,) = running_jobs(running, steps)
    upload(job, "old", b"1")
    job.finish(1)
    again = FakeAgent(running.api).take()
    upload(again, "new", b"2")
    assert found_paths(again, "*") == ["new"]
    assert found_paths(again, "*", include_retried_jobs="true") == ["old", "new"]


def test_files_kept_elsewhere_are_found_there(running: RunningServer) -> None:
    (job,) = running_jobs(running)
    url = "https://bucket.s3.example.test/a"
    artifact_id, _ = create(job, announced("a", b"a", url=url, upload_destination="s3://bucket"))
    answer = job.call("PUT", "/artifacts", {"artifacts": [{"id": artifact_id, "state": "finished"}]})
    assert answer.status == 200, answer.json
    (artifact,) = search(job, "a").json
    assert (artifact["url"], artifact["upload_destination"]) == (url, "s3://bucket")


NOT_ANNOUNCED: list[tuple[Any, int]] = [
    ([], 422),
    ([announced(f"{n}", b"") for n in range(31)], 422),
    ([announced("", b"")], 422),
    ([announced("a" * 4097, b"")], 422),
    ([announced("a\0b", b"")], 422),
    ([announced("a", b"", file_size=-1)], 422),
    ([announced("a", b"", file_size="1")], 422),
    ([announced("a", b"", sha1sum="xyz")], 422),
    ([announced("a", b"", sha256sum="A" * 64)], 422),
    ([announced("a", b"", url="javascript:alert(1)")], 422),
    ([announced("a", b"", content_type="t" * 2000)], 422),
    ([announced("a", b"", absolute_path="/" * 5000)], 422),
    ([announced("a", b"", file_size=50_001)], 403),
    ([{"path": "a"}], 422),
    ("a", 422),
]


def test_what_cannot_be_announced(running: RunningServer) -> None:
    (job,) = running_jobs(running)
    for artifacts, status in NOT_ANNOUNCED:
        answer = job.call("POST", "/artifacts", {**batch(), "artifacts": artifacts})
        assert answer.status == status, answer.json
        assert answer.json["code"] == ("artifact.limit" if status == 403 else "request.malformed")
        assert found_paths(job, "*", state="new") == []


def test_a_build_has_so_many_artifacts_and_no_more(running: RunningServer) -> None:
    (job,) = running_jobs(running)
    assert job.call("POST", "/artifacts", batch(*(announced(f"{n}", b"") for n in range(30)))).status == 201
    answer = job.call("POST", "/artifacts", batch(*(announced(f"{n}", b"") for n in range(11))))
    assert (answer.status, answer.json["code"]) == (403, "artifact.limit")
    assert len(found_paths(job, "*", state="new")) == 30


def test_only_the_job_itself_announces_and_updates_while_it_runs(running: RunningServer) -> None:
    job, other = running_jobs(running, count=2)
    artifact_id, _ = create(job, announced("a", b"a"))
    body = batch(announced("x", b"x"))
    for path, method, message in (
        (f"/jobs/{job.id}/artifacts", "POST", body),
        (f"/jobs/{job.id}/artifacts", "PUT", {"artifacts": [{"id": artifact_id, "state": "error"}]}),
    ):
        answer = job.api.agent_call(method, path, other.token, message)
        assert (answer.status, answer.json["code"]) == (403, "access.other_job")
    answer = other.call("PUT", "/artifacts", {"artifacts": [{"id": artifact_id, "state": "error"}]})
    assert answer.status == 404, "an artifact of another job"
    assert other.call("PUT", "/artifacts", {"artifacts": [{"id": "../x", "state": "error"}]}).status == 404
    assert job.call("PUT", "/artifacts", {"artifacts": [{"id": artifact_id, "state": "new"}]}).status == 422
    job.finish()
    assert job.call("POST", "/artifacts", body).json["code"] == "state.not_running"
    assert search(job, "*").json["code"] == "state.not_running"


def test_builds_of_the_same_pipeline_can_be_searched_and_others_not(running: RunningServer) -> None:
    (job,) = running_jobs(running)
    upload(job, "a", b"a")
    running.api.create_build()
    FakeAgent(running.api).take()  # the second job of the first build
    sibling = FakeAgent(running.api).take()
    assert build_of(sibling) != build_of(job)
    assert [artifact["path"] for artifact in search(sibling, "*", build_of(job)).json] == ["a"]
    FakeAgent(running.api).take()
    (stranger,) = running_jobs(running, slug="other")
    answer = search(stranger, "*", build_of(job))
    assert (answer.status, answer.json["code"]) == (403, "access.other_build")
    assert search(job, "*", "nothing").status == 404


def test_people_read_artifacts_through_the_rest_api(running: RunningServer) -> None:
    (job,) = running_jobs(running)
    artifact_id = upload(job, "log/a.txt", b"text")
    api = running.api
    (shown,) = api.rest("GET", "/pipelines/demo/builds/1/artifacts").json
    assert (shown["id"], shown["dirname"], shown["filename"]) == (artifact_id, "log", "a.txt")
    path = f"/pipelines/demo/builds/1/jobs/{job.id}/artifacts"
    assert api.rest("GET", path).json == [shown]
    assert api.rest("GET", f"{path}?page=2").json == []
    assert api.rest("GET", f"{path}/{artifact_id}").json == shown
    moved = api.rest("GET", f"{path}/{artifact_id}/download")
    assert moved.status == 302
    assert api.call("GET", path_of(moved.headers["location"])).body == b"text"
    assert api.rest("GET", f"/pipelines/demo/builds/1/jobs/other/artifacts/{artifact_id}").status == 404
    assert api.rest("GET", "/pipelines/demo/builds/9/artifacts").status == 404


def test_the_real_commands(running: RunningServer, tmp_path: Path) -> None:
    (job,) = running_jobs(running)
    work = tmp_path / "work"
    (work / "out/deep").mkdir(parents=True)
    (work / "out/one.txt").write_bytes(b"one")
    (work / "out/deep/big.bin").write_bytes(bytes(range(256)) * 20)
    done = command(job, "artifact", "upload", "out/**/*", cwd=work)
    assert done.status == 0, done.err
    done = command(job, "artifact", "search", "out/*", "--format", "%p %s %T\\n")
    big = hashlib.sha256(bytes(range(256)) * 20).hexdigest()
    assert set(done.out.decode().splitlines()) == {
        f"out/deep/big.bin 5120 {big}",
        f"out/one.txt 3 {hashlib.sha256(b'one').hexdigest()}",
    }
    done = command(job, "artifact", "shasum", "out/one.txt", "--sha256")
    assert done.out.decode().strip() == hashlib.sha256(b"one").hexdigest()
    there = tmp_path / "there"
    there.mkdir()
    done = command(job, "artifact", "download", "out/*", str(there))
    assert done.status == 0, done.err
    assert (there / "out/deep/big.bin").read_bytes() == bytes(range(256)) * 20
    assert (there / "out/one.txt").read_bytes() == b"one"
    assert command(job, "artifact", "search", "nothing").status != 0


async def _read(pieces: list[bytes], boundary: bytes, name: str) -> bytes:
    async def stream() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return b"".join([block async for block in read_file_field(stream(), boundary, name)])


@given(data=st.binary(max_size=300), cuts=st.lists(st.integers(0, 500), max_size=12))
def test_a_form_is_read_the_same_however_it_is_cut(data: bytes, cuts: list[int]) -> None:
    data = data.replace(b"--b", b"")
    body, _ = form(data, boundary="b")
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    pieces = [body[start:end] for start, end in pairwise(places)]
    assert run_coroutine(_read(pieces, b"b", "file")) == data


@given(body=st.binary(max_size=200), end=st.integers(0, 250))
def test_no_form_makes_the_reader_fall_over(body: bytes, end: int) -> None:
    whole, _ = form(body, boundary="b")
    for text in (body, b"--b\r\n" + body, whole[:end]):
        try:
            run_coroutine(_read([text], b"b", "file"))
        except MalformedInput as error:
            assert error.code == "request.malformed"


def test_forms_that_cannot_be_used(running: RunningServer) -> None:
    (job,) = running_jobs(running)
    _, instructions = create(job, announced("a", b"a"))
    path = instructions["action"]["path"]
    body, headers = form(b"a", "other")
    long_field = form(b"x" * 70_000, "other")[0]
    for raw, sent in (
        (body, headers),
        (long_field, headers),
        (body[:-8], headers),
        (b"", headers),
        (form(b"a")[0], {"Content-Type": "text/plain"}),
        (form(b"a")[0], {"Content-Type": "multipart/form-data"}),
    ):
        answer = job.api.call("POST", path, raw=raw, headers=sent)
        assert (answer.status, answer.json["code"]) == (422, "request.malformed"), raw[:50]
    assert objects(running) == []


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('Multipart/Form-Data; charset=utf-8; boundary="a b"', b"a b"),
    ],
)
def test_boundaries(content_type: str, boundary: bytes) -> None:
    assert parse_boundary(content_type) == boundary


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("*", "a/b.txt", True),
        ("", "a", True),
        ("a/*.txt", "a/b/c.txt", True),
        ("a/**/*.txt", "a/c.txt", True),
        ("**/*.txt", "c.txt", True),
        ("?.txt", "/.txt", False),
        ("?.txt", "a.txt", True),
        ("[ab]", "b", True),
        ("[^ab]", "b", False),
        ("{a,b/*}", "b/c", True),
        ("{a,b}", "c", False),
        ("a,b", "a,b", True),
        (r"\*", "a", False),
        (r"\*", "*", True),
        ("a.b", "axb", False),
        ("a}", "a}", True),
    ],
)
def test_patterns(pattern: str, path: str, expected: bool) -> None:
    assert parse_path_pattern(pattern)(path) is expected


@given(st.text(alphabet="a*?[]{},\\/^!é\n(.|$", max_size=30), st.text(max_size=20))
def test_no_pattern_falls_over(pattern: str, path: str) -> None:
    try:
        matches = parse_path_pattern(pattern)
    except MalformedInput:
        return
    assert matches(path) in (True, False)


@given(st.text(alphabet="abc./- é\n", min_size=1, max_size=30))
def test_a_path_matches_itself(path: str) -> None:
    assert parse_path_pattern(path)(path)
