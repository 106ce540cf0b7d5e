"""Checkouts through a real agent process and real git: mirrors, submodules, sparse, LFS, commits and their branch."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeseal.agent.host_keys import SshHost, ssh_host
from pipeseal.agent.mirrors import mirror_folder
from tests.agent.agent_process import agent_process
from tests.agent.fake_server import FakeServer, fake_server
from tests.agent.job_requests import begin, outcome, run, unsigned
from tests.agent.repositories import git, make_repository

OPEN = ("--no-verification",)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake_server(20) as running:
        yield running


def commit(repository: Path, text: str) -> str:
    (repository / "file").write_text(text)
    git(repository, "commit", "-qam", text)
    return git(repository, "rev-parse", "HEAD")


def script(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}")
    (folder / name).chmod(0o755)


def test_an_existing_clone_costs_few_processes(server: FakeServer, tmp_path: Path) -> None:
    repository = tmp_path / "widgets"
    first = make_repository(repository, {"file": "one", "folder/file": "two"})
    calls = tmp_path / "calls"
    script(tmp_path / "bin", "git", f'echo "$@" >> {calls}\nPATH=/usr/bin:/bin exec git "$@"\n')
    path = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}
    resolved = {"BUILDKITE_COMMIT_RESOLVED": "true"}
    with agent_process(server, tmp_path, *OPEN, environment=path):
        for job_id in ("a", "b"):
            calls.unlink(missing_ok=True)
            place = {"repository": str(repository), "commit": first, "env": resolved}
            job = run(server, unsigned("cat file folder/file", **place), job_id)
            assert outcome(job) == ("0", "", "") and "onetwo" in job.text, job.text
    lines = calls.read_text().splitlines()
    said = " ".join(lines)
    assert len(lines) == 7, lines
    for word in ("config", "reset", "clean", "fetch", "checkout", "rev-parse", "cat-file"):
        assert word in said


# --- mirrors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["reference", "dissociate"])
def test_mirror_serves_clones_and_is_kept_up_to_date(server: FakeServer, tmp_path: Path, mode: str) -> None:
    repository = tmp_path / "widgets"
    first = make_repository(repository, {"file": "one"})
    mirrors = tmp_path / "mirrors"
    flags = ("--git-mirrors-path", str(mirrors), "--git-mirror-checkout-mode", mode, "--checkout-attempts", "1")
    show = 'cat file; echo; echo "mirror=$BUILDKITE_REPO_MIRROR"; git fsck --connectivity-only'
    with agent_process(server, tmp_path, *OPEN, *flags) as agent:
        job = run(server, unsigned(show, repository=str(repository), commit=first), "a")
        assert outcome(job) == ("0", "", ""), job.text
        mirror = mirror_folder(mirrors, str(repository))
        assert f"mirror={mirror}" in job.text and (mirror / "HEAD").exists()
        alternates = agent.builds / "tester/acme/widgets/.git/objects/info/alternates"
        assert alternates.exists() == (mode == "reference")
        second = commit(repository, "two")
        job = run(server, unsigned(show, repository=str(repository), commit=second), "b")
        assert outcome(job) == ("0", "", "") and "\ntwo" in job.text
        assert git(mirror, "cat-file", "-t", second) == "commit"
        git(repository, "checkout", "-qb", "elsewhere")
        third = commit(repository, "three")
        git(repository, "update-ref", "refs/pull/9/head", "HEAD")
        job = run(server, unsigned(show, repository=str(repository), commit=third), "c")
        assert outcome(job) == ("0", "", "") and "\nthree" in job.text, (
            "the commit is not on the branch that was named"
        )
        pull = {"BUILDKITE_PULL_REQUEST": "9", "BUILDKITE_PIPELINE_PROVIDER": "github"}
        job = run(server, unsigned(show, repository=str(repository), env=pull), "d")
        assert outcome(job) == ("0", "", "") and "\nthree" in job.text


def test_mirror_that_is_not_updated_still_serves(server: FakeServer, tmp_path: Path) -> None:
    repository = tmp_path / "widgets"
    make_repository(repository, {"file": "one"})
    mirrors = tmp_path / "mirrors"
    flags = ("--git-mirrors-path", str(mirrors), "--git-mirrors-skip-update")
    with agent_process(server, tmp_path, *OPEN, *flags):
        assert "one" in run(server, unsigned("cat file", repository=str(repository)), "a").text
        second = commit(repository, "two")
        job = run(server, unsigned("cat file", repository=str(repository), commit=second), "b")
        assert outcome(job) == ("0", "", "") and "two" in job.text
        assert second not in git(mirror_folder(mirrors, str(repository)), "rev-list", "--all")


def test_mirror_that_another_job_holds_ends_the_job_with_94(server: FakeServer, tmp_path: Path) -> None:
    repository = tmp_path / "widgets"
    make_repository(repository, {"file": "one"})
    mirrors = tmp_path / "mirrors"
    mirrors.mkdir()
    mirror = mirror_folder(mirrors, str(repository))
    with mirror.with_name(f"{mirror.name}.clonelockf").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        flags = ("--git-mirrors-path", str(mirrors), "--git-mirrors-lock-timeout", "0.4")
        with agent_process(server, tmp_path, *OPEN, *flags):
            job = run(server, unsigned("cat file", repository=str(repository)), "a")
            assert outcome(job) == ("94", "", "") and "git-mirrors-lock-timeout" in job.text
            assert "trying again" not in job.text
            fcntl.flock(lock, fcntl.LOCK_UN)
            assert outcome(run(server, unsigned("cat file", repository=str(repository)), "b")) == ("0", "", "")


def test_two_addresses_never_share_a_mirror(tmp_path: Path) -> None:
    addresses = ("https://host/a-b.git", "https://host/a/b.git", "https://host/a_b.git", "../../etc", "x" * 500)
    folders = {mirror_folder(tmp_path, address) for address in addresses}
    assert len(folders) == len(addresses)
    assert all(folder.parent == tmp_path and len(folder.name) < 100 for folder in folders)


# --- what is checked out -------------------------------------------------------------------------------------------


def test_submodules_are_checked_out_cleaned_or_left_alone(server: FakeServer, tmp_path: Path) -> None:
    make_repository(tmp_path / "part", {"inside": "of the submodule"})
    repository = tmp_path / "widgets"
    make_repository(repository, {"file": "one"})
    git(repository, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(tmp_path / "part"), "sub")
    git(repository, "commit", "-qm", "with a submodule")
    place = {"repository": str(repository)}
    allow = ("--git-submodule-clone-config", "protocol.file.allow=always")
    with agent_process(server, tmp_path, *OPEN, *allow):
        show = "cat sub/inside; test ! -e sub/left; touch sub/left; echo changed > sub/inside"
        for job_id in ("a", "b"):
            job = run(server, unsigned(show, **place), job_id)
            assert outcome(job) == ("0", "", "") and "of the submodule" in job.text, job.text
        without = unsigned(
            "ls sub", env={"BUILDKITE_GIT_SUBMODULES": "false", "BUILDKITE_CLEAN_CHECKOUT": "true"}, **place
        )
        job = run(server, without, "c")
        assert outcome(job) == ("0", "", "") and "inside" not in job.text.rpartition("Running commands")[2]
        assert "Cleaning pipeline checkout" in job.text


def test_sparse_checkout_and_back(server: FakeServer, tmp_path: Path) -> None:
    repository = tmp_path / "widgets"
    make_repository(repository, {"file": "one", "app/main": "a", "docs/page": "d", "docs/deep/page": "p"})
    git(repository, "config", "uploadpack.allowFilter", "true")
    show = "find . -path ./.git -prune -o -type f -print | sort | tr '\\n' ' '"
    place = {"repository": repository.as_uri()}
    server.hold_seconds = 0
    with agent_process(server, tmp_path, *OPEN, "--git-sparse-checkout-paths", "docs/deep"):
        job = run(server, unsigned(show, **place), "a")
        assert "./docs/deep/page ./docs/page ./file" in job.text and "app/main" not in job.text, job.text
        chosen = {"sparse": {"paths": ["/app/"], "mode": "no-cone"}}
        job = run(server, unsigned(show, step={"checkout": chosen}, **place), "b")
        assert "./app/main" in job.text and "./file" not in job.text, job.text
        odd = {"sparse": {"paths": ["--stdin"], "mode": "no-cone"}}
        job = run(server, unsigned(show, step={"checkout": odd}, **place), "c")
        assert outcome(job) == ("0", "", "") and "./file" not in job.text
    with agent_process(server, tmp_path, *OPEN):
        job = run(server, unsigned(show, **place), "d")
        assert "./app/main ./docs/deep/page ./docs/page ./file" in job.text


def test_step_decides_depth_flags_and_sparse_paths(server: FakeServer, tmp_path: Path) -> None:
    repository = tmp_path / "widgets"
    make_repository(repository, {"file": "one", "docs/page": "d", "app/main": "a"})
    for text in ("two", "three"):
        commit(repository, text)
    checkout = {"depth": 1, "sparse": {"paths": ["docs"]}, "flags": {"clone": "-q", "fetch": "-q"}, "new_thing": 1}
    with agent_process(server, tmp_path, *OPEN):
        raw = unsigned("git rev-list --count HEAD; ls", repository=repository.as_uri(), step={"checkout": checkout})
        job = run(server, raw, "a")
        told = job.text.rpartition("Running commands")[2]
        assert outcome(job) == ("0", "", "") and "\n1\n" in told and "docs" in told and "app" not in told, job.text
        assert "ignored: checkout new_thing" in job.text


def test_checkout_that_wants_the_servers_ssh_key_is_refused(server: FakeServer, tmp_path: Path) -> None:
    with agent_process(server, tmp_path, *OPEN) as agent:
        job = run(server, unsigned("true", step={"checkout": {"ssh_secret": "deploy-key"}}))
        assert outcome(job) == ("-1", "", "agent_refused")
        assert job.finish is not None and job.finish["refusal"]["code"] == "checkout.ssh_secret"
        assert not agent.builds.exists() and "Nothing was run" in job.text
        keyed = unsigned("true", env={"BUILDKITE_GIT_SSH_KEY": "key", "BUILDKITE_REPO": str(tmp_path)})
        job = server.add_job({**keyed, "id": "b"}, "b")
        server.wait_for(lambda: "BUILDKITE_GIT_SSH_KEY is not supported" in job.text)
        job.state = "canceling"
        assert job.finished.wait(60)


def test_lfs_files_are_fetched_after_the_checkout(server: FakeServer, tmp_path: Path) -> None:
    repository = tmp_path / "widgets"
    head = make_repository(repository, {"file": "one"})
    script(tmp_path / "bin", "git-lfs", f'echo "$GIT_LFS_SKIP_SMUDGE $*" >> {tmp_path}/lfs\n')
    path = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    with agent_process(server, tmp_path, *OPEN, environment=path):
        env = {"BUILDKITE_GIT_LFS_ENABLED": "true"}
        job = run(server, unsigned("echo skip=$GIT_LFS_SKIP_SMUDGE", repository=str(repository), env=env), "a")
        assert outcome(job) == ("0", "", "") and "skip=1" in job.text, job.text
        calls = (tmp_path / "lfs").read_text().splitlines()
        assert calls == ["1 install --local --skip-repo", f"1 fetch origin {head}", "1 checkout"]
        script(tmp_path / "bin", "git-lfs", "exit 3\n")
        job = run(server, unsigned("true", repository=str(repository)), "b")
        assert outcome(job) == ("0", "", ""), "without the setting LFS is left alone"


# --- commits and their branch --------------------------------------------------------------------------------------


def test_commit_has_to_be_on_its_branch(server: FakeServer, tmp_path: Path) -> None:
    repository = tmp_path / "widgets"
    first = make_repository(repository, {"file": "one"})
    second = commit(repository, "two")
    git(repository, "checkout", "-qb", "feature", first)
    elsewhere = commit(repository, "three")
    place = {"repository": repository.as_uri()}
    with agent_process(server, tmp_path, *OPEN, "--git-commit-verification", "strict", "--checkout-attempts", "2"):
        for job_id, good in (("a", first), ("b", second), ("c", "HEAD")):
            assert outcome(run(server, unsigned("true", commit=good, **place), job_id)) == ("0", "", "")
        bad = run(server, unsigned("touch evil", commit=elsewhere, **place), "d")
        assert outcome(bad)[0] == "1" and f"commit {elsewhere} is not on branch main" in bad.text
        assert "trying again" not in bad.text and "Running commands" not in bad.text
        lost = unsigned("true", commit=elsewhere, env={"BUILDKITE_BRANCH": "nowhere"}, **place)
        job = run(server, lost, "e")
        assert outcome(job)[0] == "1" and "could not be fetched to look for commit" in job.text
        clean = {"BUILDKITE_CLEAN_CHECKOUT": "true"}
        shallow = {"checkout": {"depth": 1}}
        assert outcome(run(server, unsigned("true", commit=second, env=clean, step=shallow, **place), "f0"))[0] == "0"
        job = run(server, unsigned("true", commit=first, step=shallow, **place), "f")
        assert outcome(job) == ("0", "", "") and "--unshallow" in job.text, job.text
        lenient = {"checkout": {"commit_verification": "warn"}}
        warned = unsigned("cat file", commit=elsewhere, step=lenient, **place)
        job = run(server, warned, "g")
        assert outcome(job) == ("0", "", "") and "three" in job.text and "is not on branch main" in job.text
        odd = unsigned("true", commit=first, step={"checkout": {"commit_verification": "maybe"}}, **place)
        assert outcome(run(server, odd, "h"))[0] == "1"


# --- time and hosts ------------------------------------------------------------------------------------------------


@pytest.fixture
def slow_git(tmp_path: Path) -> dict[str, str]:
    """Variables with a git in front whose fetch hangs while a file `hang` is there."""
    real = next(Path(folder) / "git" for folder in os.get_exec_path() if (Path(folder) / "git").exists())
    hang = f'case " $* " in *" fetch "*) [ ! -e {tmp_path}/hang ] || {{ echo hanging; sleep 300; }};; esac\n'
    script(tmp_path / "bin", "git", f'{hang}exec {real} "$@"\n')
    return {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}


def test_attempt_that_takes_too_long_is_ended_and_repeated(
    server: FakeServer, tmp_path: Path, slow_git: dict[str, str]
) -> None:
    repository = tmp_path / "widgets"
    make_repository(repository, {"file": "one"})
    (tmp_path / "hang").touch()
    flags = ("--git-checkout-timeout", "3", "--checkout-attempts", "6")
    with agent_process(server, tmp_path, *OPEN, *flags, environment=slow_git):
        job = server.add_job({**unsigned("cat file", repository=str(repository)), "id": "a"}, "a")
        server.wait_for(lambda: "git fetch took too long" in job.text)
        (tmp_path / "hang").unlink()
        assert job.finished.wait(60) and outcome(job) == ("0", "", "") and "one" in job.text
        assert "trying again in" in job.text


def test_cancelled_fetch_ends_the_job_at_once(server: FakeServer, tmp_path: Path, slow_git: dict[str, str]) -> None:
    repository = tmp_path / "widgets"
    make_repository(repository, {"file": "one"})
    (tmp_path / "hang").touch()
    with agent_process(server, tmp_path, *OPEN, environment=slow_git):
        job = begin(server, unsigned("cat file", repository=str(repository)), "a", "hanging")
        job.state = "canceling"
        assert job.finished.wait(60) and outcome(job) == ("-1", "SIGTERM", "cancel")
        assert "trying again" not in job.text


def test_host_keys_are_fetched_only_when_asked_for(server: FakeServer, tmp_path: Path) -> None:
    script(
        tmp_path / "bin",
        "ssh-keyscan",
        f'echo "$@" >> {tmp_path}/scanned; echo "[git.example.test]:2222 ssh-x AAA"\n',
    )
    script(tmp_path / "bin", "ssh-keygen", 'grep -qF "$2 " "$4" 2>/dev/null && echo found\n')
    script(tmp_path / "bin", "ssh", "exit 1\n")
    path = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    raw = unsigned("true", repository="ssh://git@git.example.test:2222/acme/widgets.git")
    server.hold_seconds = 0
    with agent_process(server, tmp_path, *OPEN, "--checkout-attempts", "1", environment=path):
        assert outcome(run(server, raw, "a"))[0] != "0" and not (tmp_path / "scanned").exists()
    with agent_process(
        server, tmp_path, *OPEN, "--checkout-attempts", "1", "--ssh-keyscan", environment=path
    ) as agent:
        for job_id in ("b", "c"):
            assert outcome(run(server, raw, job_id))[0] != "0"
        assert (tmp_path / "scanned").read_text() == "-T 10 -p 2222 git.example.test\n"
        assert (agent.home / ".ssh/known_hosts").read_text() == "[git.example.test]:2222 ssh-x AAA\n"


def test_which_addresses_are_reached_with_ssh() -> None:
    assert ssh_host("git@host.test:a/b.git") == SshHost("host.test")
    assert ssh_host("ssh://git@host.test:22/a") == SshHost("host.test")
    assert ssh_host("ssh://host.test:2222/a") == SshHost("host.test", 2222)
    assert SshHost("host.test", 2222).known_as == "[host.test]:2222"
    for other in (
        "https://host.test/a",
        "/srv/a.git",
        "./a",
        "git@-oProxyCommand=x:a",
        "ssh://-x/a",
        "ssh://h:99999/a",
    ):
        assert ssh_host(other) is None, other
