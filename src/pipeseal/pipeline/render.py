"""From steps and pipelines back to generic values, JSON and YAML, member for member as the reference writes them."""

from __future__ import annotations

import re
from typing import Any, Final

from pipeseal.pipeline.plugins import config_value, full_source
from pipeseal.pipeline.scalars import TEXT, resolve
from pipeseal.pipeline.steps import (
    Adjustment,
    Cache,
    Checkout,
    CommandStep,
    GroupStep,
    InputStep,
    Matrix,
    Pipeline,
    Plugin,
    Secret,
    Signature,
    Step,
    TriggerStep,
    UnknownStep,
    WaitStep,
)
from pipeseal.pipeline.values import Timestamp, Value, float_json, float_text


def _sorted(members: dict[str, Value]) -> dict[str, Value]:
    return {key: members[key] for key in sorted(members)}


# --- values -----------------------------------------------------------------------------------------------------


def plugin_value(plugin: Plugin) -> dict[str, Value]:
    """One plugin: its full source and its configuration, null when empty."""
    return {full_source(plugin.source): config_value(plugin.config)}


def plugins_value(plugins: list[Plugin]) -> list[Value]:
    """Plugins in order, each as `plugin_value`."""
    return [{full_source(plugin.source): config_value(plugin.config)} for plugin in plugins]


def secret_value(secret: Secret) -> dict[str, Value]:
    """One secret: its key, and its variable when it has one."""
    if secret.environment_variable:
        return {"environment_variable": secret.environment_variable, "key": secret.key}
    return {"key": secret.key}


def secrets_value(secrets: list[Secret]) -> list[Value]:
    """Secrets in order."""
    return [secret_value(secret) for secret in secrets]


def matrix_value(matrix: Matrix) -> Value:
    """A matrix: a list alone when it has nothing but values of one dimension without a name, else the long form."""
    setup = _setup_value(matrix.setup)
    if not matrix.adjustments and not matrix.rest and isinstance(setup, list):
        return setup
    members = dict(matrix.rest)
    members["setup"] = setup
    if matrix.adjustments:
        members["adjustments"] = [_adjustment_value(adjustment) for adjustment in matrix.adjustments]
    return _sorted(members)


def _setup_value(setup: dict[str, list[str] | None] | None) -> Value:
    if setup is None:
        return None
    if len(setup) == 1 and setup.get(""):
        return setup[""]
    return _sorted(setup)


def _adjustment_value(adjustment: Adjustment | None) -> Value:
    if adjustment is None:
        return None
    members = dict(adjustment.rest)
    combination = adjustment.combination
    if combination is not None and len(combination) == 1 and "" in combination:
        members["with"] = combination[""]
    else:
        members["with"] = None if combination is None else _sorted(combination)
    skip = adjustment.skip
    # Falsy values disappear, although all but false and null skip; an empty mapping stays.
    if skip or skip == {}:
        members["skip"] = skip
    else:
        members.pop("skip", None)
    return _sorted(members)


def checkout_value(checkout: Checkout) -> dict[str, Value]:
    """Checkout settings; what is not set is left out."""
    members = dict(checkout.rest)
    for member in ("skip", "submodules", "ssh_secret", "depth"):
        setting = getattr(checkout, member)
        if setting is not None:
            members[member] = setting
    return _sorted(members)


def cache_value(cache: Cache) -> Value:
    """Cache settings; false when disabled."""
    if cache.disabled:
        return False
    members = dict(cache.rest)
    if cache.name:
        members["name"] = cache.name
    if cache.paths:
        members["paths"] = cache.paths
    if cache.size:
        members["size"] = cache.size
    return _sorted(members)


def signature_value(signature: Signature) -> dict[str, Value]:
    """A signature: its three members."""
    return {
        "algorithm": signature.algorithm,
        "signed_fields": signature.signed_fields,
        "value": signature.value,
    }


def _command_step_value(step: CommandStep) -> dict[str, Value]:
    members = dict(step.rest)
    members["command"] = step.command
    if step.key:
        members["key"] = step.key
    if step.label:
        members["label"] = step.label
    if step.plugins:
        members["plugins"] = plugins_value(step.plugins)
    if step.secrets:
        members["secrets"] = secrets_value(step.secrets)
    if step.env:
        members["env"] = _sorted(step.env)
    if step.signature is not None:
        members["signature"] = signature_value(step.signature)
    if step.matrix is not None:
        members["matrix"] = matrix_value(step.matrix)
    if step.cache is not None:
        members["cache"] = cache_value(step.cache)
    if step.checkout is not None:
        members["checkout"] = checkout_value(step.checkout)
    return _sorted(members)


def step_value(step: Step) -> Value:
    """A step as a generic value, members sorted. Shares containers with the step: build on it, do not change it.

    Parameters:
        step: a step of any kind.
    """
    match step:
        case CommandStep():
            return _command_step_value(step)
        case WaitStep():
            return step.scalar or (_sorted(step.members) if step.members else "wait")
        case InputStep():
            return step.scalar or _sorted(step.members)
        case TriggerStep():
            return _sorted(step.members)
        case GroupStep():
            members = dict(step.rest)
            members["group"] = step.group
            members["steps"] = [step_value(inner) for inner in step.steps]
            if step.key:
                members["key"] = step.key
            return _sorted(members)
        case UnknownStep():
            return step.content


