"""Uploading and downloading artifacts over real sockets: streamed, retried, reported, checked."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeseal.agent.artifacts import upload as upload_module
from pipeseal.agent.artifacts.destination import Destination
from pipeseal.agent.artifacts.download import download_artifacts, plan_downloads
from pipeseal.agent.artifacts.find import Search, collect_files
from pipeseal.agent.artifacts.search import search_artifacts
from pipeseal.agent.artifacts.stores import StorePolicy, StoreSession
from pipeseal.agent.artifacts.upload import ArtifactUpload, check_destination
from pipeseal.agent.job_client import JobClient
from pipeseal.errors import ConfigurationError, MalformedInput, PipesealError, Unavailable, VerificationError
from tests.cli.fake_job_server import TOKEN, Answered, FakeJobServer, Recorded, fake_job_server


class Impatient(threading.Event):
    """Waits for nothing, and remembers for how long it should have."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        if timeout is not None:
            self.waits.append(timeout)
        return self.is_set()


@pytest.fixture
def server() -> Iterator[FakeJobServer]:
    with fake_job_server() as fake:
        yield fake


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def client(server: FakeJobServer) -> Iterator[JobClient]:
    client = JobClient(server.endpoint, TOKEN, stop=Impatient())
    yield client
    client.close()


def upload(client: JobClient, text: str, **options: Any) -> list[str]:
    said: list[str] = []
    files = collect_files(Search(text))
    policy = StorePolicy(client.endpoint)
    ArtifactUpload(client, "job-1", policy, workers=options.pop("workers", 3), say=said.append, **options).run(files)
    return said


def download(client: JobClient, query: str, folder: Path, workers: int = 3) -> list[str]:
    said: list[str] = []
    destination = Destination(str(folder))
    try:
        plan = plan_downloads(search_artifacts(client, "build-1", query), query, destination.name)
        policy = StorePolicy(client.endpoint)
        download_artifacts(plan, destination, policy, workers=workers, wait=client.stop.wait, say=said.append)
    finally:
        destination.close()
    return said


# --- uploading ----------------------------------------------------------------------------------------------------


def test_files_go_up_as_forms_and_their_states_are_reported(
    server: FakeJobServer, client: JobClient, here: Path
) -> None:
    (here / "log").mkdir()
    (here / "log" / "a.txt").write_bytes(b"alpha\r\n--\r\n")
    (here / 'quo"te\\.txt').write_text("q")
    (here / "empty.bin").write_bytes(b"")
    upload(client, "**/*")
    (create,) = server.asked("POST", "/v3/jobs/job-1/artifacts")
    assert create.json["upload_destination"] == "" and create.json["multipart_supported"] is True
    by_path = {artifact["path"]: artifact for artifact in create.json["artifacts"]}
    assert sorted(by_path) == ["empty.bin", "log/a.txt", 'quo"te\\.txt']
    assert by_path["log/a.txt"] == {
        "id": "",
        "path": "log/a.txt",
        "absolute_path": "log/a.txt",
        "glob_path": "",
        "file_size": 11,
        "sha1sum": by_path["log/a.txt"]["sha1sum"],
        "sha256sum": by_path["log/a.txt"]["sha256sum"],
        "job_id": "",
        "created_at": "0001-01-01T00:00:00Z",
        "content_type": "text/plain",
    }
    assert server.stored == {"log/a.txt": b"alpha\r\n--\r\n", 'quo"te\\.txt': b"q", "empty.bin": b""}
    assert {artifact["state"] for artifact in server.artifacts.values()} == {"finished"}
    for form in server.forms:
        assert [name for name, _, _ in form] == ["key", "policy", "file"]  # the file comes last
    sent = server.asked("POST", "/upload")
    assert all(request.query == {"x": "1"} and "authorization" not in request.headers for request in sent)
    assert all(int(request.headers["content-length"]) == len(request.body) for request in sent)


def test_nothing_tells_the_server_where_files_were_on_this_machine(
    server: FakeJobServer, client: JobClient, here: Path
) -> None:
    (here / "a.txt").write_text("x")
    upload(client, "a.txt")
    assert not [request for request in server.requests if str(here).encode() in request.body]


