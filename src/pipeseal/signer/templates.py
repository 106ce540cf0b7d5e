"""Generated pipelines: every step must be one of the templates in a file of the verified commit, holes filled in.

A template is a step with `[[NAME]]` where something may be filled in. What a hole takes is declared beside it: one of
a few words, a whole number in a range, or a text of a pattern. Whoever generates the pipeline chooses which templates
to use, in which order, and what is in the holes; nothing else.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, NoReturn

from pipeseal.errors import MalformedInput, VerificationError, escape_control
from pipeseal.pipeline.jsontext import decode_json
from pipeseal.pipeline.parse import parse_pipeline
from pipeseal.pipeline.render import pipeline_value, render_json
from pipeseal.pipeline.steps import CommandStep, GroupStep, Pipeline, Step, WaitStep
from pipeseal.pipeline.yaml import read_documents

MAX_TEMPLATES: Final = 500
MAX_HOLES: Final = 50
MAX_FILLING_CHARACTERS: Final = 200
MAX_TEXT_CHARACTERS: Final = 20_000
# What a pattern lets through is still only text to a shell.
_PLAIN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/@+:,%=-]*")
_PLAIN_CHARACTERS: Final = string.ascii_letters + string.digits + "._/@+:,%=-"
_HOLE: Final = re.compile(r"\[\[([A-Za-z][A-Za-z0-9_]*)\]\]")
_ADJACENT: Final = re.compile(r"\]\]\[\[[A-Za-z]")
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,15})")


class Hole(NamedTuple):
    """What may be filled in.

    Parameters:
        words: one of these; None for a number or a pattern.
        least, most: a whole number in this range; None for words or a pattern.
        pattern: a text that matches as a whole; None for words or a number.
    """

    words: tuple[str, ...] | None = None
    least: int | None = None
    most: int | None = None
    pattern: re.Pattern[str] | None = None

    def admits(self, text: str) -> bool:
        """Whether `text` may be filled in."""
        if len(text) > MAX_FILLING_CHARACTERS:
            return False
        if self.words is not None:
            return text in self.words
        if self.pattern is not None:
            return _PLAIN.fullmatch(text) is not None and self.pattern.fullmatch(text) is not None
        assert self.least is not None and self.most is not None
        return _NUMBER.fullmatch(text) is not None and text != "-0" and self.least <= int(text) <= self.most


class Template(NamedTuple):
    """A step with holes.

    Parameters:
        name: for messages.
        step: as JSON has it, variables expanded.
        holes: by name.
    """

    name: str
    step: Any
    holes: Mapping[str, Hole]


class TemplateFile(NamedTuple):
    """The file of templates: the steps as a pipeline, for expanding variables, and what their holes take."""

    names: tuple[str, ...]
    pipeline: Pipeline
    holes: tuple[Mapping[str, Hole], ...]


def parse_templates(data: bytes, *, source: str) -> TemplateFile:
    """The templates in a file: `templates:` with `NAME: {holes: {...}, step: {...}}`.

    Parameters:
        data: YAML.
        source: its name, for messages.

    Raises:
        MalformedInput: `signer.templates`, and what reading YAML and steps raises.
    """

    def refuse(why: str) -> NoReturn:
        raise MalformedInput("signer.templates", f"{source}: {why}", help="see docs/how-to/signer.md")

    documents = list(read_documents(data, source=source))
    document = documents[0] if len(documents) == 1 else None
    if isinstance(document, MalformedInput):
        raise document
    if not isinstance(document, dict) or document.keys() != {"templates"}:
        refuse("a file of templates has one document with one member, `templates`")
    tables = document["templates"]
    if not isinstance(tables, dict) or not 0 < len(tables) <= MAX_TEMPLATES:
        refuse(f"`templates` is not a mapping with 1 to {MAX_TEMPLATES} templates")
    steps, holes = [], []
    for name, table in tables.items():
        if not isinstance(table, dict) or not {"step"} <= table.keys() <= {"step", "holes"}:
            refuse(f"the template {name[:60]!r} does not have a `step`, and perhaps `holes`, and nothing else")
        declared = table.get("holes") or {}
        if not isinstance(declared, dict) or len(declared) > MAX_HOLES:
            refuse(f"`holes` of {name[:60]!r} is not a mapping with at most {MAX_HOLES} holes")
        what = f"of {name[:60]!r}"
        holes.append(
            {hole: _hole(value, f"the hole {hole[:60]!r} {what}", refuse) for hole, value in declared.items()}
        )
        for hole in declared:
            if not _NAME.fullmatch(hole):
                refuse(f"{hole[:60]!r} is not the name of a hole")
        steps.append(table["step"])
    pipeline = parse_pipeline(render_json({"steps": steps}), source=source)
    for name, step, declared in zip(tables, pipeline.steps, holes, strict=True):
        text = render_json(pipeline_value(Pipeline(steps=[step])))
        if differing := set(_HOLE.findall(text)) ^ declared.keys():
            refuse(f"the template {name[:60]!r} uses or declares these holes alone: {', '.join(sorted(differing))}")
        if _ADJACENT.search(text):
            refuse(f"the template {name[:60]!r} has two holes with nothing between them")
        if isinstance(step, GroupStep):
            refuse(f"the template {name[:60]!r} is a group; make a template of each of its steps")
    return TemplateFile(tuple(tables), pipeline, tuple(holes))


def _hole(value: Any, what: str, refuse: Any) -> Hole:
    if not isinstance(value, dict):
        refuse(f"{what} is not a mapping")
    match sorted(value):
        case ["one_of"]:
            words = value["one_of"]
            if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
                refuse(f"`one_of` of {what} is not a list of texts")
            return Hole(words=tuple(words))
        case ["from", "to"]:
            least, most = value["from"], value["to"]
            if type(least) is not int or type(most) is not int or not -(2**53) < least <= most < 2**53:
                refuse(f"`from` and `to` of {what} are not two whole numbers, the smaller one first")
            return Hole(least=least, most=most)
        case ["pattern"]:
            text = value["pattern"]
            try:
                return Hole(pattern=re.compile(text if isinstance(text, str) and len(text) <= 500 else "("))
            except re.error:
                refuse(f"`pattern` of {what} is not a regular expression")
        case _:
            refuse(f"{what} needs `one_of`, or `from` and `to`, or `pattern`")
    raise AssertionError("unreachable")


def make_templates(file: TemplateFile, expanded: Pipeline) -> tuple[Template, ...]:
    """The templates, once variables are expanded.

    Parameters:
        file: as it was read.
        expanded: its pipeline with variables expanded.
    """
    values = _step_values(expanded.steps)
    return tuple(
        Template(name, value, holes) for name, value, holes in zip(file.names, values, file.holes, strict=True)
    )


def verify_generated(pipeline: Pipeline, templates: Sequence[Template]) -> Pipeline:
    """A generated pipeline that says nothing that its templates do not.

    Plan:
        1. The pipeline has steps and nothing else: its own variables or settings would reach every step.
        2. A wait has no members. A group has a label, a key and steps, and each of its steps is looked at.
        3. Every other step equals a template, member by member, with each hole filled in everywhere alike by
           something that the hole admits.

    Does not check: how many steps there are, or their order.

    Parameters:
        pipeline: variables expanded.
        templates: from the verified commit.

    Returns:
        `pipeline`.

    Raises:
        VerificationError: `signer.generated`, with the step it is about.
    """
    # 1.
    if pipeline.env or pipeline.secrets or pipeline.checkout is not None or pipeline.rest:
        raise _refused("the generated pipeline has members besides `steps`, which would reach every step")
    _verify_steps(pipeline.steps, templates, "step")
    return pipeline


def _verify_steps(steps: Sequence[Step], templates: Sequence[Template], path: str) -> None:
    for number, (step, value) in enumerate(zip(steps, _step_values(steps), strict=True), 1):
        place = f"{path} {number}"
        # 2.
        if isinstance(step, WaitStep) and (step.scalar is not None or step.members in ({"wait": None}, {"wait": ""})):
            continue
        if isinstance(step, GroupStep):
            if step.rest:
                raise _refused(f"{place} is a group with members besides label, key and steps")
            _verify_steps(step.steps, templates, f"{place}, step")
            continue
        # 3.
        if not any(is_instance(value, template) for template in templates):
            name = step.label or step.key or step.command[:60] if isinstance(step, CommandStep) else ""
            shown = f" ({escape_control(name[:80])!r})" if name else ""
            raise _refused(f"{place}{shown} is no instance of any template")


def _refused(why: str) -> VerificationError:
    return VerificationError(
        "signer.generated",
        why,
        help="generate only steps that are in the file of templates, with its holes filled in as it says",
    )


def _step_values(steps: Sequence[Step]) -> list[Any]:
    """Steps as readers of their JSON have them."""
    value = decode_json(render_json(pipeline_value(Pipeline(steps=list(steps)))), source="<steps>")
    assert isinstance(value, dict) and isinstance(value["steps"], list)
    return value["steps"]


def is_instance(value: Any, template: Template) -> bool:
    """Whether a step is a template with its holes filled in.

    Parameters:
        value: the step, as JSON has it.
        template: the template.
    """
    return _match(template.step, value, template.holes, {})


def _match(wanted: Any, value: Any, holes: Mapping[str, Hole], filled: dict[str, str]) -> bool:
    if isinstance(wanted, dict):
        return (
            isinstance(value, dict)
            and wanted.keys() == value.keys()
            and all(_match(item, value[name], holes, filled) for name, item in wanted.items())
        )
    if isinstance(wanted, list):
        return (
            isinstance(value, list)
            and len(wanted) == len(value)
            and all(_match(item, other, holes, filled) for item, other in zip(wanted, value, strict=True))
        )
    if isinstance(wanted, str) and (names := _HOLE.findall(wanted)):
        if type(value) is int and _HOLE.fullmatch(wanted) and holes[names[0]].least is not None:
            value = str(value)
        return isinstance(value, str) and _fill(wanted, value, holes, filled)
    return type(wanted) is type(value) and bool(wanted == value)


def _fill(wanted: str, value: str, holes: Mapping[str, Hole], filled: dict[str, str]) -> bool:
    """Match a text with holes: what is between them stands for itself, and each hole for one filling."""
    if len(value) > MAX_TEXT_CHARACTERS:
        return False
    parts = _HOLE.split(wanted)  # text, name, text, name, ..., text
    seen: set[str] = set()
    expression = [re.escape(parts[0])]
    for name, text in zip(parts[1::2], parts[2::2], strict=True):
        if name in filled:
            expression.append(re.escape(filled[name]))
        elif name in seen:
            expression.append(f"(?P={name})")
        else:
            seen.add(name)
            expression.append(f"(?P<{name}>{_expression(holes[name], text[:1])})")
        expression.append(re.escape(text))
    match = re.fullmatch("".join(expression), value)
    if match is None:
        return False
    found = match.groupdict()
    if not all(holes[name].admits(text) for name, text in found.items()):
        return False
    filled.update(found)
    return True


def _expression(hole: Hole, next_character: str) -> str:
    """What a hole may take up, so that there is one way to read any text and no time is lost on others.

    A filling ends where the character behind the hole comes first.
    """
    if hole.words is not None:
        return "|".join(re.escape(word) for word in sorted(hole.words, key=len, reverse=True))
    if hole.pattern is None:
        return "-?[0-9]{1,16}+"
    allowed = "".join(re.escape(character) for character in _PLAIN_CHARACTERS if character != next_character)
    return f"[{allowed}]{{1,{MAX_FILLING_CHARACTERS}}}+"
