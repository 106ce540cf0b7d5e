"""Agents that are told what to do on a stream: as quick as a held ping, and as careful with jobs, whatever breaks."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from pipeseal.clock import SystemClock
from pipeseal.controlplane.services.dispatch import Session
from pipeseal.errors import Unavailable
from tests.controlplane.running import QUICK, FakeAgent, RunningServer, find_job, running_server, until
from tests.controlplane.stream_client import PATH, Stream, frame, open_stream, text_field

# No offer lapses, and no agent is lost, but where a test is about that.
SETTINGS = replace(QUICK, offer_timeout=600.0, heartbeat_timeout=100_000.0)


class MovableClock:
    """The computer's clock, and what it was put ahead."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> float:
        return SystemClock().now() + self.ahead


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def running(tmp_path: Path, clock: MovableClock) -> Iterator[RunningServer]:
    with running_server(tmp_path / "data", SETTINGS, clock=clock) as server:
        server.api.create_pipeline("steps: [{command: x, key: x}]")
        yield server


def waiting(running: RunningServer, count: int = 1) -> None:
    """Wait until so many agents wait at the server."""
    until(lambda: running.plane.dispatcher.waiting_count == count, f"{count} agents waiting")


def set_offer_timeout(running: RunningServer, seconds: float) -> None:
    """From now on a job that was told to an agent and not accepted goes back to the queue after so long."""
    running.plane.settings = replace(running.plane.settings, offer_timeout=seconds)
    running.plane.dispatcher._offer_seconds = seconds


def test_jobs_come_one_after_the_other_as_they_are_made(running: RunningServer) -> None:
    agent = FakeAgent(running.api)
    with open_stream(agent) as stream:
        for number in (1, 2):
            running.api.create_build()
            job = agent.accept(stream.next_job())
            assert job.start().status == 200
            assert job.finish().status == 200
            running.api.wait_build("passed", number=number)
        for _ in range(3):
            running.api.create_build()
        jobs = []
        for _ in range(3):
            jobs.append(stream.next_job())
            assert agent.accept(jobs[-1]).finish().status == 200
    assert len(set(jobs)) == 3


def test_while_it_has_a_job_an_agent_is_told_of_no_other(running: RunningServer) -> None:
    agent = FakeAgent(running.api)
    with open_stream(agent) as stream:
        for _ in range(2):
            running.api.create_build()
        job = agent.accept(stream.next_job())
        assert job.start().status == 200
        waiting(running)
        assert running.plane.dispatcher.ready_count == 1
        assert job.finish().status == 200
        assert stream.next_job() != job.id


def test_an_agent_that_wanted_one_job_is_told_of_no_other(running: RunningServer) -> None:
    for _ in range(15):
        agent = FakeAgent(running.api)
        with open_stream(agent) as stream:
            for _ in range(2):
                running.api.create_build()
            job = agent.accept(stream.next_job())
            assert job.finish(ignore_agent_in_dispatches=True).status == 200
            waiting(running)
            agent.disconnect()
            assert stream.next() is None
        assert running.plane.dispatcher.ready_count == 1
        FakeAgent(running.api).run()


def test_pauses_and_the_end_are_told(running: RunningServer) -> None:
    agent = FakeAgent(running.api)
    with open_stream(agent) as stream:
        assert running.api.rest("PUT", f"/agents/{agent.id}/pause", {"note": "näh " * 50}).status in (200, 204)
        assert stream.next() == ("pause", "näh " * 50)
        running.api.create_build()
        with open_or_paused(agent) as again:
            assert again.next() == ("pause", "näh " * 50)  # also the first word of a later stream
            assert stream.next() is None
            assert running.api.rest("PUT", f"/agents/{agent.id}/resume", {}).status in (200, 204)
            assert again.next() == ("resume", "")
            job = agent.accept(again.next_job())
            assert running.api.rest("PUT", f"/agents/{agent.id}/stop", {}).status in (200, 204)
            action = again.next()
            assert action is not None
            assert action[0] == "disconnect"
            assert again.next() is None
            assert job.finish().status == 200


