"""The commands for pipelines and builds, run as people run them, against a real server."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeseal.cli import root
from pipeseal.cli.build_render import clean_line
from pipeseal.errors import PipesealError
from tests.controlplane.running import QUICK, FakeAgent, RunningServer, running_server

Command = Callable[..., Result]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningServer]:
    with running_server(tmp_path / "data", replace(QUICK, ping_hold=0.5)) as server:
        yield server


@pytest.fixture
def command(running: RunningServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    monkeypatch.setenv("PIPESEAL_SERVER", running.api.url)
    monkeypatch.setenv("PIPESEAL_TOKEN_FILE", str(running.folder / "api-token"))
    monkeypatch.delenv("PIPESEAL_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*words: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(root, list(words), input=stdin)

    return run


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()

    def git(*words: str) -> None:
        subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)

    git("init", "-q", "-b", "trunk")
    git("config", "user.email", "me@example.test")
    git("config", "user.name", "Me")
    git("commit", "-q", "--allow-empty", "-m", "Subject line\n\nBody")
    git("remote", "add", "origin", "https://git.example.test/work.git")
    return folder


def head(folder: Path) -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_pipelines_are_made_listed_and_their_steps_replaced(command: Command, tmp_path: Path) -> None:
    assert "no pipeline yet" in command("pipeline", "list").output
    steps = tmp_path / "steps.yml"
    steps.write_text("steps:\n  - command: one  # a comment\n")
    made = command(
        "pipeline", "create", "api", "--repository", "https://git.example.test/r.git", "--steps", str(steps)
    )
    assert (made.exit_code, made.output) == (0, "Created pipeline api for https://git.example.test/r.git\n")
    assert command("pipeline", "create", "plain", "--repository", "/srv/r.git").exit_code == 0
    assert command("pipeline", "list").output.splitlines() == [
        "api    https://git.example.test/r.git",
        "plain  /srv/r.git",
    ]
    assert command("pipeline", "steps", "api").output == steps.read_text()
    assert "buildkite-agent pipeline upload" in command("pipeline", "steps", "plain").output
    replaced = command("pipeline", "steps", "api", "--set", "-", stdin="steps:\n  - command: two\n")
    assert replaced.exit_code == 0
    assert command("pipeline", "steps", "api").output == "steps:\n  - command: two\n"
    assert json.loads(command("pipeline", "list", "-o", "json").output)[0]["slug"] == "api"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("pipeline", "create", "Not A Slug", "--repository", "r"), "client.refused", "no slug"),
        (("pipeline", "create", "demo", "--repository", "r"), "client.refused", "already"),
        (("pipeline", "steps", "nothing"), "client.refused", "no such pipeline"),
        (("build", "show", "9", "--pipeline", "demo"), "client.refused", "no such build"),
        (("build", "create"), "client.pipeline", "no pipeline is of this repository"),
        (("build", "show", "1", "--server", "ftp://x"), "client.server", "ftp://x"),
        (
            ("build", "show", "1", "--server", "http://127.0.0.1:1", "--pipeline", "demo"),
            "client.unreachable",
            "127.0.0.1:1",
        ),
        (
            ("build", "show", "1", "--token-file", "/nonexistent", "--pipeline", "demo"),
            "client.token",
            "/nonexistent",
        ),
    ],
)
def test_errors_have_a_code_and_say_what_was_wrong(
    running: RunningServer, command: Command, words: tuple[str, ...], code: str, said: str
) -> None:
    running.api.create_pipeline("steps: [{command: x}]")
    result = command(*words)
    assert isinstance(result.exception, PipesealError)
    assert result.exception.code == code
    assert said in result.exception.message


def test_a_wrong_token_says_how_to_give_the_right_one(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIPESEAL_TOKEN_FILE")
    monkeypatch.setenv("PIPESEAL_TOKEN", "psua_wrong")
    result = command("pipeline", "list")
    assert isinstance(result.exception, PipesealError)
    assert "--token-file" in result.exception.help


def test_a_build_of_the_repository_here_is_of_its_commit(
    running: RunningServer, command: Command, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("pipeline", "create", "work", "--repository", "https://git.example.test/work.git").exit_code == 0
    monkeypatch.chdir(repository)
    made = command("build", "create", "--env", "A=1", "--env", "B=x=y")
    assert made.exit_code == 0, made.output
    assert made.output.startswith("Created build #1 of work: http://")
    build = running.api.build(1, "work")
    assert (build["commit"], build["branch"]) == (head(repository), "trunk")
    assert build["message"] == "Subject line\n\nBody"
    assert build["author"] == {"name": "Me"}
    assert build["env"] == {"A": "1", "B": "x=y"}
    other = command("build", "create", "--branch", "other", "-o", "json")
    assert json.loads(other.stdout)["commit"] == "HEAD", "what is checked out here says nothing about another branch"
    assert "Build #1 of work: scheduled" in command("build", "show", "1").output
    assert command("build", "create", "--env", "1A=x").exit_code == 2


def test_a_build_is_watched_to_its_end(running: RunningServer, command: Command) -> None:
    running.api.create_pipeline("steps: [{command: x, label: first}, wait, {command: y, key: second}]")
    agent = FakeAgent(running.api)

    def work() -> None:
        first = agent.take()
        begin = b"\x1b_bk;t=123\x07hello\r\n\x1b[31mred\x1b[0m \x1b]52;c;x\x07"
        assert first.chunk(1, 0, begin).status == 200
        assert first.chunk(2, len(begin), b"tail without end").status == 200
        first.finish(0)
        agent.run(3, b"second says\n")

    thread = threading.Thread(target=work)
    thread.start()
    result = command("build", "create", "--pipeline", "demo", "--watch")
    thread.join(60)
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert "first | hello" in lines
    assert "first | red tail without end" in lines
    assert "second | second says" in lines
    assert lines.index("first | hello") < lines.index("second | second says")
    assert any(line.startswith("first: passed") for line in lines)
    assert any(line.startswith("second: failed (3)") for line in lines)
    assert "Build #1 of demo: failed" in lines
    assert "\x1b" not in result.output


@pytest.mark.parametrize(
    ("code", "status"), [("signature.missing", 20), ("key.unknown", 21), ("command.differs", 22), ("key.none", 23)]
)
def test_a_refused_job_is_shown_with_its_code_and_what_differed(
    running: RunningServer, command: Command, code: str, status: int
) -> None:
    running.api.create_pipeline("steps: [{command: x, key: k}]")
    agent = FakeAgent(running.api, name="prod-1")
    refusal = {
        "code": code,
        "message": "it is \x1b[2Jnot what was signed",
        "fields": ["command", "env"],
        "evidence": {"signed": "sha256 aa"},
    }

    def work() -> None:
        agent.take().finish(-1, signal_reason="signature_rejected", refusal=refusal)

    thread = threading.Thread(target=work)
    thread.start()
    result = command("build", "create", "--pipeline", "demo", "--watch")
    thread.join(60)
    assert result.exit_code == status
    assert "k: refused" in result.output
    assert "k: REFUSED by agent prod-1, nothing was run" in result.output
    assert f"error[{code}]: it is \\x1b[2Jnot what was signed" in result.output
    assert "differs      command, env" in result.output
    assert "signed       sha256 aa" in result.output
    assert f"pipeseal explain {code}" in result.output
    shown = json.loads(command("build", "show", "1", "--pipeline", "demo", "-o", "json").output)
    assert shown["jobs"][0]["refusal"] == refusal


def test_a_log_is_printed_followed_and_given_raw(running: RunningServer, command: Command) -> None:
    running.api.create_pipeline("steps: [{command: x, key: one, label: One}, {command: y, parallelism: 2, key: two}]")
    running.api.create_build()
    agent = FakeAgent(running.api)
    job = agent.take()
    raw = b"\x1b_bk;t=1\x07plain\r\n\x1b[1mbold\x1b[0m\x07\n10%\r20%\rdone\n\xe2\x80\xaeevil\n"
    assert job.chunk(1, 0, raw).status == 200
    expected = "plain\nbold\\x07\ndone\n\\u202eevil\n"
    for name in ("one", "One", job.id, job.id[:18]):
        assert command("build", "log", "1", name, "--pipeline", "demo").output == expected
    job.finish()
    assert command("build", "log", "1", "one", "--pipeline", "demo", "--raw").stdout_bytes == raw
    assert command("build", "log", "1", "one", "--pipeline", "demo", "--follow").output == expected
    several = command("build", "log", "1", "two", "--pipeline", "demo")
    assert several.exit_code == 2
    assert several.output.count("two (") + several.output.count("y (") >= 2


def test_a_log_that_was_deleted_is_told_apart_from_an_empty_one(running: RunningServer, command: Command) -> None:
    running.api.create_pipeline("steps: [{command: x, key: one}]")
    running.api.create_build()
    job = FakeAgent(running.api).run(0)
    assert command("build", "log", "1", "one", "--pipeline", "demo").stderr == ""
    description = {"description": "clean\x1ber", "scopes": ["write_build_logs"]}
    token = running.api.rest("POST", "/tokens", description).json["token"]
    path = f"/v2/organizations/local/pipelines/demo/builds/1/jobs/{job.id}/log"
    assert running.api.call("DELETE", path, authorization=f"Bearer {token}").status == 204
    for more in ((), ("--raw",), ("--follow",)):
        result = command("build", "log", "1", "one", "--pipeline", "demo", *more)
        assert (result.exit_code, result.stdout) == (0, "")
        assert result.stderr.startswith("This log was deleted by clean\\x1ber, 20")


def test_the_log_of_a_running_job_is_followed_to_its_end(running: RunningServer, command: Command) -> None:
    running.api.create_pipeline("steps: [{command: x, key: one}]")
    running.api.create_build()
    job = FakeAgent(running.api).take()
    results: list[Result] = []
    follow = threading.Thread(
        target=lambda: results.append(command("build", "log", "1", "one", "--pipeline", "demo", "-f"))
    )
    follow.start()
    for number in range(5):
        assert job.chunk(number + 1, number * 5, f"ln {number}\n".encode()).status == 200
    job.finish()
    follow.join(60)
    assert results[0].output == "ln 0\nln 1\nln 2\nln 3\nln 4\n"


@pytest.mark.parametrize(
    ("line", "plain", "coloured"),
    [
        ("text", "text", "text"),
        ("a\tb", "a    b", "a    b"),
        ("\x1b[32mgreen", "green", "\x1b[32mgreen\x1b[0m"),
        ("\x1b[2J\x1b[Hx", "x", "x"),
        ("\x1b]0;title\x07x", "x", "x"),
        ("\x1b]8;;http://e\x1b\\link\x1b]8;;\x1b\\", "link", "link"),
        ("\x1bPq...\x1b\\x", "x", "x"),
        ("\x1b]52;c;unterminated", "", ""),
        ("old\rnew\r", "new", "new"),
        ("\x1bcx\x1b", "x", "x"),
        ("\x9b31mx", "\\x9b31mx", "\\x9b31mx"),
    ],
)
def test_lines_are_safe_on_a_terminal(line: str, plain: str, coloured: str) -> None:
    assert clean_line(line, colours=False) == plain
    assert clean_line(line, colours=True) == coloured


def test_the_server_command_says_what_is_wrong(tmp_path: Path, running: RunningServer) -> None:
    def server(*words: str) -> Result:
        return CliRunner().invoke(root, ["server", "--data", str(tmp_path / "other"), *words])

    port = running.api.port
    busy = server("--listen", f"127.0.0.1:{port}")
    assert isinstance(busy.exception, PipesealError)
    assert busy.exception.code == "server.listen"
    wrong = server("--listen", "nonsense")
    assert isinstance(wrong.exception, PipesealError)
    assert wrong.exception.code == "server.listen"
    assert server("--organization", "Not A Slug").exit_code == 2
    assert server("--heartbeat-timeout", "30", "--heartbeat-interval", "60").exit_code == 2
    taken = CliRunner().invoke(root, ["server", "--data", str(running.folder), "--listen", "127.0.0.1:0"])
    assert isinstance(taken.exception, PipesealError)
    assert taken.exception.code == "server.data"
    with suppress(FileNotFoundError):
        assert not list((tmp_path / "other").glob("*.sqlite"))
