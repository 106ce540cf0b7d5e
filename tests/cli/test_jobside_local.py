"""Commands inside a job that speak to its agent: variables, directory, redaction, secrets, promises, locks."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pytest

from pipeseal.agent.job_api.locks import LockApi
from pipeseal.agent.job_api.server import JobApi
from pipeseal.errors import Unavailable
from tests.cli.fake_job_server import FakeJobServer, fake_job_server
from tests.cli.job_commands import Done, run_command


class Control:
    """A job that does what its API asks, and remembers it."""

    def __init__(self) -> None:
        self.variables = {"LLAMA": "Kuzco", "ALPACA": "Geronimo the Incredible"}
        self.directory = ""
        self.hidden: list[str] = []
        self.promised: list[tuple[int, str]] = []

    def environment(self) -> Mapping[str, str]:
        return self.variables

    def change_environment(self, values: Mapping[str, str], removed: Collection[str]) -> None:
        self.variables.update(values)
        for name in removed:
            del self.variables[name]

    def set_directory(self, directory: str) -> None:
        self.directory = directory

    def redact(self, value: str) -> None:
        self.hidden.append(value)

    def promise_failure(self, exit_status: int, reason: str) -> None:
        self.promised.append((exit_status, reason))
        if exit_status == 9:
            raise Unavailable("api.status", "promised 1 before", status=409)


class Job:
    """A job whose agent offers its sockets."""

    def __init__(self, sockets: Path, api: JobApi, control: Control, server: FakeJobServer) -> None:
        self.sockets = sockets
        self.control = control
        self.server = server
        self.environment = {
            **server.environment(),
            **api.environment,
            "BUILDKITE_SOCKETS_PATH": str(sockets),
        }

    def run(self, *arguments: str, stdin: bytes | None = None, env: Mapping[str, str] | None = None) -> Done:
        return run_command({**self.environment, **(env or {})}, *arguments, stdin=stdin, cwd=self.sockets)


@pytest.fixture
def job() -> Iterator[Job]:
    # Not below pytest's folder: a socket's path may have 107 bytes.
    sockets = Path(tempfile.mkdtemp(prefix="ps-"))
    control = Control()
    locks = LockApi(sockets)
    locks.start()
    with fake_job_server() as server, JobApi(control, sockets) as api:
        yield Job(sockets, api, control, server)
    locks.close()
    shutil.rmtree(sockets)


# --- variables ----------------------------------------------------------------------------------------------------


def test_the_job_s_variables_are_shown(job: Job) -> None:
    assert job.run("env", "get") == Done(0, b"ALPACA=Geronimo the Incredible\nLLAMA=Kuzco\n", "")
    assert job.run("env", "get", "LLAMA") == Done(0, b"Kuzco\n", "")
    assert job.run("env", "get", "LLAMA", "ALPACA").out == b"ALPACA=Geronimo the Incredible\nLLAMA=Kuzco\n"
    assert job.run("env", "get", "--format", "json", "LLAMA").out == b'{"LLAMA":"Kuzco"}\n'
    assert job.run("env", "get", "LLAMA", env={"BUILDKITE_AGENT_ENV_GET_FORMAT": "json-pretty"}).out == (
        b'{\n  "LLAMA": "Kuzco"\n}\n'
    )


def test_a_variable_that_is_not_set_is_an_exit_status(job: Job) -> None:
    done = job.run("env", "get", "VICUNA")
    assert (done.status, done.out) == (1, b"") and "VICUNA" in done.err
    done = job.run("env", "get", "VICUNA", "LLAMA")
    assert (done.status, done.out) == (1, b"LLAMA=Kuzco\n")


def test_variables_are_set_for_later(job: Job) -> None:
    done = job.run("env", "set", "LLAMA=Kuzco II", "NEW=a=b")
    assert done == Done(0, b"Added:\n+ NEW\nUpdated:\n~ LLAMA\n", "")
    assert job.control.variables == {"LLAMA": "Kuzco II", "ALPACA": "Geronimo the Incredible", "NEW": "a=b"}
    assert job.run("env", "set").out == b"No variables added or updated.\n"
    assert job.run("env", "set", "--output-format", "quiet", "Q=").out == b""
    assert job.run("env", "set", "--output-format", "json", "R=1", "Q=2").out == b'{"added":["R"],"updated":["Q"]}\n'
    done = job.run("env", "set", "--output-format", "json-pretty", "R=1")
    assert json.loads(done.out) == {"added": [], "updated": ["R"]} and done.out.count(b"\n") > 3


def test_variables_come_from_standard_input_too(job: Job) -> None:
    assert job.run("env", "set", "A=1", "-", "D=4", stdin=b"B=2\nC=3\n").status == 0
    assert (
        job.run("env", "set", "--input-format", "json", "-", stdin=b'{\n"E": "5",\n"F": "six\\n"}\n{"G":"7"}').status
        == 0
    )
    assert {name: job.control.variables[name] for name in "ABCDEFG"} == {
        "A": "1",
        "B": "2",
        "C": "3",
        "D": "4",
        "E": "5",
        "F": "six\n",
        "G": "7",
    }


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (["set", "no-value"], b""),
        (["set", "=value"], b""),
        (["set", "-"], b"A=1\n\nB=2\n"),
        (["set", "--input-format", "json", "-"], b"nope"),
        (["set", "--input-format", "json", "-"], b'{"A":1}'),
        (["set", "--input-format", "json", "-"], b'["A"]'),
        (["unset", "--input-format", "json", "-"], b'{"A":"1"}'),
        (["unset", "--input-format", "json", "-"], b"[1]"),
    ],
)
def test_what_cannot_be_read_changes_nothing(job: Job, arguments: list[str], stdin: bytes) -> None:
    before = dict(job.control.variables)
    done = job.run("env", *arguments, stdin=stdin)
    assert done.status == 1 and done.has_code("environment.input")
    assert job.control.variables == before


def test_variables_are_removed_for_later(job: Job) -> None:
    assert job.run("env", "unset", "LLAMA", "VICUNA") == Done(0, b"Unset:\n- LLAMA\n", "")
    assert job.run("env", "unset", "VICUNA").out == b"No variables unset.\n"
    job.control.variables |= {"A": "1", "B": "2"}
    assert job.run("env", "unset", "--input-format", "json", "--output-format", "json", "-", stdin=b'["A"]').out == (
        b'["A"]\n'
    )
    assert job.run("env", "unset", "--output-format", "quiet", "-", stdin=b"B\n").out == b""
    assert set(job.control.variables) == {"ALPACA"}


def test_the_agent_s_own_variables_stay_its_own(job: Job) -> None:
    for words in (["set", "BUILDKITE_AGENT_ACCESS_TOKEN=x"], ["unset", "BUILDKITE_BIN_PATH"]):
        done = job.run("env", *words)
        assert done.status == 1 and done.has_code("job_api.refused") and words[1].partition("=")[0] in done.err


def test_dumping_shows_what_the_process_was_started_with(job: Job) -> None:
    # Python sets LC_CTYPE in the C locale; a hook that looks for changes must not see that.
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "", "Z": "last\n", "A": "ä<&>"}
    done = run_command(environment, "env", "dump")
    values = json.loads(done.out)
    values.pop("HOME", None)
    assert values == environment
    assert done.out.startswith(b'{"A":"\xc3\xa4<&>",') and done.out.count(b"\n") == 1
    pretty = run_command(environment, "env", "dump", "--format", "json-pretty").out
    assert pretty.startswith(b'{\n  "A": "') and json.loads(pretty)["Z"] == "last\n"


# --- directory, redaction, promises -------------------------------------------------------------------------------


def test_the_working_directory_of_later_phases(job: Job) -> None:
    (job.sockets / "app").mkdir()
    done = job.run("workdir", "set", "./app/../app")
    assert done == Done(0, f"{job.sockets}/app\n".encode(), "")
    assert job.control.directory == f"{job.sockets}/app"
    assert job.run("workdir", "set", "/", "--output-format", "json").out == b'{"workdir":"/"}\n'
    assert job.run("workdir", "set", ".", "--output-format", "quiet").out == b""
    (job.sockets / "file").write_text("x")
    for wrong in ("missing", "file"):
        assert job.run("workdir", "set", wrong).status == 1
    assert job.run("workdir", "set").status == 1


def test_values_are_hidden_from_now_on(job: Job) -> None:
    assert job.run("redactor", "add", stdin=b"  llamasecret\n").status == 0
    (job.sockets / "id_ed25519").write_text("-----BEGIN\nkey\n-----END\n")
    assert job.run("redactor", "add", "id_ed25519").status == 0
    secrets = b'{"db_PASSWORD":"secret-1","name":"not-secret","X_TOKEN":"abc","Y_TOKEN":"secret-2"}'
    assert job.run("redactor", "add", "--format", "json", stdin=secrets).status == 0
    assert job.control.hidden == [
        "llamasecret",
        "-----BEGIN\nkey\n-----END",
        "secret-1",
        "not-secret",
        "abc",
        "secret-2",
    ]
    job.control.hidden.clear()
    done = job.run("redactor", "add", "--format", "json", "--apply-vars-filter", stdin=secrets)
    assert done.status == 0 and "X_TOKEN" in done.err
    assert job.control.hidden == ["secret-1", "secret-2"]


@pytest.mark.parametrize("text", [b"not json: s3cret-value", b'{"a":{"b":"s3cret-value"}}', b'["s3cret-value"]', b""])
def test_secrets_that_cannot_be_read_are_not_shown(job: Job, text: bytes) -> None:
    done = job.run("redactor", "add", "--format", "json", stdin=text)
    assert done.status == 1 and done.has_code("redactor.input") and "s3cret-value" not in done.err
    assert job.control.hidden == []
    assert job.run("redactor", "add", "missing-file").has_code("redactor.input")


def test_a_secret_is_hidden_before_it_is_printed(job: Job) -> None:
    job.server.secrets = {"deploy": "s3cret-value", "other": "other-value"}
    assert job.run("secret", "get", "deploy") == Done(0, b"s3cret-value\n", "")
    assert job.control.hidden == ["s3cret-value"]
    job.run("secret", "get", "deploy", "other")
    assert sorted(job.control.hidden) == ["other-value", "s3cret-value", "s3cret-value"]
    done = job.run("secret", "get", "deploy", env={"BUILDKITE_AGENT_JOB_API_TOKEN": "of another job"})
    assert (done.status, done.out) == (1, b"")
    assert done.has_code("secret.redaction") and "s3cret-value" not in done.err


def test_an_oidc_token_is_hidden_before_it_is_printed(job: Job) -> None:
    assert job.run("oidc", "request-token").out == b"header.claims.signature\n"
    assert job.control.hidden == ["header.claims.signature"]


def test_a_failure_is_promised_through_the_agent(job: Job) -> None:
    done = job.run("job", "promise-failure", "3", "--reason", "because")
    assert (done.status, done.out) == (0, b"") and "fails with 3" in done.err
    assert job.run("job", "promise-failure", "3") == Done(0, b"", "")
    assert job.control.promised == [(3, "because")]
    done = job.run("job", "promise-failure", "9")
    assert done.status == 1 and done.has_code("job.promise") and "promised 1 before" in done.err
    assert job.server.requests == []
    # An agent that does not answer is no reason to keep quiet.
    done = job.run("job", "promise-failure", "4", env={"BUILDKITE_AGENT_JOB_API_SOCKET": "/nowhere"})
    assert done.status == 0 and "without the agent" in done.err
    assert job.server.requests[0].path == "/v3/jobs/job-1/promise_failure"


@pytest.mark.parametrize(
    "arguments",
    [["env", "get"], ["env", "set", "A=1"], ["env", "unset", "A"], ["workdir", "set", "."], ["redactor", "add"]],
)
def test_outside_a_job_the_reason_is_said(arguments: list[str]) -> None:
    done = run_command({}, *arguments, stdin=b"x")
    assert (done.status, done.out) == (1, b"")
    assert done.has_code("job_api.unavailable") and "BUILDKITE_AGENT_JOB_API_SOCKET" in done.err


# --- locks --------------------------------------------------------------------------------------------------------


def test_a_lock_is_acquired_and_released(job: Job) -> None:
    assert job.run("lock", "get", "db") == Done(0, b"\n", "")
    done = job.run("lock", "acquire", "db")
    token = done.out.decode().rstrip("\n")
    assert done.status == 0 and re.fullmatch(r"acquired\(pid=\d+,otp=[0-9a-f]{32}\)", token)
    assert job.run("lock", "get", "db").out == done.out
    late = job.run("lock", "acquire", "db", "--lock-wait-timeout", "150ms")
    assert (late.status, late.out) == (1, b"") and late.has_code("lock.timeout")
    wrong = job.run("lock", "release", "db", "guess")
    assert wrong.status == 1 and wrong.has_code("lock.not_held")
    assert job.run("lock", "release", "db", token) == Done(0, b"", "")
    assert job.run("lock", "get", "db").out == b"\n"


def test_who_waits_gets_the_lock(job: Job) -> None:
    token = job.run("lock", "acquire", "db").out.decode().strip()
    outcome: list[Done] = []
    waiting = threading.Thread(target=lambda: outcome.append(job.run("lock", "acquire", "db")))
    waiting.start()
    job.run("lock", "release", "db", token)
    waiting.join(30)
    assert outcome[0].status == 0 and outcome[0].out.decode().strip() not in ("", token)


def test_work_is_done_by_one(job: Job) -> None:
    assert job.run("lock", "do", "setup").out == b"do\n"
    late = job.run("lock", "do", "setup", env={"BUILDKITE_LOCK_WAIT_TIMEOUT": "0.15s"})
    assert late.status == 1 and late.has_code("lock.timeout")
    assert job.run("lock", "done", "setup") == Done(0, b"", "")
    assert job.run("lock", "do", "setup").out == b"done\n"
    odd = job.run("lock", "done", "setup")
    assert odd.status == 1 and odd.has_code("lock.state")


def test_locks_need_an_agent_and_sensible_options(job: Job) -> None:
    done = job.run("lock", "get", "k", "--sockets-path", "/nowhere")
    assert done.status == 1 and done.has_code("lock.unavailable")
    assert job.run("lock", "get", "k", "--lock-scope", "planet").status == 1
    assert job.run("lock", "get", "").status == 1
    for wrong in ("5", "x", "5 s", "-1s"):
        assert job.run("lock", "acquire", "free", "--lock-wait-timeout", wrong).status == 1
    assert job.run("lock", "acquire", "free", "--lock-wait-timeout", "1h30m2.5s").status == 0
    home = {"HOME": str(job.sockets.parent)}
    shown = job.run("lock", "get", "free", "--sockets-path", f"~/{job.sockets.name}", env=home)
    assert shown.status == 0 and shown.out.startswith(b"acquired(")