def test_large_numbers_go_in_batches_with_few_requests_at_once(
    server: FakeJobServer, client: JobClient, here: Path
) -> None:
    for number in range(65):
        (here / f"{number:02}.txt").write_text(str(number))
    upload(client, "*.txt", workers=4)
    batches = [len(request.json["artifacts"]) for request in server.asked("POST", "/v3/jobs/job-1/artifacts")]
    assert batches == [30, 30, 5]
    assert len({request.json["id"] for request in server.asked("POST", "/v3/jobs/job-1/artifacts")}) == 3
    assert server.stored == {f"{number:02}.txt": str(number).encode() for number in range(65)}
    assert {artifact["state"] for artifact in server.artifacts.values()} == {"finished"}
    # Four that send, one that creates, one that reports.
    assert server.most_at_once <= 6
    assert len(server.asked("PUT", "/v3/jobs/job-1/artifacts")) < 10


def test_parts_share_the_bytes_evenly_and_their_tags_are_reported(
    server: FakeJobServer, client: JobClient, here: Path
) -> None:
    server.part_count = 3
    content = os.urandom(100_001)
    (here / "big.bin").write_bytes(content)
    (here / "tiny.bin").write_bytes(b"ab")
    upload(client, "*.bin", workers=2)
    assert server.stored == {"big.bin": content, "tiny.bin": b"ab"}
    assert [len(server.parts["artifact-1"][number]) for number in (1, 2, 3)] == [33_334, 33_334, 33_333]
    assert [len(server.parts["artifact-2"][number]) for number in (1, 2, 3)] == [1, 1, 0]
    part = server.asked("PUT", "/part/artifact-1/1")[0]
    assert part.headers["content-type"] == "application/octet-stream"


def test_parts_can_be_declined(server: FakeJobServer, client: JobClient, here: Path) -> None:
    server.part_count = 3
    (here / "a.bin").write_bytes(b"abc")
    upload(client, "a.bin", multipart=False)
    assert "multipart_supported" not in server.asked("POST", "/v3/jobs/job-1/artifacts")[0].json
    assert server.stored == {"a.bin": b"abc"} and not server.parts


def test_a_part_without_a_tag_is_not_taken_for_stored(server: FakeJobServer, client: JobClient, here: Path) -> None:
    server.part_count = 2
    server.answers["PUT /part/.*/2"] = Answered(200)
    (here / "a.bin").write_bytes(b"abc")
    with pytest.raises(Unavailable, match="ETag") as caught:
        upload(client, "a.bin")
    assert caught.value.code == "artifact.transfer"
    (state,) = server.asked("PUT", "/v3/jobs/job-1/artifacts")[-1].json["artifacts"]
    assert (state["id"], state["state"], state["multipart"]) == ("artifact-1", "error", True)


def test_stores_are_asked_again_and_a_batch_is_created_once(
    server: FakeJobServer, client: JobClient, here: Path
) -> None:
    (here / "a.txt").write_text("x")
    server.failures = {
        "POST /v3/jobs/job-1/artifacts": [500, 503],
        "POST /upload": [500, 403, 429],
        "PUT /v3/jobs/job-1/artifacts": [404],
    }
    upload(client, "a.txt")
    creates = server.asked("POST", "/v3/jobs/job-1/artifacts")
    assert len(creates) == 3 and len({create.json["id"] for create in creates}) == 1
    assert server.stored == {"a.txt": b"x"}
    assert server.artifacts["artifact-1"]["state"] == "finished"


def test_a_quota_ends_the_upload_at_once(server: FakeJobServer, client: JobClient, here: Path) -> None:
    (here / "a.txt").write_text("x")
    server.failures = {"POST /v3/jobs/job-1/artifacts": [403]}
    with pytest.raises(Unavailable) as caught:
        upload(client, "a.txt")
    assert (caught.value.code, caught.value.status) == ("api.status", 403)
    assert len(server.requests) == 1