def open_or_paused(agent: FakeAgent) -> Stream:
    """A stream of which nothing is read."""
    stream = Stream(agent.api, agent.token)
    assert stream.status == 200
    return stream


def test_who_may_not_listen_hears_why(running: RunningServer) -> None:
    api, agent, other = running.api, FakeAgent(running.api), FakeAgent(running.api)
    ours = frame(text_field(1, agent.id))
    running.api.create_build()
    cases = [
        (401, Stream(api, "bkaa_wrong", body=ours)),
        (401, Stream(api, api.registration_token, body=ours)),
        (403, Stream(api, other.token, body=ours)),  # access.other_agent
        (405, Stream(api, agent.token, body=ours, method="GET")),
        (404, Stream(api, agent.token, body=ours, path=PATH + "More")),
        (404, Stream(api, agent.token, body=ours, path="/agentedge.v1.AgentEdgeService/")),
        (422, Stream(api, agent.token, body=ours, content_type="application/json")),
        (422, Stream(api, agent.token, body=b"")),
        (422, Stream(api, agent.token, body=frame(text_field(1, agent.id), flag=1))),
        (422, Stream(api, agent.token, body=ours + ours)),
        (422, Stream(api, agent.token, body=frame(b"\x0a\x7f"))),
        (413, Stream(api, agent.token, body=frame(b"\x12" + b"\x80\x28" + bytes(5120)))),
    ]
    for status, stream in cases:
        with stream:
            assert stream.status == status
    assert running.plane.dispatcher.ready_count == 1  # the job was told to none of them


def test_a_server_told_not_to_stream_answers_404_and_pings_work(tmp_path: Path) -> None:
    with running_server(tmp_path / "data", replace(SETTINGS, streaming_pings=False)) as running:
        agent = FakeAgent(running.api)
        with Stream(running.api, agent.token) as stream:
            assert stream.status == 404
        running.api.create_pipeline("steps: [{command: x}]")
        running.api.create_build()
        agent.run()


def test_a_job_for_a_stream_that_broke_goes_to_another_agent_at_once(running: RunningServer) -> None:
    gone, other = FakeAgent(running.api), FakeAgent(running.api)
    open_stream(gone).close()
    waiting(running, 0)
    with open_stream(other) as stream:
        waiting(running)
        running.api.create_build()
        job_id = stream.next_job()  # no offer had to lapse first
        assert other.accept(job_id).finish().status == 200


def test_what_was_written_and_never_read_goes_to_another_agent_after_a_while(
    running: RunningServer, clock: MovableClock
) -> None:
    deaf, other = FakeAgent(running.api), FakeAgent(running.api)
    broken = open_stream(deaf)
    waiting(running)
    running.api.create_build()
    job_id = find_job(running.api.build(), "x")["id"]
    assert running.plane.dispatcher.holder(job_id) == deaf.id
    with open_stream(other) as stream:
        broken.close()
        assert running.plane.dispatcher.holder(job_id) == deaf.id
        clock.ahead += 2 * SETTINGS.offer_timeout
        running.plane.events.call(lambda: running.plane.dispatcher._expire(job_id))  # what its timer does by then
        assert stream.next_job() == job_id
        refused = deaf.api.agent_call("PUT", f"/jobs/{job_id}/accept", deaf.token)
        assert (refused.status, refused.json["code"]) == (409, "state.unavailable")
        assert other.accept(job_id).finish().status == 200
    with open_stream(deaf) as again:  # it hung up, so its silence proved nothing
        running.api.create_build()
        again.next_job()


def test_an_agent_that_listens_anew_is_told_the_same_job_again(running: RunningServer) -> None:
    agent = FakeAgent(running.api)
    first = open_stream(agent)
    running.api.create_build()
    job_id = first.next_job()
    first.close()
    with open_stream(agent) as second:
        assert second.next_job() == job_id
        assert agent.accept(job_id).finish().status == 200
    running.api.wait_build("passed")


def test_a_later_question_takes_the_place_of_an_earlier_one(running: RunningServer) -> None:
    agent = FakeAgent(running.api)
    with open_stream(agent) as first, open_stream(agent) as second, ThreadPoolExecutor(1) as pool:
        assert first.next() is None
        ping = pool.submit(agent.ping)
        assert second.next() is None
        with open_stream(agent) as third:
            assert ping.result(60).get("job") is None
            waiting(running)
            running.api.create_build()
            assert agent.accept(third.next_job()).finish().status == 200
    running.api.wait_build("passed")


