"""A job's trace at its agent: what is told, and that a server's word of traces decides nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.agent.connection import Answer
from pipeseal.agent.tracing import JobTrace, hook_facts, span_of, trace_variables, traced
from pipeseal.agentapi.traceparent import parse_traceparent
from pipeseal.tracing.spans import Stopwatch
from tests.agentapi.test_traceparent import BAD, GOOD
from tests.tracing.recorder import Recorder


def begin(recorder: Recorder, *, joins: bool = True) -> JobTrace:
    return JobTrace(recorder, "job-1", agent_id="agent-1", agent_name="tester", joins=joins)


def test_spans_lie_within_each_other_and_end_in_order() -> None:
    recorder = Recorder()
    trace = begin(recorder)
    trace.accept("")
    with trace.span("outer"):
        with span_of(trace, "inner", {"a": 1}) as inner:
            inner.end(3)
        with pytest.raises(ValueError), trace.span("fails"):
            raise ValueError("with a text that nobody gets to see")
    trace.finish("failed", 3, "")
    spans = {span.name: span for span in recorder.spans}
    assert list(spans) == ["accept", "inner", "fails", "outer", "job"]
    job = spans["job"]
    assert {span.context.trace_id for span in spans.values()} == {job.context.trace_id}
    assert len({span.context.span_id for span in spans.values()}) == 5
    assert job.parent is None and job.is_failed
    assert spans["accept"].parent == spans["outer"].parent == job.context
    assert spans["inner"].parent == spans["fails"].parent == spans["outer"].context
    assert spans["inner"].attributes == {"a": 1, "process.exit.code": 3} and spans["inner"].is_failed
    assert spans["fails"].attributes == {"error.type": "ValueError"} and spans["fails"].is_failed
    assert not spans["outer"].is_failed
    for span in spans.values():
        assert job.began <= span.began <= span.ended <= job.ended


@given(st.sampled_from(BAD) | st.text(max_size=80), st.booleans())
def test_what_is_no_traceparent_is_as_if_nothing_was_said(text: str, joins: bool) -> None:
    recorder = Recorder()
    trace = begin(recorder, joins=joins)
    before = trace.traceparent
    trace.accept(text)
    assert trace.traceparent == before
    trace.finish("passed", 0, "")
    (job,) = recorder.named("job")
    assert job.parent is None and not job.has_remote_parent


def test_the_servers_trace_is_joined_only_where_the_operator_wants_that() -> None:
    parent = parse_traceparent(GOOD)
    for joins in (True, False):
        recorder = Recorder()
        trace = begin(recorder, joins=joins)
        trace.accept(GOOD)
        trace.finish("passed", 0, "")
        assert {span.context.trace_id == parent.trace_id for span in recorder.spans} == {joins}
        (job,) = recorder.named("job")
        assert (job.parent == parent) is joins and job.has_remote_parent is joins


@pytest.mark.parametrize("samples", [True, False])
@pytest.mark.parametrize("flags", ["00", "01"])
def test_whether_spans_are_sent_is_not_the_servers_to_say(samples: bool, flags: str) -> None:
    recorder = Recorder(samples)
    trace = begin(recorder)
    trace.accept(GOOD[:-2] + flags)
    with trace.span("command"):
        assert trace.traceparent.endswith("01" if samples else "00")
    trace.finish("passed", 0, "")
    assert {span.context.is_sampled for span in recorder.spans} == {samples}
    assert all(span.parent is not None and span.parent.is_sampled is samples for span in recorder.spans)


def test_processes_and_calls_are_told_the_span_that_they_are_part_of() -> None:
    class Noting:
        def __init__(self) -> None:
            self.headers: dict[str, str] = {}
            self.closed = False

        def request(self, method: str, path: str, **given: object) -> Answer:
            assert isinstance(given["headers"], dict)
            self.headers = given["headers"]
            return Answer(200, {}, b"")

        def close(self) -> None:
            self.closed = True

    recorder, noting = Recorder(), Noting()
    trace = begin(recorder)
    trace.accept("")
    transport = traced(noting, trace)
    with trace.span("command"):
        within = trace.traceparent
        transport.request("GET", "/x", token="t", headers={"A": "b"})
        assert noting.headers == {"A": "b", "traceparent": within}
        assert trace_variables(trace) == {"TRACEPARENT": within}
    (command,) = recorder.named("command")
    assert parse_traceparent(within) == command.context
    transport.close()
    assert noting.closed


def test_without_a_trace_nothing_is_made() -> None:
    def request() -> None:
        raise AssertionError

    transport = type("T", (), {"request": request, "close": request})()
    assert traced(transport, None) is transport
    assert trace_variables(None) == {}
    assert span_of(None, "a") is span_of(None, "b")
    with span_of(None, "a") as span:
        span.end(1)
    assert span.attributes == {} and not span.is_failed


def test_a_plugin_is_named_only_by_a_plain_name() -> None:
    assert hook_facts("plugin", "docker-compose")["pipeseal.plugin.name"] == "docker-compose"
    for name in ("user:password@host", "Token_ABC", "", "a b"):
        assert hook_facts("plugin", name) == {"pipeseal.hook.scope": "plugin"}


def test_a_clock_that_is_put_back_makes_no_span_end_before_it_begins() -> None:
    wall, steady = [10_000], [0]
    watch = Stopwatch(lambda: wall[0], lambda: steady[0])
    assert watch.now() == 10_000
    wall[0], steady[0] = 0, 5
    assert watch.now() == 10_005


def test_a_refusal_after_the_decision_is_one_and_has_no_exit_status() -> None:
    recorder = Recorder()
    trace = begin(recorder)
    trace.accept("")
    trace.finish("refused", -1, "hook.refused")
    (job,) = recorder.named("job")
    told = job.attributes
    assert (told["pipeseal.decision"], told["pipeseal.outcome"], told["pipeseal.code"]) == (
        "refused",
        "refused",
        "hook.refused",
    )
    assert told["cicd.pipeline.task.run.result"] == "error" and "process.exit.code" not in told and job.is_failed