def test_a_file_that_cannot_be_stored_fails_the_upload_and_begins_no_further_batch(
    server: FakeJobServer, client: JobClient, here: Path
) -> None:
    for number in range(70):
        (here / f"{number:02}.txt").write_text(str(number))

    def gate(request: Recorded) -> None:
        if request.path == "/upload" and b'filename="07.txt"' in request.body:
            request.segments = ["nowhere"]

    server.gate = gate
    with pytest.raises(Unavailable, match="404") as caught:
        upload(client, "*.txt", workers=1)
    assert caught.value.code == "artifact.transfer" and caught.value.status is None
    states = {artifact["path"]: artifact["state"] for artifact in server.artifacts.values()}
    assert states.pop("07.txt") == "error"
    # What was announced is brought to its end.
    assert set(states.values()) == {"finished"}
    assert len(states) < 69


def test_several_failures_are_counted(server: FakeJobServer, client: JobClient, here: Path) -> None:
    for number in range(5):
        (here / f"{number}.txt").write_text(str(number))
    server.answers["POST /upload"] = Answered(400, b"<Error>\x1b[31mno such bucket</Error>")
    with pytest.raises(Unavailable, match=r"^5 of 5 files could not be uploaded; .*no such bucket") as caught:
        upload(client, "*.txt")
    assert "\x1b" not in caught.value.message
    assert {artifact["state"] for artifact in server.artifacts.values()} == {"error"}


def test_states_that_cannot_be_reported_fail_the_upload(server: FakeJobServer, client: JobClient, here: Path) -> None:
    (here / "a.txt").write_text("x")
    server.answers["PUT /v3/jobs/job-1/artifacts"] = Answered(500, {"message": "no"})
    with pytest.raises(Unavailable, match="500"):
        upload(client, "a.txt")
    assert len(server.asked("PUT", "/v3/jobs/job-1/artifacts")) == 10


def test_a_file_that_changes_on_the_way_is_not_passed_off_as_what_it_was(
    server: FakeJobServer, client: JobClient, here: Path
) -> None:
    (here / "a.txt").write_text("first")
    files = collect_files(Search("a.txt"))
    (here / "a.txt").write_text("other")
    os.utime(here / "a.txt", ns=(0, 0))
    with pytest.raises(VerificationError) as caught:
        ArtifactUpload(client, "job-1", StorePolicy(client.endpoint), workers=1).run(files)
    assert caught.value.code == "artifact.changed"
    assert server.artifacts["artifact-1"]["state"] == "error"
    assert server.stored == {}


def test_a_file_that_is_gone_fails_without_further_attempts(
    server: FakeJobServer, client: JobClient, here: Path
) -> None:
    (here / "a.txt").write_text("first")
    files = collect_files(Search("a.txt"))
    (here / "a.txt").unlink()
    with pytest.raises(Unavailable) as caught:
        ArtifactUpload(client, "job-1", StorePolicy(client.endpoint), workers=1).run(files)
    assert caught.value.code == "artifact.file"
    assert isinstance(client.stop, Impatient) and client.stop.waits == []


def test_too_large_a_file_is_refused_before_anything_is_sent(
    server: FakeJobServer, client: JobClient, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_module, "MAX_FILE_BYTES", 10)
    (here / "a.txt").write_text("eleven byte")
    with pytest.raises(ConfigurationError) as caught:
        upload(client, "a.txt")
    assert caught.value.code == "artifact.too_large"
    assert server.requests == []


def test_bytes_go_nowhere_the_operator_did_not_choose(server: FakeJobServer, client: JobClient, here: Path) -> None:
    (here / "a.txt").write_text("secret")
    answer = {
        "id": "b",
        "artifact_ids": ["artifact-1"],
        "upload_instructions": {
            "action": {"url": "http://169.254.169.254/", "method": "PUT", "path": "latest", "file_input": "f"}
        },
    }
    server.artifacts["artifact-1"] = {"path": "a.txt", "state": "new"}
    server.answers["POST /v3/jobs/job-1/artifacts"] = Answered(200, answer)
    with pytest.raises(VerificationError, match=r"169\.254") as caught:
        upload(client, "a.txt")
    assert caught.value.code == "artifact.store"
    assert server.artifacts["artifact-1"]["state"] == "error"


