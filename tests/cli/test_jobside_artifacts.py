"""`artifact` as a job runs it: options, output, exit statuses, and memory that does not grow with the files."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.cli.fake_job_server import Answered, FakeJobServer, fake_job_server
from tests.cli.job_commands import Done, run_command


@pytest.fixture
def server() -> Iterator[FakeJobServer]:
    with fake_job_server() as fake:
        yield fake


class Job:
    """A job with a folder."""

    def __init__(self, server: FakeJobServer, folder: Path) -> None:
        self.server = server
        self.folder = folder

    def run(self, *arguments: str, env: Mapping[str, str] | None = None) -> Done:
        environment = {**self.server.environment(), **(env or {})}
        return run_command(environment, "artifact", *arguments, cwd=self.folder)

    def write(self, path: str, content: str = "x") -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)


@pytest.fixture
def job(server: FakeJobServer, tmp_path: Path) -> Job:
    return Job(server, tmp_path)


def test_files_are_uploaded_and_downloaded(server: FakeJobServer, job: Job) -> None:
    for path in ("log/a.log", "log/deep/b.log", "dist/c.whl", "other.txt"):
        job.write(path, path)
    done = job.run("upload", "log/**/*.log;dist/*")
    assert (done.status, done.out) == (0, b"")
    assert "Found 3 files" in done.err and "log/deep/b.log" in done.err
    assert server.stored == {path: path.encode() for path in ("log/a.log", "log/deep/b.log", "dist/c.whl")}
    (job.folder / "out").mkdir()
    done = job.run("download", "log/*", "out")
    assert (done.status, done.out) == (0, b"")
    assert (job.folder / "out/log/deep/b.log").read_text() == "log/deep/b.log"
    assert not (job.folder / "out/dist").exists()


def test_uploading_nothing_is_no_error(server: FakeJobServer, job: Job) -> None:
    done = job.run("upload", "nothing/**/*;also-nothing")
    assert (done.status, done.out) == (0, b"")
    assert "No files matched paths: nothing/**/*;also-nothing" in done.err
    assert server.requests == []


def test_a_pattern_that_is_not_whole_is_shown(server: FakeJobServer, job: Job) -> None:
    done = job.run("upload", "a{b,c")
    assert done.status == 1 and done.has_code("artifact.pattern") and "a{b,c" in done.err
    assert server.requests == []


def test_options_of_uploading_are_heard(server: FakeJobServer, job: Job) -> None:
    job.write("a;b.txt")
    job.write("[c].txt")
    job.write("d.txt")
    (job.folder / "e.txt").symlink_to("d.txt")
    (job.folder / "f").mkdir()
    job.write("f/g.txt")
    (job.folder / "linked").symlink_to("f")

    def uploaded(*arguments: str, env: Mapping[str, str] | None = None) -> list[str]:
        server.artifacts.clear()
        server.batches.clear()
        assert job.run("upload", *arguments, env=env).status == 0
        return sorted(artifact["path"] for artifact in server.artifacts.values())

    assert uploaded("a;b.txt", "--delimiter", "") == ["a;b.txt"]
    assert uploaded("a;b.txt,d.txt", env={"BUILDKITE_AGENT_ARTIFACT_DELIMITER": ","}) == ["a;b.txt", "d.txt"]
    assert uploaded("[c].txt", "--literal") == ["[c].txt"]
    assert uploaded("?.txt") == ["d.txt", "e.txt"]
    assert uploaded("?.txt", "--upload-skip-symlinks") == ["d.txt"]
    assert uploaded("*/g.txt") == ["f/g.txt"]
    assert uploaded("*/g.txt", "--glob-resolve-follow-symlinks") == ["f/g.txt", "linked/g.txt"]
    assert uploaded("*/g.txt", env={"BUILDKITE_AGENT_ARTIFACT_SYMLINKS": "true"}) == ["f/g.txt", "linked/g.txt"]
    assert uploaded("d.txt", "--content-type", "text/x-mine", "--job", "other", "--concurrency", "1") == ["d.txt"]
    create = server.asked("POST", "/v3/jobs/other/artifacts")[0].json
    assert create["artifacts"][0]["content_type"] == "text/x-mine"
    assert uploaded("~/d.txt", env={"HOME": str(job.folder)}) == [str(job.folder / "d.txt").lstrip("/")]
    server.part_count = 2
    server.parts.clear()
    assert uploaded("d.txt", env={"BUILDKITE_NO_MULTIPART_ARTIFACT_UPLOAD": "true"}) == ["d.txt"]
    assert server.parts == {}
    assert uploaded("d.txt") == ["d.txt"]
    assert server.parts


def test_other_destinations_are_refused_wherever_they_come_from(server: FakeJobServer, job: Job) -> None:
    job.write("a.txt")
    job.write("b.txt")
    for done in (
        job.run("upload", "a.txt", "s3://bucket/prefix"),
        job.run("upload", "a.txt", env={"BUILDKITE_ARTIFACT_UPLOAD_DESTINATION": "gs://bucket"}),
    ):
        assert done.status == 1 and done.has_code("artifact.destination") and "not supported yet" in done.err
    # What a shell makes of *.txt without quotes.
    done = job.run("upload", "a.txt", "b.txt")
    assert done.status == 1 and "quotes" in done.err
    assert server.requests == []


def test_a_failed_upload_is_a_failed_command(server: FakeJobServer, job: Job) -> None:
    job.write("a.txt")
    server.failures = {"POST /v3/jobs/job-1/artifacts": [403]}
    done = job.run("upload", "a.txt")
    assert done.status == 1 and "as the test wants it" in done.err
    done = job.run("upload", "missing.txt", "--literal")
    assert done.status == 1 and done.has_code("artifact.file")


def test_more_ids_than_artifacts_is_an_answer_like_any_other_wrong_one(server: FakeJobServer, job: Job) -> None:
    job.write("a.txt")
    answers: list[object] = [
        {"artifact_ids": ["a", "b"]},
        {"artifact_ids": ["a"], "upload_instructions": None},
        [],
        None,
    ]
    for content in answers:
        server.answers["POST /v3/jobs/job-1/artifacts"] = Answered(200, content)
        done = job.run("upload", "a.txt")
        assert done.status == 1 and done.has_code("api.answer") and "Traceback" not in done.err


def test_a_store_of_one_s_own_has_to_be_named(server: FakeJobServer, job: Job) -> None:
    server.add_artifact("a.txt", b"abc")
    localhost = f"http://localhost:{server.port}/get/artifact-1"
    found = [{**server.artifacts["artifact-1"], "url": localhost}]
    server.answers["GET /v3/builds/.*"] = Answered(200, found)
    done = job.run("download", "a.txt", ".")
    assert done.status == 1 and done.has_code("artifact.store") and "PIPESEAL_ARTIFACT_STORES" in done.err
    assert not (job.folder / "a.txt").exists()
    assert job.run("download", "a.txt", ".", "--artifact-store", f"x:1,localhost:{server.port}").status == 0
    assert job.run("download", "a.txt", ".", env={"PIPESEAL_ARTIFACT_STORES": "localhost"}).status == 0
    assert (job.folder / "a.txt").read_bytes() == b"abc"


def test_downloading_nothing_or_to_nowhere_is_an_error(server: FakeJobServer, job: Job) -> None:
    done = job.run("download", "nothing", ".")
    assert done.status == 1 and done.has_code("artifact.none")
    server.add_artifact("a.txt", b"abc")
    done = job.run("download", "a.txt", "missing-folder")
    assert done.status == 1 and done.has_code("artifact.folder")
    server.stored["a.txt"] = b"xyz"
    done = job.run("download", "a.txt", ".")
    assert done.status == 1 and done.has_code("artifact.checksum")
    assert list(job.folder.iterdir()) == []


def test_what_to_look_for_is_passed_on(server: FakeJobServer, job: Job) -> None:
    server.add_artifact("a.txt", b"abc")
    job.run("download", "a.*", ".", "--step", "tests", "--build", "b-2", "--include-retried-jobs")
    job.run("search", "a.*", env={"BUILDKITE_AGENT_INCLUDE_RETRIED_JOBS": "1"})
    job.run("shasum", "a.*")
    asked = [(request.path, request.query) for request in server.requests if "search" in request.path]
    assert asked == [
        (
            "/v3/builds/b-2/artifacts/search",
            {"query": "a.*", "scope": "tests", "state": "finished", "include_retried_jobs": "true"},
        ),
        (
            "/v3/builds/build-1/artifacts/search",
            {"query": "a.*", "state": "finished", "include_retried_jobs": "true", "include_duplicates": "true"},
        ),
        ("/v3/builds/build-1/artifacts/search", {"query": "a.*", "state": "finished"}),
    ]


def test_searching_prints_a_line_for_each(server: FakeJobServer, job: Job) -> None:
    server.add_artifact("pre/one.txt", b"one")
    server.add_artifact("pre/zwei ü.txt", b"two!", job_id="job-7", created_at="2026-02-03T04:05:06Z")
    done = job.run("search", "pre/*")
    assert (done.status, done.out) == (
        0,
        "job-0 pre/one.txt 2026-01-02T03:04:05Z\njob-7 pre/zwei ü.txt 2026-02-03T04:05:06Z\n".encode(),
    )
    done = job.run("search", "pre/one*", "--format", r"%i\t%s\t%S\t%T\t%u\n")
    sha1, sha256 = hashlib.sha1(b"one").hexdigest(), hashlib.sha256(b"one").hexdigest()
    assert done.out.decode() == f"artifact-1\t3\t{sha1}\t{sha256}\t{server.url}/get/artifact-1\n"
    done = job.run("search", "other")
    assert (done.status, done.out) == (1, b"") and done.has_code("artifact.none")
    assert job.run("search", "other", "--allow-empty-results")[:2] == (0, b"")
    assert job.run("search", "*", "--format", r"\q").has_code("artifact.format")


def test_a_checksum_is_printed_for_exactly_one(server: FakeJobServer, job: Job) -> None:
    server.add_artifact("one.txt", b"one")
    server.add_artifact("two.txt", b"two", sha256sum="")
    assert job.run("shasum", "one.txt") == Done(0, hashlib.sha1(b"one").hexdigest().encode() + b"\n", "")
    assert job.run("shasum", "one.txt", "--sha256").out.strip() == hashlib.sha256(b"one").hexdigest().encode()
    for query, code in (("*", "artifact.several"), ("three", "artifact.none"), ("two.txt", "artifact.checksum")):
        done = job.run("shasum", query, "--sha256")
        assert (done.status, done.out) == (1, b"") and done.has_code(code)


# Not `getrusage`: what that says of a child includes the parent it was forked from.
_MEASURED = """
import re, sys
from pipeseal.cli import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    assert not ended.code, ended.code
print(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1])
"""


def _peak_kib(server: FakeJobServer, folder: Path, *arguments: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, "artifact", *arguments, "--log-level", "fatal"],
        env={"PATH": os.environ["PATH"], **server.environment()},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout.splitlines()[-1])


def test_memory_does_not_grow_with_the_size_of_files(server: FakeJobServer, job: Job) -> None:
    job.write("small.bin")
    with (job.folder / "large.bin").open("wb") as file:
        file.truncate(96 << 20)
    (job.folder / "out").mkdir()
    small = _peak_kib(server, job.folder, "upload", "small.bin")
    assert _peak_kib(server, job.folder, "upload", "large.bin") < small + 12_000
    assert len(server.stored["large.bin"]) == 96 << 20
    assert _peak_kib(server, job.folder, "download", "large.bin", "out") < small + 12_000
    assert (job.folder / "out" / "large.bin").stat().st_size == 96 << 20
