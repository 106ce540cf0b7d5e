"""The ledger: what it lets start, on both databases, and what it says when it does not.

Whatever several agents ask, in whatever order, no place has more starts than it may, and an exclusive one has one.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeseal.agent.ledger.ledger import DROP_AT_ONCE, Ledger, NewStart, Start
from pipeseal.errors import Unavailable, VerificationError
from tests.agent.ledgers import KEEP, KINDS, NOW, Claimer, open_where, place_for, request


@dataclass
class Books:
    """One ledger, opened twice, as two agents have it."""

    where: str
    first: Ledger
    second: Ledger


@pytest.fixture(scope="module", params=KINDS)
def books(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Books]:
    with place_for(request.param, tmp_path_factory.mktemp("ledger")) as where:
        first, second = open_where(where), open_where(where)
        yield Books(where, first, second)
        first.close()
        second.close()


def claim(ledger: Ledger, asked: Any, job: str = "", *, agent: str = "one", now: float = NOW) -> Start:
    return ledger.claim(asked, job_id=job or uuid4().hex, agent=agent, now=now)


def refused(ledger: Ledger, asked: Any, job: str = "") -> VerificationError:
    with pytest.raises(VerificationError) as caught:
        claim(ledger, asked, job, agent="late")
    return caught.value


def test_the_first_to_open_it_makes_it(books: Books) -> None:
    assert (books.first.is_new, books.second.is_new) == (True, False)
    assert ":secret@" not in books.first.where


def test_a_job_starts_as_often_as_it_may_on_whatever_agent(books: Books) -> None:
    asked = request(attempts=3)
    ledgers = (books.first, books.second, books.first)
    assert [claim(ledger, asked).attempt for ledger in ledgers] == [1, 2, 3]
    for ledger in (books.first, books.second):
        error = refused(ledger, asked)
        assert error.code == "ledger.attempts" and "3 times" in error.message
        assert error.evidence["starts"] == "3 of 3"
    assert claim(books.first, request(attempts=1)).attempt == 1  # another place


def test_an_exclusive_step_starts_once_and_the_refusal_says_who_did(books: Books) -> None:
    asked = request(attempts=11, exclusive=True)
    claim(books.first, asked, "job-1" + asked.place)
    error = refused(books.second, asked)
    assert error.code == "ledger.exclusive"
    assert "2026-09-21T14:13:20.000000Z by one as job job-1" in error.message
    assert error.evidence | {"ledger": "", "as job": ""} == {
        "what": "seal 1234…", "started": "2026-09-21T14:13:20.000000Z", "by agent": "one", "as job": "",
        "starts": "1 of 1", "ledger": "",
    }  # fmt: skip


def test_a_job_s_id_starts_once_wherever_it_claims_to_belong(books: Books) -> None:
    asked = request(attempts=None)
    claim(books.first, asked, "twice")
    for again in (asked, request(attempts=None)):
        error = refused(books.second, again, "twice")
        assert error.code == "ledger.started" and "by one as job twice" in error.message
    assert [claim(books.second, asked).attempt for _ in range(20)] == [*range(2, 22)]  # nobody limits it


def test_two_at_once_are_one_after_the_other(books: Books) -> None:
    asked, barrier = request(attempts=1), threading.Barrier(8)

    def one(index: int) -> str:
        barrier.wait()
        try:
            claim((books.first, books.second)[index % 2], asked)
        except VerificationError as error:
            return error.code
        return "started"

    with ThreadPoolExecutor(8) as pool:
        assert Counter(pool.map(one, range(8))) == {"started": 1, "ledger.attempts": 7}


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_several_processes_ask_no_place_starts_too_often(
    claimers: list[Claimer], data: st.DataObject
) -> None:
    limits = data.draw(st.lists(st.tuples(st.integers(1, 4), st.booleans()), min_size=1, max_size=4))
    run = uuid4().hex
    order = data.draw(
        st.lists(
            st.tuples(st.integers(0, len(claimers) - 1), st.integers(0, len(limits) - 1), st.integers(0, 6)),
            min_size=10,
            max_size=40,
        )
    )
    for who, place, job in order:  # all asked before the first answer is read
        attempts, exclusive = limits[place]
        claimers[who].ask(f"{run}-{place}", f"{run}-{place}-{job}", attempts, exclusive)
    started: dict[int, list[str]] = {}
    for who, place, _ in order:
        verdict, what = claimers[who].answer()
        if verdict == "started":
            started.setdefault(place, []).append(what)
        else:
            assert what in {"ledger.started", "ledger.attempts", "ledger.exclusive"}
    for index, (attempts, exclusive) in enumerate(limits):
        asked = {job for _, place, job in order if place == index}
        expected = min(len(asked), 1 if exclusive else attempts)
        assert sorted(started.get(index, [])) == [str(number + 1) for number in range(expected)]


@pytest.fixture(scope="module")
def claimers(books: Books) -> Iterator[list[Claimer]]:
    processes = [Claimer(books.where, f"agent-{number}") for number in range(3)]
    yield processes
    for process in processes:
        process.close()


def test_an_agent_that_is_killed_after_its_claim_has_used_up_the_attempt(books: Books) -> None:
    chance = random.Random(7)
    for exclusive in (True, False):
        place, agents = uuid4().hex, [Claimer(books.where, f"killed-{number}") for number in range(3)]
        for number, agent in enumerate(agents):
            agent.ask(place, f"{place}-{number}", 2, exclusive)
        kept = 0
        for agent in agents:
            # Some are killed while they ask: the claim is there or it is not, and what is there counts.
            if chance.random() < 0.5:
                kept += agent.answer()[0] == "started"
            agent.close()
        rows = books.first.look(place, "").starts
        assert kept <= len(rows) <= (1 if exclusive else 2)
        left = (1 if exclusive else 2) - len(rows)
        asked = request(place, attempts=2, exclusive=exclusive)
        for _ in range(left):
            claim(books.first, asked)
        assert refused(books.second, asked).code in {"ledger.exclusive", "ledger.attempts"}


# --- faults ---------------------------------------------------------------------------------------------------------


def test_a_claim_that_seems_to_fail_and_was_kept_is_the_claim(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, insert, calls = books.first, books.first.insert, 0

    def kept(row: NewStart) -> Start | None:
        nonlocal calls
        calls += 1
        start = insert(row)
        if calls == 1:
            raise ledger.unavailable("the connection broke after the commit")
        return start

    monkeypatch.setattr(ledger, "insert", kept)
    asked = request(attempts=1, exclusive=True)
    assert claim(ledger, asked).attempt == 1 and calls == 2
    assert len(books.second.look(asked.place, "").starts) == 1


def test_a_ledger_that_stays_away_refuses_after_a_while(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, asked = books.first, request()

    def lost(_row: NewStart) -> Start | None:
        raise ledger.unavailable("nobody answers")

    monkeypatch.setattr(ledger, "insert", lost)
    monkeypatch.setattr(ledger, "_patience", 0.3)
    with pytest.raises(Unavailable) as caught:
        claim(ledger, asked)
    assert caught.value.code == "ledger.unavailable"
    assert books.second.look(asked.place, "").starts == ()


def test_a_ledger_that_is_older_than_it_was_is_not_believed(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = books.second
    claim(ledger, request())
    monkeypatch.setattr(ledger, "_last_number", 10**9)  # as if this agent had seen what a backup does not have
    assert refused(ledger, request()).code == "ledger.damaged"


# --- forgetting -----------------------------------------------------------------------------------------------------


@pytest.fixture(params=KINDS)
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    """A ledger that nobody else has."""
    with place_for(request.param, tmp_path) as where:
        ledger = open_where(where)
        yield ledger
        ledger.close()


def test_a_start_is_dropped_when_its_seal_is_of_no_use_and_not_before(fresh: Ledger) -> None:
    short, long, ever = request(keep=int(NOW) + 10), request(keep=KEEP), request(keep=None)
    for asked in (short, long, ever):
        claim(fresh, asked)
    assert fresh.drop(int(NOW) + 10, DROP_AT_ONCE) == 0
    assert fresh.drop(int(NOW) + 11, DROP_AT_ONCE) == 1
    assert fresh.drop(KEEP + 10**9, DROP_AT_ONCE) == 1
    left = [len(fresh.look(asked.place, "").starts) for asked in (short, long, ever)]
    assert left == [0, 0, 1]


def test_it_stays_small_by_itself(fresh: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeseal.agent.ledger.ledger.DROP_EVERY_SECONDS", 0.0)
    places = []
    for number in range(30):
        asked = request(keep=int(NOW) + number * 10 + 25)
        places.append(asked.place)
        claim(fresh, asked, now=NOW + number * 10)
    assert sum(len(fresh.look(place, "").starts) for place in places) <= 4


def test_a_clock_that_was_ahead_and_came_back_makes_nothing_run_again(fresh: Ledger) -> None:
    asked = request(attempts=1)
    claim(fresh, asked)
    fresh.drop(KEEP + 1, DROP_AT_ONCE)  # an agent whose clock is years ahead
    assert fresh.look(asked.place, "").starts == ()
    error = refused(fresh, asked)
    assert error.code == "ledger.forgotten" and "clocks" in error.help
    assert claim(fresh, request(keep=KEEP + 10)).attempt == 1  # what was sealed later is not concerned
