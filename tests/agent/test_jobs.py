"""Jobs through a real agent process: what runs, in what order, with what, and how it ends."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeseal.pipeline.steps import CommandStep
from pipeseal.signing.keys.files import write_key_file
from pipeseal.signing.keys.generate import generate_key_pair
from pipeseal.signing.keys.open import open_signing_key
from pipeseal.signing.sign import sign_step
from tests.agent.agent_process import AgentProcess, agent_process
from tests.agent.fake_server import FakeServer, JobRecord, fake_server
from tests.agent.job_requests import OPEN, begin, outcome, run, unsigned
from tests.agent.repositories import git, make_repository


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake_server(20) as running:
        yield running


# --- what a job is given -------------------------------------------------------------------------------------------


def test_exit_statuses_scripts_and_signals(server: FakeServer, tmp_path: Path) -> None:
    with agent_process(server, tmp_path, *OPEN) as agent:
        assert outcome(run(server, unsigned("exit 7"), "a")) == ("7", "", "")
        assert outcome(run(server, unsigned("kill -9 $$"), "b")) == ("-1", "SIGKILL", "")
        assert outcome(run(server, unsigned("false\ntouch /nowhere/at/all"), "c")) == ("1", "", "")
        empty = run(server, unsigned(""), "d")
        assert outcome(empty) == ("1", "", "") and "there is no command to run" in empty.text
        folder = agent.builds / "tester" / "acme" / "widgets"
        (folder / "script.sh").write_text("#!/bin/sh\necho from the script; exit 3\n")
        script = run(server, unsigned("script.sh"), "e")
        assert outcome(script) == ("3", "", "") and "~~~ Running script" in script.text
        assert "from the script" in script.text
        terminal = run(server, unsigned("test -t 0 && test -t 1 && stty size && cat /dev/null >/dev/tty"), "f")
        assert outcome(terminal) == ("0", "", "") and "100 160" in terminal.text


def test_without_a_terminal(server: FakeServer, tmp_path: Path) -> None:
    with agent_process(server, tmp_path, *OPEN, "--no-pty"):
        job = run(server, unsigned("! test -t 1; echo out; echo err >&2; cat"))
        assert outcome(job) == ("0", "", "")
        assert "out" in job.text and "err" in job.text


def test_no_command_eval_runs_scripts_of_the_repository_alone(server: FakeServer, tmp_path: Path) -> None:
    repository = tmp_path / "widgets"
    make_repository(repository, {"ok.sh": "#!/bin/sh\necho fine\n", "deep/ok.sh": "#!/bin/sh\necho deep\n"})
    with agent_process(server, tmp_path, "--no-verification", "--no-command-eval"):
        place = {"repository": str(repository)}
        assert "fine" in run(server, unsigned("ok.sh", **place), "a").text
        assert "deep" in run(server, unsigned("deep/ok.sh", **place), "b").text
        for number, command in enumerate(("echo evil", "ok.sh; echo evil", "../../../../ok.sh", "/bin/ls")):
            job = run(server, unsigned(command, **place), f"x{number}")
            assert outcome(job) == ("-1", "", "agent_refused"), command
            assert job.finish is not None and job.finish["refusal"]["code"] == "command.not_script"
        missing = run(server, unsigned("not-there.sh", **place), "missing")
        assert outcome(missing) == ("1", "", "") and "no-command-eval" in missing.text


def test_variables_of_a_job(server: FakeServer, tmp_path: Path) -> None:
    secret = "swordfish-swordfish"
    with agent_process(server, tmp_path, *OPEN, environment={"AGENT_ONLY": "not for jobs", "LC_ALL": "C.UTF-8"}):
        job = run(server, unsigned(f"env | sort; echo {secret}", env={"GREETING": "hi", "DB_PASSWORD": secret}))
    shown = dict(line.partition("=")[::2] for line in job.text.splitlines() if "=" in line)
    assert shown["BUILDKITE_JOB_ID"] == "job-1" and shown["BUILDKITE_AGENT_NAME"] == "tester"
    assert shown["GREETING"] == "hi" and shown["LC_ALL"] == "C.UTF-8" and shown["CI"] == "true"
    assert shown["BUILDKITE_AGENT_ACCESS_TOKEN"] == shown["DB_PASSWORD"] == "[REDACTED]"
    assert "AGENT_ONLY" not in shown and "BUILDKITE_AGENT_TOKEN" not in shown
    assert shown["PATH"].split(":")[0] == shown["BUILDKITE_BIN_PATH"]
    assert secret not in job.text and "JOBTOKEN-JOBTOKEN" not in job.text


def test_log_of_50_megabytes_is_complete_and_memory_stays_flat(server: FakeServer, tmp_path: Path) -> None:
    lines = 520_000
    command = f"seq -f '%090.0f' 1 {lines}"
    with agent_process(server, tmp_path, *OPEN, "--no-ansi-timestamps") as agent:
        run(server, unsigned("true"), "warm")
        before = psutil.Process(agent.process.pid).memory_info().rss
        job = server.add_job({**unsigned(command), "id": "big"}, "big")
        most = 0
        while not job.finished.wait(0.05):
            most = max(most, psutil.Process(agent.process.pid).memory_info().rss)
        assert outcome(job) == ("0", "", "") and job.finish is not None and job.finish["chunks_failed_count"] == 0
        expected = "".join(f"{number:090}\r\n" for number in range(1, lines + 1)).encode()
        log = job.log
        start = log.index(expected[:92])
        assert hashlib.sha256(log[start : start + len(expected)]).digest() == hashlib.sha256(expected).digest()
        assert len(expected) > 47_000_000
        assert most - before < 30_000_000


# --- verified or refused -------------------------------------------------------------------------------------------


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    pair = generate_key_pair("EdDSA", "signer")
    write_key_file(tmp_path / "signing.json", pair.private_set)
    write_key_file(tmp_path / "verification.json", pair.public_set)
    return tmp_path


def signed(keys: Path, command: str, step_env: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    """A job whose step is signed."""
    job = unsigned(command, **more)
    key = open_signing_key(str(keys / "signing.json"))
    step = sign_step(
        CommandStep(command=command, env=step_env or {}), key=key, repository_url=job["env"]["BUILDKITE_REPO"]
    )
    assert step.signature is not None
    job["step"] = {
        "command": command,
        "env": step.env,
        "signature": {
            "algorithm": step.signature.algorithm,
            "signed_fields": step.signature.signed_fields,
            "value": step.signature.value,
        },
    }
    job["env"] |= step.env
    return job


def verifying(keys: Path) -> tuple[str, ...]:
    return ("--verification-jwks-file", str(keys / "verification.json"))


def test_refused_job_runs_nothing(server: FakeServer, tmp_path: Path, keys: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("environment", "pre-checkout", "checkout", "pre-command", "command", "post-command", "pre-exit"):
        (hooks / name).write_text(f": > {marks}/{name}\n")
    touch = f"touch {marks}/command"
    with agent_process(server, tmp_path, *verifying(keys), "--hooks-path", str(hooks)) as agent:
        good = signed(keys, touch)
        changed = json.loads(json.dumps(good).replace(touch, f"{touch}; touch {marks}/attack"))
        env_only = json.loads(json.dumps(good))
        env_only["env"]["BUILDKITE_COMMAND"] += "; touch attack"
        moved = json.loads(json.dumps(good))
        moved["env"]["BUILDKITE_REPO"] = "https://evil.example.test/x.git"
        stripped = json.loads(json.dumps(good))
        del stripped["step"]["signature"]
        for number, raw in enumerate((changed, env_only, moved, stripped)):
            job = run(server, raw, f"bad-{number}")
            assert outcome(job) == ("-1", "", "signature_rejected")
            assert job.finish is not None and job.finish["refusal"]["code"]
            assert "Nothing was run" in job.text
            assert f"Refused job bad-{number}" in agent.log
        assert not list(marks.iterdir())
        assert not agent.builds.exists() or not list(agent.builds.rglob("*"))
        honest = run(server, good, "good")
        assert outcome(honest) == ("0", "", ""), honest.text
        assert {path.name for path in marks.iterdir()} >= {"environment", "checkout", "command"}


def test_a_job_that_the_server_lets_nobody_start_runs_nothing_and_uses_up_no_attempt(
    server: FakeServer, tmp_path: Path, keys: Path
) -> None:
    mark = tmp_path / "mark"
    good = {**signed(keys, f"touch {mark}"), "id": "once"}
    evil = json.loads(json.dumps(good).replace(f"touch {mark}", f"touch {mark}; true"))
    server.interfere = lambda request: (422, b"{}") if request.path.endswith("/start") else None
    with agent_process(server, tmp_path, *verifying(keys), "--skip-checkout") as agent:
        refusals = 0
        for refusals, raw in enumerate((good, evil), start=1):
            job = server.add_job(raw, "once")
            server.wait_for(partial(_is_told, agent, refusals))
            assert not job.finish and not job.chunks and "Refused" not in agent.log
        assert not mark.exists()
        server.interfere = lambda _request: None
        # The same job again: an attempt that the ledger had kept would refuse it.
        assert outcome(run(server, good, "once")) == ("0", "", "")
        assert mark.exists()


def _is_told(agent: AgentProcess, times: int) -> bool:
    return agent.log.count("Could not start the job") == times


def test_unsigned_variables_refuse_the_job_with_their_names(server: FakeServer, tmp_path: Path, keys: Path) -> None:
    flags = ("--skip-checkout", "--allowed-environment-variables", "^HARM")
    with agent_process(server, tmp_path, *verifying(keys), *flags) as agent:
        honest = signed(keys, "env | sort", {"GIT_TRACE": "0"})
        honest["env"] |= {"HARMLESS": "yes", "BUILDKITE_MESSAGE": 'a "message"\n$(x)'}
        job = run(server, honest)
        assert outcome(job) == ("0", "", "")
        lines = job.text.splitlines()
        assert "HARMLESS=yes" in lines and "GIT_TRACE=0" in lines
        assert not any(line.startswith("BUILDKITE_MESSAGE=") for line in lines)
        assert any(line.startswith("BUILDKITE_MESSAGE_FILE=") for line in lines)
        for number, (name, code) in enumerate(
            {
                "BASH_ENV": "environment.forbidden",
                "LD_PRELOAD": "environment.forbidden",
                "OTHER": "environment.unknown",
                "BUILDKITE_COMMAND=touch evil #": "environment.name",
            }.items()
        ):
            attack = {**honest, "env": {**honest["env"], name: "/tmp/evil"}}
            refused = run(server, attack, f"attack-{number}")
            assert outcome(refused) == ("-1", "", "agent_refused")
            assert refused.finish is not None and refused.finish["refusal"]["code"] == code
            assert name in refused.finish["refusal"]["message"]
            assert f"refused[{code}]" in refused.text and f"code={code}" in agent.log


def test_free_text_is_handed_over_as_a_file(server: FakeServer, tmp_path: Path, keys: Path) -> None:
    with agent_process(server, tmp_path, *verifying(keys), "--skip-checkout"):
        raw = signed(keys, 'od -c "$BUILDKITE_MESSAGE_FILE" | head -2')
        raw["env"]["BUILDKITE_MESSAGE"] = "a\r\nb"
        job = run(server, raw)
        assert "0000000   a  \\r  \\n   b" in job.text


def test_lists_of_repositories_and_plugins(server: FakeServer, tmp_path: Path) -> None:
    flags = ("--allowed-repositories", r"^https://git\.example\.test/", "--allowed-plugins", "^good/")
    with agent_process(server, tmp_path, *OPEN, *flags) as agent:
        elsewhere = run(server, unsigned("true", repository="https://evil.test/x"), "a")
        assert outcome(elsewhere) == ("-1", "", "agent_refused")
        assert elsewhere.finish is not None and elsewhere.finish["refusal"]["code"] == "repository.not_allowed"
        plugin = run(server, unsigned("true", env={"BUILDKITE_PLUGINS": '[{"https://evil.test/p#v1":null}]'}), "b")
        assert outcome(plugin) == ("-1", "", "agent_refused")
        assert plugin.finish is not None and plugin.finish["refusal"]["code"] == "plugin.not_allowed"
        assert outcome(run(server, unsigned("true"), "c")) == ("0", "", "")
        assert "'^good/' is not anchored" in agent.log


def test_hooks_of_the_agent_itself(server: FakeServer, tmp_path: Path) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "agent-startup").write_text('echo good morning; test -z "$BUILDKITE_AGENT_TOKEN"\n')
    (hooks / "agent-shutdown").write_text("#!/bin/sh\necho good night\n")
    (hooks / "pre-bootstrap").write_text(
        f'grep -q forbidden "$BUILDKITE_ENV_FILE" && exit 9\nenv > {tmp_path}/seen\n'
        'echo "asked about $BUILDKITE_JOB_ID"\n'
    )
    with agent_process(server, tmp_path, *OPEN, "--hooks-path", str(hooks)) as agent:
        refused = run(server, unsigned("touch forbidden"), "bad")
        assert outcome(refused) == ("-1", "", "agent_refused")
        assert refused.finish is not None and refused.finish["refusal"]["code"] == "hook.refused"
        assert not agent.builds.exists()
        assert outcome(run(server, unsigned("true", env={"FROM_SERVER": "1"}), "good")) == ("0", "", "")
        seen = (tmp_path / "seen").read_text()
        assert "FROM_SERVER" not in seen and "BUILDKITE_ENV_JSON_FILE=" in seen
        agent.signal(signal.SIGTERM)
        assert agent.wait() == 0
        assert all(words in agent.log for words in ("good morning", "asked about good", "good night"))
    (hooks / "agent-startup").write_text("exit 4\n")
    with agent_process(server, tmp_path, *OPEN, "--hooks-path", str(hooks)) as agent:
        assert agent.wait() == 6
        assert "hook.startup" in agent.log


def test_answer_with_another_job_or_none(server: FakeServer, tmp_path: Path) -> None:
    with agent_process(server, tmp_path, *OPEN) as agent:
        other = server.add_job({**unsigned("true"), "id": "another"}, "asked")
        assert other.finished.wait(60)
        assert other.finish is not None and other.finish["refusal"]["code"] == "job.other" and not other.started
        broken = server.add_job(b'{"id":', "broken")
        assert broken.finished.wait(60) and outcome(broken) == ("-1", "", "agent_refused")
        assert "Refused job broken" in agent.log
        assert outcome(run(server, unsigned("true"), "after")) == ("0", "", "")


# --- phases --------------------------------------------------------------------------------------------------------


def test_hooks_run_in_order_and_change_variables_and_folder(server: FakeServer, tmp_path: Path) -> None:
    repository = tmp_path / "widgets"
    every = ("environment", "pre-checkout", "post-checkout", "pre-command", "post-command", "pre-exit")
    say = 'echo "@ {scope} {name} seen=$SEEN plugin=$BUILDKITE_PLUGIN_SAY_WORD"\nexport SEEN="${{SEEN}}{mark}"\n'
    files = {
        f".buildkite/hooks/{name}": say.format(scope="repository", name=name, mark="r") for name in every[2:]
    } | {"sub/file": "x"}
    make_repository(repository, files)
    plugin = tmp_path / "say-buildkite-plugin"
    make_repository(
        plugin,
        {f"hooks/{name}": say.format(scope="plugin", name=name, mark="p") for name in every},
        tag="v1",
    )
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in every:
        more = "cd sub\nexport BUILDKITE_SHELL=/bin/false\n" if name == "pre-command" else ""
        (hooks / name).write_text(say.format(scope="agent", name=name, mark="a") + more)
    with agent_process(server, tmp_path, "--no-verification", "--hooks-path", str(hooks)):
        plugins = json.dumps([{f"{plugin.as_uri()}#v1": {"word": "hello"}}])
        job = run(
            server,
            unsigned('pwd; echo "@ command $SEEN"', repository=str(repository), env={"BUILDKITE_PLUGINS": plugins}),
        )
    assert outcome(job) == ("0", "", ""), job.text
    told = [line for line in job.text.splitlines() if line.startswith("@ ")]
    scopes = ("agent", "repository", "plugin")
    expected = [
        ("agent", "environment"), ("plugin", "environment"), ("agent", "pre-checkout"), ("plugin", "pre-checkout"),
        *((scope, "post-checkout") for scope in scopes), *((scope, "pre-command") for scope in scopes),
        ("command", ""),
        *((scope, "post-command") for scope in scopes), *((scope, "pre-exit") for scope in scopes),
    ]  # fmt: skip
    assert [tuple(line.split()[1:3]) if "command " not in line[:10] else ("command", "") for line in told] == expected
    seen = ""
    for line, (scope, _) in zip(told, expected, strict=True):
        assert (f"seen={seen} " in line) if scope != "command" else (line == f"@ command {seen}"), (line, seen)
        assert ("plugin=hello" in line) == (scope == "plugin")
        seen += {"agent": "a", "repository": "r", "plugin": "p", "command": ""}[scope]
    assert any(line.endswith("/widgets/sub") for line in job.text.splitlines())
    assert "TERM added" not in job.text and "SEEN added" in job.text
    assert "Changes to some env vars were blocked; the affected vars are: BUILDKITE_SHELL" in job.text


def test_failures_of_hooks_and_commands_decide_the_status(server: FakeServer, tmp_path: Path) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    with agent_process(server, tmp_path, *OPEN, "--hooks-path", str(hooks)):

        def with_hooks(job_id: str, text: str, **texts: str) -> JobRecord:
            for path in hooks.iterdir():
                path.unlink()
            for name, script in texts.items():
                (hooks / name.replace("_", "-")).write_text(script)
            return run(server, unsigned(text), job_id)

        job = with_hooks("a", "echo ran", pre_command="exit 5", post_command="echo post", pre_exit="echo bye")
        assert outcome(job) == ("5", "", "")
        assert "ran" not in job.text.split("~~~")[-1] and "echo post" not in job.text and "bye" in job.text
        job = with_hooks("b", "exit 3", post_command="echo post $BUILDKITE_COMMAND_EXIT_STATUS")
        assert outcome(job) == ("3", "", "") and "post 3" in job.text
        job = with_hooks("c", "exit 3", post_command="exit 4", pre_exit="true")
        assert outcome(job) == ("4", "", "")
        job = with_hooks("d", "exit 3", pre_exit="exit 6")
        assert outcome(job) == ("6", "", "")
        job = with_hooks("e", "exit 3", command="echo instead; export DONE=yes", post_command="echo done=$DONE")
        assert outcome(job) == ("0", "", "") and "instead" in job.text and "done=yes" in job.text
        job = with_hooks("f", "true", environment="export LOST=1; exit 0", pre_command="echo lost=$LOST.")
        assert outcome(job) == ("0", "", "") and "lost=." in job.text
        job = with_hooks("g", "true", environment="#!/usr/bin/env python3\nprint('snake')\n")
        assert outcome(job)[0] != "0"  # not executable
        (hooks / "environment").chmod(0o755)
        job = run(server, unsigned("true"), "h")
        assert outcome(job) == ("0", "", "") and "snake" in job.text


def test_checkout_of_commits_branches_and_pull_requests(server: FakeServer, tmp_path: Path) -> None:
    repository = tmp_path / "widgets"
    first = make_repository(repository, {"file": "one"})
    (repository / "file").write_text("two")
    git(repository, "commit", "-qam", "two")
    second = git(repository, "rev-parse", "HEAD")
    git(repository, "checkout", "-qb", "feature")
    (repository / "file").write_text("three")
    git(repository, "commit", "-qam", "three")
    git(repository, "update-ref", "refs/pull/7/head", "HEAD")
    git(repository, "checkout", "-q", "main")
    show = "cat file; echo; test ! -e left-behind; touch left-behind; git rev-parse HEAD"
    with agent_process(server, tmp_path, "--no-verification", "--checkout-attempts", "1"):
        place = {"repository": str(repository)}
        assert f"one{first}" in run(server, unsigned(show, commit=first, **place), "a").text.replace("\n", "")
        assert f"two{second}" in run(server, unsigned(show, commit=second, **place), "b").text.replace("\n", "")
        assert "two" in run(server, unsigned(show, **place), "c").text
        assert "three" in run(server, unsigned(show, env={"BUILDKITE_BRANCH": "feature"}, **place), "d").text
        pull = {"BUILDKITE_PULL_REQUEST": "7", "BUILDKITE_PIPELINE_PROVIDER": "github"}
        assert "three" in run(server, unsigned(show, env=pull, **place), "e").text
        assert server.meta_data["buildkite:git:commit"].startswith(f"commit {first}\nabbrev-commit ")
        for number, commit in enumerate(("--upload-pack=touch evil", "-f", "HEAD..main", "a b")):
            job = run(server, unsigned(show, commit=commit, **place), f"x{number}")
            assert outcome(job)[0] == "1" and "is not a name that git can be given" in job.text, commit
        missing = run(server, unsigned(show, commit="0" * 40, **place), "y")
        assert outcome(missing)[0] == "128" and "one" not in missing.text.splitlines()
        assert not list(tmp_path.rglob("evil"))


def test_checkout_begins_anew_when_the_folder_is_broken(server: FakeServer, tmp_path: Path) -> None:
    repository = tmp_path / "widgets"
    commit = make_repository(repository, {"file": "one"})
    with agent_process(server, tmp_path, "--no-verification") as agent:
        place = {"repository": str(repository), "commit": commit}
        assert outcome(run(server, unsigned("cat file", **place), "a")) == ("0", "", "")
        folder = agent.builds / "tester" / "acme" / "widgets"
        (folder / ".git" / "HEAD").write_text("nonsense")
        job = run(server, unsigned("cat file", **place), "b")
        assert outcome(job) == ("0", "", "") and "trying again" in job.text


def test_vendored_plugin_and_strict_hooks(server: FakeServer, tmp_path: Path) -> None:
    repository = tmp_path / "widgets"
    make_repository(
        repository,
        {
            "plugins/one/hooks/command": 'echo "one $BUILDKITE_PLUGIN_ONE_LIST_1 $BUILDKITE_PLUGIN_CONFIGURATION"',
            "plugins/two/hooks/command": "echo two",
            "outside/hooks/link": "x",
        },
    )
    with agent_process(server, tmp_path, "--no-verification", "--strict-single-hooks"):
        env = {"BUILDKITE_PLUGINS": '[{"./plugins/one":{"list":["a",true]}},{"./plugins/two":null}]'}
        job = run(server, unsigned("never", repository=str(repository), env=env), "a")
        assert outcome(job) == ("0", "", ""), job.text
        assert 'one true {"list":["a",true]}' in job.text and "\ntwo" not in job.text
        assert "Ignoring the additional command hooks of two" in job.text
        for number, source in enumerate(("./nowhere", "./../../../outside", "./plugins")):
            env = {"BUILDKITE_PLUGINS": json.dumps([{source: None}])}
            job = run(server, unsigned("never", repository=str(repository), env=env), f"x{number}")
            assert outcome(job)[0] == "1", source


# --- the end before its time ---------------------------------------------------------------------------------------


def test_cancel_asks_then_kills(server: FakeServer, tmp_path: Path) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "pre-exit").write_text('echo "cancelled=$BUILDKITE_JOB_CANCELLED timed_out=$BUILDKITE_JOB_TIMED_OUT"\n')
    flags = ("--hooks-path", str(hooks), "--cancel-grace-period")
    with agent_process(server, tmp_path, *OPEN, *flags, "60"):
        polite = begin(server, unsigned("trap 'echo cleaning up; exit 0' TERM; echo begun; sleep 60 & wait"), "a")
        polite.state = "canceling"
        assert polite.finished.wait(60) and outcome(polite) == ("-1", "SIGTERM", "cancel")
        assert "cleaning up" in polite.text and "cancelled=true timed_out=" in polite.text
        unknown = begin(server, unsigned("echo begun; sleep 60"), "c")
        server.interfere = lambda request: (401, b"{}") if request.path == "/v3/jobs/c" else None
        assert unknown.finished.wait(60) and outcome(unknown) == ("-1", "SIGTERM", "cancel")
    with agent_process(server, tmp_path, *OPEN, *flags, "1.5"):
        stubborn = begin(server, unsigned("trap '' TERM; echo begun; sleep 60 & sleep 60"), "b")
        stubborn.state = "timing_out"
        started = time.monotonic()
        assert stubborn.finished.wait(60) and outcome(stubborn) == ("-1", "SIGKILL", "cancel")
        assert time.monotonic() - started > 1.4
        assert "timed_out=true" not in stubborn.text or "cancelled=true" in stubborn.text


def _children(agent: AgentProcess) -> list[psutil.Process]:
    return [child for child in psutil.Process(agent.process.pid).children(recursive=True) if child.is_running()]


def test_first_signal_lets_the_job_finish_the_second_cancels_it(server: FakeServer, tmp_path: Path) -> None:
    with agent_process(server, tmp_path, *OPEN, "--cancel-grace-period", "60") as agent:
        job = begin(server, unsigned("echo begun; sleep 0.7; echo finished by itself"), "a")
        agent.signal(signal.SIGTERM)
        assert agent.wait() == 0
        assert outcome(job) == ("0", "", "") and "finished by itself" in job.text
        assert server.calls("POST", "/disconnect")
    with agent_process(server, tmp_path, *OPEN, "--cancel-grace-period", "60") as agent:
        job = begin(server, unsigned("echo begun; sleep 60"), "b")
        agent.signal(signal.SIGTERM)
        time.sleep(0.2)
        agent.signal(signal.SIGINT)
        assert agent.wait() == 0
        assert outcome(job) == ("-1", "SIGTERM", "agent_stop")
        assert len(server.calls("POST", "/disconnect")) == 2


def test_third_signal_ends_at_once(server: FakeServer, tmp_path: Path) -> None:
    with agent_process(server, tmp_path, *OPEN, "--cancel-grace-period", "60") as agent:
        begin(server, unsigned("trap '' TERM HUP; echo begun; for i in $(seq 60); do sleep 1; done"), "a")
        children = _children(agent)
        while agent.process.poll() is None:  # signals of one kind that come close together are one
            agent.signal(signal.SIGTERM)
            time.sleep(0.1)
        assert agent.wait() == 1
        _, alive = psutil.wait_procs(children, timeout=60)
        assert not alive


def test_killed_agent_leaves_no_job_behind(server: FakeServer, tmp_path: Path) -> None:
    with agent_process(server, tmp_path, *OPEN) as agent:
        begin(server, unsigned("echo begun; sleep 1000 & sleep 1000"), "a")
        server.wait_for(lambda: len(_children(agent)) >= 3)
        children = _children(agent)
        os.kill(agent.process.pid, signal.SIGKILL)
        agent.wait()
        _, alive = psutil.wait_procs(children, timeout=60)
        assert not alive
