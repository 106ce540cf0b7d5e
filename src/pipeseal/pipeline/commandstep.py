"""Command steps: members, aliases and coercions, from YAML pipelines and from the JSON of received jobs."""

from __future__ import annotations

from dataclasses import replace

from pipeseal.errors import MalformedInput
from pipeseal.pipeline.cache import cache_of
from pipeseal.pipeline.checkout import checkout_of
from pipeseal.pipeline.coerce import (
    Misfit,
    Path,
    env_of,
    first_present,
    mapping_of,
    spread_nameless,
    text_of,
    texts_of,
)
from pipeseal.pipeline.jsontext import decode_json, show_path
from pipeseal.pipeline.matrix import matrix_of
from pipeseal.pipeline.plugins import plugins_of
from pipeseal.pipeline.secrets import secrets_of
from pipeseal.pipeline.steps import Checkout, CommandStep, Signature
from pipeseal.pipeline.values import Value
from pipeseal.pipeline.yaml import DEFAULT_LIMITS, Limits

# A member's own name first, then its aliases in the order they are looked for.
COMMAND_NAMES = ("commands", "command")
# Typed members without aliases.
TYPED = ("plugins", "secrets", "env", "signature", "matrix", "cache", "checkout")
KEY_NAMES = ("key", "id", "identifier")
LABEL_NAMES = ("label", "name")


def command_step_of(members: dict[str, Value], path: Path) -> CommandStep:
    """A command step from a mapping.

    Parameters:
        members: the step as written.
        path: where it stands.

    Raises:
        Misfit: a typed member that is something else.
    """
    rest = dict(members)
    step = CommandStep()
    command_lost = "commands" in rest and "command" in rest
    if "commands" in rest:
        step.command = "\n".join(texts_of(rest.pop("commands"), (*path, "commands")) or ())
        if "command" in rest:
            # It lost, and must be text all the same.
            text_of(rest.pop("command"), (*path, "command"))
    elif "command" in rest:
        command = rest.pop("command")
        if type(command) is str:
            step.command = command
        else:
            step.command = "\n".join(texts_of(command, (*path, "command")) or ())
    if "" in rest:
        rest = dict(spread_nameless(rest, TYPED if command_lost else ("command", *TYPED)))
        text_of(rest.pop("command", None), (*path, ""))
    if (used := first_present(rest, KEY_NAMES)) is not None:
        step.key = text_of(rest.pop(used), (*path, used))
    if (used := first_present(rest, LABEL_NAMES)) is not None:
        step.label = text_of(rest.pop(used), (*path, used))
    if "plugins" in rest:
        step.plugins = plugins_of(rest.pop("plugins"), (*path, "plugins"))
    if "secrets" in rest:
        step.secrets = secrets_of(rest.pop("secrets"), (*path, "secrets"))
    if "env" in rest:
        step.env = env_of(rest.pop("env"), (*path, "env"))
    if "signature" in rest:
        step.signature = _signature_of(rest.pop("signature"), (*path, "signature"))
    if "matrix" in rest:
        step.matrix = matrix_of(rest.pop("matrix"), (*path, "matrix"))
    if "cache" in rest:
        step.cache = cache_of(rest.pop("cache"), (*path, "cache"))
    if "checkout" in rest:
        step.checkout = checkout_of(rest.pop("checkout"), (*path, "checkout"))
    step.rest = rest
    return step


def _signature_of(value: Value, path: Path) -> Signature | None:
    if value is None:
        return None
    members = spread_nameless(mapping_of(value, path), ("algorithm", "signed_fields", "value"))
    return Signature(
        text_of(members.get("algorithm"), (*path, "algorithm")),
        texts_of(members.get("signed_fields"), (*path, "signed_fields")),
        text_of(members.get("value"), (*path, "value")),
    )


def parse_command_step(
    data: bytes | str | dict[str, Value] | None,
    *,
    source: str = "<step>",
    refuse_duplicates: bool = False,
    limits: Limits = DEFAULT_LIMITS,
) -> CommandStep:
    """The step of a job, as it is received.

    Parameters:
        data: JSON text, or the value `decode_json` made of it. `null` is a step with nothing in it.
        source: the text's name, for positions.
        refuse_duplicates: refuse objects that give a member twice.
        limits: what is refused.

    Raises:
        MalformedInput: `step.malformed` when it is no command step; the `json.*`, `number.*` and `input.*` codes.
    """
    value = data
    if isinstance(data, bytes | str):
        value = decode_json(data, source=source, refuse_duplicates=refuse_duplicates, limits=limits)
    if value is None:
        return CommandStep()
    try:
        step = command_step_of(mapping_of(value, ()), ())
    except Misfit as misfit:
        place = f"`{show_path(misfit.path)}` of the step: " if misfit.path else "the step: "
        raise MalformedInput("step.malformed", place + misfit.message, evidence={"source": source}) from None
    return _without_empty_lists(step)


def parse_checkout(
    data: bytes | str | dict[str, Value] | None, *, source: str = "<checkout>", limits: Limits = DEFAULT_LIMITS
) -> Checkout | None:
    """Checkout settings on their own, as `checkout_value` wrote them.

    Parameters:
        data: JSON text, or the value `decode_json` made of it.
        source: the text's name, for positions.
        limits: what is refused.

    Raises:
        MalformedInput: `step.malformed` when they are no checkout settings; the `json.*` and `input.*` codes.
    """
    value = decode_json(data, source=source, limits=limits) if isinstance(data, bytes | str) else data
    try:
        checkout = checkout_of(value, ())
    except Misfit as misfit:
        raise MalformedInput(
            "step.malformed", f"checkout settings: {misfit.message}", evidence={"source": source}
        ) from None
    if checkout is not None:
        checkout.rest = _nulled_members(checkout.rest)
    return checkout


def _without_empty_lists(step: CommandStep) -> CommandStep:
    """The reference decodes an empty JSON array to a list that does not exist, and writes that as null.

    Members that are built anew, such as plugin configuration, are not touched by this. `skip` itself keeps an empty
    list, since that skips.
    """
    step.rest = _nulled_members(step.rest)
    if step.matrix is not None:
        step.matrix.rest = _nulled_members(step.matrix.rest)
        step.matrix.adjustments = [
            adjustment
            if adjustment is None
            else replace(
                adjustment,
                skip=adjustment.skip if adjustment.skip == [] else _nulled(adjustment.skip),
                rest=_nulled_members(adjustment.rest),
            )
            for adjustment in step.matrix.adjustments
        ]
    if step.checkout is not None:
        step.checkout.rest = _nulled_members(step.checkout.rest)
    if step.cache is not None:
        step.cache.rest = _nulled_members(step.cache.rest)
    return step


def _nulled_members(members: dict[str, Value]) -> dict[str, Value]:
    return {key: _nulled(item) for key, item in members.items()}


def _nulled(value: Value) -> Value:
    if type(value) is list:
        return [_nulled(item) for item in value] or None
    if type(value) is dict:
        return _nulled_members(value)
    return value