def test_a_public_name_that_resolves_to_this_machine_is_not_used(
    server: FakeJobServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    session = StoreSession(StorePolicy("https://ci.example/v3"), "test")
    with pytest.raises(VerificationError, match="not a public address"):
        session.fetch("https://store.example/get/x", lambda _block: None, size=None)
    assert server.requests == []


@pytest.mark.parametrize("destination", ["s3://b/p", "gs://b", "rt://r", "https://a.blob.core.windows.net/c"])
def test_other_destinations_are_not_supported_yet_and_say_so(destination: str) -> None:
    with pytest.raises(ConfigurationError, match="not supported yet") as caught:
        check_destination(destination)
    assert caught.value.code == "artifact.destination"
    check_destination("")
    with pytest.raises(ConfigurationError, match="no destination"):
        check_destination("log/b.txt")


def test_a_store_that_refuses_early_is_heard(server: FakeJobServer, client: JobClient, here: Path) -> None:
    # It answers and closes before it has read the whole body.
    import socket

    listener = socket.create_server(("127.0.0.1", 0))

    def refuse() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.recv(1_000)
            connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)
            connection.close()

    threading.Thread(target=refuse, daemon=True).start()
    try:
        session = StoreSession(StorePolicy(client.endpoint), "test")
        blocks = (b"x" * 65_536 for _ in range(400))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        try:
            answer = session.send("PUT", url, {}, 400 * 65_536, blocks)
        except Unavailable as error:
            # When the close wins the race, the answer may be lost; never is it taken for success.
            assert error.code == "artifact.transfer"
        else:
            assert (answer.status, answer.body) == (413, b"big")
    finally:
        listener.close()


# --- downloading --------------------------------------------------------------------------------------------------


def test_what_was_uploaded_comes_down_again(server: FakeJobServer, client: JobClient, here: Path) -> None:
    (here / "dist" / "deep").mkdir(parents=True)
    content = {f"dist/deep/{number}.bin": os.urandom(number * 50_000) for number in range(6)}
    for path, data in content.items():
        (here / path).write_bytes(data)
    upload(client, "dist/**/*")
    (here / "out").mkdir()
    said = download(client, "dist/**", here / "out")
    assert {str(p.relative_to(here / "out")): p.read_bytes() for p in (here / "out").rglob("*.bin")} == content
    assert len(said) == 6 and all("SHA-256" in line for line in said)
    assert all("authorization" not in request.headers for request in server.asked("GET", "/get/.*"))


def test_the_destination_s_own_name_is_not_repeated(server: FakeJobServer, client: JobClient, here: Path) -> None:
    server.add_artifact("pkg/a.txt", b"x")
    (here / "pkg").mkdir()
    download(client, "pkg/*", here / "pkg")
    assert (here / "pkg" / "a.txt").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"sha256sum": "0" * 64}, "artifact.checksum"),
        ({"sha256sum": "", "sha1sum": "0" * 40}, "artifact.checksum"),
        ({"file_size": 2}, "artifact.checksum"),
        ({"file_size": 9}, "artifact.checksum"),
        ({"sha256sum": "no digits"}, "api.answer"),
    ],
)
def test_other_bytes_than_announced_are_not_kept(
    server: FakeJobServer, client: JobClient, here: Path, members: dict[str, Any], code: str
) -> None:
    server.add_artifact("a.txt", b"abc", **members)
    server.add_artifact("b.txt", b"fine")
    with pytest.raises(PipesealError) as caught:
        download(client, "*", here)
    assert caught.value.code == code
    assert [path.name for path in here.iterdir()] == ["b.txt"]


def test_upper_case_digits_and_old_artifacts_are_checked_too(
    server: FakeJobServer, client: JobClient, here: Path
) -> None:
    artifact = server.add_artifact("a.txt", b"abc")
    artifact["sha256sum"] = artifact["sha256sum"].upper()
    server.add_artifact("b.txt", b"abc", sha256sum="")
    server.add_artifact("c.txt", b"abc", sha256sum="", sha1sum="")
    said = sorted(download(client, "*", here))
    assert "its SHA-256 is the announced one" in said[0]
    assert "its SHA-1 is the announced one" in said[1]
    assert "NOT CHECKED" in said[2]


