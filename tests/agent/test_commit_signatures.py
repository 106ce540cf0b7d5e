"""A policy wants commits that certain people signed: a real agent, real git, real keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeseal.agent.trust import load_verification
from pipeseal.errors import ConfigurationError
from tests.agent.agent_process import agent_process
from tests.agent.fake_server import FakeServer, fake_server
from tests.agent.job_requests import outcome, run
from tests.agent.repositories import git, make_repository
from tests.agent.test_trust import Place
from tests.repository.test_commit_signature import Ssh

POLICY = 'version = 1\nstatic-steps = "any"\ncommit-signers = "allowed_signers"\n'


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "trust").mkdir()
    return Place(tmp_path / "trust")


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake_server(20) as running:
        yield running


def test_only_commits_of_allowed_signers_are_run(server: FakeServer, place: Place, tmp_path: Path) -> None:
    people = Ssh(tmp_path / "people")
    place.write("allowed_signers", people.allowed.read_text("utf-8"))
    place.write("policy.toml", POLICY)
    repository = tmp_path / "widgets"
    unsigned = make_repository(repository, {"file": "one\n"})
    good = people.sign(repository, "alice", "two")
    git(repository, "checkout", "-qb", "other")
    foreign = people.sign(repository, "mallory", "three")
    git(repository, "checkout", "-q", "main")
    command = "echo it ran; cat file"

    def job(commit: str, job_id: str) -> tuple[str, str]:
        done = run(server, place.job(command, str(repository), BUILDKITE_COMMIT=commit), job_id)
        assert done.finish is not None
        ran = "it ran" in done.text.splitlines()
        assert ran == (outcome(done)[0] == "0"), done.text
        return (done.finish.get("refusal") or {}).get("code", ""), done.text

    with agent_process(server, tmp_path, *place.flags("--checkout-attempts", "3")) as agent:
        code, text = job(good, "good")
        assert code == "" and "is signed by alice@example.test (SHA256:" in text
        # The branch's tip is signed too, and `HEAD` is held to what it turns out to be.
        assert job("HEAD", "head")[0] == ""
        code, text = job(unsigned, "unsigned")
        assert code == "commit.not_signed" and "trying again" not in text
        assert job(foreign, "foreign")[0] == "commit.signer_unknown"
        assert "code=commit.signer_unknown" in agent.log
        # A signer who is removed signs nothing from the next job on.
        place.write(
            "allowed_signers",
            people.allowed.read_text("utf-8").replace(people.public("alice"), people.public("mallory")),
        )
        assert job(good, "removed")[0] == "commit.signer_unknown"
        assert job(foreign, "added")[0] == ""
        (place.folder / "allowed_signers").unlink()
        assert job(foreign, "gone")[0] == "commit.signers"


def test_an_agent_does_not_start_with_signers_that_others_can_change(place: Place, tmp_path: Path) -> None:
    place.write("policy.toml", POLICY)
    with pytest.raises(ConfigurationError, match="no file that can be read") as caught:
        load_verification(place.settings())
    assert caught.value.code == "commit.signers"
    place.write("allowed_signers", "")
    assert load_verification(place.settings()).policy is not None
    (place.folder / "allowed_signers").chmod(0o666)
    with pytest.raises(ConfigurationError, match="can be changed by other users"):
        load_verification(place.settings())
