"""A collector that is down, silent, refuses, or talks nonsense: no job or build notices, and both ends still end."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest

from tests.agent.agent_process import agent_process
from tests.collector import Collector, collector
from tests.controlplane.running import ServerProcess

TROUBLES: dict[str, Callable[[], tuple[int, bytes] | None]] = {
    "silent": lambda: None,
    "refuses": lambda: (400, b"no"),
    "overloaded": lambda: (503, b""),
    "talks nonsense": lambda: (200, b"\xff\xfe not protobuf \x00" * 1000),
    "sends them away": lambda: (302, b""),
}


@contextmanager
def nobody_there() -> Iterator[str]:
    """An address that nobody listens at, held so that nobody begins to."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


@pytest.mark.parametrize("trouble", ["down", *TROUBLES])
def test_no_job_notices_trouble_with_the_collector(trouble: str, tmp_path: Path) -> None:
    there: AbstractContextManager[Collector | None] = (
        collector(TROUBLES[trouble]) if trouble in TROUBLES else nullcontext()
    )
    with there as running, nobody_there() as nowhere:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": nowhere if running is None else running.url,
            # What cannot be sent is soon given up, but for who says nothing: there the process ends all the same.
            "OTEL_EXPORTER_OTLP_TIMEOUT": "10" if trouble == "silent" else "1",
            # Small, so that the queue overflows while nobody takes what is in it.
            "OTEL_BSP_SCHEDULE_DELAY": "10",
            "OTEL_BSP_MAX_QUEUE_SIZE": "4",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4",
        }
        server = ServerProcess(tmp_path / "server", "--tracing", "otlp", environment=variables)
        api = server.start()
        try:
            api.create_pipeline("steps: [{command: echo one}, {command: echo two}, {command: echo three}]")

            class Endpoint:
                endpoint = f"{api.url}/v3"

            with agent_process(
                Endpoint(),
                tmp_path / "agent",
                *("--token", api.registration_token, "--no-verification", "--skip-checkout"),
                *("--tracing-backend", "opentelemetry", "--tracing-propagate-traceparent"),
                environment=variables,
            ) as agent:
                api.create_build()
                build = api.wait_build("passed", "failed", seconds=180)
                if running is not None:
                    running.wait_for_batch()
                agent.process.terminate()
                assert agent.wait(60) == 0
            assert [job["state"] for job in build["jobs"]] == ["passed"] * 3
            assert [api.log(build, job["id"]).count(b"\n") > 0 for job in build["jobs"]] == [True] * 3
        finally:
            assert server.stop() == 0
        if trouble in ("down", "silent"):
            assert "not touched by it" in agent.log or "were not sent" in agent.log
