"""Group E: honest jobs at another time, in another place, or once more."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeseal.lab import lies
from pipeseal.lab.honest import HOUR, KINDS, JobDocument
from pipeseal.lab.scenario import Attempt, Scenario, Stops
from pipeseal.signing.bindings import SEAL

if TYPE_CHECKING:
    from pipeseal.lab.drill import Drill
    from pipeseal.lab.hostile_server import JobRecord

_CP = ("CP",)
_MOVED = ("signature.mismatch",)
_OTHER_BUILD = "0193d0a1-0000-7000-8000-0000000000b1"
_SECOND = "second-runner"
# The drill's own agent.
MAIN = "runner"


def _second_agent(drill: Drill) -> str:
    """One more agent of the same queue; by default agents of one user share a ledger."""
    if _SECOND not in drill.agents:
        drill.start_agent(_SECOND, {})
    return _SECOND


def _for_agent(drill: Drill, job: JobDocument, name: str) -> JobDocument:
    """The job as it is told to another agent."""
    agent_name, agent_id = drill.agents[name]
    return lies.set_env(BUILDKITE_AGENT_ID=agent_id, BUILDKITE_AGENT_NAME=agent_name)(job)


def _replay(drill: Drill) -> None:
    """A job that ran is sent again, as it is; then to another agent; then as if it were of a new build."""
    other = _second_agent(drill)
    job = drill.honest("sealed")
    drill.must_run(drill.send(job), what="the first time")
    drill.ground.forget_notes()  # of the job that has the same id
    drill.must_refuse(drill.send(job), ("ledger.started",), what="byte for byte")
    drill.must_refuse(drill.send(_for_agent(drill, job, other), other), ("ledger.started",), what="to another agent")
    moved = lies.another_try(BUILDKITE_BUILD_ID=_OTHER_BUILD)(job)
    drill.must_refuse(drill.send(moved), _MOVED, what="in a new build")


def _run_again(drill: Drill) -> None:
    """A step that may start twice is started a third time, whatever the server says which time it is."""
    other = _second_agent(drill)
    job = drill.honest("retried")
    drill.must_run(drill.send(job), what="the first time")
    retried = _for_agent(drill, lies.another_try(BUILDKITE_RETRY_COUNT="1")(job), other)
    drill.must_run(drill.send(retried, other), what="its one retry")
    for told, code in (("0", "ledger.attempts"), ("1", "ledger.attempts"), ("2", "seal.attempts")):
        for name in (MAIN, other):
            again = _for_agent(drill, lies.another_try(BUILDKITE_RETRY_COUNT=told)(job), name)
            drill.must_refuse(drill.send(again, name), (code,), what=f"told as retry {told}")


def _indices(drill: Drill) -> None:
    """Each index runs once; none twice, and none that there is not."""
    job = drill.honest("once-each")
    for index in ("0", "1"):
        honest = lies.another_try(BUILDKITE_PARALLEL_JOB=index)(job)
        drill.must_run(drill.send(honest), what=f"index {index}")
    for index in ("0", "1"):
        again = lies.another_try(BUILDKITE_PARALLEL_JOB=index)(job)
        drill.must_refuse(drill.send(again), ("ledger.attempts",), what=f"index {index} again")
    wrong: tuple[dict[str, str | None], ...] = (
        {"BUILDKITE_PARALLEL_JOB": "2"},
        {"BUILDKITE_PARALLEL_JOB": "00"},
        {"BUILDKITE_PARALLEL_JOB": "-1"},
        {"BUILDKITE_PARALLEL_JOB": None},
        {"BUILDKITE_PARALLEL_JOB_COUNT": "1"},
        {"BUILDKITE_PARALLEL_JOB": "2", "BUILDKITE_PARALLEL_JOB_COUNT": "3"},
        {"BUILDKITE_PARALLEL_JOB": None, "BUILDKITE_PARALLEL_JOB_COUNT": None},
    )
    for variables in wrong:
        lie = lies.another_try(**variables)
        drill.must_refuse(drill.send(lie(drill.honest("once-each"))), ("seal.index",), what=str(variables))


def _other_upload(drill: Drill) -> None:
    """Steps of another upload, each of them genuine, are put among those of this build."""
    here, there = drill.honest("sealed"), drill.honest("second")
    for job, what in ((here, "of this upload"), (there, "of the other one")):
        drill.must_run(drill.send(job), what=what)
    build = str(here["env"]["BUILDKITE_BUILD_ID"])
    moved = lies.another_try(BUILDKITE_BUILD_ID=build)(there)
    drill.must_refuse(drill.send(moved), _MOVED, what="called a step of this build")
    # A step with the seal of another: the signature covers the seal.
    seal = there["step"]["env"][SEAL]
    mixed = lies.all_of(lies.set_step(env={**here["step"]["env"], SEAL: seal}), lies.another_try(**{SEAL: seal}))(
        here
    )
    drill.must_refuse(drill.send(mixed), _MOVED, what="with the other's seal")
    # As itself it is what it always was, and starts no second time.
    drill.ground.forget_notes()
    drill.must_refuse(drill.send(there), ("ledger.started",), what="as itself")


def _twice_at_once(drill: Drill) -> None:
    """An exclusive step is sent to two agents in one moment; one of them runs it, and nobody ever again."""
    other = _second_agent(drill)
    for _ in range(3):
        job = drill.honest("exclusive")
        records = [drill.offer(_for_agent(drill, lies.another_try()(job), name), name) for name in (MAIN, other)]
        for record in records:
            drill.wait(record)
        ran = [record for record in records if not record.code]
        drill.must(len(ran) == 1, f"{len(ran)} of two agents ran the exclusive step")
        drill.must_run(ran[0], what="the first of two")
        refused: JobRecord = next(record for record in records if record.code)
        drill.must_refuse(refused, ("ledger.exclusive",), what="the second of two")
    for name in (MAIN, other):
        again = _for_agent(drill, lies.another_try(BUILDKITE_RETRY_COUNT="1")(job), name)
        drill.must_refuse(drill.send(again, name), ("ledger.exclusive",), what="as a retry")


def _static(drill: Drill) -> None:
    """A seal without a build: at commits that are on no branch, where no branch is asked for, and again and again."""
    ground = drill.ground
    drill.twin("static-seal")
    kind = KINDS["static-seal"]
    elsewhere = replace(kind, commit=ground.release_commit)
    record = drill.send(drill.honest(elsewhere))
    drill.must_refuse(record, ("commit.not_on_branch",), Stops.AT_CHECKOUT, what="at another branch's commit")
    record = drill.send(drill.honest(replace(kind, pipeline="legacy")))
    drill.must_refuse(record, ("proof.static",), what="where no branch is asked for")
    name = "once-a-commit"
    drill.start_agent(name, {}, ground.policy().replace("head-commits", "static-starts = 1\nhead-commits", 1))
    job = drill.honest("static-seal", name)
    drill.must_run(drill.send(job, name), what="once at this commit")
    told = lies.another_try(BUILDKITE_BUILD_ID=_OTHER_BUILD)(job)
    drill.must_refuse(drill.send(told, name), ("ledger.attempts",), what="in a build that the server made up")
    drill.stop_agent(name)


def _other_queue(drill: Drill) -> None:
    """An honest job for one queue, sent to an agent of another; the agent's own tags decide."""
    name = "deployer"
    drill.start_agent(name, {"tags": "queue=deploy"})
    drill.twin("sealed")
    record = drill.send(drill.honest("sealed", name), name)
    drill.must_refuse(record, ("seal.audience",), what="as it is")
    told = lies.set_env(BUILDKITE_AGENT_META_DATA_QUEUE=drill.ground.queue)(drill.honest("sealed", name))
    record = drill.send(told, name)
    drill.must_refuse(record, ("seal.audience",), what="called another queue")
    drill.stop_agent(name)


