"""`tool sign` with a pipeline that a server keeps: never blind, and put in place only when asked to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pipeseal.cli import root
from pipeseal.cli.stored_pipeline import PipelineServer, StoredPipeline
from pipeseal.errors import ConfigurationError, MalformedInput, PipesealError, Unavailable, VerificationError
from tests.controlplane.running import RunningServer, running_server
from tests.signing.material import pair_of

REPOSITORY = "https://git.example.test/r.git"
STEPS = "steps:\n  - command: make # why\n    label: build\n"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningServer]:
    with running_server(tmp_path / "data") as server:
        server.api.create_pipeline(STEPS)
        yield server


@pytest.fixture
def private(tmp_path: Path) -> Path:
    path = tmp_path / "private.json"
    path.write_text(pair_of("EdDSA").private_set)
    path.chmod(0o600)
    return path


def words(running: RunningServer, private: Path, *more: str) -> list[str]:
    stored = ["--graphql-token", running.api.api_token, "--graphql-endpoint", f"{running.api.url}/graphql/v1"]
    slugs = ["--organization-slug", "local", "--pipeline-slug", "demo"]
    return ["tool", "sign", "--jwks-file", str(private), *stored, *slugs, *more]


def run(running: RunningServer, private: Path, *more: str) -> Result:
    return CliRunner().invoke(root, words(running, private, *more), env={"BUILDKITE_REPO": ""})


def kept(running: RunningServer) -> str:
    text: str = running.api.rest("GET", "/pipelines/demo").json["configuration"]
    return text


def code(result: Result) -> str:
    assert isinstance(result.exception, PipesealError), result.output
    return result.exception.code


DIGEST = StoredPipeline("", REPOSITORY, STEPS).digest


def test_what_a_server_says_is_shown_and_not_signed_blindly(running: RunningServer, private: Path) -> None:
    for more in ((), ("--no-confirm",), ("--update",), ("--update", "--no-confirm"), ("--expect-digest", DIGEST)):
        result = run(running, private, *more)
        assert isinstance(result.exception, ConfigurationError)
        assert code(result) == "signing.unconfirmed"
        assert f"repository  {REPOSITORY}" in result.stderr
        assert "    2    - command: make # why" in result.stderr
        assert f"digest      {DIGEST}" in result.stderr
        assert result.stdout == ""
    assert kept(running) == STEPS


def test_what_was_read_before_is_signed_and_put_in_place(running: RunningServer, private: Path) -> None:
    agreed = ("--no-confirm", "--expect-digest", DIGEST)
    result = run(running, private, *agreed)
    assert result.exit_code == 0, result.output
    assert "signature:" in result.stdout
    assert "# why" in result.stdout
    assert kept(running) == STEPS, "only signed"
    result = run(running, private, *agreed, "--update")
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "signature:" in kept(running)
    result = run(running, private, *agreed, "--update")
    assert code(result) == "signing.other_text", "what is stored now is no longer what was read"


@pytest.mark.parametrize(
    "change",
    [{"configuration": STEPS.replace("make", "evil")}, {"repository": "https://git.example.test/evil.git"}],
)
def test_a_server_that_says_something_else_later_gets_no_signature(
    running: RunningServer, private: Path, change: dict[str, str]
) -> None:
    running.api.rest("PATCH", "/pipelines/demo", change)
    result = run(running, private, "--no-confirm", "--expect-digest", DIGEST, "--update")
    assert isinstance(result.exception, VerificationError)
    assert code(result) == "signing.other_text"
    assert "signature" not in kept(running)


def test_the_repository_is_the_operators_word(running: RunningServer, private: Path, tmp_path: Path) -> None:
    agreed = ("--no-confirm", "--expect-digest", DIGEST)
    assert code(run(running, private, *agreed, "--repo", "https://other.example.test")) == "signing.repository"
    assert run(running, private, *agreed, "--repo", REPOSITORY).exit_code == 0
    file = tmp_path / "own.yml"
    file.write_text(STEPS)
    assert (
        code(run(running, private, str(file), "--repo", "other", "--update", "--no-confirm")) == "signing.repository"
    )
    assert kept(running) == STEPS


def test_the_operators_own_file_replaces_what_the_server_has(
    running: RunningServer, private: Path, tmp_path: Path
) -> None:
    file = tmp_path / "own.yml"
    file.write_text("steps: [{command: mine}]\n")
    mine = (str(file), "--repo", REPOSITORY, "--update")
    assert code(run(running, private, *mine)) == "signing.unconfirmed"
    result = run(running, private, *mine, "--no-confirm")
    assert result.exit_code == 0, result.output
    assert "command: mine" in kept(running)
    assert "make" not in kept(running)
    assert "signature" in kept(running)


@pytest.mark.parametrize(("answer", "signed"), [("y\n", True), ("n\n", False)])
def test_a_person_is_asked_on_the_terminal(running: RunningServer, private: Path, answer: str, signed: bool) -> None:
    master, slave = os.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeseal", *words(running, private)],
            stdin=slave,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.write(master, answer.encode())
        out, err = process.communicate(timeout=60)
    finally:
        os.close(master)
        os.close(slave)
    assert "Do you vouch for exactly this?" in err
    assert ("signature:" in out) is signed, err
    assert (process.returncode == 0) is signed


@pytest.mark.parametrize(
    "more",
    [
        ["--organization-slug", ""],
        ["--pipeline-slug", ""],
        ["--in-place"],
        ["x.yml"],
        ["x.yml", "--repo", "r", "--expect-digest", "0"],
        ["--graphql-token", "", "--update", "--repo", "r", "x.yml"],
    ],
)
def test_options_that_do_not_go_together(running: RunningServer, private: Path, more: list[str]) -> None:
    assert run(running, private, *more).exit_code == 2


class _Liar(BaseHTTPRequestHandler):
    answers: list[tuple[int, bytes]] = []  # noqa: RUF012  (set by each test, on a class of its own)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        status, body = self.answers.pop(0)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def lying(*answers: tuple[int, bytes]) -> Iterator[PipelineServer]:
    handler = type("Handler", (_Liar,), {"answers": list(answers)})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield PipelineServer(f"http://127.0.0.1:{server.server_port}/g", "t")
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "body", "family"),
    [
        (200, b"", MalformedInput),
        (200, b"[]", MalformedInput),
        (200, b"[" * 100_000, MalformedInput),
        (200, b'{"data":{"pipeline":[]}}', MalformedInput),
        (200, b'{"data":{"pipeline":{"id":1,"repository":{"url":"u"},"steps":{"yaml":"y"}}}}', MalformedInput),
        (200, b'{"data":{"pipeline":{"id":"i","repository":null,"steps":{"yaml":"y"}}}}', MalformedInput),
        (200, b'{"data":{"pipeline":null}}', Unavailable),
        (200, b'{"errors":[{"message":"no \\u001b[31m"}]}', Unavailable),
        (200, b'{"errors":"x"}', Unavailable),
        (401, b"", Unavailable),
        (302, b"", Unavailable),
        (500, b"", Unavailable),
    ],
)
def test_nothing_a_server_says_makes_the_tool_fall_over(
    status: int, body: bytes, family: type[PipesealError]
) -> None:
    for server in lying((status, body)):
        with pytest.raises(family) as caught:
            server.fetch_pipeline("local", "demo")
        assert "\x1b" not in str(caught.value)


def test_a_server_that_keeps_other_steps_is_found_out() -> None:
    other = json.dumps({"data": {"pipelineUpdate": {"pipeline": {"steps": {"yaml": "steps: [evil]"}}}}}).encode()
    for server in lying((200, other), (200, b'{"data":{}}')):
        for _ in range(2):
            with pytest.raises(MalformedInput):
                server.replace_steps(StoredPipeline("i", "r", "t"), "steps: []")


def test_what_is_shown_cannot_move_the_cursor(running: RunningServer, private: Path) -> None:
    running.api.rest("PATCH", "/pipelines/demo", {"configuration": 'steps: [{command: "a"}] # \u202eevil\n'})
    result = run(running, private)
    assert "\\u202eevil" in result.stderr


def test_an_endpoint_that_is_none() -> None:
    for endpoint in ("ftp://x", "http://", "http://x/?q"):
        with pytest.raises(ConfigurationError):
            PipelineServer(endpoint, "t")
    with pytest.raises(Unavailable):
        PipelineServer("http://127.0.0.1:9/g", "t").fetch_pipeline("a", "b")
