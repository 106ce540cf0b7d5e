"""Group J: answers that are aimed at the agent itself: at its memory, its patience, its log, and where it calls."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from io import BufferedIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeseal.errors import PipesealError
from pipeseal.lab import lies
from pipeseal.lab.agents import JOB_SECONDS, MAIN
from pipeseal.lab.hostile_server import Answer, Interference, Request, answer_json
from pipeseal.lab.scenario import Attempt, Scenario, Stops

if TYPE_CHECKING:
    from pipeseal.lab.drill import Drill
    from pipeseal.lab.ground import Ground

_CP = ("CP",)
_MITM = ("CP", "MITM")
# What an agent may grow by while it reads what an attacker sends.
MAX_GROWTH_BYTES = 96 << 20
ALIVE, TOLD, RSS = "the agent goes on", "its log says so", "memory bounded"


def _is(request: Request, method: str, end: str) -> bool:
    return request.method == method and request.path.endswith(end)


def _from(drill: Drill, request: Request, agent: str) -> bool:
    return drill.server.agents.get(request.token, ("",))[0] == agent


@contextmanager
def _interfering(drill: Drill, interfere: Interference) -> Iterator[None]:
    drill.server.interfere = interfere
    try:
        yield
    finally:
        drill.server.interfere = lambda _request: None


def _answering(answer: Answer, method: str, end: str) -> Interference:
    """Every request of that method, with a path that ends so, gets this answer."""
    return lambda request: answer if _is(request, method, end) else None


def _answering_about(answer: Answer, name: str) -> Interference:
    """Every request with this in its path gets this answer."""
    return lambda request: answer if name in request.path else None


def _goes_on(drill: Drill, agent: str = MAIN, what: str = "afterwards") -> None:
    """The agent still does honest work."""
    drill.must(drill.is_running(agent), f"{what}: the agent has ended: {drill.log(agent)[-300:]}")
    drill.must_run(drill.send(drill.honest("sealed", agent), agent), what=what)
    drill.must(True, "", ALIVE)


def _is_ping(request: Request) -> bool:
    return _is(request, "GET", "/ping")


class _Cases:
    """Several agents, each of which gets one bad answer to its first ping; all at once, since each takes its time.

    Parameters:
        name: what they are called.
        cases: words for the case to the answer, and to a text that the agent's log has to hold then.
    """

    def __init__(self, drill: Drill, name: str, cases: dict[str, tuple[Answer, str]]) -> None:
        self._drill, self._cases, self._name = drill, list(cases.items()), name
        self.workers: list[str] = []
        self._left: dict[str, Answer] = {}

    def __enter__(self) -> _Cases:
        drill = self._drill
        self._left = {f"{self._name}-{n}": answer for n, (_, (answer, _)) in enumerate(self._cases, 1)}
        drill.server.interfere = self._interfere
        self.workers = drill.start_workers(self._name, len(self._cases))
        drill.attempts += len(self._cases)
        for worker, (what, (_, text)) in zip(self.workers, self._cases, strict=True):
            drill.must(drill.server.wait_for(partial(self._has_asked, worker), 20), f"{what}: it did not ask")
            if text:
                said = drill.server.wait_for(partial(self._said, worker, text), 20)
                drill.must(said, f"{what}: its log does not say {text!r}: {self.lines(worker)[-2:]}", TOLD)
        return self

    def __exit__(self, *_: object) -> None:
        # The agents go on, idle, until the drill is over: ending them one by one takes long.
        self._drill.server.interfere = lambda _request: None

    def lines(self, worker: str) -> list[str]:
        """What the log says of one of them."""
        return [line for line in self._drill.log(worker).splitlines() if f" {worker} " in line]

    def all_go_on(self) -> None:
        """None of them has ended, and one of them does honest work."""
        for worker, (what, _) in zip(self.workers, self._cases, strict=True):
            self._drill.must(
                not self._said(worker, "Disconnected"), f"{what}: the agent has ended: {self.lines(worker)[-2:]}"
            )
        _goes_on(self._drill, self.workers[0])

    def _has_asked(self, worker: str) -> bool:
        return worker not in self._left

    def _said(self, worker: str, text: str) -> bool:
        return any(text in line for line in self.lines(worker))

    def _interfere(self, request: Request) -> Answer | None:
        name = self._drill.server.agents.get(request.token, ("",))[0]
        return self._left.pop(name, None) if _is_ping(request) else None


# --- where it calls -------------------------------------------------------------------------------------------------


def _moved(drill: Drill) -> None:
    name = "moved"
    drill.server.registration = {"endpoint": f"{drill.trap.url}/v3"}
    drill.start_agent(name)
    drill.server.registration = {}
    drill.must("ignored, the endpoint setting decides" in drill.log(name), "nothing was said at registration")
    drill.attempts += 1
    job = lies.set_job(endpoint=drill.trap.url)(drill.honest("sealed", name))
    drill.must_run(drill.send(job, name), what="a job with an endpoint")
    drill.stop_agent(name)
    urls = (f"{drill.trap.url}/admin?x=", "http://169.254.169.254/latest", "file:///etc/passwd")
    cases = {url: (answer_json({"endpoint": url}), "the endpoint setting decides") for url in urls}
    others: tuple[object, ...] = ("", 7, [], None)
    cases |= {repr(value): (answer_json({"endpoint": value}), "") for value in others}
    with _Cases(drill, "lured", cases) as agents:
        agents.all_go_on()


def _redirected(drill: Drill) -> None:
    def to_trap(status: int) -> Answer:
        return Answer(status, b"", (("Location", f"{drill.trap.url}/v3/x"),))

    with _Cases(drill, "led", {f"{n}": (to_trap(n), "api.redirect") for n in (301, 302, 303, 307, 308)}) as agents:
        agents.all_go_on()
    drill.note_code("api.redirect")
    for end, status in (("/accept", 302), ("/accept", 307), ("/start", 307)):
        asked: list[Request] = []

        def lead(
            request: Request, end: str = end, status: int = status, asked: list[Request] = asked
        ) -> Answer | None:
            if asked or not _is(request, "PUT", end):
                return None
            asked.append(request)
            return to_trap(status)

        with _interfering(drill, lead):
            record = drill.offer(drill.honest("sealed"))
            drill.attempts += 1
            drill.must(drill.server.wait_for(partial(bool, asked), 20), f"{end} was not asked")
            _goes_on(drill, what=f"{end}, {status}")
            drill.must(not drill.ground.ran(record.id), f"{end}: the job ran all the same")


def _headers(drill: Drill) -> None:
    extra = {"request_headers": {"X-Evil": "1", "Authorization": "Token other", "Host": "elsewhere"}}
    drill.server.registration = extra
    with _Cases(drill, "headers", {"ping": (answer_json(extra), "")}) as agents:
        drill.server.registration = {}
        agents.all_go_on()
    drill.attempts += 1
    evil = [request for request in drill.server.requests if "x-evil" in request.headers]
    drill.must(not evil, "a header of the server's making was sent", "no such header was sent")


def _tracing(drill: Drill) -> None:
    name = "traced"
    exporter = {"endpoint": drill.trap.url, "headers": {"authorization": "Bearer x"}}
    drill.server.registration = {"tracing": {"backend": "opentelemetry", "exporter": exporter}}
    drill.start_agent(name)
    drill.server.registration = {}
    drill.attempts += 1
    execution = drill.must_run(drill.send(drill.honest("sealed", name), name))
    traced = [key for key in execution.environment if "TRAC" in key or key.startswith("OTEL")]
    drill.must(not traced, f"the job was told where to send traces: {', '.join(traced)}", "nothing was traced")
    drill.stop_agent(name)


# --- its memory and its patience ------------------------------------------------------------------------------------


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
    with _Cases(drill, name, answers) as agents:
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
    with _interfering(drill, lambda request: packed if _is(request, "PUT", "/accept") else None):
        drill.must_refuse(drill.send(drill.honest("sealed")), what="packed")
    grown = _memory(drill, MAIN) - before
    drill.must(grown < MAX_GROWTH_BYTES, f"the agent grew by {grown >> 20} MiB", f"{RSS}: {grown >> 20} MiB")
    _goes_on(drill)


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
        with _interfering(drill, lambda request: Answer(write=drip) if _is_ping(request) else None):
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
        with _Cases(drill, name, {"slow": (Answer(write=drip), ""), "honest": (answer_json({}), "")}) as agents:
            _goes_on(drill, agents.workers[1], "the other worker")
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
        with _interfering(drill, _answering(later, "PUT", "/acquire")):
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


# --- names, words and orders ----------------------------------------------------------------------------------------


def _identifiers(drill: Drill) -> None:
    names = ("../../x", "a/b", "a\x00b", "..", "", "x" * 500, "a?b", "a#b", "a b", "\u0430")
    cases = {repr(name[:20]): (answer_json({"job": {"id": name}}), "api.answer") for name in names}
    with _Cases(drill, "paths", cases) as agents:
        agents.all_go_on()
    drill.note_code("api.answer")
    asked = [request.path for request in drill.server.requests if request.path.endswith("/accept")]
    drill.must(
        not any("/.." in path or "\x00" in path for path in asked), "such an id was asked for", "never asked for"
    )
    for agent_id in ("../../x", "a/b", ""):
        drill.server.registration = {"id": agent_id}
        path = drill.write_settings("other-id", {})
        done = drill.actors.run(["agent", "start", "--config", str(path)], timeout_seconds=JOB_SECONDS)
        drill.server.registration = {}
        drill.attempts += 1
        drill.must(
            done.returncode > 0 and "api.answer" in done.stderr + done.stdout, f"the agent is called {agent_id!r}"
        )


FORGED = "FORGED-LINE everything is well"


def _words(drill: Drill) -> None:
    poison = f"a reason\r\n{FORGED}\n\x1b[2J\x1b]0;owned\x07\u202e\u2028{FORGED}\x9b31m"
    error = json.dumps({"message": poison}).encode()
    cases = {
        "pause": (answer_json({"action": "pause", "message": poison}), "pauses this agent"),
        "disconnect": (answer_json({"action": "disconnect", "message": poison}), "to disconnect"),
        "an error's message": (Answer(500, error), "Ping failed"),
        "a refusal's message": (Answer(403, error), "does not want to hear"),
        "an endpoint": (answer_json({"endpoint": f"http://x/{poison}"}), "the endpoint setting decides"),
        "a job's id": (answer_json({"job": {"id": poison}}), "api.answer"),
        "nothing": (answer_json({}), ""),
    }
    with _Cases(drill, "words", cases) as agents:
        worker = agents.workers[-1]
        bad = lies.set_env(BUILDKITE_LABEL=poison, BUILDKITE_ORGANIZATION_SLUG=poison)(drill.honest("sealed", worker))
        record = drill.send(bad, worker)
        drill.must_refuse(record, what="names of a job")
        text = drill.log(worker)
    drill.must("a reason" in text, "what the server said is not in the log at all")
    forged = [line for line in text.split("\n") if line.strip().startswith(FORGED)]
    drill.must(not forged, "a line of the server's making is in the log")
    odd = {character for character in text if not character.isprintable() and character != "\n"}
    drill.must(not odd, f"the log has control characters: {odd}", "no line or control character of the server's")
    drill.must("\x1b[2J" not in record.log and f"\n{FORGED}" not in record.log, "the job's log has such a line")


def _orders(drill: Drill) -> None:
    """Orders that only cost work: the agent follows them, and says so."""
    cases = {
        "pause": (answer_json({"action": "pause"}), "pauses this agent"),
        "an action that nobody knows": (answer_json({"action": "rm -rf /"}), ""),
        "disconnect": (answer_json({"action": "disconnect"}), "asks this agent to disconnect"),
    }
    with _Cases(drill, "ordered", cases) as agents:
        paused, other, gone = agents.workers
        drill.server.wake(paused)
        drill.must(drill.server.wait_for(lambda: "resumes" in drill.log(paused), 20), "it was not resumed")
        drill.must(
            drill.server.wait_for(lambda: any("Disconnected" in line for line in agents.lines(gone)), 20),
            "an agent was asked to disconnect, and goes on",
        )
        record = drill.offer(drill.honest("sealed", other), other)
        record.state = "canceling"
        drill.wait(record)
        drill.attempts += 1
        for worker in (paused, other):
            _goes_on(drill, worker)


def _upgrades(drill: Drill) -> None:
    cases = {
        action: (answer_json({"action": action, "url": drill.trap.url, "version": "99.0.0"}), "")
        for action in ("update", "upgrade", "exec", "restart")
    }
    with _Cases(drill, "upgraded", cases) as agents:
        agents.all_go_on()


def _messages(drill: Drill) -> None:
    """What a server may say of itself, and what no message is."""
    texts = ("null", "[]", "7", '"job"', '{"job":7}', '{"job":{}}', '{"job":{"id":null}}', '{"action":7}', "{", "")
    cases = {text or "nothing": (Answer(200, text.encode()), "api.answer") for text in texts}
    harmless = ('{"job":null}', '{"action":"job"}', '{"stream":"http://127.0.0.2:9/"}', '{"action":"","job":null}')
    cases |= {text: (Answer(200, text.encode()), "") for text in harmless}
    with _Cases(drill, "messages", cases) as agents:
        agents.all_go_on()
    drill.note_code("api.answer")


# --- answers that make no sense -------------------------------------------------------------------------------------

NONSENSE: tuple[bytes, ...] = (b"", b"null", b"[]", b"7", b'"x"', b"{", b"\xff\xfe", b'{"exists":"yes"}', b"<html>")


def _malformed(drill: Drill) -> None:
    """Answers about artifacts and meta-data that are not what they should be: the job ends, and says why."""
    drill.twin("sealed")

    def batch(change: Callable[[dict[str, Any]], object]) -> Interference:
        def interfere(request: Request) -> Answer | None:
            if not _is(request, "POST", "/artifacts"):
                return None
            answer: dict[str, Any] = {
                "id": request.json()["id"],
                "artifact_ids": ["artifact-1"],
                "upload_instructions": drill.server.upload_instructions("artifact-1"),
                "per_artifact_instructions": {"artifact-1": drill.server.upload_instructions("artifact-1")},
            }
            change(answer)
            return answer_json(answer)

        return interfere

    changes: dict[str, Callable[[dict[str, Any]], object]] = {
        "more ids than artifacts": lambda answer: answer.update(artifact_ids=["a", "b", "c"]),
        "no ids": lambda answer: answer.update(artifact_ids=[]),
        "ids that are numbers": lambda answer: answer.update(artifact_ids=[1]),
        "an id that is a path": lambda answer: answer.update(artifact_ids=["../x"], per_artifact_instructions={}),
        "no instructions": lambda answer: answer.update(upload_instructions=None, per_artifact_instructions=None),
        "instructions of another kind": lambda answer: answer.update(
            upload_instructions=7, per_artifact_instructions=7
        ),
        "an action that is none": lambda answer: answer.update(
            upload_instructions={"data": [], "action": "x"}, per_artifact_instructions={}
        ),
        "no action": lambda answer: answer.update(upload_instructions={"data": {}}, per_artifact_instructions={}),
    }
    for what, change in changes.items():
        with _interfering(drill, batch(change)):
            _ends_with_a_reason(drill, what, fails=what not in ("an id that is a path",))
    for body in NONSENSE:
        answer = Answer(200, body)
        with _interfering(drill, _answering(answer, "POST", "/artifacts")):
            _ends_with_a_reason(drill, f"artifacts: {body!r}", fails=True)
        with _interfering(drill, _answering(answer, "POST", "/data/exists")):
            _ends_with_a_reason(drill, f"meta-data: {body!r}", fails=False)
    _subcommands(drill)


def _ends_with_a_reason(drill: Drill, what: str, *, fails: bool) -> None:
    before = len(drill.log(MAIN))
    record = drill.send(drill.honest("sealed"))
    drill.attempts += 1
    told = drill.log(MAIN)[before:]
    drill.must(
        "Traceback" not in told and "The agent failed" not in told, f"{what}: a fault of the agent: {told[-300:]}"
    )
    failed = (record.finish or {}).get("exit_status") != "0"
    drill.must(failed or not fails, f"{what}: the job passed")
    drill.must("command" in drill.ground.ran(record.id), f"{what}: the job's command did not run")


def _subcommands(drill: Drill) -> None:
    """Commands inside a job, asked of the server itself."""
    job_id = "0193d0a1-0000-7000-8000-00000000cafe"
    environment = {
        "BUILDKITE_AGENT_ENDPOINT": drill.server.endpoint,
        "BUILDKITE_AGENT_ACCESS_TOKEN": "job",
        "BUILDKITE_JOB_ID": job_id,
        "BUILDKITE_BUILD_ID": job_id,
        "BUILDKITE_STEP_ID": job_id,
    }
    commands = (
        ["meta-data", "get", "key"],
        ["artifact", "download", "*", str(drill.folder)],
        ["artifact", "search", "*"],
        ["step", "get", "label"],
        ["secret", "get", "x"],
        ["oidc", "request-token"],
    )
    for number, words in enumerate(commands):
        for body in (NONSENSE[1 + number % 3], NONSENSE[4 + number % 4], b'{"value":[]}'):
            drill.attempts += 1
            with _interfering(drill, _answering_about(Answer(200, body), job_id)):
                done = drill.actors.run(words, environment=environment, timeout_seconds=JOB_SECONDS)
            drill.must("Traceback" not in done.stderr, f"{' '.join(words)}: {body!r}: {done.stderr[-300:]}")
            drill.must(
                done.returncode > 0 or not done.stdout, f"{' '.join(words)}: {body!r} was taken: {done.stdout[:200]}"
            )
    drill.must(True, "", "no fault, and a reason each time")


def _sizes(_ground: Ground) -> list[Attempt]:
    many = {f"MANY_{number}": "x" for number in range(20_000)}
    return [
        Attempt(lies.set_variables({**many}), "20,000 variables"),
        Attempt(lies.set_env(BUILDKITE_PULL_REQUEST_REPO=f"https://x/{'a' * 1_000_000}"), "a megabyte of address"),
        Attempt(lies.set_env(BUILDKITE_SOURCE="a" * 500_000), "half a megabyte of word"),
        Attempt(lies.set_variables({"A" * 100_000: ""}), "a long name"),
    ]


def _long_text(drill: Drill) -> None:
    drill.attempts += 1
    job = lies.set_env(BUILDKITE_MESSAGE="m" * 3_000_000)(drill.honest("sealed"))
    drill.must_run(drill.send(job), what="three megabytes of message")


def _tokens(drill: Drill) -> None:
    """The job's token is the server's own affair: it goes back to the server, and nowhere else."""
    foreign = drill.ground.seed("another tenant's job token")
    drill.ground.secrets.pop()  # it is the server that sent it, and to the server that it goes back
    record = drill.send(lies.set_job(token=foreign)(drill.honest("sealed")))
    execution = drill.must_run(record, what="another token")
    drill.attempts += 1
    drill.must(foreign not in drill.log(MAIN) + record.log, "the token is in a log", "never logged")
    drill.must(foreign not in execution.environment.values(), "the job has it", "jobs do not have it")
    for token in ("a b", "a\r\nX-Evil: 1", "x" * 10_000, "\u0430", "a\x00b"):
        job = lies.set_job(token=token)(drill.honest("sealed"))
        record = drill.send(job)
        drill.must_refuse(record, what=f"token {token[:20]!r}")
    evil = [request for request in drill.server.requests if "x-evil" in request.headers]
    drill.must(not evil, "a header of the server's making was sent")
    _goes_on(drill)


def _over_http(drill: Drill) -> None:
    drill.must(
        drill.server.endpoint.startswith("http://"), "the drill does not run over plain HTTP", "all over plain HTTP"
    )
    _goes_on(drill)


SCENARIOS = (
    Scenario(
        id="J01",
        title="Another endpoint",
        actors=_CP,
        change="`endpoint` in answers to register and ping, and in a job",
        happens="the endpoint is the operator's; the agent says that the server wanted another, and stays",
        setting="`endpoint`",
        play=_moved,
    ),
    Scenario(
        id="J02",
        title="Redirects, with credentials",
        actors=_MITM,
        change="answers with 301 to 308 and another host",
        happens="redirects are not followed",
        codes=("api.redirect",),
        play=_redirected,
    ),
    Scenario(
        id="J03",
        title="Request headers of the server's making",
        actors=_CP,
        change="`request_headers` in answers",
        happens="there is no such thing",
        play=_headers,
    ),
    Scenario(
        id="J04",
        title="Answers without an end",
        actors=_CP,
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
        actors=_CP,
        change="an answer that comes slower than anybody waits",
        happens="each call has a deadline that counts from its beginning; other workers go on",
        codes=("api.unreachable",),
        play=_slow,
    ),
    Scenario(
        id="J06",
        title="Intervals of nothing, and of for ever",
        actors=_CP,
        change="`ping_interval`, `heartbeat_interval`, `job_status_interval`, ...: 0, -1, 10^15, words",
        happens="brought into range",
        play=_intervals,
    ),
    Scenario(
        id="J07",
        title="Told to come back in months",
        actors=_CP,
        change="`Retry-After: 9999999`, and values that are no number",
        happens="nobody waits longer than a minute",
        play=_retry_after,
    ),
    Scenario(
        id="J08",
        title="Log parameters that make no sense",
        actors=_CP,
        change="`chunks_max_size_bytes`, `log_max_size_bytes`: 0, 1, -1, 10^15",
        happens="brought into range",
        attempts=_log_limits,
        play=_few_chunks,
    ),
    Scenario(
        id="J09",
        title="Identifiers that are paths",
        actors=_CP,
        change="ids of jobs and agents with `/`, `..`, NUL, `?`",
        happens="an id has a form, and one that has not is never used",
        codes=("api.answer",),
        play=_identifiers,
    ),
    Scenario(
        id="J10",
        title="Forged lines in the log",
        actors=_CP,
        change="messages, reasons and names with line breaks, escapes and direction characters",
        happens="what a server says is escaped and shortened wherever it is shown",
        codes=("signature.mismatch", "environment.value", "seal.differs"),
        play=_words,
    ),
    Scenario(
        id="J11",
        title="Orders that only cost work",
        actors=_CP,
        change="pause, resume, cancel, disconnect, again and again",
        happens="a server can withhold work; the agent says each time that it was told to",
        play=_orders,
    ),
    Scenario(
        id="J12",
        title="Configuration from the server",
        actors=_CP,
        change="`tracing` in the answer to register",
        happens="no setting comes from a server",
        play=_tracing,
    ),
    Scenario(
        id="J13",
        title="Answers to commands that make no sense",
        actors=_CP,
        change="answers about artifacts, meta-data, steps and secrets: ids that do not match, null, other types",
        happens="what cannot be used fails with a reason, and nothing crashes",
        play=_malformed,
    ),
    Scenario(
        id="J14",
        title="Messages of a stream",
        actors=_CP,
        change="messages without a job, with half of one, of no known kind, or that are no message",
        happens="an agent asks, and what it cannot use it asks for again; a stream that nobody asked for is not read",
        codes=("api.answer",),
        play=_messages,
    ),
    Scenario(
        id="J15",
        title="A job that is too large",
        actors=_CP,
        change="20,000 variables, megabytes of values and names",
        happens="values have a longest length; long free text is shortened in its file",
        codes=("environment.unknown", "environment.value", "environment.name"),
        attempts=_sizes,
        play=_long_text,
    ),
    Scenario(
        id="J16",
        title="NUL in variables",
        actors=_CP,
        change="a NUL in a value or a name",
        happens="refused before anything is compared with it",
        codes=("environment.value", "environment.name", "environment.differs", "job.ambiguous", "json.lost_text"),
        attempts=lambda _ground: [
            Attempt(lies.set_env(BUILDKITE_SOURCE="a\x00b"), "a value"),
            Attempt(lies.set_env(BUILDKITE_MESSAGE="a\x00b"), "a text"),
            Attempt(lies.set_env(SAFETY="on\x00"), "a signed value"),
            Attempt(lies.set_variables({"BUILDKITE_SOURCE\x00": "a"}), "a name"),
        ],
    ),
    Scenario(
        id="J17",
        title="Lines forged in the environment file",
        actors=_CP,
        change="variable names with line breaks, quotes and `=`",
        happens="names are names",
        codes=("environment.name",),
        attempts=lambda ground: [
            Attempt(lies.set_variables({f"A{character}BUILDKITE_COMMAND": str(ground.evil)}), repr(character))
            for character in ("\n", "\r", '"', "'", "=", " ", "\t", "$(x)")
        ],
    ),
    Scenario(
        id="J18",
        title="Everything is read on its way",
        actors=("MITM",),
        change="no TLS at all: all of this runs over plain HTTP",
        happens="no refusal depends on TLS",
        codes=("signature.mismatch",),
        attempts=lambda ground: [Attempt(lies.edit_command(str(ground.evil)))],
        play=_over_http,
    ),
    Scenario(
        id="J19",
        title="Told to become another program",
        actors=_CP,
        change="actions such as `update`, with an address",
        happens="there is no such thing",
        play=_upgrades,
    ),
    Scenario(
        id="J20",
        title="Another tenant's token",
        actors=_CP,
        change="`job.token`: another's, or no token at all",
        happens="it goes back to the server and nowhere else, is never logged, and jobs do not have it",
        codes=("token.unreadable",),
        play=_tokens,
    ),
)
