"""The stock agent's own traces join those of our server's builds."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeseal.agentapi.traceparent import TraceContext
from tests.collector import SeenSpan, collector
from tests.controlplane.running import QUICK, running_server
from tests.controlplane.test_stock_agent import make_repository, stock_agent
from tests.tracing.recorder import Recorder


@pytest.mark.peer("buildkite-agent")
def test_a_stock_agents_job_is_a_part_of_our_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    with collector() as spans, running_server(tmp_path / "data", QUICK, tracing=recorder) as running:
        for name, value in spans.variables().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        repository = make_repository(tmp_path / "repository")
        body = {"name": "demo", "repository": str(repository), "configuration": 'steps: [{command: "true"}]'}
        assert running.api.rest("POST", "/pipelines", body).status == 201
        options = ("--tracing-backend", "opentelemetry", "--tracing-propagate-traceparent")
        with stock_agent(running, tmp_path, *options):
            running.api.create_build()
            ours = recorder.wait_for(lambda seen: any(span.name == "build" for span in seen), "the build's end")
            (job,) = [span for span in ours if span.name == "job"]

            def is_theirs(span: SeenSpan) -> bool:
                return TraceContext(span.trace_id, span.parent_id, True) == job.context

            theirs = spans.wait_for(lambda seen: any(map(is_theirs, seen)), "the agent's word of the job")
    assert {span.trace_id for span in theirs} == {job.context.trace_id}
    assert job.attributes["pipeseal.job.state"] == "passed"
