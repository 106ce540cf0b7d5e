"""An agent's memory and its patience: answers without an end, slow ones, intervals and limits."""

from __future__ import annotations

import gzip
import time
from io import BufferedIOBase
from pathlib import Path
from typing import TYPE_CHECKING

from pipeseal.errors import PipesealError
from pipeseal.lab import lies
from pipeseal.lab.agents import JOB_SECONDS, MAIN
from pipeseal.lab.attacks.j_answers.cases import (
    CP,
    RSS,
    Cases,
    answering,
    interfering,
    is_ping,
    is_request,
    must_go_on,
)
from pipeseal.lab.hostile_server import Answer, answer_json
from pipeseal.lab.scenario import Attempt, Scenario, Stops

if TYPE_CHECKING:
    from pipeseal.lab.drill import Drill
    from pipeseal.lab.ground import Ground

# What an agent may grow by while it reads what an attacker sends.
MAX_GROWTH_BYTES = 96 << 20


def _memory(drill: Drill, agent: str) -> int:
    """Most memory that an agent has had so far, in bytes."""
    status = Path(f"/proc/{drill.actors.process_id(agent)}/status").read_text(encoding="ascii", errors="replace")
    words = next((line.split() for line in status.splitlines() if line.startswith("VmHWM:")), ["", "0"])
    return int(words[1]) * 1024


def _endless(head: bytes, block: bytes, blocks: int) -> Answer:
    def write(file: BufferedIOBase) -> None:
        file.write(head)
        for _ in range(blocks):
            file.write(block)

    return Answer(write=write)


