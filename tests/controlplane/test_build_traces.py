"""Traces of builds as the server tells them, on both databases: from what it keeps, each job and build once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import pytest

from pipeseal.agentapi.traceparent import parse_traceparent
from pipeseal.tracing.spans import Span, derived_context
from tests.controlplane.postgres_server import fresh_database
from tests.controlplane.running import QUICK, FakeAgent, RunningServer, running_server
from tests.tracing.recorder import Recorder


class Stage(NamedTuple):
    """A server, and what it tells."""

    running: RunningServer
    recorder: Recorder


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    recorder = Recorder()
    database: AbstractContextManager[str] = fresh_database() if request.param == "postgresql" else nullcontext("")
    with (
        database as url,
        running_server(tmp_path_factory.mktemp("data"), QUICK, database_url=url, tracing=recorder) as running,
    ):
        yield Stage(running, recorder)


def ended(stage: Stage, build_id: str, times: int = 1) -> list[Span]:
    """The spans of a build's trace that are the server's own word, once the build has ended so often."""
    trace_id = derived_context("build", build_id, build_id, is_sampled=True).trace_id

    def of_trace(spans: list[Span]) -> list[Span]:
        return [span for span in spans if span.context.trace_id == trace_id and "http.route" not in span.attributes]

    spans = stage.recorder.wait_for(
        lambda spans: sum(span.name == "build" for span in of_trace(spans)) == times, f"the end of {build_id}"
    )
    return of_trace(spans)


def test_what_an_agent_is_told_is_the_span_that_comes_later(stage: Stage) -> None:
    api = stage.running.api
    api.create_pipeline("steps: [{command: a, key: one, agents: {queue: told}}]", "told")
    build = api.create_build("told")
    agent = FakeAgent(api, "queue=told")
    job = agent.accept(agent.next_job())
    told = parse_traceparent(job.assignment["traceparent"])
    assert agent.accept(job.id).assignment["traceparent"] == job.assignment["traceparent"]
    job.start()
    job.finish(0)
    spans = {span.name: span for span in ended(stage, build["id"])}
    assert set(spans) == {"build", "job", "queued", "assigned", "running"}
    assert spans["job"].context == told and told.is_sampled
    assert spans["job"].parent == spans["build"].context and spans["build"].parent is None
    assert spans["job"].attributes["cicd.pipeline.task.run.result"] == "success"
    assert spans["build"].attributes["cicd.pipeline.result"] == "success"
    assert (spans["job"].began, spans["job"].ended) == (spans["queued"].began, spans["running"].ended)


def test_jobs_that_never_ran_are_told_too_and_once(stage: Stage) -> None:
    api = stage.running.api
    api.create_pipeline(
        "steps: [{command: a, key: one, agents: {queue: none}}, wait, {command: b, key: two}, {block: c, key: gate}]",
        "never",
    )
    build = api.create_build("never")
    api.rest("PUT", "/pipelines/never/builds/1/cancel")
    spans = ended(stage, build["id"])
    jobs = [span for span in spans if span.name == "job"]
    assert sorted(str(span.attributes["cicd.pipeline.task.name"]) for span in jobs) == ["gate", "one", "two"]
    assert {span.attributes["cicd.pipeline.task.run.result"] for span in jobs} == {"cancellation"}
    assert len({span.context for span in spans}) == len(spans)
    (root,) = [span for span in spans if span.name == "build"]
    assert root.attributes["cicd.pipeline.result"] == "cancellation" and not root.is_failed


def test_a_retry_names_what_it_retries_and_the_build_ends_again(stage: Stage) -> None:
    api = stage.running.api
    api.create_pipeline("steps: [{command: a, agents: {queue: again}}]", "again")
    build = api.create_build("again")
    agent = FakeAgent(api, "queue=again")
    first = agent.run(1)
    ended(stage, build["id"])
    assert api.rest("PUT", f"/pipelines/again/builds/1/jobs/{first.id}/retry").status == 200
    second = agent.run(0)
    spans = ended(stage, build["id"], times=2)
    jobs = {span.attributes["cicd.pipeline.task.run.id"]: span for span in spans if span.name == "job"}
    assert jobs[second.id].links == (jobs[first.id].context,)
    assert len([span for span in spans if span.name == "job"]) == 2
    before, after = [span for span in spans if span.name == "build"]
    assert before.context == after.context and before.is_failed and not after.is_failed


def test_a_triggered_build_and_its_trigger_name_each_other(stage: Stage) -> None:
    api = stage.running.api
    api.create_pipeline("steps: [{command: a, agents: {queue: below}}]", "below")
    api.create_pipeline("steps: [{trigger: below, key: start}]", "above")
    above = api.create_build("above")
    FakeAgent(api, "queue=below").run(0)
    below = api.build(1, "below")
    spans = ended(stage, above["id"])
    (trigger,) = [span for span in spans if span.name == "job"]
    (root,) = [span for span in ended(stage, below["id"]) if span.name == "build"]
    assert trigger.attributes["pipeseal.job.kind"] == "trigger"
    assert trigger.links == (root.context,) and root.links == (trigger.context,)


def test_requests_and_their_transactions_are_told(stage: Stage) -> None:
    api = stage.running.api
    assert api.rest("GET", "/pipelines").status == 200
    route = "/v2/organizations/{organization}/pipelines"
    spans = stage.recorder.wait_for(
        lambda spans: any(span.attributes.get("http.route") == route for span in spans), "the request"
    )
    request = next(span for span in spans if span.attributes.get("http.route") == route)
    within = [span for span in spans if span.parent == request.context]
    system = "postgresql" if stage.running.plane.database.is_shared else "sqlite"
    assert {span.attributes["db.system.name"] for span in within} == {system}
    functions = {str(span.attributes["code.function.name"]) for span in within}
    # Who asks is looked up at once, where the engine can do that, and the answer is read by a thread.
    assert {name.rpartition(".services.")[2].partition(".")[0] for name in functions} >= {"accounts"}
    assert any(name.startswith("pipeseal.controlplane.http.rest.") for name in functions)


def test_a_trace_that_is_not_sampled_is_not_told(stage: Stage) -> None:
    api, recorder = stage.running.api, stage.recorder
    api.create_pipeline("steps: [{command: a, agents: {queue: quiet}}]", "quiet")
    build = api.create_build("quiet")
    trace_id = derived_context("build", build["id"], build["id"], is_sampled=True).trace_id
    recorder.left_out.add(trace_id)
    agent = FakeAgent(api, "queue=quiet")
    assert agent.run(0).assignment["traceparent"].endswith("-00")
    api.wait_build("passed", slug="quiet")
    # What the server tells it tells in order, so with the end of the next build that of this one is over.
    following = api.create_build("quiet")
    agent.run(0)
    ended(stage, following["id"])
    assert [span for span in recorder.spans if span.context.trace_id == trace_id and span.context.is_sampled] == []
