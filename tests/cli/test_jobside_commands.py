"""Commands inside a job that call the Agent API: what they send, print, and end with."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.cli.fake_job_server import Answered, FakeJobServer, fake_job_server
from tests.cli.job_commands import Done, run_command


@pytest.fixture
def server() -> Iterator[FakeJobServer]:
    with fake_job_server() as fake:
        yield fake


def run(
    server: FakeJobServer,
    *arguments: str | bytes,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
) -> Done:
    return run_command({**server.environment(), **(env or {})}, *arguments, stdin=stdin)


def sent(server: FakeJobServer) -> list[tuple[str, str, object]]:
    return [(one.method, one.path, one.json if one.body else None) for one in server.requests]


# --- meta-data ----------------------------------------------------------------------------------------------------


def test_meta_data_is_set_from_argument_or_standard_input(server: FakeJobServer) -> None:
    assert run(server, "meta-data", "set", "version", "1.2") == Done(0, b"", "")
    done = run(server, "meta-data", "set", "notes", stdin=b"two\nlines\n")
    assert (done.status, done.out) == (0, b"") and "standard input" in done.err
    assert server.meta_data == {"version": "1.2", "notes": "two\nlines\n"}
    assert server.requests[0].headers["authorization"].startswith("Token ")


@pytest.mark.parametrize("arguments", [["", "v"], [" \t", "v"], ["k", ""], ["k", " \n"], ["k"]])
def test_blank_keys_and_values_are_refused(server: FakeJobServer, arguments: list[str]) -> None:
    done = run(server, "meta-data", "set", *arguments, stdin=b" ")
    assert done.status == 1 and "blank" in done.err
    assert server.requests == []


def test_meta_data_goes_in_one_batch_or_not_at_all(server: FakeJobServer) -> None:
    assert run(server, "meta-data", "set-batch", "a=1", "b=x=y").status == 0
    assert sent(server) == [
        (
            "POST",
            "/v3/jobs/job-1/data/set-batch",
            {"items": [{"key": "a", "value": "1"}, {"key": "b", "value": "x=y"}]},
        )
    ]
    for wrong in (["a=1", "b"], ["=1"], ["a="], []):
        assert run(server, "meta-data", "set-batch", *wrong).status == 1
    server.failures = {"POST /v3/jobs/job-1/data/set-batch": [422]}
    done = run(server, "meta-data", "set-batch", "a=1")
    assert done.status == 1 and done.has_code("api.status")
    assert len(server.requests) == 2


def test_meta_data_is_printed_and_nothing_more(server: FakeJobServer) -> None:
    server.meta_data = {"version": "1.2\n\x1b[31mred", "ümlaut": "ä"}
    assert run(server, "meta-data", "get", "version") == Done(0, b"1.2\n\x1b[31mred", "")
    assert run(server, "meta-data", "get", "ümlaut", env={"LC_ALL": "C"}).out == "ä".encode()
    assert run(server, "meta-data", "keys") == Done(0, "version\nümlaut\n".encode(), "")


def test_a_missing_key_is_an_error_unless_there_is_a_default(server: FakeJobServer) -> None:
    done = run(server, "meta-data", "get", "missing")
    assert (done.status, done.out) == (1, b"") and "404" in done.err
    assert run(server, "meta-data", "get", "missing", "--default", "none").out == b"none"
    done = run(server, "meta-data", "get", "missing", "--default", "")
    assert (done.status, done.out) == (0, b"")
    server.failures = {"POST /v3/jobs/job-1/data/get": [401]}
    assert run(server, "meta-data", "get", "missing", "--default", "none").status == 1


def test_whether_a_key_is_set_is_an_exit_status(server: FakeJobServer) -> None:
    server.meta_data = {"version": "1"}
    assert run(server, "meta-data", "exists", "version") == Done(0, b"", "")
    assert run(server, "meta-data", "exists", "missing") == Done(100, b"", "")
    server.failures = {"POST /v3/jobs/job-1/data/exists": [403]}
    assert run(server, "meta-data", "exists", "version").status == 1


def test_another_build_s_meta_data_can_be_read(server: FakeJobServer) -> None:
    server.meta_data = {"version": "1"}
    assert run(server, "meta-data", "get", "version", "--build", "b.9/x").out == b"1"
    assert run(server, "meta-data", "exists", "version", env={"BUILDKITE_METADATA_BUILD_ID": "b-2"}).status == 0
    assert run(server, "meta-data", "keys", "--job", "j-2").out == b"version\n"
    assert [path for _, path, _ in sent(server)] == [
        "/v3/builds/b.9/x/data/get",
        "/v3/builds/b-2/data/exists",
        "/v3/jobs/j-2/data/keys",
    ]
    assert run(server, "meta-data", "keys", env={"BUILDKITE_JOB_ID": ""}).status == 1


def test_secret_values_are_not_stored(server: FakeJobServer) -> None:
    secrets = {"MY_PASSWORD": "hunter22", "DEPLOY_KEY_PART": "visible"}
    done = run(server, "meta-data", "set", "k", "is hunter22 visible?", env=secrets)
    assert done.status == 0 and "secret" in done.err and "hunter22" not in done.err
    assert server.meta_data["k"] == "is [REDACTED] visible?"
    run(server, "meta-data", "set", "k", "is hunter22 visible?", "--redacted-vars=", env=secrets)
    assert server.meta_data["k"] == "is hunter22 visible?"
    run(server, "meta-data", "set", "k", "hunter22 visible", "--redacted-vars", "X_*,DEPLOY_*", env=secrets)
    assert server.meta_data["k"] == "hunter22 [REDACTED]"
    run(
        server,
        "meta-data",
        "set",
        "k",
        "hunter22 visible",
        env={**secrets, "BUILDKITE_REDACTED_VARS": "X_*,DEPLOY_*"},
    )
    assert server.meta_data["k"] == "hunter22 [REDACTED]"
    run(server, "meta-data", "set-batch", "k=hunter22", env=secrets)
    assert server.meta_data["k"] == "[REDACTED]"
    token = server.environment()["BUILDKITE_AGENT_ACCESS_TOKEN"]
    run(server, "meta-data", "set", "k", f"my token is {token}")
    assert server.meta_data["k"] == "my token is [REDACTED]"


def test_bytes_that_are_not_utf8_are_replaced(server: FakeJobServer) -> None:
    assert run(server, "meta-data", "set", b"k\xff", b"caf\xe9").status == 0
    assert server.meta_data == {"k\ufffd": "caf\ufffd"}


# --- annotations --------------------------------------------------------------------------------------------------


def test_an_annotation_has_what_was_said_and_nothing_else(server: FakeJobServer) -> None:
    assert run(server, "annotate", "All *good*", "--style", "success").status == 0
    assert run(server, "annotate", "--append", "--context", "c", "--priority", "9", stdin=b"from stdin").status == 0
    assert run(server, "annotate", "--style", "error", "--scope", "job").status == 0
    assert [body for _, _, body in sent(server)] == [
        {"body": "All *good*", "style": "success", "priority": 3, "scope": "build"},
        {"body": "from stdin", "append": True, "context": "c", "priority": 9, "scope": "build"},
        {"style": "error", "priority": 3, "scope": "job"},
    ]
    assert {path for _, path, _ in sent(server)} == {"/v3/jobs/job-1/annotations"}


def test_an_annotation_has_a_limit_after_secrets_are_gone(server: FakeJobServer) -> None:
    done = run(server, "annotate", stdin=b"x" * ((1 << 20) + 1))
    assert done.status == 1 and done.has_code("annotation.too_long")
    assert server.requests == []
    assert run(server, "annotate", stdin=b"x" * (1 << 20)).status == 0
    run(server, "annotate", "with hunter22", env={"A_TOKEN": "hunter22"})
    assert server.requests[-1].json["body"] == "with [REDACTED]"


def test_an_annotation_is_removed_by_its_context(server: FakeJobServer) -> None:
    assert run(server, "annotation", "remove").status == 0
    assert run(server, "annotation", "remove", "--context", "a/b.c", "--scope", "job").status == 0
    assert [(one.method, one.path, one.query) for one in server.requests] == [
        ("DELETE", "/v3/jobs/job-1/annotations/default", {"scope": "build"}),
        ("DELETE", "/v3/jobs/job-1/annotations/a/b.c", {"scope": "job"}),
    ]


# --- steps, jobs, builds, agents ----------------------------------------------------------------------------------


def test_a_step_is_looked_at(server: FakeJobServer) -> None:
    assert run(server, "step", "get", "label") == Done(0, b"the step\n", "")
    assert run(server, "step", "get", "--format", "json", "--step", "key.with/odd", "--build", "b-2").status == 0
    assert sent(server) == [
        ("POST", "/v3/steps/step-1/export", {"attribute": "label", "build_id": "build-1"}),
        ("POST", "/v3/steps/key.with/odd/export", {"build_id": "b-2", "format": "json"}),
    ]


def test_a_step_is_changed_once_however_often_the_server_fails(server: FakeJobServer) -> None:
    assert run(server, "step", "update", "label", "new hunter22", env={"A_TOKEN": "hunter22"}).status == 0
    assert run(server, "step", "update", "label", "--append", "--step", "s", stdin=b" (again)").status == 0
    first, second = (one.json for one in server.requests)
    assert re.fullmatch(
        r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", first["idempotency_uuid"]
    )
    assert first.pop("idempotency_uuid") != second.pop("idempotency_uuid")
    assert first == {"build_id": "build-1", "attribute": "label", "value": "new [REDACTED]", "append": False}
    assert second == {"build_id": "build-1", "attribute": "label", "value": " (again)", "append": True}


def test_cancelling_steps_and_builds(server: FakeJobServer) -> None:
    done = run(server, "step", "cancel")
    assert (done.status, done.out) == (0, b"") and "what-was-cancelled" in done.err
    run(server, "step", "cancel", "--step", "s", "--force", env={"BUILDKITE_CANCEL_GRACE_PERIOD": "30"})
    run(server, "step", "cancel", "--force", "--force-grace-period-seconds", "0")
    run(server, "build", "cancel")
    assert sent(server) == [
        ("POST", "/v3/steps/step-1/cancel", {"build_id": "build-1", "force": False, "force_grace_period": 10}),
        ("POST", "/v3/steps/s/cancel", {"build_id": "build-1", "force": True, "force_grace_period": 30}),
        ("POST", "/v3/steps/step-1/cancel", {"build_id": "build-1", "force": True, "force_grace_period": 0}),
        ("POST", "/v3/builds/build-1/cancel", None),
    ]
    assert run(server, "step", "cancel", "--force-grace-period-seconds", "-1").status == 1


def test_a_job_is_changed(server: FakeJobServer) -> None:
    assert run(server, "job", "update", "timeout", "20") == Done(0, b"", "")
    run(server, "job", "update", "timeout", "--job", "j-2", stdin=b"30")
    assert sent(server) == [
        ("PUT", "/v3/jobs/job-1", {"timeout": "20"}),
        ("PUT", "/v3/jobs/j-2", {"timeout": "30"}),
    ]


def test_a_failure_is_promised_without_an_agent_to_ask(server: FakeJobServer) -> None:
    assert (
        run(
            server, "job", "promise-failure", "2", "--reason", "tests with hunter22", env={"A_TOKEN": "hunter22"}
        ).status
        == 0
    )
    assert run(server, "job", "promise-failure", "1").status == 0
    assert sent(server) == [
        ("PUT", "/v3/jobs/job-1/promise_failure", {"exit_status": 2, "reason": "tests with [REDACTED]"}),
        ("PUT", "/v3/jobs/job-1/promise_failure", {"exit_status": 1}),
    ]
    for wrong in ("0", "-1", "x"):
        assert run(server, "job", "promise-failure", wrong).status == 1
    for status, words in ((409, "another exit status"), (422, "not running any more"), (403, "as the test wants it")):
        server.failures = {"PUT /v3/jobs/job-1/promise_failure": [status]}
        done = run(server, "job", "promise-failure", "3")
        assert done.status == 1 and done.has_code("job.promise") and words in done.err


def test_an_agent_is_stopped_paused_and_resumed_under_both_names(server: FakeJobServer) -> None:
    for words in (["stop"], ["agent", "stop", "--force"], ["pause", "--note", "n", "--timeout-in-minutes", "5"]):
        assert run(server, *words).status == 0
    for words in (["agent", "pause"], ["resume"], ["agent", "resume"]):
        assert run(server, *words).status == 0
    assert sent(server) == [
        ("POST", "/v3/stop", {}),
        ("POST", "/v3/stop", {"force": True}),
        ("POST", "/v3/pause", {"note": "n", "timeout_in_minutes": 5}),
        ("POST", "/v3/pause", {}),
        ("POST", "/v3/resume", None),
        ("POST", "/v3/resume", None),
    ]


# --- how they fail ------------------------------------------------------------------------------------------------


def test_calls_are_tried_again_when_that_may_help(server: FakeJobServer) -> None:
    server.failures = {"POST /v3/jobs/job-1/annotations": [500]}
    done = run(server, "annotate", "x")
    assert done.status == 0 and done.err.count("trying again") == 1
    assert len(server.requests) == 2
    for status in (400, 401, 403, 404, 422):
        server.failures = {"POST /v3/jobs/job-1/annotations": [status]}
        done = run(server, "annotate", "x")
        assert done.status == 1 and f"answered {status}: as the test wants it" in done.err
    assert len(server.requests) == 7


def test_failures_have_their_own_statuses_under_our_own_name(server: FakeJobServer) -> None:
    def status(*arguments: str) -> int:
        return run_command(server.environment(), *arguments, name="pipeseal").status

    assert status("meta-data", "get", "missing") == 4
    assert status("meta-data", "get") == 2
    assert status("meta-data", "exists", "missing") == 100
    server.failures = {"POST /v3/jobs/job-1/data/get": [401]}
    assert status("meta-data", "get", "x") == 7


@pytest.mark.parametrize(
    ("content", "arguments"),
    [
        (b"", ["meta-data", "get", "k"]),
        (b"not json", ["meta-data", "get", "k"]),
        ([], ["meta-data", "get", "k"]),
        ({"value": 1}, ["meta-data", "get", "k"]),
        ({"exists": "yes"}, ["meta-data", "exists", "k"]),
        ({}, ["meta-data", "keys"]),
        ([1], ["meta-data", "keys"]),
        ({"output": None}, ["step", "get"]),
        ({}, ["step", "cancel"]),
        ({"id": 1}, ["job", "update", "a", "b"]),
        ({"token": []}, ["oidc", "request-token", "--skip-redaction"]),
        ({"value": {}}, ["secret", "get", "A", "--skip-redaction"]),
    ],
)
def test_an_answer_that_is_not_what_it_should_be_is_an_error(
    server: FakeJobServer, content: object, arguments: list[str]
) -> None:
    server.answers["POST /v3/.*"] = server.answers["PUT /v3/.*"] = Answered(200, content)
    server.answers["GET /v3/.*"] = Answered(200, content)
    done = run(server, *arguments)
    assert (done.status, done.out) == (1, b"")
    assert "Traceback" not in done.err and re.search(r"error\[(api.answer|secret.fetch)\]", done.err)


def test_what_a_server_writes_cannot_move_the_terminal(server: FakeJobServer) -> None:
    server.answers["POST /v3/builds/build-1/cancel"] = Answered(422, {"message": "\x1b]0;owned\x07\x1b[2J"})
    done = run(server, "build", "cancel")
    assert done.status == 1 and "\x1b" not in done.err and "owned" in done.err
    server.answers["POST /v3/builds/build-1/cancel"] = Answered(200, {"uuid": "\x1b[2J"})
    assert "\x1b" not in run(server, "build", "cancel").err


@pytest.mark.parametrize("name", ["BUILDKITE_AGENT_ACCESS_TOKEN", "BUILDKITE_AGENT_ENDPOINT", "BUILDKITE_JOB_ID"])
def test_what_is_missing_is_named(server: FakeJobServer, name: str) -> None:
    done = run(server, "meta-data", "set", "k", "v", env={name: ""})
    assert done.status == 1 and name in done.err
    assert server.requests == []


def test_a_server_that_is_not_there_is_said(server: FakeJobServer) -> None:
    done = run(server, "stop", "--endpoint", "not a url")
    assert done.status == 1 and done.has_code("endpoint.invalid")


def test_the_stock_agent_s_other_flags_are_taken(server: FakeJobServer) -> None:
    flags = [
        "--no-color",
        "--no-http2",
        "--debug-http",
        "--trace-http",
        "--experiment",
        "agent-api",
        "--profile",
        "cpu",
    ]
    assert run(server, "meta-data", "set", "k", "v", "--debug", "--log-level", "info", *flags).status == 0
    quiet = run(server, "build", "cancel", "--log-level", "fatal")
    assert quiet == Done(0, b"", "")
    assert run(server, "build", "cancel", env={"BUILDKITE_AGENT_LOG_LEVEL": "error"}).err == ""


def test_flags_win_over_variables(server: FakeJobServer) -> None:
    run(server, "meta-data", "set", "--job", "other", "k", "v")
    assert server.requests[0].path == "/v3/jobs/other/data/set"


# --- secrets and tokens, without an agent to hide them -----------------------------------------------------------


def test_secrets_are_printed_only_when_hidden_or_when_told(server: FakeJobServer) -> None:
    server.secrets = {"deploy_key": "it's", "token": "t0ken-<&>"}
    done = run(server, "secret", "get", "deploy_key")
    assert (done.status, done.out) == (1, b"")
    assert done.has_code("secret.redaction") and "it's" not in done.err

    def printed(*arguments: str) -> bytes:
        return run(server, "secret", "get", *arguments, "--skip-redaction").out

    assert printed("deploy_key") == b"it's\n"
    assert printed("token", "deploy_key") == b'{"deploy_key":"it\'s","token":"t0ken-<&>"}\n'
    assert printed("--format", "json", "token") == b'{"token":"t0ken-<&>"}\n'
    assert printed("--format", "env", "token", "deploy_key") == b"DEPLOY_KEY='it'\\''s'\nTOKEN='t0ken-<&>'\n"
    assert (
        run(server, "secret", "get", "token", env={"BUILDKITE_AGENT_SECRET_GET_SKIP_SECRET_REDACTION": "true"}).status
        == 0
    )


def test_secrets_come_all_or_none(server: FakeJobServer) -> None:
    server.secrets = {"a": "value-of-a"}
    done = run(server, "secret", "get", "a", "nope", "neither", "--skip-redaction")
    assert (done.status, done.out) == (1, b"")
    assert done.has_code("secret.fetch") and "nope" in done.err and "neither" in done.err
    assert "value-of-a" not in done.err


def test_an_oidc_token_is_asked_for_as_told(server: FakeJobServer) -> None:
    done = run(server, "oidc", "request-token")
    assert (done.status, done.out) == (1, b"") and done.has_code("secret.redaction")
    options = ["--audience", "aws", "--lifetime", "60", "--claim", "a,b", "--claim", "c", "--subject-claim", "s"]
    done = run(server, "oidc", "request-token", "--skip-redaction", *options, "--aws-session-tag", "t")
    assert done == Done(0, b"header.claims.signature\n", "")
    done = run(
        server,
        "oidc",
        "request-token",
        "--skip-redaction",
        "--format",
        "gcp",
        env={"BUILDKITE_OIDC_TOKEN_CLAIMS": "x,y"},
    )
    assert done.out == (
        b'{"id_token":"header.claims.signature","token_type":"urn:ietf:params:oauth:token-type:jwt",'
        b'"version":1,"success":true}\n'
    )
    assert [body for _, _, body in sent(server)] == [
        {},
        {
            "audience": "aws",
            "lifetime": 60,
            "claims": ["a", "b", "c"],
            "aws_session_tags": ["t"],
            "subject_claim": "s",
        },
        {"claims": ["x", "y"]},
    ]
    assert run(server, "oidc", "request-token", "--lifetime", "-1").status == 1


# --- documentation ------------------------------------------------------------------------------------------------


def test_every_command_of_a_job_is_on_its_page() -> None:
    from pipeseal.cli import COMMANDS

    modules = {
        "agent_control", "annotate", "artifact", "build_cancel", "env", "job_update", "lock", "meta_data", "oidc",
        "redactor", "secret", "step", "workdir",
    }  # fmt: skip
    page = (Path(__file__).parents[2] / "docs/reference/job-commands.md").read_text(encoding="utf-8")
    ours = [command for command, (module, _) in COMMANDS.items() if module in modules]
    assert len(ours) > 25
    assert [command for command in ours if f"`{command}`" not in page] == []


# --- cost ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["meta-data", "get", "k"],
        ["annotate", "x"],
        ["artifact", "upload", "x"],
        ["env", "dump"],
        ["lock", "get", "k"],
    ],
)
def test_a_command_in_a_job_imports_little(server: FakeJobServer, arguments: list[str], tmp_path: Path) -> None:
    import subprocess
    import sys

    heavy = [
        "asyncio",
        "concurrent",
        "cryptography",
        "httptools",
        "logging",
        "msgspec",
        "orjson",
        "rich",
        "ruamel",
        "yaml",
    ]
    program = (
        "import sys\nfrom pipeseal.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        f"print('LOADED', [name for name in {heavy!r} if name in sys.modules])"
    )
    (tmp_path / "x").write_text("x")
    server.meta_data["k"] = "v"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={"PATH": os.environ["PATH"], **server.environment()},
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1].endswith("LOADED []")
