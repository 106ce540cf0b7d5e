"""Where an agent calls, and with what: addresses, redirects, headers, tokens."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from pipeseal.lab import lies
from pipeseal.lab.agents import MAIN
from pipeseal.lab.attacks.j_answers.cases import (
    CP,
    MITM,
    Cases,
    interfering,
    is_request,
    must_go_on,
)
from pipeseal.lab.hostile_server import Answer, Request, answer_json
from pipeseal.lab.scenario import Attempt, Scenario

if TYPE_CHECKING:
    from pipeseal.lab.drill import Drill


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
    with Cases(drill, "lured", cases) as agents:
        agents.all_go_on()


def _redirected(drill: Drill) -> None:
    def to_trap(status: int) -> Answer:
        return Answer(status, b"", (("Location", f"{drill.trap.url}/v3/x"),))

    with Cases(drill, "led", {f"{n}": (to_trap(n), "api.redirect") for n in (301, 302, 303, 307, 308)}) as agents:
        agents.all_go_on()
    drill.note_code("api.redirect")
    for end, status in (("/accept", 302), ("/accept", 307), ("/start", 307)):
        asked: list[Request] = []

        def lead(
            request: Request, end: str = end, status: int = status, asked: list[Request] = asked
        ) -> Answer | None:
            if asked or not is_request(request, "PUT", end):
                return None
            asked.append(request)
            return to_trap(status)

        with interfering(drill, lead):
            record = drill.offer(drill.honest("sealed"))
            drill.attempts += 1
            drill.must(drill.server.wait_for(partial(bool, asked), 20), f"{end} was not asked")
            must_go_on(drill, what=f"{end}, {status}")
            drill.must(not drill.ground.ran(record.id), f"{end}: the job ran all the same")


def _headers(drill: Drill) -> None:
    extra = {"request_headers": {"X-Evil": "1", "Authorization": "Token other", "Host": "elsewhere"}}
    drill.server.registration = extra
    with Cases(drill, "headers", {"ping": (answer_json(extra), "")}) as agents:
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
    must_go_on(drill)


def _over_http(drill: Drill) -> None:
    drill.must(
        drill.server.endpoint.startswith("http://"), "the drill does not run over plain HTTP", "all over plain HTTP"
    )
    must_go_on(drill)


SCENARIOS = (
    Scenario(
        id="J01",
        title="Another endpoint",
        actors=CP,
        change="`endpoint` in answers to register and ping, and in a job",
        happens="the endpoint is the operator's; the agent says that the server wanted another, and stays",
        setting="`endpoint`",
        play=_moved,
    ),
    Scenario(
        id="J02",
        title="Redirects, with credentials",
        actors=MITM,
        change="answers with 301 to 308 and another host",
        happens="redirects are not followed",
        codes=("api.redirect",),
        play=_redirected,
    ),
    Scenario(
        id="J03",
        title="Request headers of the server's making",
        actors=CP,
        change="`request_headers` in answers",
        happens="there is no such thing",
        play=_headers,
    ),
    Scenario(
        id="J12",
        title="Configuration from the server",
        actors=CP,
        change="`tracing` in the answer to register",
        happens="no setting comes from a server",
        play=_tracing,
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
        id="J20",
        title="Another tenant's token",
        actors=CP,
        change="`job.token`: another's, or no token at all",
        happens="it goes back to the server and nowhere else, is never logged, and jobs do not have it",
        codes=("token.unreadable",),
        play=_tokens,
    ),
)
