"""From the bytes of a pipeline file to a `Pipeline`: kinds of steps, groups, and what does not fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from pipeseal.errors import MalformedInput, Position, escape_control
from pipeseal.pipeline.checkout import checkout_of
from pipeseal.pipeline.coerce import (
    Misfit,
    Path,
    env_of,
    first_present,
    name,
    optional_text_of,
    spread_nameless,
    text_of,
)
from pipeseal.pipeline.commandstep import KEY_NAMES, command_step_of, parse_checkout, parse_command_step
from pipeseal.pipeline.jsontext import show_path
from pipeseal.pipeline.origin import Origin
from pipeseal.pipeline.secrets import secrets_of
from pipeseal.pipeline.steps import (
    GroupStep,
    InputStep,
    Pipeline,
    Step,
    TriggerStep,
    UnknownStep,
    WaitStep,
)
from pipeseal.pipeline.values import Value, describe
from pipeseal.pipeline.yaml import DEFAULT_LIMITS, Limits, Source, collector_paused, read_documents

__all__ = ["parse_all", "parse_checkout", "parse_command_step", "parse_pipeline"]

MAX_WARNINGS = 100

COMMAND, WAIT, INPUT, TRIGGER, GROUP = "command", "wait", "input", "trigger", "group"

# What a `type` member may say.
_BY_TYPE = {
    "command": COMMAND,
    "script": COMMAND,
    "wait": WAIT,
    "waiter": WAIT,
    "block": INPUT,
    "input": INPUT,
    "manual": INPUT,
    "trigger": TRIGGER,
    "group": GROUP,
}

# Without `type`, the first of these members decides, whatever its value.
_BY_MEMBER = (
    ("command", COMMAND),
    ("commands", COMMAND),
    ("plugins", COMMAND),
    ("wait", WAIT),
    ("waiter", WAIT),
    ("block", INPUT),
    ("input", INPUT),
    ("manual", INPUT),
    ("trigger", TRIGGER),
    ("group", GROUP),
)

_GROUP_NAMES = ("group", "label", "name")


@dataclass(slots=True)
class _Notes:
    """What was understood only in part: path and sentence of each.

    Parameters:
        found: what also makes a group around it unknown.
        aside: what does not, since the group has unknown members: the reference forgets its warnings then.
    """

    found: list[tuple[Path, str]] = field(default_factory=list)
    aside: list[tuple[Path, str]] = field(default_factory=list)

    def add(self, path: Path, message: str) -> None:
        self.found.append((path, message))


def _steps_of(value: Value, path: Path, notes: _Notes) -> list[Step]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise Misfit(path, f"{name(path)} is {describe(value)}, and a list of steps is wanted")
    return [_step_of(item, (*path, index), notes) for index, item in enumerate(value)]


def _step_of(value: Value, path: Path, notes: _Notes) -> Step:
    if isinstance(value, dict):
        return _step_from_mapping(value, path, notes)
    if not isinstance(value, str):
        raise Misfit(path, f"a step is {describe(value)}, and text or a mapping is wanted")
    if value in ("wait", "waiter"):
        return WaitStep(value)
    if value in ("block", "input", "manual"):
        return InputStep(value)
    return _unknown(value, path, f"the step `{value}` is not one of wait, waiter, block, input and manual", notes)


def _unknown(content: Value, path: Path, reason: str, notes: _Notes) -> UnknownStep:
    notes.add(path, reason)
    return UnknownStep(content, reason)


def _step_from_mapping(members: dict[str, Value], path: Path, notes: _Notes) -> Step:
    if "type" in members:
        said = members["type"]
        if not isinstance(said, str):
            raise Misfit((*path, "type"), f"`type` of a step is {describe(said)}, and text is wanted")
        kind = _BY_TYPE.get(said)
        if kind is None:
            return _unknown(members, path, f"the step's type `{said}` is not known", notes)
    else:
        kind = next((kind for member, kind in _BY_MEMBER if member in members), None)
        if kind is None:
            wanted = ", ".join(member for member, _ in _BY_MEMBER)
            return _unknown(members, path, f"the step has none of the members {wanted}", notes)
    if kind is COMMAND:
        try:
            return command_step_of(members, path)
        except Misfit as misfit:
            return _unknown(members, misfit.path, misfit.message, notes)
    if kind is WAIT:
        return WaitStep(None, dict(members))
    if kind is INPUT:
        return InputStep(None, dict(members))
    if kind is TRIGGER:
        return TriggerStep(dict(members))
    try:
        return _group_of(members, path, notes)
    except Misfit as misfit:
        return _unknown(members, misfit.path, misfit.message, notes)


def _group_of(members: dict[str, Value], path: Path, notes: _Notes) -> GroupStep:
    rest = dict(members)
    group = GroupStep()
    if (used := first_present(rest, KEY_NAMES)) is not None:
        group.key = text_of(rest.pop(used), (*path, used))
    if (used := first_present(rest, _GROUP_NAMES)) is not None:
        group.group = optional_text_of(rest.pop(used), (*path, used))
    inside = _Notes()
    rest = dict(spread_nameless(rest, ("steps",)))
    if "steps" in rest:
        group.steps = _steps_of(rest.pop("steps"), (*path, "steps"), inside)
    if inside.found and not rest:
        # One step that is not known, and nobody can say any more what the group is.
        raise Misfit(*inside.found[0])
    notes.aside += inside.found + inside.aside
    group.rest = rest
    return group


def _pipeline_of(value: Value, notes: _Notes) -> Pipeline:
    pipeline = Pipeline()
    if isinstance(value, list):
        pipeline.steps = [_step_of(item, (index,), notes) for index, item in enumerate(value)]
        return pipeline
    if not isinstance(value, dict):
        raise Misfit((), f"a pipeline is a mapping or a list of steps, and this is {describe(value)}")
    rest = dict(spread_nameless(value, ("steps", "env", "secrets", "checkout")))
    if "steps" in rest:
        pipeline.steps = _steps_of(rest.pop("steps"), ("steps",), notes)
    else:
        notes.add((), "the pipeline has no steps")
    if "env" in rest:
        env = rest.pop("env")
        pipeline.env_is_set = env is not None
        pipeline.env = env_of(env, ("env",))
    if "secrets" in rest:
        pipeline.secrets = secrets_of(rest.pop("secrets"), ("secrets",))
    if "checkout" in rest:
        pipeline.checkout = checkout_of(rest.pop("checkout"), ("checkout",))
    pipeline.rest = rest
    return pipeline


def _warning(path: Path, message: str, position: Position | None, source: str) -> str:
    """One line for a person: `pipeline.yml:12:5: step 3: ...`, safe for a terminal."""
    where = str(position) if position is not None else source
    index = next((part for part in path if isinstance(part, int)), None)
    if index is None:
        return escape_control(f"{where}: {message}")
    return escape_control(f"{where}: step {index + 1} is not understood and cannot be signed: {message}")


def _finish(value: Value, origin: Origin) -> Pipeline:
    notes = _Notes()
    try:
        with collector_paused():
            pipeline = _pipeline_of(value, notes)
    except Misfit as misfit:
        place = f"`{show_path(misfit.path)}`: " if len(misfit.path) > 1 else ""
        raise MalformedInput(
            "pipeline.malformed", place + misfit.message, position=origin.find(misfit.path)
        ) from None
    pipeline.origin = origin
    found = notes.found + notes.aside
    pipeline.warnings = [
        _warning(path, text, origin.find(path), origin.source.name) for path, text in found[:MAX_WARNINGS]
    ]
    if len(found) > MAX_WARNINGS:
        pipeline.warnings.append(f"{origin.source.name}: {len(found) - MAX_WARNINGS:,} more like these")
    return pipeline


def _encode(data: bytes | str) -> bytes:
    return data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data


def parse_pipeline(data: bytes | str, *, source: str = "<input>", limits: Limits = DEFAULT_LIMITS) -> Pipeline:
    """The pipeline in the first document of a YAML (or JSON) text; what follows it is not looked at.

    Steps that cannot be read become unknown steps, with a warning that says where and why.

    Parameters:
        data: the text; bytes are UTF-8, or UTF-16 with a byte order mark.
        source: its name, for positions.
        limits: what is refused.

    Raises:
        MalformedInput: `yaml.*`, `input.*`; `pipeline.malformed` when the whole is not a pipeline.
    """
    for outcome in _parse(data, source, limits, only_first=True):
        if isinstance(outcome, MalformedInput):
            raise outcome
        return outcome
    raise MalformedInput("yaml.empty", f"{source} has no YAML document in it")


def _parse(
    data: bytes | str, source: str, limits: Limits, *, only_first: bool
) -> Iterator[Pipeline | MalformedInput]:
    text = Source(source, _encode(data))
    documents = read_documents(text.data, source=source, limits=limits, only_first=only_first)
    for index, document in enumerate(documents):
        if isinstance(document, MalformedInput):
            yield document
            continue
        try:
            pipeline = _finish(document, Origin(text, index, limits))
        except MalformedInput as error:
            yield error
        else:
            yield pipeline


def parse_all(
    data: bytes | str, *, source: str = "<input>", limits: Limits = DEFAULT_LIMITS
) -> Iterator[Pipeline | MalformedInput]:
    """The pipelines of all documents of a YAML text, each its own.

    Parameters:
        data: the text; bytes are UTF-8, or UTF-16 with a byte order mark.
        source: its name, for positions.
        limits: what is refused.

    Returns:
        Each document's pipeline, or the error that makes it none. Nothing follows an error of YAML syntax.
    """
    return _parse(data, source, limits, only_first=False)
