"""From a pipeline's JSON to steps and jobs: groups, matrix, parallelism, conditions, limits.

The text of each step is kept exactly as it was uploaded, signature included: it goes to the agent byte for byte. What
this module reads out of it (rules, counts, dependencies) is for scheduling only.
What this server cannot honour is never dropped in silence: `known_members` has what there is, and the warnings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from pipeseal.controlplane.domain.agents import Rules, read_rules
from pipeseal.controlplane.domain.branches import parse_branches
from pipeseal.controlplane.domain.combinations import over_limit, read_combinations
from pipeseal.controlplane.domain.conditions import (
    ConditionFacts,
    MatchBudget,
    Place,
    evaluate_condition,
    parse_condition,
)
from pipeseal.controlplane.domain.dependencies import Dependency, read_depends_on
from pipeseal.controlplane.domain.fields import read_blocked_state, read_fields
from pipeseal.controlplane.domain.job import JobState
from pipeseal.controlplane.domain.known_members import member_warnings
from pipeseal.controlplane.domain.limits import Limits
from pipeseal.controlplane.domain.members import (
    check_artifact_paths,
    flatten_step,
    read_count,
    read_flag,
    read_priority,
    read_skip,
    read_timeout,
    step_kind,
)
from pipeseal.controlplane.domain.notifications import parse_notify
from pipeseal.controlplane.domain.retry import check_retry, check_soft_fail
from pipeseal.controlplane.domain.triggers import read_trigger
from pipeseal.controlplane.domain.uploaded_members import GroupMembers, PipelineMembers, StepMembers
from pipeseal.errors import MalformedInput, PipesealError
from pipeseal.pipeline.steps import CommandStep

_MAX_DEPTH = 32  # of groups inside groups
_NOTHING: tuple[Any, ...] = (None, [], {})


@dataclass(frozen=True, slots=True)
class BuildFacts:
    """What a pipeline's filters and conditions may ask about the build.

    Parameters:
        variables: of conditions, by their names (`build.branch`, ...).
        build_env: the build's own variables.
        standard_env: the `BUILDKITE_` variables that all of its jobs share.
    """

    branch: str
    variables: Mapping[str, str | int | bool | Sequence[str] | None] = field(default_factory=dict)
    build_env: Mapping[str, str] = field(default_factory=dict)
    standard_env: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class PlannedJob:
    """A job to be made.

    Parameters:
        kind: `script`, `waiter`, `manual` or `trigger`.
        state: `waiting`, or an end state for a job that will never run.
        reason: why it will never run; empty otherwise.
        matrix: dimension to value; None without a matrix.
        parallel_index, parallel_count: from 0; None without `parallelism`.
    """

    kind: str
    state: JobState
    label: str
    reason: str = ""
    matrix: dict[str, str] | None = None
    parallel_index: int | None = None
    parallel_count: int | None = None
    rules: Rules = ()
    priority: int = 0
    concurrency_group: str | None = None
    concurrency_limit: int | None = None
    concurrency_method: str = "ordered"
    timeout_minutes: int | None = None


@dataclass(slots=True)
class PlannedStep:
    """A step to be made.

    Parameters:
        kind: `command`, `wait`, `block`, `input`, `trigger` or `group`.
        parent: index in the plan of the group it stands in; None at the top.
        depends_on: None when the step says nothing about it, so that the barriers before it count.
        content: the step's JSON as uploaded (of a group: without its steps).
    """

    kind: str
    key: str
    label: str
    content: str
    parent: int | None = None
    depends_on: list[Dependency] | None = None
    allow_dependency_failure: bool = False
    continue_on_failure: bool = False
    cancel_on_build_failing: bool = False
    jobs: list[PlannedJob] = field(default_factory=list)


@dataclass(slots=True)
class Plan:
    """What one pipeline adds to a build.

    Parameters:
        checkout: JSON of its pipeline-level checkout settings, or None.
        notify: JSON of its pipeline-level `notify`, when it has webhooks; else None.
    """

    steps: list[PlannedStep]
    env: dict[str, str]
    checkout: str | None
    warnings: list[str]
    notify: str | None = None

    @property
    def job_count(self) -> int:
        """How many jobs it makes."""
        return sum(len(step.jobs) for step in self.steps)


class Expansion:
    """One run of `expand_pipeline`: the plan as it grows.

    Parameters:
        limits: of this server.
        facts: of the build, for `branches` and `if`.
        parse_step: reads a command step's JSON (`pipeline.parse_command_step`).
        interpolate: puts a matrix combination into a step (`pipeline.interpolate_matrix`).
        inherit_secrets: gives a command step, as JSON and as a value, the secrets of its pipeline; returns its JSON,
            or None when it is signed without them.
        allow_http: webhooks of `notify` may go without TLS.
    """

    def __init__(
        self,
        *,
        limits: Limits,
        facts: BuildFacts,
        parse_step: Callable[[bytes], CommandStep],
        interpolate: Callable[[CommandStep, dict[str, str]], CommandStep],
        inherit_secrets: Callable[[str, CommandStep, Any], str | None],
        allow_http: bool = False,
    ) -> None:
        self._limits = limits
        self._facts = facts
        self._conditions = ConditionFacts()
        self._parse_step = parse_step
        self._interpolate = interpolate
        self._inherit_secrets = inherit_secrets
        self._allow_http = allow_http
        self._budget = MatchBudget()  # one for all conditions of an upload
        self._steps: list[PlannedStep] = []
        self._warnings: dict[str, None] = {}  # ordered, each once
        self._jobs = 0
        self._default_rules: Any = None
        self._default_priority: Any = None
        self._secrets: Any = None

    def expand(self, pipeline: bytes) -> Plan:
        """Read a pipeline.

        Parameters:
            pipeline: its JSON, a mapping with `steps`, in the normal form that uploaders send.

        Returns:
            The plan.

        Raises:
            MalformedInput: `request.malformed`, `upload.step`, `upload.limit`, those of `condition`, `branches` and
                `notification`.
        """
        try:
            document = msgspec.json.decode(pipeline, type=PipelineMembers)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise MalformedInput(
                "request.malformed", f"the pipeline is not what an uploader sends: {error}"
            ) from error
        env = _read_env(document.env)
        facts = self._facts
        self._conditions = ConditionFacts(facts.variables, {**env, **facts.build_env, **facts.standard_env})
        self._default_rules = document.agents
        self._default_priority = document.priority
        self._secrets = document.secrets
        for warning in member_warnings("", msgspec.json.decode(pipeline, type=dict[str, Any]), "the pipeline"):
            self._warn(warning)
        for raw, where in _numbered(document.steps, "step "):
            self._add(raw, where, None, 0)
        checkout = bytes(document.checkout).decode() or None
        notify = self._read_notify(bytes(document.notify))
        return Plan(self._steps, env, checkout, list(self._warnings), notify)

    def _read_notify(self, text: bytes) -> str | None:
        if not text:
            return None
        rules = self._check_notify(msgspec.json.decode(text), "the pipeline", Place.BUILD_NOTIFICATION)
        return text.decode() if rules else None

    def _check_notify(self, value: Any, where: str, place: Place) -> bool:
        """Read a `notify` for its errors and warnings; says whether anything will be sent."""
        try:
            notify = parse_notify(value, source=where, allow_http=self._allow_http, place=place)
        except MalformedInput as error:
            message = error.message if error.message.startswith(where) else f"{where}: in `notify`: {error.message}"
            raise MalformedInput(error.code, message, help=error.help, position=error.position) from error
        for warning in notify.warnings:
            self._warn(warning)
        return bool(notify.rules)

    def _warn(self, text: str) -> None:
        self._warnings[text] = None

    def _add(self, raw: msgspec.Raw, where: str, parent: int | None, depth: int) -> None:
        value = msgspec.json.decode(raw)
        kind = step_kind(value, where)
        flat = flatten_step(value, kind, where)
        if flat is not None:
            value, raw = flat, msgspec.Raw(msgspec.json.encode(flat))
        members = StepMembers()
        if isinstance(value, dict):
            try:
                members = msgspec.json.decode(raw, type=StepMembers)
            except msgspec.MsgspecError as error:
                raise MalformedInput("upload.step", f"{where}: {error}") from error
        key = _first_text(where, "key", members.key, members.id, members.identifier)
        if key:
            where = f"{where} ({key})"
        step = PlannedStep(
            kind=kind,
            key=key,
            label=self._label(kind, members, where),
            content=bytes(raw).decode(),
            parent=parent,
            depends_on=read_depends_on(members.depends_on, where),
            allow_dependency_failure=read_flag(members.allow_dependency_failure, "allow_dependency_failure", where),
            continue_on_failure=read_flag(members.continue_on_failure, "continue_on_failure", where),
            cancel_on_build_failing=kind in ("command", "trigger")
            and read_flag(members.cancel_on_build_failing, "cancel_on_build_failing", where),
        )
        self._steps.append(step)
        if isinstance(value, dict):
            for warning in member_warnings(kind, value, where):
                self._warn(warning)
        if kind in ("command", "trigger"):
            self._check_notify(members.notify, where, Place.STEP_NOTIFICATION)
        state, reason = self._fate(members, where)
        if kind == "group":
            self._add_group(raw, step, where, depth, state, reason)
            return
        for job in self._jobs_of(kind, step, members, where):
            if state is not JobState.WAITING and job.state is JobState.WAITING:
                job.state, job.reason = state, reason
            step.jobs.append(job)
        self._count(len(step.jobs))

    def _add_group(
        self, raw: msgspec.Raw, group: PlannedStep, where: str, depth: int, state: JobState, reason: str
    ) -> None:
        if depth >= _MAX_DEPTH:
            raise MalformedInput("upload.step", f"{where}: groups stand more than {_MAX_DEPTH} deep in each other")
        try:
            inner = msgspec.json.decode(raw, type=GroupMembers).steps
        except msgspec.MsgspecError as error:
            raise MalformedInput("upload.step", f"{where}: {error}") from error
        index = len(self._steps) - 1
        group.content = "{}"  # its steps carry their own text
        for child, child_where in _numbered(inner, f"{where}, step "):
            self._add(child, child_where, index, depth + 1)
        if state is not JobState.WAITING:
            for step in self._steps[index + 1 :]:
                for job in step.jobs:
                    if job.state is JobState.WAITING:
                        job.state, job.reason = state, reason

    def _fate(self, members: StepMembers, where: str) -> tuple[JobState, str]:
        """Whether the step will run at all, as far as can be known now."""
        skip = read_skip(members.skip, where)
        if skip is not None:
            return JobState.SKIPPED, skip or "skipped by the pipeline"
        if members.branches is not None and members.if_ is not None:
            raise MalformedInput(
                "upload.step",
                f"{where}: `if` and `branches` cannot be used together",
                help="ask for the branch in the condition, as in build.branch =~ /^release/",
            )
        if not parse_branches(members.branches, source=where).includes(self._facts.branch):
            return JobState.BROKEN, f"`branches` does not include {self._facts.branch!r}"
        if members.if_ is not None and not self._holds(members.if_, where):
            return JobState.BROKEN, f"its condition is false: {members.if_}"
        return JobState.WAITING, ""

    def _holds(self, condition: Any, where: str) -> bool:
        if isinstance(condition, bool):
            return condition  # YAML's own true and false
        if not isinstance(condition, str):
            raise MalformedInput("condition.malformed", f"{where}: `if` must be text")
        try:
            parsed = parse_condition(condition, source=f"{where}, if")
            return evaluate_condition(parsed, self._conditions, self._budget)
        except MalformedInput as error:
            message = f"{where}: in `if`: {error.message}"
            raise MalformedInput(error.code, message, help=error.help, position=error.position) from error

    def _label(self, kind: str, members: StepMembers, where: str) -> str:
        if kind == "group":
            return _first_text(where, "group", members.group, members.label, members.name)
        given = (members.label, members.name, members.block, members.input, members.manual)
        return _first_text(where, "label", *given) or (
            f"trigger {_first_text(where, 'trigger', members.trigger)}" if kind == "trigger" else ""
        )

    def _jobs_of(self, kind: str, step: PlannedStep, members: StepMembers, where: str) -> Iterator[PlannedJob]:
        match kind:
            case "wait":
                yield PlannedJob("waiter", JobState.WAITING, step.label)
            case "block" | "input":
                read_fields(members.fields, where)
                read_blocked_state(members.blocked_state, where)
                yield PlannedJob("manual", JobState.WAITING, step.label)
            case "trigger":
                read_trigger(members.trigger, members.build, members.async_, where)
                check_soft_fail(members.soft_fail, where)
                yield PlannedJob("trigger", JobState.WAITING, step.label)
            case _:
                yield from self._command_jobs(step, members, where)

    def _command_jobs(self, step: PlannedStep, members: StepMembers, where: str) -> Iterator[PlannedJob]:
        try:
            command = self._parse_step(step.content.encode())
        except PipesealError as error:
            raise MalformedInput("upload.step", f"{where}: {error.message}", help=error.help) from error
        if self._secrets not in _NOTHING:
            self._inherit(step, command, where)
        rules = read_rules(self._default_rules if members.agents is None else members.agents, where)
        priority = read_priority(self._default_priority if members.priority is None else members.priority, where)
        timeout = read_timeout(members.timeout_in_minutes, where)
        check_retry(members.retry, where)
        check_soft_fail(members.soft_fail, where)
        for adjustment in command.matrix.adjustments if command.matrix is not None else ():
            check_soft_fail(None if adjustment is None else adjustment.rest.get("soft_fail"), where)
        check_artifact_paths(members.artifact_paths, where)
        group, limit, method = self._concurrency(members, where)
        parallel = read_count(members.parallelism, "parallelism", where)
        if parallel is not None and parallel > self._limits.max_jobs_per_upload:
            self._count(parallel)
        for combination, skip in read_combinations(command.matrix, self._limits.max_jobs_per_matrix, where):
            label = step.label
            if combination is not None and skip is None:
                try:
                    label = self._interpolate(command, combination).label
                except PipesealError as error:
                    raise MalformedInput("upload.step", f"{where}: {error.message}", help=error.help) from error
            for index in range(parallel if parallel is not None else 1):
                yield PlannedJob(
                    kind="script",
                    state=JobState.WAITING if skip is None else JobState.SKIPPED,
                    reason="" if skip is None else skip or "skipped by an adjustment of the matrix",
                    label=label,
                    matrix=combination,
                    parallel_index=None if parallel is None else index,
                    parallel_count=parallel,
                    rules=rules,
                    priority=priority,
                    concurrency_group=group,
                    concurrency_limit=limit,
                    concurrency_method=method,
                    timeout_minutes=timeout,
                )

    def _inherit(self, step: PlannedStep, command: CommandStep, where: str) -> None:
        content = self._inherit_secrets(step.content, command, self._secrets)
        if content is None:
            self._warn(
                f"{where}: the step was signed without the `secrets` of the whole pipeline and does not get them; "
                "name them in the step, or sign it with `tool sign`"
            )
        else:
            step.content = content

    def _concurrency(self, members: StepMembers, where: str) -> tuple[str | None, int | None, str]:
        limit = read_count(members.concurrency, "concurrency", where)
        group = _first_text(where, "concurrency_group", members.concurrency_group)
        method = members.concurrency_method
        if method not in (None, "ordered", "eager"):
            raise MalformedInput(
                "upload.step", f"{where}: `concurrency_method` is `ordered` or `eager`, not {method!r}"
            )
        if limit is None and not group and method is None:
            return None, None, "ordered"
        if limit is None or not group:
            raise MalformedInput("upload.step", f"{where}: `concurrency` and `concurrency_group` go together")
        return group, limit, method or "ordered"

    def _count(self, jobs: int) -> None:
        self._jobs += jobs
        if self._jobs > self._limits.max_jobs_per_upload:
            limit = self._limits.max_jobs_per_upload
            raise over_limit("", self._jobs, "one upload", "max_jobs_per_upload", limit, at_least=True)


def _numbered(steps: list[msgspec.Raw] | None, prefix: str) -> Iterator[tuple[msgspec.Raw, str]]:
    for number, raw in enumerate(steps or (), 1):
        yield raw, f"{prefix}{number}"


def _read_env(env: dict[str, Any] | None) -> dict[str, str]:
    texts: dict[str, str] = {}
    for name, value in (env or {}).items():
        match value:
            case None:
                texts[name] = ""
            case bool():
                texts[name] = "true" if value else "false"
            case str() | int():
                texts[name] = str(value)
            case _:
                raise MalformedInput(
                    "request.malformed", f"the pipeline's env variable {name!r} is {type(value).__name__}, not text"
                )
    return texts


def _first_text(where: str, name: str, *values: Any) -> str:
    """The first of `values` that is there, as text; empty when none is."""
    for value in values:
        match value:
            case None:
                continue
            case bool():
                return "true" if value else "false"
            case str():
                return value
            case int() | float():
                return str(value)
            case _:
                raise MalformedInput("upload.step", f"{where}: `{name}` must be text, not {type(value).__name__}")
    return ""
