"""git runs with a constructed configuration, and what an earlier job left in a clone runs nothing in the next one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.agent_process import agent_process
from tests.agent.fake_server import FakeServer, fake_server
from tests.agent.job_requests import outcome, run, unsigned
from tests.agent.repositories import git, make_repository


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake_server(20) as running:
        yield running


OPEN = ("--no-verification", "--checkout-attempts", "1")


def test_what_a_job_plants_in_its_clone_does_not_run_in_the_next(server: FakeServer, tmp_path: Path) -> None:
    repository = tmp_path / "widgets"
    commit = make_repository(repository, {"file": "one\n", ".gitattributes": "* filter=evil\n"})
    mark = tmp_path / "mark"
    plant = (
        f"echo 'touch {mark}-hook' > .git/hooks/post-commit; chmod +x .git/hooks/post-commit\n"
        f"git config core.fsmonitor 'touch {mark}-fsmonitor; false'\n"
        f"git config core.sshCommand 'touch {mark}-ssh'\n"
        f"git config filter.evil.smudge 'touch {mark}-smudge; cat'\n"
        f"git config filter.evil.clean 'touch {mark}-clean; cat'\n"
        "git config credential.helper '!touch x'\n"
        "git config url./nowhere/.insteadOf /\n"
        f"mkdir -p .git/info; echo '* filter=evil' > .git/info/attributes\n"
        "git config alias.x y; git config branch.main.merge refs/heads/main; git config branch.main.remote origin"
    )
    with agent_process(server, tmp_path, *OPEN) as agent:
        place = {"repository": str(repository), "commit": commit}
        assert outcome(run(server, unsigned(plant, **place), "first")) == ("0", "", "")
        for path in tmp_path.glob("mark*"):
            path.unlink()
        again = run(
            server, unsigned("git -c user.name=t -c user.email=t@x commit -q --allow-empty -m x", **place), "second"
        )
        assert outcome(again) == ("0", "", ""), again.text
        assert list(tmp_path.glob("mark*")) == []
        config = (agent.builds / "tester" / "acme" / "widgets" / ".git" / "config").read_text()
        assert "evil" not in config and "insteadOf" not in config and "sshCommand" not in config
        assert str(repository) in config and "refs/heads/main" in config


def test_clone_that_is_somebody_elses_is_made_anew(server: FakeServer, tmp_path: Path) -> None:
    repository, other = tmp_path / "widgets", tmp_path / "other"
    commit = make_repository(repository, {"file": "right\n"})
    make_repository(other, {"file": "wrong\n"})
    place = {"repository": str(repository), "commit": commit}
    with agent_process(server, tmp_path, *OPEN):
        assert outcome(run(server, unsigned(f"rm -rf .git; ln -s {other}/.git .git", **place), "a")) == ("0", "", "")
        assert "right" in run(server, unsigned("cat file", **place), "b").text
        assert (
            outcome(run(server, unsigned(f"rm -rf .git; echo gitdir: {other}/.git > .git", **place), "c"))[0] == "0"
        )
        assert "right" in run(server, unsigned("cat file", **place), "d").text
        assert outcome(run(server, unsigned("echo nonsense > .git/config", **place), "e"))[0] == "0"
        assert "right" in run(server, unsigned("cat file", **place), "f").text
    assert git(other, "status", "--porcelain") == ""


def test_an_address_that_a_job_puts_before_the_first_is_not_fetched_from(server: FakeServer, tmp_path: Path) -> None:
    repository, evil = tmp_path / "widgets", tmp_path / "evil"
    make_repository(repository, {"file": "right\n"})
    make_repository(evil, {"file": "wrong\n"})
    # git fetches from the first address, and `git config --get` says the last.
    plant = f"git config --replace-all remote.origin.url {evil}; git config --add remote.origin.url {repository}"
    place = {"repository": str(repository)}
    with agent_process(server, tmp_path, *OPEN) as agent:
        assert outcome(run(server, unsigned(plant, **place), "a")) == ("0", "", "")
        job = run(server, unsigned("cat file", **place), "b")
        assert outcome(job) == ("0", "", "") and "right" in job.text and "wrong" not in job.text, job.text
        config = (agent.builds / "tester" / "acme" / "widgets" / ".git" / "config").read_text()
        assert str(evil) not in config


def test_configuration_of_the_machine_is_not_read_but_the_operators_file_is(
    server: FakeServer, tmp_path: Path
) -> None:
    repository = tmp_path / "remotes" / "widgets"
    make_repository(repository, {"file": "here\n"})
    home = tmp_path / "home"
    home.mkdir()
    settings = f'[url "{tmp_path}/remotes/"]\n insteadOf = https://git.example.test/\n'
    (home / ".gitconfig").write_text(settings)
    (tmp_path / "git.cfg").write_text(settings)
    raw = unsigned("cat file", repository="https://git.example.test/widgets")
    with agent_process(
        server, tmp_path, *OPEN, environment={"PATH": "/usr/bin:/bin", "https_proxy": "http://127.0.0.1:9"}
    ):
        assert outcome(run(server, raw, "a"))[0] != "0"
    with agent_process(server, tmp_path, *OPEN, "--git-config-file", str(tmp_path / "git.cfg")):
        job = run(server, raw, "b")
        assert outcome(job) == ("0", "", "") and "here" in job.text


def test_transports_are_allowed_by_name(server: FakeServer, tmp_path: Path) -> None:
    repository = tmp_path / "widgets"
    make_repository(repository, {"file": "here\n"})
    mark = tmp_path / "mark"
    with agent_process(server, tmp_path, *OPEN, "--git-protocols", "https,ssh") as agent:
        refused = run(server, unsigned("true", repository=str(repository)), "file")
        assert outcome(refused)[0] != "0" and "transport 'file' not allowed" in refused.text
        assert outcome(run(server, unsigned("true", repository=f"ext::touch {mark}"), "ext"))[0] != "0"
        assert not mark.exists()
        agent.close()
    with agent_process(server, tmp_path, *OPEN, "--git-protocols", "ext") as agent:
        assert agent.wait() == 6 and "git-protocols" in agent.log


def test_a_branch_named_like_the_commit_does_not_stand_in_for_it(server: FakeServer, tmp_path: Path) -> None:
    repository = tmp_path / "widgets"
    commit = make_repository(repository, {"file": "right\n"})
    git(repository, "checkout", "-q", "-b", "evil")
    (repository / "file").write_text("wrong\n")
    git(repository, "commit", "-q", "-a", "-m", "evil")
    git(repository, "update-ref", f"refs/heads/{commit}", "HEAD")
    git(repository, "update-ref", f"refs/tags/{commit}", "HEAD")
    place = {"repository": str(repository), "commit": commit}
    with agent_process(server, tmp_path, *OPEN):
        plant = f"git update-ref refs/heads/{commit} refs/remotes/origin/evil"
        for job_id, command in (("a", f"cat file; {plant}"), ("b", "cat file")):
            job = run(server, unsigned(command, **place), job_id)
            assert outcome(job) == ("0", "", "") and "right" in job.text and "wrong" not in job.text


def test_submodules_of_a_clone_are_tidied_too(server: FakeServer, tmp_path: Path) -> None:
    inner, repository = tmp_path / "inner", tmp_path / "widgets"
    make_repository(inner, {"part": "inner\n"})
    make_repository(repository, {"file": "one\n"})
    git(repository, "-c", "protocol.file.allow=always", "submodule", "add", "-q", "../inner", "sub")
    git(repository, "commit", "-q", "-m", "with a part")
    place = {"repository": str(repository)}
    # A submodule may be fetched over https and ssh alone: here its folder is stood in for by the operator's file.
    (tmp_path / "git.cfg").write_text('[protocol "file"]\n allow = always\n')
    with agent_process(server, tmp_path, *OPEN, "--git-config-file", str(tmp_path / "git.cfg")):
        job = run(server, unsigned("cat sub/part", **place), "a")
        assert outcome(job)[0] != "0" and "transport 'file' not allowed" in job.text
