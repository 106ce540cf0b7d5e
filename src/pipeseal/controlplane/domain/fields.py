"""The fields of block and input steps: read at upload, and answers to them checked when a person unblocks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from pipeseal.controlplane.domain.members import scalar_text
from pipeseal.errors import MalformedInput

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9/_-]*")
_MAX_FIELDS = 200
_MAX_OPTIONS = 1_000
BLOCKED_STATES = ("passed", "failed", "running")


class FormField(msgspec.Struct, frozen=True):
    """One field.

    Parameters:
        key: of the meta-data that its answer becomes.
        label: for people.
        options: values that can be chosen; None for text.
        multiple: several may be chosen; the answer has them on lines of their own.
        default: the answer when none is given; empty for none.
        pattern: regular expression that the whole of a text answer matches (RE2 syntax); empty for any.
    """

    key: str
    label: str
    options: tuple[str, ...] | None = None
    multiple: bool = False
    required: bool = True
    default: str = ""
    pattern: str = ""


def read_fields(value: Any, where: str) -> tuple[FormField, ...]:
    """The fields of a step.

    Parameters:
        value: the member as written; None when there is none.
        where: the step, for errors.

    Raises:
        MalformedInput: `upload.step`.
    """
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > _MAX_FIELDS:
        raise _bad(where, f"`fields` must be a list of at most {_MAX_FIELDS} fields")
    fields: dict[str, FormField] = {}
    for number, item in enumerate(value, 1):
        field = _read_field(item, f"{where}, field {number}")
        if field.key in fields:
            raise _bad(where, f"two fields have the key {field.key!r}")
        fields[field.key] = field
    return tuple(fields.values())


def read_blocked_state(value: Any, where: str) -> str:
    """What a build counts as while it is blocked here; `passed` when nothing is said.

    Raises:
        MalformedInput: `upload.step`.
    """
    if value is None:
        return BLOCKED_STATES[0]
    if value not in BLOCKED_STATES:
        raise _bad(where, f"`blocked_state` is one of {', '.join(BLOCKED_STATES)}, not {value!r}")
    return str(value)


def check_answers(fields: tuple[FormField, ...], answers: Mapping[str, str]) -> dict[str, str]:
    """The meta-data that a person's answers become, defaults filled in.

    Raises:
        MalformedInput: `unblock.field`, with the field at fault.
    """
    known = {field.key: field for field in fields}
    unknown = sorted(answers.keys() - known.keys())
    if unknown:
        help = f"its fields are {', '.join(known)}" if known else "it has no fields"
        raise MalformedInput("unblock.field", f"the step has no field {unknown[0][:80]!r}", help=help)
    kept: dict[str, str] = {}
    for field in fields:
        answer = answers.get(field.key, "") or field.default
        if not answer:
            if field.required:
                raise MalformedInput(
                    "unblock.field",
                    f"the field {field.key!r} ({field.label}) needs an answer",
                    help='send it in `fields`, as in {"fields": {"' + field.key + '": "..."}}',
                )
            if field.key in answers:
                kept[field.key] = ""
            continue
        _check_answer(field, answer)
        kept[field.key] = answer
    return kept


def _check_answer(field: FormField, answer: str) -> None:
    if field.options is not None:
        chosen = answer.split("\n") if field.multiple else [answer]
        for value in chosen:
            if value not in field.options:
                raise MalformedInput(
                    "unblock.field",
                    f"{value[:80]!r} is not an option of the field {field.key!r}",
                    help=f"one of: {', '.join(field.options)[:500]}",
                )
    elif field.pattern and not _compile(field.pattern).fullmatch(answer.encode("utf-8", "replace")):
        raise MalformedInput(
            "unblock.field", f"the answer to {field.key!r} does not match its `format` {field.pattern[:200]}"
        )


def _read_field(item: Any, where: str) -> FormField:
    if not isinstance(item, dict):
        raise _bad(where, "must be a mapping with `text` or `select`, and `key`")
    kinds = [name for name in ("text", "select") if name in item]
    if len(kinds) != 1:
        raise _bad(where, "must have either `text` or `select`")
    key = item.get("key")
    if not isinstance(key, str) or not _KEY.fullmatch(key) or len(key) > 200:
        raise _bad(where, "needs a `key` of letters, digits, slashes, dashes and underscores")
    label = item[kinds[0]]
    required = item.get("required", True)
    multiple = item.get("multiple", False)
    if required not in (True, False) or multiple not in (True, False):
        raise _bad(where, "`required` and `multiple` are true or false")
    if kinds[0] == "text":
        return FormField(
            key=key,
            label=str(label or key),
            required=bool(required),
            default=_read_text(item.get("default"), "default", where),
            pattern=_read_pattern(item.get("format"), where),
        )
    options = _read_options(item.get("options"), where)
    default = item.get("default")
    defaults = [str(one) for one in default] if isinstance(default, list) else None
    if defaults is not None and not multiple:
        raise _bad(where, "several defaults need `multiple: true`")
    text = "\n".join(defaults) if defaults is not None else _read_text(default, "default", where)
    field = FormField(
        key=key,
        label=str(label or key),
        options=options,
        multiple=bool(multiple),
        required=bool(required),
        default=text,
    )
    wrong = [one for one in (text.split("\n") if text else []) if one not in options]
    if wrong:
        raise _bad(where, f"its default {wrong[0][:80]!r} is not one of its options")
    return field


def _read_options(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= _MAX_OPTIONS:
        raise _bad(where, f"a `select` needs `options`, 1 to {_MAX_OPTIONS} of them")
    options = []
    for option in value:
        match option:
            case {"value": str() | int() as given}:
                options.append(str(given))
            case {"label": str() | int() as given}:
                options.append(str(given))
            case str() | int():
                options.append(str(option))
            case _:
                raise _bad(where, "each of its options needs `label` and `value`")
    return tuple(options)


def _read_text(value: Any, name: str, where: str) -> str:
    text = scalar_text(value)
    if text is None:
        raise _bad(where, f"`{name}` must be text")
    return text


def _read_pattern(value: Any, where: str) -> str:
    pattern = _read_text(value, "format", where)
    if pattern:
        try:
            _compile(pattern)
        except ValueError as error:
            raise _bad(where, f"its `format` is no regular expression: {error}") from error
    return pattern


def _compile(pattern: str) -> Any:
    """In linear time, because the pattern comes with the pipeline.

    Raises:
        ValueError: it is no regular expression.
    """
    import re2

    options = re2.Options()
    options.max_mem = 1024 * 1024
    options.log_errors = False
    try:
        return re2.compile(pattern.encode("utf-8", "replace"), options)
    except re2.error as error:
        reason = error.args[0] if error.args else "it cannot be read"
        raise ValueError(reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)) from error


def _bad(where: str, problem: str) -> MalformedInput:
    return MalformedInput("upload.step", f"{where}: {problem}")