def test_fetching_is_tried_again(server: FakeJobServer, client: JobClient, here: Path) -> None:
    server.add_artifact("a.txt", b"abc")
    server.failures = {"GET /get/.*": [500, 403, 404, 503], "GET /v3/builds/.*": [502]}
    download(client, "*", here)
    assert (here / "a.txt").read_bytes() == b"abc"
    server.failures = {"GET /get/.*": [500] * 5}
    with pytest.raises(Unavailable, match="500"):
        download(client, "*", here)


def test_redirects_are_followed_only_to_where_bytes_may_come_from(
    server: FakeJobServer, client: JobClient, here: Path
) -> None:
    server.add_artifact("a.txt", b"abc")
    session = StoreSession(StorePolicy(client.endpoint), "test")
    taken: list[bytes] = []
    session.fetch(f"{server.url}/redirect/artifact-1", taken.append, size=3)
    assert b"".join(taken) == b"abc"
    server.answers["GET /away"] = Answered(302, headers={"Location": "http://10.1.2.3/secret"})
    with pytest.raises(VerificationError) as caught:
        session.fetch(f"{server.url}/away", taken.append, size=3)
    assert caught.value.code == "artifact.store"
    server.answers["GET /round"] = Answered(302, headers={"Location": "/round"})
    with pytest.raises(Unavailable, match="redirects"):
        session.fetch(f"{server.url}/round", taken.append, size=3)
    session.close()


def test_a_download_that_ends_early_is_not_whole(client: JobClient) -> None:
    import socket

    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        connection.recv(1_000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        connection.close()

    threading.Thread(target=serve, daemon=True).start()
    session = StoreSession(StorePolicy(client.endpoint), "test")
    with pytest.raises(Unavailable, match="too early") as caught:
        session.fetch(f"http://127.0.0.1:{listener.getsockname()[1]}/", lambda _block: None, size=None)
    assert caught.value.code == "artifact.transfer"
    listener.close()


def test_a_store_that_drips_is_given_up_on(client: JobClient, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    from pipeseal.agent.artifacts import stores

    monkeypatch.setattr(stores, "BASE_SECONDS", 0.3)
    listener = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        connection, _ = listener.accept()
        try:
            while True:
                connection.sendall(b"HTTP/1.1 200 OK\r\nX: y"[:1])
                threading.Event().wait(0.05)
        except OSError:
            connection.close()

    threading.Thread(target=drip, daemon=True).start()
    session = StoreSession(StorePolicy(client.endpoint), "test")
    with pytest.raises(Unavailable, match="too slow"):
        session.fetch(f"http://127.0.0.1:{listener.getsockname()[1]}/", lambda _block: None, size=None)
    listener.close()


def test_a_full_disk_is_called_so(
    server: FakeJobServer, client: JobClient, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add_artifact("a.txt", b"abc")
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full to write to")
    real = os.open

    def open_full(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if str(path).endswith(".part"):
            real(path, flags, *arguments, **options)
            return real("/dev/full", os.O_WRONLY)
        return real(path, flags, *arguments, **options)

    monkeypatch.setattr(os, "open", open_full)
    with pytest.raises(Unavailable, match="No space left") as caught:
        download(client, "*", here)
    assert caught.value.code == "artifact.file"
    monkeypatch.undo()
    assert list(here.iterdir()) == []


def test_hostile_paths_write_nothing(server: FakeJobServer, client: JobClient, here: Path) -> None:
    inside = here / "inside"
    inside.mkdir()
    (inside / "link").symlink_to(here)
    server.add_artifact("link/a.txt", b"x")
    with pytest.raises(VerificationError) as caught:
        download(client, "link/*", inside)
    assert caught.value.code == "artifact.symlink"
    server.artifacts.clear()
    server.add_artifact("../../b.txt", b"y")
    server.answers["GET /v3/builds/.*"] = Answered(
        200, [{**server.artifacts["artifact-1"], "url": f"{server.url}/get/artifact-1"}]
    )
    with pytest.raises(MalformedInput):
        download(client, "dist/*", inside)
    download(client, "*", inside)
    assert sorted(str(path.relative_to(here)) for path in here.rglob("*")) == [
        "inside",
        "inside/b.txt",
        "inside/link",
    ]
