"""The queue of offers in memory: whatever happens in whatever order, no job is lost and none is offered twice."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeseal.controlplane.domain.agents import Rules, Tags, matches
from pipeseal.controlplane.services.dispatch import SUPERSEDED, Dispatcher, Session
from pipeseal.controlplane.store.jobs import ReadyJob
from tests.loops import run_coroutine

QUEUES = ["a", "b"]


def make_session(number: int, queue: str, priority: int) -> Session:
    tags: Tags = frozenset({("queue", queue)})
    return Session(f"agent{number}", f"agent{number}", tags, priority, f"digest{number}", 0.0)


def make_job(number: int, queue: str, priority: int) -> ReadyJob:
    rules: Rules = (("queue", queue),)
    return ReadyJob(f"job{number}", rules, (-priority, number, 0, 0))


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "wait", "wait", "take", "leave", "wake", "accept", "expire", "discard"]),
        st.integers(0, 5),
        st.sampled_from(QUEUES),
        st.integers(-1, 1),
    ),
    max_size=60,
)


@given(ACTIONS)
@settings(deadline=None)
def test_no_job_is_lost_and_none_is_offered_twice(actions: list[tuple[str, int, str, int]]) -> None:
    run_coroutine(play(actions))


async def play(actions: list[tuple[str, int, str, int]]) -> None:
    dispatcher = Dispatcher(3600)
    sessions = [make_session(number, QUEUES[number % 2], number % 3) for number in range(6)]
    waits: dict[int, asyncio.Future[str | None]] = {}
    added: dict[str, ReadyJob] = {}
    gone: set[str] = set()
    for action, number, queue, priority in actions:
        session = sessions[number]
        match action:
            case "add":
                job = make_job(len(added), queue, priority)
                added[job.id] = job
                dispatcher.add(job)
                dispatcher.add(job)
            case "wait":
                if dispatcher.take(session) is None:
                    older = waits.get(number)
                    waits[number] = dispatcher.wait(session, accepts_jobs=priority >= 0, streaming=priority == 0)
                    assert older is None or older.done()
            case "take":
                dispatcher.take(session)
            case "leave":
                if number in waits:
                    dispatcher.leave(session, waits.pop(number))
            case "wake":
                dispatcher.wake(session)
            case "accept" | "discard" | "expire":
                held = [job_id for job_id in added if dispatcher.holder(job_id) is not None]
                for job_id in held[number : number + 1]:
                    if action == "expire":
                        dispatcher._expire(job_id)
                    else:
                        dispatcher.discard(job_id)
                        gone.add(job_id)
        check(dispatcher, sessions, waits, added, gone)
    dispatcher.close()
    for future in waits.values():
        assert future.done()


def check(
    dispatcher: Dispatcher,
    sessions: list[Session],
    waits: dict[int, asyncio.Future[str | None]],
    added: dict[str, ReadyJob],
    gone: set[str],
) -> None:
    by_id = {session.id: session for session in sessions}
    offered = {job_id: dispatcher.holder(job_id) for job_id in added}
    holders = [holder for holder in offered.values() if holder is not None]
    assert len(holders) == len(set(holders)), "an agent is offered one job at a time"
    assert dispatcher.ready_count + len(holders) == len(added) - len(gone), "no job is lost"
    for job_id, holder in offered.items():
        if holder is not None:
            assert job_id not in gone
            assert matches(added[job_id].rules, by_id[holder].tags)
    for session in sessions:
        asking, streaming = dispatcher.is_asking(session.id), dispatcher.is_streaming(session.id)
        assert not (asking and streaming)
    assert dispatcher.waiting_count == sum(
        dispatcher.is_asking(session.id) or dispatcher.is_streaming(session.id) for session in sessions
    ), "whoever waits does so in one way"
    for future in waits.values():
        if future.done():
            news = future.result()
            assert news in (None, SUPERSEDED) or news in added


@given(st.lists(st.tuples(st.integers(-3, 3), st.sampled_from(QUEUES)), min_size=1, max_size=20))
def test_jobs_are_taken_in_their_order(jobs: list[tuple[int, str]]) -> None:
    async def run() -> None:
        dispatcher = Dispatcher(3600)
        made = [make_job(number, queue, priority) for number, (priority, queue) in enumerate(jobs)]
        for job in made:
            dispatcher.add(job)
        for queue in QUEUES:
            session = make_session(QUEUES.index(queue), queue, 0)
            expected = [job.id for job in sorted(made, key=lambda job: job.order) if job.rules == (("queue", queue),)]
            taken = []
            while (job_id := dispatcher.take(session)) is not None:
                taken.append(job_id)
                assert dispatcher.take(session) == job_id, "asked again before it accepted, it hears of the same job"
                dispatcher.discard(job_id)
            assert taken == expected
        dispatcher.close()

    run_coroutine(run())
