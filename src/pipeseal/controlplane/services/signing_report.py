"""How signing stands: what steps carry, what agents said of jobs, and how far a pipeline is on its way to enforcing.

All of it is the server's word. It reports and proposes; the mode is set where the agents are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from sqlite3 import Row
from typing import Final

import msgspec

from pipeseal.agentapi.messages import ObservedFinding
from pipeseal.controlplane.domain.rollout import DAY, STAGES, AgentStage, Span, plan_rollout
from pipeseal.controlplane.services.authenticate import not_found
from pipeseal.controlplane.services.build_shape import time_text
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.services.signed_steps import carries_seal, key_id_of, signature_of
from pipeseal.controlplane.store import builds as build_store
from pipeseal.controlplane.store import decisions as decision_store
from pipeseal.controlplane.store import signing_keys as key_store
from pipeseal.controlplane.store.database import Transaction
from pipeseal.errors.codes import find_code

REPORT_DAYS: Final = 30
MOST_DAYS: Final = 90
_NEWEST_BUILDS: Final = 200
_MOST_STEPS: Final = 2000
_MOST_REFUSALS: Final = 500
_MOST_OBSERVED: Final = 2000
_MOST_AGENTS: Final = 100
_MOST_FIELDS: Final = 8
# Of a list of pipelines, the modes of each are those of so many builds.
_BUILDS_OF_LIST: Final = 20
_STEPS_OF_LIST: Final = 500


class RefusedJob(msgspec.Struct):
    """A job that an agent refused."""

    id: str
    number: int
    label: str
    code: str
    message: str
    finished_at: str | None


class ObservedJob(msgspec.Struct):
    """A job that ran, and that a policy which enforces would have refused."""

    id: str
    number: int
    label: str
    finished_at: str | None


class ObservedGroup(msgspec.Struct):
    """Jobs of one step that would have been refused for one reason: how many, the fields or variables it was about,
    what to do, and the newest of them."""

    code: str
    step: str
    jobs: int
    fields: list[str]
    fix: str | None
    newest: ObservedJob


class Outcomes(msgspec.Struct):
    """Jobs that agents ended, by what the agents said of them: proven by a seal, by a signature alone, by nothing,
    refused; and those of agents that said nothing. `would_be_refused` are among the first three."""

    sealed: int = 0
    signed: int = 0
    unproven: int = 0
    refused: int = 0
    untold: int = 0
    would_be_refused: int = 0


class ReportedAgent(msgspec.Struct):
    """An agent as its latest job of the pipeline shows it; `mode` is null when it told nothing."""

    name: str
    version: str
    mode: str | None
    jobs: int
    last_at: str | None


class Proposal(msgspec.Struct):
    """Where the pipeline's agents stand and what comes next: `stage` is the weakest mode of those that verify, held
    since `since`; `next` may begin `on` that day, or when nobody is `in_the_way` any more."""

    stage: str | None
    since: str | None
    next: str | None
    on: str | None
    in_the_way: list[str]


class SigningReport(msgspec.Struct):
    """How signing stands in a pipeline, over the last days: the server's word, some of it as agents told it.

    `steps` counts the command steps of the newest builds by what they carry: a signature with a seal, a signature
    alone, or none; `jobs` counts jobs that agents ended, and `refused` are those among them that agents refused.
    `modes` counts agents by what their policy says of the pipeline's jobs; `agents` are named, the weakest first.
    """

    days: int
    jobs: int
    refused: list[RefusedJob]
    sealed_steps: int
    signed_steps: int
    unsigned_steps: int
    keys: list[str]
    outcomes: Outcomes
    would_be_refused: list[ObservedGroup]
    modes: dict[str, int]
    agents: list[ReportedAgent]
    proposal: Proposal


class PipelineSigning(msgspec.Struct):
    """How signing stands in a pipeline, in short: how many command steps of its newest build carry a signature, and
    which modes agents told of in its last builds."""

    pipeline: str
    name: str
    steps: int
    signed_steps: int
    modes: list[str]


class _RefusalText(msgspec.Struct):
    code: str = ""
    message: str = ""


@dataclass(slots=True)
class _Group:
    """Jobs of one step and one code, newest first."""

    newest: Row
    jobs: int = 0
    fields: Counter[str] = field(default_factory=Counter)


_FINDINGS: Final = msgspec.json.Decoder(list[ObservedFinding])


async def read_report(plane: ControlPlane, slug: str, *, days: int) -> SigningReport:
    """How signing stands in a pipeline.

    Parameters:
        days: how far back it looks.

    Raises:
        MalformedInput: `request.not_found`.
    """
    now = plane.now()
    since = now - days * DAY

    def look(tx: Transaction) -> tuple[list[Row], list[Row], list[Row], list[Row]]:
        pipeline = build_store.find_pipeline(tx, slug)
        if pipeline is None:
            raise not_found("such pipeline")
        return (
            decision_store.outcomes_since(tx, pipeline["id"], since),
            decision_store.observed_since(tx, pipeline["id"], since, limit=_MOST_OBSERVED),
            key_store.refusals_since(tx, pipeline["id"], since, limit=_MOST_REFUSALS),
            key_store.newest_steps(tx, pipeline_id=pipeline["id"], builds=_NEWEST_BUILDS, limit=_MOST_STEPS),
        )

    lines, observed, refused, steps = await plane.database.read(look)
    agents = _agents(lines)
    rollout = plan_rollout(
        agents,
        _spans(lines),
        last_observed_at=max((row["last_at"] for row in lines if row["was_observed"]), default=None),
        now=now,
    )
    carried, kids = _carried(steps)
    return SigningReport(
        days=days,
        jobs=sum(row["jobs"] for row in lines),
        refused=[_refused(row) for row in refused],
        sealed_steps=carried["sealed"],
        signed_steps=carried["signed"],
        unsigned_steps=carried["unsigned"],
        keys=sorted(kids - {""}),
        outcomes=_outcomes(lines),
        would_be_refused=_groups(observed),
        modes=dict(Counter(agent.mode or "untold" for agent in agents)),
        agents=[
            ReportedAgent(agent.name, agent.version, agent.mode, agent.jobs, time_text(agent.last_at))
            for agent in sorted(agents, key=_weakest_first)[:_MOST_AGENTS]
        ],
        proposal=Proposal(
            stage=rollout.stage,
            since=time_text(rollout.since),
            next=rollout.next,
            on=time_text(rollout.on),
            in_the_way=list(rollout.in_the_way[:_MOST_AGENTS]),
        ),
    )


def _agents(lines: Sequence[Row]) -> list[AgentStage]:
    """The agents behind the lines, each with the mode of its latest job; the newest line comes first."""
    found: dict[str, AgentStage] = {}
    for row in lines:
        known = found.get(row["agent"])
        if known is None:
            found[row["agent"]] = AgentStage(row["agent"], row["version"], row["mode"], row["jobs"], row["last_at"])
        else:
            found[row["agent"]] = AgentStage(
                known.name, known.version, known.mode, known.jobs + row["jobs"], known.last_at
            )
    return list(found.values())


def _weakest_first(agent: AgentStage) -> tuple[int, int]:
    return (STAGES.index(agent.mode) if agent.mode in STAGES else -1, -agent.last_at)


def _spans(lines: Sequence[Row]) -> dict[str, Span]:
    spans: dict[str, Span] = {}
    for row in lines:
        if row["mode"] is not None:
            known = spans.get(row["mode"], Span(row["first_at"], row["last_at"]))
            spans[row["mode"]] = Span(min(known.first_at, row["first_at"]), max(known.last_at, row["last_at"]))
    return spans


def _outcomes(lines: Sequence[Row]) -> Outcomes:
    found = Outcomes()
    for row in lines:
        count = row["jobs"]
        if row["was_refused"]:
            found.refused += count
        elif row["proof"] is None:
            found.untold += count
        else:
            found.would_be_refused += count if row["was_observed"] else 0
            found.sealed += count if row["proof"] == "seal" else 0
            found.signed += count if row["proof"] == "signature" else 0
            found.unproven += count if row["proof"] not in ("seal", "signature") else 0
    return found


def _groups(observed: Sequence[Row]) -> list[ObservedGroup]:
    """By code and step, the most jobs first."""
    groups: dict[tuple[str, str], _Group] = {}
    for row in observed:
        step = row["key"] or row["label"] or "a step"
        counted = set()
        for finding in _FINDINGS.decode(row["findings"]):
            group = groups.setdefault((finding.code, step), _Group(row))
            group.jobs += finding.code not in counted
            counted.add(finding.code)
            group.fields.update(finding.fields)
    return [
        ObservedGroup(
            code,
            step,
            group.jobs,
            [name for name, _ in group.fields.most_common(_MOST_FIELDS)],
            known.fix if (known := find_code(code)) is not None else None,
            ObservedJob(
                group.newest["id"],
                group.newest["number"],
                group.newest["label"],
                time_text(group.newest["finished_at"]),
            ),
        )
        for (code, step), group in sorted(groups.items(), key=lambda item: (-item[1].jobs, item[0]))
    ]


def _refused(row: Row) -> RefusedJob:
    said = msgspec.json.decode(row["refusal"], type=_RefusalText)
    return RefusedJob(row["id"], row["number"], row["label"], said.code, said.message, time_text(row["finished_at"]))


def _carried(steps: Sequence[Row]) -> tuple[Counter[str], set[str]]:
    """How many steps carry what, and the keys that their signatures name."""
    carried: Counter[str] = Counter()
    kids: set[str] = set()
    for row in steps:
        signature = signature_of(row["content"])
        if signature is None:
            carried["unsigned"] += 1
            continue
        kids.add(key_id_of(signature.value))
        carried["sealed" if carries_seal(row["content"]) else "signed"] += 1
    return carried, kids


async def list_signing(plane: ControlPlane, *, limit: int, offset: int) -> tuple[list[PipelineSigning], int | None]:
    """How signing stands in each pipeline, in short, in the order of the list of pipelines; and how many there are in
    all, None when they are too many to be counted."""

    def look(tx: Transaction) -> tuple[list[PipelineSigning], int | None]:
        pipelines = build_store.list_pipelines(tx, repository=None, visibility=None, limit=limit, offset=offset)
        total = build_store.count_pipelines(tx, repository=None, visibility=None)
        return [_in_short(tx, pipeline) for pipeline in pipelines], total

    return await plane.database.read(look)


def _in_short(tx: Transaction, pipeline: Row) -> PipelineSigning:
    steps = key_store.newest_steps(tx, pipeline_id=pipeline["id"], builds=1, limit=_STEPS_OF_LIST)
    signed = sum(signature_of(row["content"]) is not None for row in steps)
    after = pipeline["last_build_number"] - _BUILDS_OF_LIST
    modes = decision_store.modes_of_newest(tx, pipeline["id"], after_number=after)
    return PipelineSigning(pipeline["slug"], pipeline["name"], len(steps), signed, modes)