def pipeline_value(pipeline: Pipeline) -> dict[str, Value]:
    """A pipeline as a generic value, members sorted, variables in their own order.

    Shares containers with the pipeline: build on it, do not change it.
    """
    members = dict(pipeline.rest)
    members["steps"] = [step_value(step) for step in pipeline.steps]
    if pipeline.env or pipeline.env_is_set:
        members["env"] = pipeline.env
    if pipeline.secrets:
        members["secrets"] = secrets_value(pipeline.secrets)
    if pipeline.checkout is not None:
        members["checkout"] = checkout_value(pipeline.checkout)
    return _sorted(members)


# --- JSON -------------------------------------------------------------------------------------------------------

_ESCAPED_IN_JSON: Final = (
    (b"<", b"\\u003c"),
    (b">", b"\\u003e"),
    (b"&", b"\\u0026"),
    ("\u2028".encode(), b"\\u2028"),
    ("\u2029".encode(), b"\\u2029"),
)


def render_json(value: Value) -> str:
    """A generic value, a step's or a pipeline's, as JSON without spaces, as the reference writes it.

    `<`, `>`, `&`, U+2028 and U+2029 are escaped so that the text may stand in HTML; doubles are written as
    `float_json` says; dates are RFC 3339 text.

    Parameters:
        value: from `step_value`, `pipeline_value` or a decoder; at most 200 deep.

    Raises:
        MalformedInput: `value.unwritable`: infinities, not-a-number, dates with an impossible zone.
    """
    import orjson

    raw = orjson.dumps(_spelled(value, orjson.Fragment))
    # None of these can stand outside of a string, so they can be replaced wherever they are.
    for plain, escaped in _ESCAPED_IN_JSON:
        if plain in raw:
            raw = raw.replace(plain, escaped)
    return raw.decode()


def _spelled(value: Value, fragment: Any) -> Value:
    """The same value with doubles and dates replaced by their text, in new containers only where there are any."""
    kind = type(value)
    if kind is dict:
        changed: dict[str, Value] = {}
        for key, item in value.items():
            if type(item) not in _ATOMS:
                new = _spelled(item, fragment)
                if new is not item:
                    changed[key] = new
        return {**value, **changed} if changed else value
    if kind is list:
        replaced: dict[int, Value] = {}
        for index, item in enumerate(value):
            if type(item) not in _ATOMS:
                new = _spelled(item, fragment)
                if new is not item:
                    replaced[index] = new
        return [replaced.get(index, item) for index, item in enumerate(value)] if replaced else value
    if kind is float:
        return fragment(float_json(value))
    return value.render() if kind is Timestamp else value


_ATOMS: Final = frozenset((str, int, bool, type(None)))


# --- YAML -------------------------------------------------------------------------------------------------------

# Text that a literal block carries as it is: no space or break at either end, nothing invisible.
_LITERAL: Final = re.compile(r"[^\s#](?:[ -~\n]*[!-~])?\n?")


def render_yaml(value: Value) -> str:
    """A generic value, a step's or a pipeline's, as block-style YAML that reads back as the same value.

    Text that an unquoted scalar would turn into something else is quoted; text of several lines is a literal block
    where it can be.

    Parameters:
        value: from `step_value`, `pipeline_value` or a decoder; at most 200 deep.
    """
    from io import StringIO

    from yaml import events
    from yaml._yaml import CEmitter

    stream = StringIO()
    emitter = CEmitter(stream, indent=2, width=-1, allow_unicode=True)
    emit = emitter.emit

    def emit_plain(text: str) -> None:
        emit(events.ScalarEvent(None, None, (True, False), text, style=None))

    def emit_text(text: str) -> None:
        style = None
        if "\n" in text:
            style = "|" if _LITERAL.fullmatch(text) else '"'
        elif not text.isprintable():
            style = '"'
        plain = style is None and resolve(text)[0] == TEXT
        emit(events.ScalarEvent(None, None, (plain, True), text, style=style))

    def emit_value(item: Value) -> None:
        if isinstance(item, str):
            emit_text(item)
        elif isinstance(item, dict):
            emit(events.MappingStartEvent(None, None, True, flow_style=not item))
            for key, inner in item.items():
                emit_key(key)
                emit_value(inner)
            emit(events.MappingEndEvent())
        elif isinstance(item, list):
            emit(events.SequenceStartEvent(None, None, True, flow_style=not item))
            for inner in item:
                emit_value(inner)
            emit(events.SequenceEndEvent())
        else:
            emit_plain(_yaml_scalar(item))

    def emit_key(key: str) -> None:
        style = '"' if "\n" in key or not key.isprintable() else None
        emit(events.ScalarEvent(None, None, (style is None and resolve(key)[0] == TEXT, True), key, style=style))

    emit(events.StreamStartEvent())
    emit(events.DocumentStartEvent(explicit=False))
    emit_value(value)
    emit(events.DocumentEndEvent(explicit=False))
    emit(events.StreamEndEvent())
    return stream.getvalue()


def _yaml_scalar(value: Value) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Timestamp):
        return value.text
    if isinstance(value, float):
        if value != value:
            return ".nan"
        if value in (float("inf"), float("-inf")):
            return ".inf" if value > 0 else "-.inf"
        text = float_text(value)
        # Without a point or an exponent it would come back as a whole number.
        return text if "." in text or "e" in text else f"{text}.0"
    return str(value)