def _bombs(drill: Drill) -> None:
    drill.twin("sealed")
    before = _memory(drill, MAIN)
    megabyte = b" " * (1 << 20)
    bomb = gzip.compress(b" " * (64 << 20), 9)
    packed = Answer(200, bomb, (("Content-Encoding", "gzip"), ("Content-Type", "application/json")))
    chunk = b"100000\r\n" + megabyte + b"\r\n"
    ok, name = b"HTTP/1.1 200 OK\r\n", "bombed"
    answers = {
        "a gigabyte, announced": (_endless(ok + b"Content-Length: 1073741824\r\n\r\n", megabyte, 64), "api.too_long"),
        "without an end": (_endless(ok + b"\r\n", megabyte, 256), "api.too_long"),
        "in chunks": (_endless(ok + b"Transfer-Encoding: chunked\r\n\r\n", chunk, 256), "api.too_long"),
        "a chunk of less than nothing": (
            _endless(ok + b"Transfer-Encoding: chunked\r\n\r\n-12\r\n{}\r\n0\r\n\r\n", b"", 1),
            "api.answer",
        ),
        "a header without an end": (_endless(ok + b"X: ", megabyte, 64), "api.answer"),
        "a million headers": (_endless(ok, b"X-Header: 1\r\n" * 1000, 1000), "api.answer"),
    }
    with Cases(drill, name, answers) as agents:
        agents.all_go_on()
        most = _memory(drill, name)
        drill.must(most < before + MAX_GROWTH_BYTES, f"an agent has grown to {most >> 20} MiB")
    drill.note_code("api.too_long")
    drill.note_code("api.answer")
    jobs: dict[str, bytes] = {
        "nested": b'{"id":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        "members": b'{"env":{' + b",".join(b'"A%d":""' % n for n in range(300_000)) + b"}}",
        "strings": b'{"env":{"A":"' + b"\\u0041" * 600_000 + b'"}}',
        "numbers": b'{"priority":' + b"9" * 1_000_000 + b"}",
    }
    for what, body in jobs.items():
        record = drill.offer(body, job_id=f"bomb-{what}")
        drill.must_refuse(drill.wait(record), what=what)
    # Packed, a job stays what it is: bytes that are no JSON. Nothing is unpacked.
    with interfering(drill, lambda request: packed if is_request(request, "PUT", "/accept") else None):
        drill.must_refuse(drill.send(drill.honest("sealed")), what="packed")
    grown = _memory(drill, MAIN) - before
    drill.must(grown < MAX_GROWTH_BYTES, f"the agent grew by {grown >> 20} MiB", f"{RSS}: {grown >> 20} MiB")
    must_go_on(drill)


def _slow(drill: Drill) -> None:
    """One byte at a time. The agent's own client, with a short deadline; and an agent whose other worker goes on."""
    import threading

    from pipeseal.agent.client import AgentClient
    from pipeseal.agent.pool import open_pool

    ending = threading.Event()

    def drip(file: BufferedIOBase) -> None:
        file.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not ending.wait(0.05):
            file.write(b" ")
            file.flush()

    pool = open_pool(drill.server.endpoint, user_agent="drill")
    client = AgentClient(drill.server.endpoint, "none", transport=pool)
    name = "slow"
    try:
        with interfering(drill, lambda request: Answer(write=drip) if is_ping(request) else None):
            begun = time.monotonic()
            drill.attempts += 1
            try:
                client.ping(timeout_seconds=0.5)
                drill.must(False, "a slow answer was waited for")
            except PipesealError as error:
                took = time.monotonic() - begun
                drill.must(error.code == "api.unreachable", f"a slow answer ended with {error.code}")
                drill.must(took < 2, f"a slow answer was waited for {took:.1f} s", "ended at its deadline")
                drill.note_code(error.code)
        # While one worker waits for such an answer, the other works.
        with Cases(drill, name, {"slow": (Answer(write=drip), ""), "honest": (answer_json({}), "")}) as agents:
            must_go_on(drill, agents.workers[1], "the other worker")
            ending.set()
    finally:
        ending.set()
        client.close()


def _intervals(drill: Drill) -> None:
    names = ("ping_interval", "heartbeat_interval", "job_status_interval")
    for value in (0, -1, 10**15):
        name = f"interval{value}"
        drill.server.registration = dict.fromkeys(names, value)
        drill.start_agent(name)
        drill.server.registration = {}
        drill.attempts += 1
        before = len(drill.server.requests)
        job = lies.set_job(chunks_interval_seconds=value)(drill.honest("sealed", name))
        drill.must_run(drill.send(job, name), what=f"intervals of {value}")
        asked = len(drill.server.requests) - before
        drill.must(
            asked < 60, f"{asked} requests for one job with intervals of {value}", "neither asleep nor in a rush"
        )
        drill.stop_agent(name)
    drill.server.registration = dict.fromkeys(names, "soon")
    path = drill.write_settings("no-interval", {})
    drill.attempts += 1
    done = drill.actors.run(["agent", "start", "--config", str(path)], timeout_seconds=JOB_SECONDS)
    drill.server.registration = {}
    drill.must(
        done.returncode > 0 and "api.answer" in done.stderr + done.stdout, "intervals that are words were taken"
    )
    drill.must("Traceback" not in done.stderr, "the agent crashed")


def _retry_after(drill: Drill) -> None:
    name, job_id = "patient", "0193d0a1-0000-7000-8000-00000000beef"
    for value, shown in (
        ("9999999", "60"),
        ("1e9", ""),
        ("-5", ""),
        ("Wed, 21 Oct 2099 07:28:00 GMT", ""),
        ("\u0669", ""),
    ):
        drill.attempts += 1
        later = Answer(423, b"{}", (("Retry-After", value.encode("utf-8").decode("latin-1")),))
        path = drill.write_settings(name, {"acquire-job": job_id})
        with interfering(drill, answering(later, "PUT", "/acquire")):
            drill.actors.start(name, ["agent", "start", "--config", str(path)], ready="trying again in ")
            line = next(line for line in drill.log(name).splitlines() if "trying again in " in line)
            drill.stop_agent(name)
        seconds = int(line.partition("trying again in ")[2].split(" ")[0])
        drill.must(seconds <= 60, f"Retry-After {value}: the agent waits for {seconds} s", "at most a minute")
        drill.must(not shown or str(seconds) == shown, f"Retry-After {value}: {line}")


def _log_limits(_ground: Ground) -> list[Attempt]:
    values = [
        ("chunks_max_size_bytes", 0), ("chunks_max_size_bytes", 1), ("chunks_max_size_bytes", -1),
        ("chunks_max_size_bytes", 10**15), ("log_max_size_bytes", 0), ("log_max_size_bytes", -1),
        ("chunks_interval_seconds", 0), ("chunks_interval_seconds", -5),
    ]  # fmt: skip
    return [Attempt(lies.set_job(**{name: value}), f"{name} {value}", stops=Stops.NEVER) for name, value in values]


def _few_chunks(drill: Drill) -> None:
    drill.attempts += 1
    record = drill.send(lies.set_job(chunks_max_size_bytes=1, chunks_interval_seconds=1)(drill.honest("sealed")))
    drill.must_run(record)
    drill.must(len(record.chunks) < 30, f"{len(record.chunks)} requests for a short log", "no flood of requests")


SCENARIOS = (
    Scenario(
        id="J04",
        title="Answers without an end",
        actors=CP,
        change="gigabytes, endless headers, packed bombs, 200,000 brackets, a million digits",
        happens="every answer has a limit of size, depth and number; nothing is unpacked",
        codes=(
            "api.too_long",
            "api.answer",
            "input.too_deep",
            "input.too_many_values",
            "json.syntax",
            "job.malformed",
        ),
        play=_bombs,
    ),
    Scenario(
        id="J05",
        title="Answers one byte at a time",
        actors=CP,
        change="an answer that comes slower than anybody waits",
        happens="each call has a deadline that counts from its beginning; other workers go on",
        codes=("api.unreachable",),
        play=_slow,
    ),
    Scenario(
        id="J06",
        title="Intervals of nothing, and of for ever",
        actors=CP,
        change="`ping_interval`, `heartbeat_interval`, `job_status_interval`, ...: 0, -1, 10^15, words",
        happens="brought into range",
        play=_intervals,
    ),
    Scenario(
        id="J07",
        title="Told to come back in months",
        actors=CP,
        change="`Retry-After: 9999999`, and values that are no number",
        happens="nobody waits longer than a minute",
        play=_retry_after,
    ),
    Scenario(
        id="J08",
        title="Log parameters that make no sense",
        actors=CP,
        change="`chunks_max_size_bytes`, `log_max_size_bytes`: 0, 1, -1, 10^15",
        happens="brought into range",
        attempts=_log_limits,
        play=_few_chunks,
    ),
)
