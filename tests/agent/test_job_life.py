"""A job's life through a real agent process: its socket, secrets, artifacts, locks, hooks of every kind, its end."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.agent.agent_process import AgentProcess, agent_process
from tests.agent.fake_server import FakeServer, fake_server
from tests.agent.job_requests import OPEN, begin, outcome, run, unsigned
from tests.agent.repositories import make_repository


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake_server(20) as running:
        yield running


def hooks(folder: Path, **texts: str) -> tuple[str, str]:
    """A folder with these hooks alone, as flags."""
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for name, text in texts.items():
        (folder / name.replace("_", "-")).write_text(text)
        (folder / name.replace("_", "-")).chmod(0o755)
    return ("--hooks-path", str(folder))


# --- the job's own socket ------------------------------------------------------------------------------------------


def test_job_changes_its_later_phases_through_its_socket(server: FakeServer, tmp_path: Path) -> None:
    flags = hooks(
        tmp_path / "hooks",
        environment="export KEPT=by-hook\nbuildkite-agent env set FRESH=from-api KEPT=from-api\n",
        pre_command=f"#!{sys.executable}\n"
        "import os, subprocess\n"
        "print('phase', os.environ['BUILDKITE_HOOK_PHASE'], os.environ['BUILDKITE_HOOK_SCOPE'])\n"
        "def agent(*words): subprocess.run(['buildkite-agent', *words], check=True)\n"
        "agent('env', 'set', 'SNAKE=yes')\n"
        "agent('env', 'unset', 'DOOMED')\n"
        f"agent('workdir', 'set', '{tmp_path}')\n"
        "print('blocked', subprocess.run(['buildkite-agent', 'env', 'set', 'BUILDKITE_SHELL=x']).returncode)\n",
        post_command="echo post=$SNAKE\n",
    )
    with agent_process(server, tmp_path, *OPEN, *flags):
        command = 'echo "fresh=$FRESH kept=$KEPT snake=$SNAKE doomed=$DOOMED."; pwd; buildkite-agent env get SNAKE'
        job = run(server, unsigned(command, env={"DOOMED": "1"}))
        assert outcome(job) == ("0", "", ""), job.text
        assert "fresh=from-api kept=by-hook snake=yes doomed=." in job.text
        assert f"\n{tmp_path}\n" in job.text and "\nyes\n" in job.text and "post=yes" in job.text
        assert "phase pre-command agent" in job.text and "blocked 1" in job.text


def test_values_are_hidden_and_failures_promised_through_the_socket(server: FakeServer, tmp_path: Path) -> None:
    with agent_process(server, tmp_path, *OPEN):
        command = (
            'printf "tiger-%s" tiger | buildkite-agent redactor add\n'
            'printf "tiger-%s\\n" tiger\n'
            "buildkite-agent job promise-failure 7 --reason sad\n"
            'printf "token %s\\n" "$BUILDKITE_AGENT_JOB_API_TOKEN"\n'
            'test -S "$BUILDKITE_AGENT_JOB_API_SOCKET" && stat -c %a "$(dirname "$BUILDKITE_AGENT_JOB_API_SOCKET")"\n'
            "exit 7\n"
        )
        job = run(server, unsigned(command))
        assert outcome(job) == ("7", "", "")
        assert "tiger-tiger" not in job.text.replace("$ ", "") and job.text.count("[REDACTED]") >= 2
        assert "\n700\n" in job.text
        assert [promise["exit_status"] for promise in server.promises] == [7]


def test_job_without_a_socket(server: FakeServer, tmp_path: Path) -> None:
    with agent_process(server, tmp_path, *OPEN, "--no-job-api"):
        job = run(server, unsigned("echo socket=$BUILDKITE_AGENT_JOB_API_SOCKET.; buildkite-agent env get HOME"))
        assert outcome(job)[0] == "1" and "socket=." in job.text and "Job API cannot be used here" in job.text


def test_job_whose_socket_has_no_room_runs_all_the_same(server: FakeServer, tmp_path: Path) -> None:
    far = tmp_path / ("t" * 100)
    far.mkdir()
    with agent_process(server, tmp_path, *OPEN, environment={"TMPDIR": str(far)}):
        job = run(server, unsigned("echo ran; buildkite-agent env get HOME || echo no socket"))
        assert outcome(job) == ("0", "", "") and "\nran" in job.text and "no socket" in job.text
        assert "The Job API cannot be used in this job" in job.text


# --- secrets -------------------------------------------------------------------------------------------------------


def secrets(*pairs: tuple[str, str | None]) -> dict[str, object]:
    entries = [{"key": key, **({"environment_variable": name} if name else {})} for key, name in pairs]
    return {"secrets": entries}


def test_secrets_become_variables_and_are_hidden(server: FakeServer, tmp_path: Path) -> None:
    server.secrets = {"database": "open-sesame-1", "spare": "open-sesame-2"}
    flags = hooks(tmp_path / "hooks", environment="echo hook ${#DATABASE_URL}\n")
    with agent_process(server, tmp_path, *OPEN, *flags):
        step = secrets(("database", "DATABASE_URL"), ("spare", None))
        job = run(server, unsigned("echo $DATABASE_URL; echo open-sesame-$((1+1)); echo ${#DATABASE_URL}", step=step))
        assert outcome(job) == ("0", "", ""), job.text
        assert "~~~ Preparing secrets" in job.text and "hook 13" in job.text and "\n13\n" in job.text
        assert "sesame-1" not in job.text and job.text.count("[REDACTED]") == 2
        requests = [request for request in server.requests if request.path.endswith("/secrets")]
        assert {request.headers["authorization"] for request in requests} == {"Token JOBTOKEN-JOBTOKEN"}


@pytest.mark.parametrize(
    "name",
    [
        "PATH",
        "LD_PRELOAD",
        "BASH_ENV",
        "GIT_SSH_COMMAND",
        "BUILDKITE_SHELL",
        "BUILDKITE_COMMAND",
        "A=B",
        "1A",
        "NODE_OPTIONS",
    ],
)
def test_secret_cannot_go_into_a_variable_that_does_more(server: FakeServer, tmp_path: Path, name: str) -> None:
    server.secrets = {"key": "a-secret-value"}
    flags = hooks(tmp_path / "hooks", pre_exit="echo bye\n", environment=f"touch {tmp_path}/ran\n")
    with agent_process(server, tmp_path, *OPEN, *flags):
        job = run(server, unsigned(f"touch {tmp_path}/ran", step=secrets(("key", name))))
        assert outcome(job) == ("-1", "", "process_run_error") and "cannot go into" in job.text
        assert not (tmp_path / "ran").exists() and "\nbye" in job.text
        assert not any(request.path.endswith("/secrets") for request in server.requests)


def test_secret_that_cannot_be_had_ends_the_job_before_anything_runs(server: FakeServer, tmp_path: Path) -> None:
    server.secrets = {"good": "a-secret-value", "zero": "a\0b"}
    with agent_process(server, tmp_path, *OPEN):
        for number, key in enumerate(("missing", "zero")):
            step = secrets(("good", "GOOD"), (key, "BAD"))
            job = run(server, unsigned(f"touch {tmp_path}/ran", step=step), f"job-{number}")
            assert outcome(job) == ("-1", "", "process_run_error")
            assert f"'{key}': " in job.text and "a-secret-value" not in job.text
        assert not (tmp_path / "ran").exists()


# --- artifacts -----------------------------------------------------------------------------------------------------


def test_artifacts_are_kept_between_their_hooks(server: FakeServer, tmp_path: Path) -> None:
    flags = hooks(tmp_path / "hooks", pre_artifact="echo before\n", post_artifact="echo after\n")
    env = {"BUILDKITE_ARTIFACT_PATHS": "out/**/*.txt;report.xml"}
    command = (
        "mkdir -p out/deep; echo one > out/a.txt; echo two > out/deep/b.txt; echo three > report.xml; echo no > c.txt"
    )
    with agent_process(server, tmp_path, *OPEN, *flags):
        job = run(server, unsigned(command, env=env), "a")
        assert outcome(job) == ("0", "", ""), job.text
        assert server.artifacts == {"out/a.txt": b"one\n", "out/deep/b.txt": b"two\n", "report.xml": b"three\n"}
        assert [state["state"] for state in server.artifact_states] == ["finished"] * 3
        places = [
            job.text.index(word) for word in ("\nbefore", "~~~ Uploading artifacts", "Found 3 files", "\nafter")
        ]
        assert places == sorted(places)
        server.artifacts.clear()
        job = run(server, unsigned(f"{command}; exit 4", env=env), "b")
        assert outcome(job) == ("4", "", "") and len(server.artifacts) == 3
        job = run(server, unsigned("true", env={"BUILDKITE_ARTIFACT_PATHS": "nothing/*"}), "c")
        assert outcome(job) == ("0", "", "") and "No files matched paths: nothing/*" in job.text
        job = run(server, unsigned("true"), "d")
        assert outcome(job) == ("0", "", "") and "before" not in job.text


def test_artifact_failures_count_but_hide_no_others(server: FakeServer, tmp_path: Path) -> None:
    env = {"BUILDKITE_ARTIFACT_PATHS": "a.txt"}
    command = "echo one > a.txt"
    with agent_process(server, tmp_path, *OPEN, *hooks(tmp_path / "hooks", pre_artifact="exit 9\n")):
        job = run(server, unsigned(command, env=env), "a")
        assert outcome(job) == ("9", "", "") and not server.artifacts
        assert outcome(run(server, unsigned("exit 3", env=env), "b")) == ("3", "", "")
        hooks(tmp_path / "hooks", post_artifact="echo after\n", pre_command="exit 5\n", pre_exit="echo bye\n")
        job = run(server, unsigned(command, env=env), "c")
        assert outcome(job) == ("5", "", "") and "Uploading artifacts" not in job.text and "bye" in job.text
        hooks(tmp_path / "hooks", post_artifact="echo after\n")
        server.interfere = lambda request: (422, b'{"message":"no room"}') if "/artifacts" in request.path else None
        job = run(server, unsigned(command, env=env), "d")
        assert outcome(job) == ("1", "", "") and "no room" in job.text and "after" not in job.text


def test_server_cannot_have_files_outside_of_the_checkout(server: FakeServer, tmp_path: Path) -> None:
    repository = tmp_path / "widgets"
    make_repository(repository, {"good.txt": "good"})
    private = tmp_path / "private.txt"
    private.write_text("for nobody")
    env = {"BUILDKITE_ARTIFACT_PATHS": f"*.txt;{private};{tmp_path}/*.txt;../../../../*.txt;.git/config;~/*"}
    command = f"ln -s {private} link.txt; echo x > ~/home.txt"
    with agent_process(server, tmp_path, "--no-verification", *hooks(tmp_path / "hooks")):
        job = run(server, unsigned(command, repository=str(repository), env=env), "a")
        assert outcome(job) == ("0", "", ""), job.text
        assert server.artifacts == {"good.txt": b"good"}
        assert f"{private} is not a file of the checkout; left out" in job.text
        server.artifacts.clear()
        hooks(tmp_path / "hooks", pre_command=f"export BUILDKITE_ARTIFACT_PATHS={private}\n")
        job = run(server, unsigned("true", repository=str(repository), env=env), "b")
        assert list(server.artifacts.values()) == [b"for nobody"], "a hook of this machine may name any file"


# --- cancelled in each phase ---------------------------------------------------------------------------------------

WAIT = "echo begun; sleep 60\n"


@pytest.mark.parametrize(
    "phase",
    [
        "pre_bootstrap", "environment", "pre_checkout", "checkout", "post_checkout", "pre_command", "command",
        "post_command", "pre_artifact", "post_artifact", "pre_exit",
    ],
)  # fmt: skip
def test_job_that_is_cancelled_in_each_phase(server: FakeServer, tmp_path: Path, phase: str) -> None:
    """Up to the command a phase is asked to end; what comes after it has the grace period."""
    texts = {"pre_exit": "echo bye cancelled=$BUILDKITE_JOB_CANCELLED\n"} if phase != "pre_exit" else {}
    flags = hooks(tmp_path / "hooks", **texts, **{phase: WAIT})
    env = {"BUILDKITE_ARTIFACT_PATHS": "*"}
    with agent_process(server, tmp_path, *OPEN, *flags, "--cancel-grace-period", "1.5") as agent:
        job = server.add_job({**unsigned("echo the command", env=env), "id": "a"}, "a")
        if phase == "pre_bootstrap":
            server.wait_for(lambda: bool(children(agent, "sleep")))
        else:
            server.wait_for(lambda: "\nbegun" in job.text)
        job.state = "canceling"
        assert job.finished.wait(60), job.text
        assert outcome(job) == ("-1", "SIGTERM", "cancel"), job.text
        assert "The job was cancelled: as asked for" in job.text
        if phase not in {"pre_exit", "pre_bootstrap"}:
            assert "bye cancelled=true" in job.text
        if phase in {"environment", "pre_checkout", "checkout", "post_checkout", "pre_command", "pre_bootstrap"}:
            assert "the command" not in job.text
        assert not children(agent, "sleep")
        hooks(tmp_path / "hooks")
        assert outcome(run(server, unsigned("true"), "b")) == ("0", "", "")


def children(agent: AgentProcess, name: str) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(agent.process.pid).children(recursive=True):
        try:
            if child.name() == name:
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def test_job_that_is_cancelled_while_artifacts_are_uploaded(server: FakeServer, tmp_path: Path) -> None:
    server.stall_uploads.set()
    env = {"BUILDKITE_ARTIFACT_PATHS": "*.txt"}
    with agent_process(server, tmp_path, *OPEN, "--cancel-grace-period", "0.5"):
        job = begin(server, unsigned("echo one > a.txt", env=env), "a", "Uploading a.txt")
        job.state = "timing_out"
        assert job.finished.wait(60), job.text
        assert outcome(job) == ("-1", "SIGTERM", "cancel") and "it took too long" in job.text
        assert not server.artifacts


def test_timed_out_job_tells_its_last_hooks(server: FakeServer, tmp_path: Path) -> None:
    flags = hooks(
        tmp_path / "hooks", pre_exit="echo cancelled=$BUILDKITE_JOB_CANCELLED out=$BUILDKITE_JOB_TIMED_OUT\n"
    )
    with agent_process(server, tmp_path, *OPEN, *flags, "--cancel-signal", "SIGINT"):
        job = begin(server, unsigned("trap 'echo asked; exit 3' INT; echo begun; sleep 60 & wait"), "a")
        job.state = "timed_out"
        assert job.finished.wait(60), job.text
        assert "cancelled=true out=true" in job.text and "\nasked" in job.text
        assert outcome(job) == ("-1", "SIGTERM", "cancel")


# --- what the agent leaves behind ----------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["command", "hook"])
def test_killed_agent_leaves_nothing_behind_without_a_terminal(
    server: FakeServer, tmp_path: Path, where: str
) -> None:
    stubborn = "trap '' TERM HUP; echo begun; sleep 1000 & sleep 1000; sleep 1000"
    flags = hooks(tmp_path / "hooks", **({"pre_command": stubborn} if where == "hook" else {}))
    scratch = tmp_path / "t"
    scratch.mkdir()
    environment = {"TMPDIR": str(scratch)}
    with agent_process(server, tmp_path, *OPEN, *flags, "--no-pty", environment=environment) as agent:
        begin(server, unsigned(stubborn), "a")
        processes: list[psutil.Process] = []

        def have_begun() -> bool:
            processes[:] = psutil.Process(agent.process.pid).children(recursive=True)
            return len([process for process in processes if process.name() == "sleep"]) == 2

        server.wait_for(have_begun)
        assert {path.name[:13] for path in scratch.iterdir()} == {"pipeseal-job-", "pipeseal-bin-"}
        os.kill(agent.process.pid, signal.SIGKILL)
        agent.wait()
        _, alive = psutil.wait_procs(processes, timeout=60)
        assert not alive
        assert not list(scratch.iterdir()), "variables of jobs are not left behind either"


# --- hooks of all kinds --------------------------------------------------------------------------------------------


def test_hooks_of_several_folders_and_another_shell(server: FakeServer, tmp_path: Path) -> None:
    flags = hooks(tmp_path / "hooks", environment='echo "first ${0##*/}"\nexport SEEN=1\n')
    for name in ("more", "most"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "environment").write_text(f"echo {name} $SEEN\nexport SEEN=${{SEEN}}1\n")
    (tmp_path / "shell").write_text('#!/bin/sh\necho "asked with $1"\nexec /bin/sh "$@"\n')
    (tmp_path / "shell").chmod(0o755)
    more = ("--additional-hooks-paths", f"{tmp_path}/more,{tmp_path}/most", "--hooks-shell", str(tmp_path / "shell"))
    with agent_process(server, tmp_path, *OPEN, *flags, *more):
        job = run(server, unsigned("echo seen $SEEN"))
        assert outcome(job) == ("0", "", ""), job.text
        places = [job.text.index(word) for word in ("\nfirst", "\nmore 1", "\nmost 11", "\nseen 111")]
        assert places == sorted(places) and job.text.count("asked with -c") == 3


def test_binary_hook_runs_as_it_is(server: FakeServer, tmp_path: Path) -> None:
    folder = tmp_path / "hooks"
    folder.mkdir()
    (folder / "pre-command").write_bytes(Path("/bin/true").read_bytes())
    (folder / "post-command").write_bytes(Path("/bin/false").read_bytes())
    for path in folder.iterdir():
        path.chmod(0o755)
    with agent_process(server, tmp_path, *OPEN, "--hooks-path", str(folder)):
        job = run(server, unsigned("echo ran"))
        assert (
            outcome(job) == ("1", "", "")
            and "\nran" in job.text
            and "post-command hook exited with status 1" in job.text
        )


def test_job_reads_its_own_log(server: FakeServer, tmp_path: Path) -> None:
    flags = hooks(
        tmp_path / "hooks",
        pre_exit=f'cp "$BUILDKITE_JOB_LOG_TMPFILE" {tmp_path}/copy; stat -c "mode %a" "$BUILDKITE_JOB_LOG_TMPFILE"\n',
    )
    logs = tmp_path / "logs"
    logs.mkdir()
    secret = "swordfish-swordfish"
    with agent_process(server, tmp_path, *OPEN, *flags, "--enable-job-log-tmpfile", "--job-log-path", str(logs)):
        job = run(server, unsigned(f"echo line one; echo {secret}", env={"DB_PASSWORD": secret}))
        assert outcome(job) == ("0", "", "") and "mode 600" in job.text
        copy = (tmp_path / "copy").read_text()
        assert "\nline one" in copy and secret not in copy and "\x1b_bk;t=" not in copy
        assert not list(logs.iterdir())


def test_files_with_the_jobs_variables(server: FakeServer, tmp_path: Path) -> None:
    with agent_process(server, tmp_path, *OPEN):
        command = 'cat "$BUILDKITE_ENV_FILE"; echo; cat "$BUILDKITE_ENV_JSON_FILE"; echo'
        job = run(server, unsigned(command, env={"GREETING": 'say "hi"\n$x'}))
        assert 'GREETING="say \\"hi\\"\\n$x"' in job.text
        members = json.loads(next(line for line in job.text.splitlines() if line.startswith("{")))
        assert members["GREETING"] == 'say "hi"\n$x' and "BUILDKITE_AGENT_ACCESS_TOKEN" not in members


# --- locks ---------------------------------------------------------------------------------------------------------


def test_jobs_of_two_agents_share_locks(server: FakeServer, tmp_path: Path) -> None:
    sockets = ("--sockets-path", str(tmp_path / "s"))
    command = (
        "token=$(buildkite-agent lock acquire shared) || exit 9\n"
        f"echo in >> {tmp_path}/order; sleep 0.2; echo out >> {tmp_path}/order\n"
        'buildkite-agent lock release shared "$token"\n'
    )
    with (
        agent_process(server, tmp_path, *OPEN, *sockets, "--spawn", "2"),
        agent_process(server, tmp_path / "second", *OPEN, *sockets),
    ):
        server.wait_for(lambda: len(server.calls("GET", "/ping")) == 3)
        jobs = [server.add_job({**unsigned(command), "id": f"job-{number}"}, f"job-{number}") for number in range(3)]
        assert all(job.finished.wait(60) for job in jobs)
        assert [outcome(job)[0] for job in jobs] == ["0"] * 3, jobs[0].text
    assert (tmp_path / "order").read_text().split() == ["in", "out"] * 3


def test_agent_without_room_for_locks_works_all_the_same(server: FakeServer, tmp_path: Path) -> None:
    with agent_process(server, tmp_path, *OPEN, "--sockets-path", str(tmp_path / ("s" * 120))) as agent:
        job = run(server, unsigned("buildkite-agent lock get x"))
        assert outcome(job)[0] == "1" and "cannot use locks" in agent.log
        assert outcome(run(server, unsigned("true"), "b")) == ("0", "", "")
