"""The way to a collector: what the operator's variables do, and that no trouble on it touches anybody."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from pipeseal.agentapi.traceparent import TraceContext
from pipeseal.cli.server import _open_tracing
from pipeseal.errors import ConfigurationError
from pipeseal.tracing.export import QUIET_SECONDS, OtlpTracing
from pipeseal.tracing.open import is_wanted, open_tracing
from pipeseal.tracing.spans import Span, SpanKind, child_of, derived_context
from tests.collector import PATIENCE, collector

ROOT = derived_context("build", "build-1", "build-1", is_sampled=True)


class Kept(SpanExporter):
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += spans
        return SpanExportResult.SUCCESS


def make(name: str = "job", **more: object) -> Span:
    values = {"context": ROOT, "parent": None, "began": 1_000, "ended": 2_000} | more
    return Span(name=name, **values)  # type: ignore[arg-type]  # members by name


def silent(_text: str) -> None:
    raise AssertionError("nothing was to be said")


def test_spans_arrive_with_the_ids_that_were_chosen() -> None:
    kept = Kept()
    tracing = OtlpTracing(default_name="unit", warn=silent, exporter=kept)
    child, link = child_of(ROOT), derived_context("job", "build-2", "job-2", is_sampled=True)
    tracing.record(make(context=child, parent=ROOT, links=(link,), attributes={"a": "b", "n": 1}, is_failed=True))
    tracing.record(make("build", kind=SpanKind.SERVER, ended=500))
    tracing.record(make(context=ROOT._replace(is_sampled=False)))  # not to be sent
    tracing.close(PATIENCE)
    job, build = kept.spans
    assert job.context is not None and job.parent is not None and build.context is not None
    assert (f"{job.context.trace_id:032x}", f"{job.context.span_id:016x}") == (child.trace_id, child.span_id)
    assert f"{job.parent.span_id:016x}" == ROOT.span_id and not job.parent.is_remote
    assert f"{job.links[0].context.span_id:016x}" == link.span_id
    assert job.attributes == {"a": "b", "n": 1} and job.status.status_code.name == "ERROR"
    assert (build.parent, build.kind.name, build.start_time, build.end_time) == (None, "SERVER", 1_000, 1_000)
    assert build.resource.attributes["service.name"] == "unit"


@pytest.mark.parametrize(
    ("variables", "given", "expected"),
    [
        ({}, "", "ours"),
        ({}, "theirs", "theirs"),
        ({"OTEL_SERVICE_NAME": "variable"}, "", "variable"),
        ({"OTEL_SERVICE_NAME": "variable"}, "theirs", "theirs"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=attribute,team=ci"}, "", "attribute"),
    ],
)
def test_what_the_service_is_called(
    variables: dict[str, str], given: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    kept = Kept()
    tracing = OtlpTracing(default_name="ours", service_name=given, warn=silent, exporter=kept)
    tracing.record(make())
    tracing.close(PATIENCE)
    assert kept.spans[0].resource.attributes["service.name"] == expected


def test_command_lines_are_never_told_even_if_a_detector_finds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "process")
    kept = Kept()
    tracing = OtlpTracing(default_name="ours", warn=silent, exporter=kept)
    tracing.record(make())
    tracing.close(PATIENCE)
    told = kept.spans[0].resource.attributes
    assert "process.pid" in told and not [name for name in told if name.startswith("process.command")]


def test_the_standard_sampler_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.25")
    kept = Kept()
    tracing = OtlpTracing(default_name="ours", warn=silent, exporter=kept)
    places = [derived_context("build", f"b{number}", f"b{number}", is_sampled=False) for number in range(2_000)]
    chosen = [place for place in places if tracing.is_sampled(place.trace_id, "build")]
    # 500 are expected, with a standard deviation below 20: the ids of builds are spread evenly.
    assert 400 < len(chosen) < 600
    for place in chosen[:100]:
        tracing.record(make(context=place._replace(is_sampled=True)))
    tracing.close(PATIENCE)
    assert len(kept.spans) == 100


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://user:password@[bad"},
        {"OTEL_BSP_MAX_QUEUE_SIZE": "5"},  # below the size of a batch
    ],
)
def test_variables_that_cannot_be_used_are_said_at_once(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    before = logging.getLogger("opentelemetry").handlers[:]
    with pytest.raises(ConfigurationError) as caught:
        open_tracing(default_name="a", service_name="", environment=variables, warn=silent)
    assert caught.value.code == "tracing.settings"
    assert "password" not in str(caught.value)
    assert logging.getLogger("opentelemetry").handlers == before


def test_the_sdks_own_switch_is_heard() -> None:
    environment = {"OTEL_SDK_DISABLED": "TRUE", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    assert open_tracing(default_name="a", service_name="", environment=environment, warn=silent) is None
    assert is_wanted({"OTEL_TRACES_EXPORTER": "otlp"})
    assert not is_wanted({}) and not is_wanted({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:1"})


def test_the_server_is_switched_on_by_its_option_before_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    for variable, option, expected in (
        ("", None, False),
        ("otlp", None, True),
        ("none", None, False),
        ("otlp", "none", False),
        ("none", "otlp", True),
    ):
        monkeypatch.setenv("OTEL_TRACES_EXPORTER", variable)
        with _open_tracing(option) as opened:
            assert (opened is not None) is expected, (variable, option)


def test_without_the_packages_it_is_said_what_to_install() -> None:
    program = """
