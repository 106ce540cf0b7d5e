"""Answers and jobs that make no sense, are too large, or hold what ends a name or a line."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipeseal.lab import lies
from pipeseal.lab.agents import JOB_SECONDS, MAIN
from pipeseal.lab.attacks.j_answers.cases import (
    CP,
    answering,
    answering_about,
    interfering,
    is_request,
)
from pipeseal.lab.hostile_server import Answer, Interference, Request, answer_json
from pipeseal.lab.scenario import Attempt, Scenario

if TYPE_CHECKING:
    from pipeseal.lab.drill import Drill
    from pipeseal.lab.ground import Ground

NONSENSE: tuple[bytes, ...] = (b"", b"null", b"[]", b"7", b'"x"', b"{", b"\xff\xfe", b'{"exists":"yes"}', b"<html>")


def _malformed(drill: Drill) -> None:
    """Answers about artifacts and meta-data that are not what they should be: the job ends, and says why."""
    drill.twin("sealed")

    def batch(change: Callable[[dict[str, Any]], object]) -> Interference:
        def interfere(request: Request) -> Answer | None:
            if not is_request(request, "POST", "/artifacts"):
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
        with interfering(drill, batch(change)):
            _ends_with_a_reason(drill, what, fails=what not in ("an id that is a path",))
    for body in NONSENSE:
        answer = Answer(200, body)
        with interfering(drill, answering(answer, "POST", "/artifacts")):
            _ends_with_a_reason(drill, f"artifacts: {body!r}", fails=True)
        with interfering(drill, answering(answer, "POST", "/data/exists")):
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
            with interfering(drill, answering_about(Answer(200, body), job_id)):
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


SCENARIOS = (
    Scenario(
        id="J13",
        title="Answers to commands that make no sense",
        actors=CP,
        change="answers about artifacts, meta-data, steps and secrets: ids that do not match, null, other types",
        happens="what cannot be used fails with a reason, and nothing crashes",
        play=_malformed,
    ),
    Scenario(
        id="J15",
        title="A job that is too large",
        actors=CP,
        change="20,000 variables, megabytes of values and names",
        happens="values have a longest length; long free text is shortened in its file",
        codes=("environment.unknown", "environment.value", "environment.name"),
        attempts=_sizes,
        play=_long_text,
    ),
    Scenario(
        id="J16",
        title="NUL in variables",
        actors=CP,
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
        actors=CP,
        change="variable names with line breaks, quotes and `=`",
        happens="names are names",
        codes=("environment.name",),
        attempts=lambda ground: [
            Attempt(lies.set_variables({f"A{character}BUILDKITE_COMMAND": str(ground.evil)}), repr(character))
            for character in ("\n", "\r", '"', "'", "=", " ", "\t", "$(x)")
        ],
    ),
)
