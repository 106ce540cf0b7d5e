"""The pages that say how an agent is, and the guardian that cleans up after it."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.agent.guardian import Guardian
from pipeseal.agent.health import OUTCOMES, STATES, HealthPages, HealthServer, WorkerHealth, parse_address
from pipeseal.clock import SystemClock
from pipeseal.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        (":8080", ("127.0.0.1", 8080)),
        ("[::1]:0", ("::1", 0)),
        ("health.test:1", ("health.test", 1)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@given(st.text(max_size=30))
def test_no_text_breaks_the_reading_of_addresses(text: str) -> None:
    try:
        host, port = parse_address(text)
    except ConfigurationError as error:
        assert error.code == "health.address"
    else:
        assert 0 <= port <= 65_535 and ":" in text and host


def test_worker_whose_heartbeat_failed_is_unwell() -> None:
    workers = [WorkerHealth(1, heartbeat_error="no answer"), WorkerHealth(2, state="busy", job="j", heartbeat_at=0.0)]
    pages = HealthPages(workers, SystemClock())
    assert pages.page("/agent/1") == (
        503,
        "text/plain; charset=utf-8",
        "ERROR: the last heartbeat failed: no answer\n",
    )
    assert pages.page("/agent/2").text.startswith("OK: busy, last heartbeat: 1970-01-01T00:00:00")
    assert json.loads(pages.page("/status.json").text)["workers"][1]["job"] == "j"
    metrics = pages.page("/metrics").text
    assert all(f'{{state="{state}"}}' in metrics for state in STATES)
    assert all(f'jobs_total{{outcome="{outcome}"}} 0' in metrics for outcome in OUTCOMES)
    samples = [line for line in metrics.splitlines() if not line.startswith("#")]
    assert all(len(line.rsplit(" ", 1)) == 2 and float(line.rsplit(" ", 1)[1]) >= 0 for line in samples)
    described = [line.split()[2] for line in metrics.splitlines() if line.startswith("# TYPE")]
    assert {line.partition("{")[0].partition(" ")[0] for line in samples} <= set(described)


async def ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


async def test_odd_requests_are_answered_or_dropped_and_the_server_goes_on() -> None:
    server = HealthServer(HealthPages([], SystemClock()))
    port = int((await server.start("127.0.0.1:0")).rsplit(":", 1)[1].rstrip("/"))
    try:
        assert (await ask(port, b"POST / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 405 ")
        assert (await ask(port, b"nonsense\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
        assert await ask(port, b"GET /" + b"x" * 20_000) == b""
        head = await ask(port, b"HEAD / HTTP/1.1\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK") and head.endswith(b"\r\n\r\n")
        assert b"nosniff" in await ask(port, b"GET /?query HTTP/1.0\r\n\r\n")
        with pytest.raises(ConfigurationError, match="cannot listen"):
            await HealthServer(HealthPages([], SystemClock())).start(f"127.0.0.1:{port}")
    finally:
        await server.close()


def test_guardian_ends_what_is_left_and_removes_folders(tmp_path: Path) -> None:
    guardian = Guardian()
    folders = [tmp_path / "kept", tmp_path / "it's $HOME; gone"]
    for folder in folders:
        folder.mkdir()
        (folder / "file").touch()
        guardian.watch_folder(folder)
    guardian.forget_folder(folders[0])
    left, forgotten = (subprocess.Popen(["/bin/sleep", "1000"], start_new_session=True) for _ in range(2))
    for process in (left, forgotten):
        guardian.watch_group(process.pid)
    guardian.forget_group(forgotten.pid)
    try:
        guardian.close()
        guardian.close()
        assert left.wait(60) == -15 and forgotten.poll() is None
        assert [folder.exists() for folder in folders] == [True, False]
        guardian.watch_group(forgotten.pid)
    finally:
        forgotten.kill()
        forgotten.wait()


def test_guardian_that_was_killed_is_no_trouble() -> None:
    guardian = Guardian()
    psutil.Process(guardian._process.pid).kill()
    psutil.Process(guardian._process.pid).wait(60)
    guardian.watch_group(1)
    guardian.close()
