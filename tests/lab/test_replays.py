"""Two agents, a shared ledger, and a control plane that sends jobs again: on both databases, and when an agent dies.

The drill plays the same attacks with a file; here they are played with PostgreSQL too, and with what goes wrong.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from pipeseal.agent.ledger.ledger import PATIENCE_SECONDS
from pipeseal.lab import lies
from pipeseal.lab.attacks.e_replays import SCENARIOS
from pipeseal.lab.drill import MAIN, Drill, Settings
from pipeseal.lab.honest import KINDS, JobDocument
from pipeseal.lab.hostile_server import JobRecord
from pipeseal.lab.score import line_of
from tests.controlplane.postgres_server import fresh_database, server_url

WITH_A_LEDGER = ("E01", "E05", "E06", "E09", "E12", "E14")


class LedgerDrill(Drill):
    """A drill whose agents all have the ledger that is named."""

    def __init__(self, folder: Path, ledger: str) -> None:
        self.ledger = ledger
        super().__init__(folder)

    def write_settings(self, name: str, settings: Settings, policy_text: str = "") -> Path:
        return super().write_settings(name, {"ledger": self.ledger, **settings}, policy_text)


@pytest.fixture(scope="module")
def on_postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LedgerDrill]:
    with fresh_database() as url, LedgerDrill(tmp_path_factory.mktemp("drill") / "drill", url) as drill:
        yield drill


@pytest.mark.parametrize("number", WITH_A_LEDGER)
def test_on_postgresql_nothing_gets_through_either(on_postgresql: Drill, number: str) -> None:
    (scenario,) = (each for each in SCENARIOS if each.id == number)
    result = on_postgresql.run(scenario)
    assert result.passed, line_of(result)


@contextmanager
def away(url: str) -> Iterator[None]:
    """The database at `url` is away: connections break, and none is made."""
    name = urlsplit(url).path[1:]
    with psycopg.connect(server_url(), autocommit=True) as connection:

        def allow(answer: str) -> None:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {answer}".encode())

        allow("false")
        try:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            yield
        finally:
            allow("true")


def test_a_database_that_goes_away_refuses_jobs_in_time_and_nothing_is_forgotten(on_postgresql: LedgerDrill) -> None:
    """Two agents, one memory: while it is away neither starts anything, and afterwards it knows what ran before."""
    drill, other = on_postgresql, "on-the-other-machine"
    drill.start_agent(other)
    exclusive = drill.honest("exclusive")
    drill.must_run(drill.send(exclusive))
    with away(drill.ledger):
        begun = time.monotonic()
        told = [drill.offer(drill.honest("sealed", name), name) for name in (MAIN, other)]
        for record in told:
            drill.must_refuse(drill.wait(record), ("ledger.unavailable",))
        assert time.monotonic() - begun < 6 * PATIENCE_SECONDS
        assert drill.is_running(MAIN) and drill.is_running(other)
    drill.ground.forget_notes()
    for name in (MAIN, other):
        drill.must_run(drill.send(drill.honest("sealed", name), name))
        drill.must_refuse(drill.send(told_to(drill, exclusive, name), name), ("ledger.exclusive",))
    drill.stop_agent(other)


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drill]:
    folder = tmp_path_factory.mktemp("replays")
    folder.chmod(0o700)
    with LedgerDrill(folder / "drill", str(folder / "ledger.sqlite")) as drill:
        yield drill


def told_to(drill: Drill, job: JobDocument, name: str) -> JobDocument:
    """The same job as another try, for an agent."""
    agent_name, agent_id = drill.agents[name]
    return lies.another_try(BUILDKITE_AGENT_ID=agent_id, BUILDKITE_AGENT_NAME=agent_name)(job)


def log_of(drill: Drill, name: str) -> str:
    return drill.actors.log_file(name).read_text("utf-8")


def test_the_agent_says_where_it_counts(drill: Drill) -> None:
    assert "ledger       " in log_of(drill, MAIN)
    assert "(new: it does not know what was started before)" in log_of(drill, MAIN)


def test_an_agent_that_is_killed_in_an_exclusive_job_leaves_it_started(drill: Drill) -> None:
    drill.start_agent("killed", {})
    kind = replace(
        KINDS["exclusive"], step=lambda ground: replace(KINDS["exclusive"].step(ground), command="sleep 60")
    )
    job = drill.honest(kind, "killed")
    record = drill.offer(job, "killed")
    assert drill.server.wait_for(lambda: "operator's-hook" in drill.ground.ran(record.id), 60)
    os.kill(drill.actors.process_id("killed"), signal.SIGKILL)
    for name in (MAIN, MAIN):
        drill.must_refuse(drill.send(told_to(drill, job, name), name), ("ledger.exclusive",))
    # The control plane may hand out the very same job too: it may have been told nothing at all.
    drill.ground.forget_notes()
    drill.must_refuse(drill.send(drill_again(drill, job, MAIN), MAIN), ("ledger.started",))


def drill_again(drill: Drill, job: JobDocument, name: str) -> JobDocument:
    """The same job, under its own id, for another agent."""
    agent_name, agent_id = drill.agents[name]
    return lies.set_env(BUILDKITE_AGENT_ID=agent_id, BUILDKITE_AGENT_NAME=agent_name)(job)


def test_a_killed_agent_s_attempt_is_gone_and_the_next_one_is_there(drill: Drill) -> None:
    drill.start_agent("killed-too", {})
    kind = KINDS["retried"]
    job = drill.honest(
        replace(kind, step=lambda ground: replace(kind.step(ground), command="sleep 60")), "killed-too"
    )
    record = drill.offer(job, "killed-too")
    assert drill.server.wait_for(lambda: "operator's-hook" in drill.ground.ran(record.id), 60)
    os.kill(drill.actors.process_id("killed-too"), signal.SIGKILL)
    second = drill.offer(told_to(drill, job, MAIN), MAIN)
    assert drill.server.wait_for(lambda: "operator's-hook" in drill.ground.ran(second.id), 60)
    second.state = "canceled"
    drill.wait(second)
    assert not second.code  # it did start
    drill.must_refuse(drill.send(told_to(drill, job, MAIN), MAIN), ("ledger.attempts",))


def test_a_job_that_the_operator_s_hook_refuses_has_not_started(drill: Drill, tmp_path: Path) -> None:
    hooks, gate = tmp_path / "hooks", tmp_path / "open"
    hooks.mkdir()
    (hooks / "pre-bootstrap").write_text(f"#!/bin/sh\ntest -e {gate}\n")
    (hooks / "pre-bootstrap").chmod(0o755)
    drill.start_agent("gated", {"hooks-path": str(hooks)})
    job = drill.honest("exclusive", "gated")
    assert drill.send(told_to(drill, job, "gated"), "gated").code == "hook.refused"
    gate.touch()
    drill.must_run(drill.send(told_to(drill, job, "gated"), "gated"))
    drill.must_refuse(drill.send(told_to(drill, job, "gated"), "gated"), ("ledger.exclusive",))


def test_the_policy_lowers_what_a_seal_allows(drill: Drill) -> None:
    drill.start_agent(
        "strict", {}, drill.ground.policy().replace("head-commits", "max-attempts = 1\nhead-commits", 1)
    )
    job = drill.honest("retried", "strict")
    drill.must_run(drill.send(job, "strict"))
    drill.must_refuse(drill.send(told_to(drill, job, "strict"), "strict"), ("ledger.attempts",))


def test_a_policy_that_observes_runs_it_and_says_so_everywhere(drill: Drill) -> None:
    drill.start_agent(
        "observer", {}, drill.ground.policy().replace("version = 1", 'version = 1\nmode = "observe"', 1)
    )
    job = drill.honest("exclusive", "observer")
    drill.must_run(drill.send(job, "observer"))
    again: JobRecord = drill.send(told_to(drill, job, "observer"), "observer")
    drill.must_run(again)
    assert "would be refused[ledger.exclusive]" in again.log
    assert "ledger.exclusive" in log_of(drill, "observer")
    lines = (drill.agent_folder("observer") / "decisions").read_text("utf-8").splitlines()
    decisions = [json.loads(line) for line in lines]
    assert [row["decision"] for row in decisions] == ["approved", "observed"]
    assert [finding["code"] for finding in decisions[1]["findings"]] == ["ledger.exclusive"]


def test_decisions_say_what_did_not_start(drill: Drill) -> None:
    job = drill.honest("exclusive")
    drill.must_run(drill.send(job))
    drill.must_refuse(drill.send(told_to(drill, job, MAIN)), ("ledger.exclusive",))
    row = json.loads((drill.agent_folder(MAIN) / "decisions").read_text("utf-8").splitlines()[-1])
    assert (row["decision"], row["findings"][0]["code"]) == ("refused", "ledger.exclusive")


def test_a_signed_step_without_a_seal_starts_once_as_the_same_job_and_counts_with_a_policy(drill: Drill) -> None:
    job = drill.honest("bound")
    drill.must_run(drill.send(job))
    drill.ground.forget_notes()
    drill.must_refuse(drill.send(job), ("ledger.started",))
    drill.must_run(drill.send(told_to(drill, job, MAIN)))  # it says no number of attempts
    policy = drill.ground.policy().replace("head-commits", "max-attempts = 2\nhead-commits", 1)
    drill.start_agent("counting", {}, policy)
    drill.must_refuse(drill.send(told_to(drill, job, "counting"), "counting"), ("ledger.attempts",))


def test_a_ledger_that_is_taken_away_is_noticed(drill: Drill, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    ledger = tmp_path / "own.sqlite"
    drill.start_agent("robbed", {"ledger": str(ledger)})
    drill.must_run(drill.send(drill.honest("sealed", "robbed"), "robbed"))
    ledger.unlink()
    record = drill.send(drill.honest("sealed", "robbed"), "robbed")
    drill.must_refuse(record, ("ledger.damaged",))


@pytest.mark.parametrize("damage", ["ledger.damaged", "ledger.permissions"])
def test_an_agent_does_not_start_with_a_ledger_it_cannot_believe(drill: Drill, tmp_path: Path, damage: str) -> None:
    tmp_path.chmod(0o700)
    path = tmp_path / "bad.sqlite"
    path.write_bytes(b"nothing that SQLite knows" * 100)
    path.chmod(0o600 if damage == "ledger.damaged" else 0o644)
    drill.must_not_start(f"bad-{damage[-4:]}", {"ledger": str(path)}, damage)