def test_an_earlier_stream_does_not_come_back_to_life(
    running: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = FakeAgent(running.api)
    gates: list[asyncio.Event] = []

    async def look(_session: Session) -> bool:
        """A database so slow that a second stream comes while the first one looks into it."""
        if len(gates) < 2:
            gates.append(asyncio.Event())
            await gates[-1].wait()
        return False

    with open_stream(agent) as first:
        waiting(running)
        session = running.plane.sessions.get(agent.id)
        assert session is not None
        monkeypatch.setattr(running.plane.peers, "refresh", look)
        running.plane.events.call(lambda: running.plane.dispatcher.wake(session))
        until(lambda: len(gates) == 1, "the first stream to look")
        with open_stream(agent) as second:
            until(lambda: len(gates) == 2, "the second stream to look")
            running.plane.events.call(gates[1].set)
            waiting(running)
            running.plane.events.call(gates[0].set)
            assert first.next() is None
            running.api.create_build()
            assert agent.accept(second.next_job()).finish().status == 200


def test_an_agent_that_does_not_hear_its_stream_is_sent_back_to_pings(running: RunningServer) -> None:
    agent = FakeAgent(running.api)
    set_offer_timeout(running, 0.5)
    with open_stream(agent) as stream:
        running.api.create_build()
        told = stream.next_job()
        assert stream.next() is None  # nothing came of it, and the stream stood all the while
    set_offer_timeout(running, 600)
    with Stream(running.api, agent.token) as refused:
        assert refused.status == 404
    assert agent.next_job() == told
    assert agent.accept(told).finish().status == 200


def test_a_job_cancelled_before_it_was_accepted_leaves_the_stream_as_it_is(running: RunningServer) -> None:
    agent = FakeAgent(running.api)
    running.plane.settings = replace(SETTINGS, offer_timeout=0.5)  # when the stream looks; the offer itself stands
    with open_stream(agent) as stream:
        running.api.create_build()
        cancelled = stream.next_job()
        assert running.api.rest("PUT", "/pipelines/demo/builds/1/cancel").status == 200
        running.api.wait_build("canceled")
        assert running.api.agent_call("PUT", f"/jobs/{cancelled}/accept", agent.token).status == 409
        running.api.create_build()
        assert agent.accept(stream.next_job()).finish().status == 200


def test_an_agent_whose_job_went_silent_must_ping(running: RunningServer, clock: MovableClock) -> None:
    agent = FakeAgent(running.api)
    with open_stream(agent) as stream:
        running.api.create_build()
        job = agent.accept(stream.next_job())
        assert job.start().status == 200
    clock.ahead += 200
    assert job.state().status == 200
    clock.ahead += 200
    with open_stream(agent):
        pass  # heard of since
    clock.ahead += 301
    body = frame(text_field(1, agent.id))
    raw = running.api.call("POST", PATH, authorization=f"Token {agent.token}", raw=body, headers=GRPC)
    assert (raw.status, raw.json["code"]) == (503, "stream.silent_job")
    assert job.state().status == 200  # nothing was decided by that
    clock.ahead += 301
    agent.ping()  # an agent pings when it has no job
    assert find_job(running.api.wait_build("failed"), "x")["signal_reason"] == "agent_lost"
    open_stream(agent).close()


GRPC = {"Content-Type": "application/grpc"}


def test_the_refusals_say_their_codes(running: RunningServer) -> None:
    agent, other = FakeAgent(running.api), FakeAgent(running.api)
    body = frame(text_field(1, agent.id))
    answer = running.api.call("POST", PATH, authorization=f"Token {other.token}", raw=body, headers=GRPC)
    assert answer.json["code"] == "access.other_agent"
    session = running.plane.sessions.get(agent.id)
    assert session is not None
    session.unheard = True
    answer = running.api.call("POST", PATH, authorization=f"Token {agent.token}", raw=body, headers=GRPC)
    assert (answer.status, answer.json["code"]) == (404, "stream.unheard")


def test_a_stream_ends_with_its_session(running: RunningServer) -> None:
    agent = FakeAgent(running.api)
    with open_stream(agent) as stream:
        agent.disconnect()
        assert stream.next() is None
    with Stream(running.api, agent.token) as refused:
        assert refused.status == 401


def test_a_database_that_fails_ends_the_stream_and_no_job_is_lost(
    running: RunningServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    agent = FakeAgent(running.api)

    async def fail(_session: Session) -> bool:
        raise Unavailable("server.store", "the database is away")

    with open_stream(agent) as stream:
        monkeypatch.setattr(running.plane.peers, "refresh", fail)
        running.api.create_build()
        told = stream.next_job()
        assert stream.next() is None
    monkeypatch.undo()
    assert [record.exc_info for record in caplog.records if record.levelname == "ERROR"] == [None]
    with open_stream(agent) as again:
        assert again.next_job() == told
        assert agent.accept(told).finish().status == 200


def test_an_open_stream_is_no_sign_of_life(running: RunningServer, clock: MovableClock) -> None:
    agent = FakeAgent(running.api)
    with open_stream(agent) as stream, ThreadPoolExecutor(1) as pool:
        ended = pool.submit(stream.next)

        def is_over() -> bool:
            clock.ahead += SETTINGS.heartbeat_timeout / 4
            return ended.done()

        until(is_over, "the stream to end")
        assert ended.result() is None
    assert running.api.rest("GET", f"/agents/{agent.id}").json["connection_state"] == "lost"
    with open_stream(agent):  # it comes back
        assert running.api.rest("GET", f"/agents/{agent.id}").json["connection_state"] == "connected"


def test_streams_do_not_keep_a_server_from_stopping(tmp_path: Path) -> None:
    streams = []
    with running_server(tmp_path / "data", SETTINGS) as running:
        streams = [open_stream(FakeAgent(running.api)) for _ in range(3)]
    for stream in streams:
        assert stream.next() is None
        stream.close()


def test_each_job_runs_once_while_streams_break_at_random(running: RunningServer) -> None:
    count = 60
    set_offer_timeout(running, 1.0)
    running.api.create_pipeline("steps: [{command: x, parallelism: 60}]", slug="many")
    running.api.create_build(slug="many")
    accepted: list[str] = []
    finished = threading.Event()

    def work(number: int) -> None:
        chance = random.Random(number)
        agent = FakeAgent(running.api)
        while not finished.is_set():
            with Stream(running.api, agent.token, body=frame(text_field(1, agent.id))) as stream:
                if stream.status != 200:  # it was so slow that an offer lapsed while its stream stood
                    agent = FakeAgent(running.api)
                    continue
                for _ in range(chance.randrange(1, 6)):
                    try:
                        action = stream.next(0.5)
                    except TimeoutError:
                        break
                    if action is None or (action[0] == "job" and chance.random() < 0.2):
                        break  # heard and dropped
                    if action[0] == "job":
                        answer = running.api.agent_call("PUT", f"/jobs/{action[1]}/accept", agent.token)
                        if answer.status != 200:
                            continue
                        accepted.append(action[1])
                        if chance.random() < 0.2:
                            stream.close()  # in the middle of the job
                        running.api.agent_call("PUT", f"/jobs/{action[1]}/start", answer.json["token"], {})
                        end = {"exit_status": "0", "finished_at": "2026-01-01T00:00:01Z", "chunks_failed_count": 0}
                        path = f"/jobs/{action[1]}/finish"
                        assert running.api.agent_call("PUT", path, answer.json["token"], end).status == 200
                        if stream.socket.fileno() < 0:
                            break

    with ThreadPoolExecutor(6) as pool:
        workers = [pool.submit(work, number) for number in range(6)]
        try:
            build = running.api.wait_build("passed", "failed", slug="many", seconds=60)
        finally:
            finished.set()
        for worker in workers:
            worker.result(60)
    assert build["state"] == "passed"
    assert Counter(accepted) == Counter(job["id"] for job in build["jobs"])
    assert len(accepted) == count
