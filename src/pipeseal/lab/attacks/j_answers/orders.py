"""What a server says and orders: identifiers, words for the log, actions, messages."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pipeseal.lab import lies
from pipeseal.lab.agents import JOB_SECONDS
from pipeseal.lab.attacks.j_answers.cases import (
    CP,
    Cases,
    must_go_on,
)
from pipeseal.lab.hostile_server import Answer, answer_json
from pipeseal.lab.scenario import Scenario

if TYPE_CHECKING:
    from pipeseal.lab.drill import Drill


def _identifiers(drill: Drill) -> None:
    names = ("../../x", "a/b", "a\x00b", "..", "", "x" * 500, "a?b", "a#b", "a b", "\u0430")
    cases = {repr(name[:20]): (answer_json({"job": {"id": name}}), "api.answer") for name in names}
    with Cases(drill, "paths", cases) as agents:
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
    with Cases(drill, "words", cases) as agents:
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
    with Cases(drill, "ordered", cases) as agents:
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
            must_go_on(drill, worker)


def _upgrades(drill: Drill) -> None:
    cases = {
        action: (answer_json({"action": action, "url": drill.trap.url, "version": "99.0.0"}), "")
        for action in ("update", "upgrade", "exec", "restart")
    }
    with Cases(drill, "upgraded", cases) as agents:
        agents.all_go_on()


def _messages(drill: Drill) -> None:
    """What a server may say of itself, and what no message is."""
    texts = ("null", "[]", "7", '"job"', '{"job":7}', '{"job":{}}', '{"job":{"id":null}}', '{"action":7}', "{", "")
    cases = {text or "nothing": (Answer(200, text.encode()), "api.answer") for text in texts}
    harmless = ('{"job":null}', '{"action":"job"}', '{"stream":"http://127.0.0.2:9/"}', '{"action":"","job":null}')
    cases |= {text: (Answer(200, text.encode()), "") for text in harmless}
    with Cases(drill, "messages", cases) as agents:
        agents.all_go_on()
    drill.note_code("api.answer")


SCENARIOS = (
    Scenario(
        id="J09",
        title="Identifiers that are paths",
        actors=CP,
        change="ids of jobs and agents with `/`, `..`, NUL, `?`",
        happens="an id has a form, and one that has not is never used",
        codes=("api.answer",),
        play=_identifiers,
    ),
    Scenario(
        id="J10",
        title="Forged lines in the log",
        actors=CP,
        change="messages, reasons and names with line breaks, escapes and direction characters",
        happens="what a server says is escaped and shortened wherever it is shown",
        codes=("signature.mismatch", "environment.value", "seal.differs"),
        play=_words,
    ),
    Scenario(
        id="J11",
        title="Orders that only cost work",
        actors=CP,
        change="pause, resume, cancel, disconnect, again and again",
        happens="a server can withhold work; the agent says each time that it was told to",
        play=_orders,
    ),
    Scenario(
        id="J14",
        title="Messages of a stream",
        actors=CP,
        change="messages without a job, with half of one, of no known kind, or that are no message",
        happens="an agent asks, and what it cannot use it asks for again; a stream that nobody asked for is not read",
        codes=("api.answer",),
        play=_messages,
    ),
    Scenario(
        id="J19",
        title="Told to become another program",
        actors=CP,
        change="actions such as `update`, with an address",
        happens="there is no such thing",
        play=_upgrades,
    ),
)