import sys
sys.modules["opentelemetry.sdk"] = None  # as if it were not installed
from pipeseal.cli import main
main(sys.argv[1:])
"""
    arguments = ["server", "--tracing", "otlp", "--listen", "127.0.0.1:0", "--data", "/nowhere"]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "tracing.missing" in done.stderr and "pip install 'pipeseal[tracing]'" in done.stderr


def test_off_means_that_nothing_of_it_is_imported() -> None:
    program = """
import sys
import pipeseal.agent.supervisor, pipeseal.agent.worker, pipeseal.cli.agent_start
import pipeseal.cli.server, pipeseal.controlplane.http.serve, pipeseal.controlplane.services.plane
unwanted = ("opentelemetry", "requests", "google", "pipeseal.tracing.export", "pipeseal.tracing.open",
            "pipeseal.controlplane.http.tracing", "pipeseal.controlplane.services.build_traces")
print("LOADED", sorted(name for name in sys.modules if name.startswith(unwanted)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "LOADED []\n"


def test_troubles_are_told_now_and_then_and_never_raised() -> None:
    said: list[str] = []
    now = [0.0]
    tracing = OtlpTracing(default_name="a", warn=said.append, exporter=Kept(), steady=lambda: now[0])
    logger = logging.getLogger("opentelemetry.anything")
    for _ in range(5):
        logger.error("no \x1b[31mroute\nto %s", "collector")
    assert len(said) == 1 and "collector" in said[0] and "\x1b" not in said[0] and "\n" not in said[0]
    now[0] += QUIET_SECONDS
    tracing.record(make(context=TraceContext("not hexadecimal", "x", True)))
    assert len(said) == 2 and "ValueError" in said[1]
    logger.info("nothing to look at")
    tracing.close(PATIENCE)
    assert len(said) == 2
    tracing.record(make())  # too late, and no trouble either


def test_a_collector_is_reached_with_the_standard_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    with collector() as running:
        for name, value in running.variables().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=of-the-collector")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
        tracing = open_tracing(default_name="unit", service_name="", environment={}, warn=silent)
        assert tracing is not None
        tracing.record(make())
        (span,) = running.wait_for(bool, "the span")
        tracing.close(PATIENCE)
    assert (span.service, span.name, span.trace_id, span.span_id) == ("unit", "job", ROOT.trace_id, ROOT.span_id)
    assert running.headers[0]["x-api-key"] == "of-the-collector"
