"""Traces through a real agent process: what a hostile server says of them reaches nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeseal.agent.settings import load_settings
from pipeseal.errors import ConfigurationError
from tests.agent.agent_process import AgentProcess, agent_process
from tests.agent.fake_server import FakeServer, JobRecord, fake_server
from tests.agent.job_requests import OPEN, run, unsigned
from tests.agent.test_jobs import keys as keys
from tests.agent.test_jobs import signed, verifying
from tests.agentapi.test_traceparent import BAD, GOOD
from tests.collector import Collector, SeenSpan, collector

SHOW = 'echo "TRACE=$TRACEPARENT."'


@pytest.fixture(scope="module")
def spans() -> Iterator[Collector]:
    with collector() as running:
        yield running


@pytest.fixture(scope="module")
def server() -> Iterator[FakeServer]:
    with fake_server(20) as running:
        yield running


@pytest.fixture(scope="module")
def agent(server: FakeServer, spans: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    flags = (*OPEN, "--tracing-backend", "opentelemetry", "--tracing-propagate-traceparent")
    named = ("--tracing-service-name", "ours")
    folder = tmp_path_factory.mktemp("agent")
    with agent_process(server, folder, *flags, *named, environment=spans.variables()) as running:
        yield running


def shown(job: JobRecord) -> str:
    match = re.search(r"^TRACE=(.*)\.$", job.text, re.MULTILINE)
    assert match is not None, job.text
    return match[1]


def test_a_hostile_traceparent_is_dropped_and_the_job_runs(
    server: FakeServer, agent: AgentProcess, spans: Collector
) -> None:
    for number, text in enumerate((*BAD, "\x1b[31m", "x" * 100_000)):
        job = run(server, unsigned(SHOW, traceparent=text, tracestate="a=$(b)"), f"bad-{number}")
        assert job.finish is not None and job.finish["exit_status"] == "0", job.text
        told = shown(job)
        assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", told) and told[3:35] != GOOD[3:35]
        (root,) = [span for span in spans.wait_for(_has_job(job.id), job.id) if _is_job(span, job.id)]
        assert root.parent_id == "" and root.trace_id == told[3:35] and root.service == "ours"


def test_a_good_one_is_joined_whatever_its_flags(server: FakeServer, agent: AgentProcess, spans: Collector) -> None:
    for flags in ("00", "01", "ff"):
        job = run(server, unsigned(SHOW, traceparent=GOOD[:-2] + flags), f"good-{flags}")
        told = shown(job)
        assert told.startswith(GOOD[:36]) and told.endswith("-01") and told[36:52] != GOOD[36:52]
        (root,) = [span for span in spans.wait_for(_has_job(job.id), job.id) if _is_job(span, job.id)]
        assert (root.trace_id, root.parent_id) == (GOOD[3:35], GOOD[36:52])
        # Calls of the job say where they belong, and those of the agent's own life do not.
        (finish,) = [request for request in server.requests if request.path.endswith(f"/jobs/{job.id}/finish")]
        assert finish.headers["traceparent"] == f"{GOOD[:36]}{root.span_id}-01"
    assert not [request for request in server.requests if "ping" in request.path and "traceparent" in request.headers]
    assert "traces       of jobs are sent to a collector" in agent.log


def test_a_servers_variable_gives_way_to_the_agents_own(server: FakeServer, agent: AgentProcess) -> None:
    job = run(server, unsigned(SHOW, env={"TRACEPARENT": GOOD}), "variable")
    assert shown(job)[3:35] != GOOD[3:35]


def test_a_hook_cannot_leave_its_own_behind(server: FakeServer, agent: AgentProcess) -> None:
    folder = agent.builds / "tester" / "acme" / "widgets" / ".buildkite" / "hooks"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pre-command").write_text(f"export TRACEPARENT={GOOD} OTHER=kept\n")
    try:
        job = run(server, unsigned(f'{SHOW}; echo "OTHER=$OTHER"'), "hook")
    finally:
        (folder / "pre-command").unlink()
    assert shown(job)[3:35] != GOOD[3:35] and "OTHER=kept" in job.text


def test_an_agent_that_ends_sends_what_it_has(spans: Collector, tmp_path: Path) -> None:
    # Nothing else would send it for an hour.
    variables = {**spans.variables(), "OTEL_BSP_SCHEDULE_DELAY": "3600000"}
    flags = (*OPEN, "--tracing-backend", "opentelemetry", "--acquire-job", "only", "--reflect-exit-status")
    with fake_server() as other:
        other.add_job({**unsigned("exit 7"), "id": "only"}, "only")
        other.queue.clear()
        with agent_process(other, tmp_path, *flags, environment=variables) as acquiring:
            assert acquiring.wait(60) == 7
    (job,) = [span for span in spans.spans() if _is_job(span, "only")]
    assert job.attributes["process.exit.code"] == 7 and job.service == "pipeseal-agent"


def test_without_tracing_nothing_is_told_and_nothing_changes(server: FakeServer, tmp_path: Path) -> None:
    with fake_server(20) as other, agent_process(other, tmp_path, *OPEN):
        job = run(other, unsigned(SHOW, traceparent=GOOD), "off")
        assert shown(job) == ""
        assert not [request for request in other.requests if "traceparent" in request.headers]


def test_what_was_proven_is_told_with_the_key_that_signed(spans: Collector, tmp_path: Path, keys: Path) -> None:
    flags = ("--skip-checkout", *verifying(keys))
    variables = spans.variables()
    with (
        fake_server(20) as other,
        agent_process(other, tmp_path, *flags, "--tracing-backend", "opentelemetry", environment=variables),
    ):
        run(other, signed(keys, SHOW), "signed")
        hostile = run(other, signed(keys, SHOW, env={"TRACEPARENT": "$(id)"}), "hostile")
        seen = spans.wait_for(lambda seen: all(_has_job(job_id)(seen) for job_id in ("signed", "hostile")), "both")
    (proven,) = [span for span in seen if _is_job(span, "signed")]
    told = {name.removeprefix("pipeseal."): value for name, value in proven.attributes.items()}
    assert (told["decision"], told["proof"], told["key"], told["outcome"]) == (
        "approved",
        "signature",
        "signer",
        "passed",
    )
    assert proven.attributes["cicd.pipeline.name"] == "widgets"
    # The server's own variable of that name is one of the table: of the right form, or the job does not run.
    assert hostile.finish is not None and hostile.finish["refusal"]["code"] == "environment.value"
    (refused,) = [span for span in seen if _is_job(span, "hostile")]
    assert (refused.attributes["pipeseal.code"], refused.is_failed) == ("environment.value", True)


def test_other_backends_are_refused_at_the_start() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings({"token": "t", "tracing-backend": "datadog"}, {"HOME": "/nowhere"})
    assert caught.value.code == "config.value" and "opentelemetry" in caught.value.message


def _is_job(span: SeenSpan, job_id: str) -> bool:
    return span.name == "job" and span.attributes["cicd.pipeline.task.run.id"] == job_id


def _has_job(job_id: str) -> Callable[[list[SeenSpan]], bool]:
    return lambda seen: any(_is_job(span, job_id) for span in seen)