def _late(drill: Drill) -> None:
    now = int(time.time())
    drill.twin("sealed")
    for what, not_before, expires in (
        ("weeks later", now - 999 * HOUR, now - 300 * HOUR),
        ("an hour later", now - 3 * HOUR, now - HOUR),
    ):
        kind = replace(KINDS["sealed"], sealing={"not_before": not_before, "expires": expires})
        drill.must_refuse(drill.send(drill.honest(kind)), ("seal.expired",), what=what)
    ahead = replace(KINDS["sealed"], sealing={"not_before": now + HOUR, "expires": now + 2 * HOUR})
    drill.must_refuse(drill.send(drill.honest(ahead)), ("seal.early",), what="before its time")


def _mixed(job: JobDocument) -> JobDocument:
    """The pipeline variables of another upload, with this one's step."""
    return lies.set_env(TIER="silver", EXTRA="of the other upload")(job)


SCENARIOS = (
    Scenario(
        id="E01",
        title="An old job, replayed in a new build",
        actors=_CP,
        change="the whole JSON of a job that ran before",
        happens="agents write down what they started; another build's step is bound to that",
        codes=("ledger.started", *_MOVED),
        setting="`ledger`",
        play=_replay,
    ),
    Scenario(
        id="E02",
        title="A step moved to another pipeline of its repository",
        actors=("CP", "UI"),
        change="`BUILDKITE_PIPELINE_SLUG`",
        happens="the step is bound to its pipeline",
        codes=_MOVED,
        attempts=lambda _ground: [
            Attempt(lies.set_env(BUILDKITE_PIPELINE_SLUG=slug), slug, job=job)
            for slug in ("deploy", "legacy")
            for job in ("sealed", "static")
            if (job, slug) != ("static", "legacy")
        ],
    ),
    Scenario(
        id="E03",
        title="Another organisation with the same keys",
        actors=_CP,
        change="`BUILDKITE_ORGANIZATION_SLUG`",
        happens="the step is bound to its organisation",
        codes=_MOVED,
        setting="`[key.ID] organizations`, `organization` of a section",
        attempts=lambda _ground: [
            Attempt(lies.set_env(BUILDKITE_ORGANIZATION_SLUG="other"), job=job)
            for job in ("sealed", "bound", "static")
        ],
    ),
    Scenario(
        id="E04",
        title="A job sent to agents of another queue",
        actors=_CP,
        change="which agent a job is offered to, and what it is told its tags are",
        happens="the seal names tags, and the agent compares them with its own settings",
        codes=("seal.audience",),
        setting='`tags`, `queue`; `proof = "seal"`',
        play=_other_queue,
    ),
    Scenario(
        id="E05",
        title="Run again without end",
        actors=_CP,
        change="retries of a job that ended, and what it says of how many there were",
        happens="the seal says how often, and agents count for themselves",
        codes=("ledger.attempts", "seal.attempts"),
        setting="`ledger`, `max-attempts`, `retry` of the step",
        play=_run_again,
    ),
    Scenario(
        id="E06",
        title="Indices of parallel jobs",
        actors=_CP,
        change="`BUILDKITE_PARALLEL_JOB`, `BUILDKITE_PARALLEL_JOB_COUNT`",
        happens="the seal says how many there are, and each is counted; that all of them ran is for gates, to come",
        codes=("seal.index", "ledger.attempts"),
        setting="`ledger`",
        play=_indices,
    ),
    Scenario(
        id="E07",
        title="A combination of the matrix that nobody wanted",
        actors=_CP,
        change="`matrix_permutation`",
        happens="the sealed matrix says which there are; what the job says has to be of the same one",
        codes=("command.differs", "matrix.permutation", "matrix.skipped"),
        attempts=lambda _ground: [
            Attempt(lies.set_job(matrix_permutation={"": value}), repr(value), job=job)
            for value in ("debian", "windows", "$(x)")
            for job in ("matrix", "bound-matrix")
        ],
    ),
    Scenario(
        id="E08",
        title="A combination that is none",
        actors=_CP,
        change="`matrix_permutation`: missing, empty, of other dimensions",
        happens="every token has to have a value, and each value its dimension",
        codes=("matrix.permutation", "matrix.token", "command.differs"),
        attempts=lambda _ground: [
            Attempt(lies.set_job(matrix_permutation=value), repr(value), job=job)
            for value in (None, {}, {"os": "alpine"}, {"": "alpine", "os": "x"})
            for job in ("matrix", "bound-matrix")
        ],
    ),
    Scenario(
        id="E09",
        title="Steps of another upload, put into this build",
        actors=_CP,
        change="further jobs with genuine signatures",
        happens="each step is bound to its own build and upload, and starts no second time",
        codes=(*_MOVED, "ledger.started"),
        play=_other_upload,
    ),
    Scenario(
        id="E10",
        title="An old definition in place of the current one",
        actors=_CP,
        change="signed steps of an earlier build",
        happens="a step is bound to its build and commit; a seal is good for hours",
        codes=(*_MOVED, "environment.missing"),
        attempts=lambda ground: [
            Attempt(lies.set_env(BUILDKITE_BUILD_ID="0193d0a1-0000-7000-8000-0000000000b1"), "in a new build"),
            Attempt(lies.set_env(BUILDKITE_COMMIT=ground.release_commit), "at a new commit"),
            Attempt(lies.set_env(BUILDKITE_BUILD_ID="0193d0a1-0000-7000-8000-0000000000b1"), "signed", job="bound"),
            Attempt(lies.set_env(BUILDKITE_BUILD_ID=None), "in no build"),
        ],
    ),
    Scenario(
        id="E11",
        title="Held back, and run later",
        actors=_CP,
        change="the time at which a job is offered",
        happens="a seal is good for hours",
        codes=("seal.expired", "seal.early"),
        setting="`--seal-valid-for` at upload",
        play=_late,
    ),
    Scenario(
        id="E12",
        title="Sent to two agents at once",
        actors=_CP,
        change="which agents a job is offered to",
        happens="an exclusive step starts once, on whatever agent that shares the ledger",
        codes=("ledger.exclusive",),
        setting="`ledger`; `concurrency: 1` of the step",
        play=_twice_at_once,
    ),
    Scenario(
        id="E13",
        title="Pipeline variables of two uploads, mixed",
        actors=_CP,
        change="variables of one upload with steps of another",
        happens="pipeline variables are signed with each step",
        codes=(*_MOVED, "environment.differs", "seal.differs"),
        attempts=lambda _ground: [Attempt(_mixed), Attempt(_mixed, "signed", job="bound")],
    ),
    Scenario(
        id="E14",
        title="A statically signed step, which has no date",
        actors=_CP,
        change="a step of the pipeline's settings, signed once",
        happens="it is an authorisation: it runs at commits that the agent finds on an allowed branch",
        codes=("proof.static", "commit.not_on_branch", "ledger.attempts"),
        setting="`branches`, `static-steps`, `static-starts`",
        play=_static,
    ),
)
