"""Group E: honest jobs at another time, in another place, or once more."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeseal.lab import lies
from pipeseal.lab.honest import HOUR, KINDS, JobDocument
from pipeseal.lab.scenario import Attempt, Scenario

if TYPE_CHECKING:
    from pipeseal.lab.drill import Drill

_CP = ("CP",)
_MOVED = ("signature.mismatch",)


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


def _mixed(job: JobDocument) -> JobDocument:
    """The pipeline variables of another upload, with this one's step."""
    return lies.set_env(TIER="silver", EXTRA="of the other upload")(job)


SCENARIOS = (
    Scenario(
        id="E01",
        title="An old job, replayed in a new build",
        actors=_CP,
        change="the whole JSON of a job that ran before",
        happens="",
        not_yet="the ledger is not drilled",
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
        change="retries of a job that ended",
        happens="",
        not_yet="the ledger is not drilled",
    ),
    Scenario(
        id="E06",
        title="Indices of parallel jobs",
        actors=_CP,
        change="`BUILDKITE_PARALLEL_JOB`, `BUILDKITE_PARALLEL_JOB_COUNT`",
        happens="",
        not_yet="the ledger is not drilled",
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
        happens="",
        not_yet="the ledger is not drilled",
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
        codes=("seal.expired",),
        setting="`--seal-valid-for` at upload",
        play=_late,
    ),
    Scenario(
        id="E12",
        title="Sent to two agents at once",
        actors=_CP,
        change="which agents a job is offered to",
        happens="",
        not_yet="the ledger is not drilled",
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
        happens="",
        not_yet="static seals are not drilled",
    ),
)
