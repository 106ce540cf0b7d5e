"""What of a step is sealed: all of it, in one normal form, and the step that such members are.

`seal_step` and `step_of` are each other's inverse: what the second reads, the first gives again, member for member.
The reader relies on that, so that nothing is in a seal that the agent's step does not have. The same function makes
the members of the step that a server sent, for comparing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pipeseal.errors import MalformedInput
from pipeseal.pipeline.commandstep import KEY_NAMES, LABEL_NAMES, parse_command_step
from pipeseal.pipeline.object_id import is_object_id
from pipeseal.pipeline.plugins import config_value, full_source, unordered
from pipeseal.pipeline.render import cache_value, checkout_value, matrix_value, step_value
from pipeseal.pipeline.steps import CommandStep, Plugin, Secret
from pipeseal.pipeline.values import MAX_SAFE_INTEGER, Timestamp, Value, describe, scrub
from pipeseal.signing.fields import is_empty_matrix
from pipeseal.signing.payload import render_canonical
from pipeseal.signing.seal.envelope import VARIABLE, Execution, ResolvedPlugin
from pipeseal.signing.strictjson import decode_strict_json

MAX_COUNT: Final = 2**31 - 1
_MAX_DEPTH: Final = 100

# Members of a step that are sealed as themselves and so never among the others (`rest`).
_OWN: Final = (
    "", "command", "commands", "env", "plugins", "secrets", "signature", "matrix", "cache", "checkout",
    "artifact_paths", "parallelism", "timeout_in_minutes",
)  # fmt: skip
# Decided by whoever uploads, and taken off the step there: no agent ever sees it.
_UPLOADERS: Final = "if_changed"
# Names that read as another member once the step is written and read again.
_ALIASES: Final = frozenset({"", "command", "commands", *KEY_NAMES, *LABEL_NAMES})
# What an agent takes out of the other members.
_LEAVE_REST: Final = frozenset({"artifact_paths", "parallelism", "timeout_in_minutes", _UPLOADERS})


def seal_step(
    step: CommandStep,
    *,
    execution: Execution,
    resolved: Mapping[str, ResolvedPlugin] | Sequence[ResolvedPlugin | None] = (),
) -> dict[str, Any]:
    """The sealed members of a step.

    Parameters:
        step: the step, variables expanded, matrix tokens not.
        execution: how its command is run.
        resolved: what its plugins resolved to: by source in full form, or in the order of the plugins.

    Returns:
        Values of JSON without fractions; integers are exact in every reader.

    Raises:
        MalformedInput: `seal.unsealable`: a member that has no normal form.
        VerificationError: `number.unsafe`, `payload.value`: plugin configuration that canonical JSON cannot hold.
    """
    rest = step.rest
    others = rest
    if not _ALIASES.isdisjoint(rest):
        step = _as_read_again(step)
        others = rest = step.rest
    if not _LEAVE_REST.isdisjoint(rest):
        others = {name: value for name, value in rest.items() if name not in _LEAVE_REST}
    env = step.env
    if VARIABLE in env:
        env = {name: value for name, value in env.items() if name != VARIABLE}
    matrix, cache, checkout = step.matrix, step.cache, step.checkout
    return {
        "artifact_paths": artifact_patterns(rest["artifact_paths"]) if "artifact_paths" in rest else [],
        "cache": None if cache is None else normal_value(cache_value(cache), "cache"),
        "checkout": None
        if checkout is None or checkout.is_empty
        else normal_value(checkout_value(checkout), "checkout") or None,
        "command": step.command,
        "env": env,
        "execution": execution,
        "key": step.key,
        "label": step.label,
        "matrix": None
        if matrix is None or is_empty_matrix(matrix)
        else _matrix(matrix_value(matrix)),
        "parallelism": _count(rest["parallelism"], "parallelism") if "parallelism" in rest else None,
        "plugins": _plugins(step.plugins, resolved) if step.plugins else [],
        "rest": {
            name: normal for name, value in others.items() if (normal := normal_value(value, name)) is not None
        },
        "secrets": [
            {"environment_variable": secret.environment_variable, "key": secret.key} for secret in step.secrets
        ],
        "timeout_in_minutes": (_count(rest["timeout_in_minutes"], "timeout_in_minutes") or None)
        if "timeout_in_minutes" in rest
        else None,
    }  # fmt: skip


def _as_read_again(step: CommandStep) -> CommandStep:
    """The step as it is once it was written as JSON and read, when some of its members have other members' names."""
    value = {name: item for name, item in step_value(step).items() if name != "signature"}
    try:
        again = parse_command_step(value)
    except MalformedInput as error:
        raise _unsealable(f"written as JSON it cannot be read again: {error.message}") from None
    if (again.key, again.label, again.command) != (step.key, step.label, step.command):
        raise _unsealable("it says its key, label or command twice, under different names")
    return again


def _plugins(
    plugins: Sequence[Plugin], resolved: Mapping[str, ResolvedPlugin] | Sequence[ResolvedPlugin | None]
) -> list[dict[str, Any]]:
    sealed = []
    for index, plugin in enumerate(plugins):
        source = full_source(plugin.source)
        found: ResolvedPlugin | None
        if isinstance(resolved, Mapping):
            found = resolved.get(source)
        else:
            found = resolved[index] if index < len(resolved) else None
        if found is None:
            # A version that is an object id resolves to itself.
            _, mark, version = source.rpartition("#")
            found = ResolvedPlugin(version) if mark and is_object_id(version) else None
        config = config_value(plugin.config)
        sealed.append(
            {
                "commit": found.commit if found else None,
                # As text, since only its author knows which numbers and spellings it holds.
                "config": None if config is None else render_canonical(config).decode(),
                "source": source,
                "tree": found.tree if found else None,
            }
        )
    return sealed


def artifact_patterns(value: Value) -> list[str]:
    texts = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(text, str) for text in texts):
        raise _unsealable(f"`artifact_paths` is {describe(value)}, and text or a list of texts is wanted")
    return [pattern for text in texts for part in text.split(";") if (pattern := part.strip())]


def _count(value: Value, name: str) -> int | None:
    if value is None:
        return None
    is_whole = isinstance(value, float) and value.is_integer()
    if is_whole or (isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10):
        value = int(value)
    if type(value) is not int or not 0 <= value <= MAX_COUNT:
        raise _unsealable(f"`{name}` is {value!r}, and a whole number is wanted")
    return value


def _matrix(value: Value) -> Any:
    if isinstance(value, list):
        return normal_value(value, "matrix", keep_empty=True)
    # A dimension without values is one; elsewhere an empty list is read as null.
    return {name: normal_value(item, "matrix", keep_empty=name == "setup") for name, item in value.items()}


def normal_value(value: Value, name: str, depth: int = 0, *, keep_empty: bool = False) -> Any:
    """A generic value as every reader of the step's JSON has it: no dates, no doubles, empty lists as null.

    Parameters:
        name: the member it belongs to, for the error.
        keep_empty: leave empty lists alone (values of a matrix dimension).
    """
    kind = type(value)
    if kind is str:
        return scrub(value)
    if value is None or kind is bool:
        return value
    if depth > _MAX_DEPTH:
        raise _unsealable(f"`{name}` is nested deeper than {_MAX_DEPTH} levels")
    if kind is dict:
        members = {
            scrub(key): normal_value(item, name, depth + 1, keep_empty=keep_empty) for key, item in value.items()
        }
        if len(members) != len(value):
            raise _unsealable(f"`{name}` has two members of one name")
        return members
    if kind is list:
        items = [normal_value(item, name, depth + 1, keep_empty=keep_empty) for item in value]
        return items if items or keep_empty else None
    if isinstance(value, Timestamp):
        return value.render()
    # A double with a whole value is written without a fraction, and read as an integer.
    number = int(value) if kind is float and value.is_integer() else value
    if not isinstance(number, int) or not -MAX_SAFE_INTEGER <= number <= MAX_SAFE_INTEGER:
        raise _unsealable(f"`{name}` holds the number {value}, which not every reader takes for the same")
    return number


def _unsealable(why: str) -> MalformedInput:
    return MalformedInput(
        "seal.unsealable",
        f"the step cannot be sealed: {why}",
        help="rewrite that part (numbers in quotes are text); --no-seal leaves the seals out",
    )


def step_of(members: Mapping[str, Any]) -> CommandStep:
    """The step that sealed members are; those that an agent knows nothing of are in its `rest` too.

    Parameters:
        members: of the right kinds, see `parse.py`.

    Raises:
        MalformedInput: they are no step, or not in normal form. Any code.
        VerificationError: plugin configuration that canonical JSON cannot hold.
    """
    typed = {name: members[name] for name in ("matrix", "cache", "checkout") if members[name] is not None}
    step = parse_command_step(typed)
    step.command, step.key, step.label = members["command"], members["key"], members["label"]
    step.env = dict(members["env"])
    step.plugins = [
        Plugin(
            plugin["source"],
            None
            if plugin["config"] is None
            else unordered(decode_strict_json(plugin["config"], source="configuration of a sealed plugin")),
        )
        for plugin in members["plugins"]
    ]
    step.secrets = [Secret(secret["key"], secret["environment_variable"]) for secret in members["secrets"]]
    step.rest = dict(members["rest"])
    for name in ("artifact_paths", "parallelism", "timeout_in_minutes"):
        if members[name] not in (None, []):
            step.rest[name] = members[name]
    return step


def resolved_plugins(members: Mapping[str, Any]) -> tuple[ResolvedPlugin | None, ...]:
    """What the plugins among sealed members resolved to."""
    return tuple(
        None if plugin["commit"] is None else ResolvedPlugin(plugin["commit"], plugin["tree"])
        for plugin in members["plugins"]
    )


def check_rest(rest: Mapping[str, Any]) -> None:
    """Refuse other members that are no others.

    Raises:
        MalformedInput: `seal.member`.
    """
    for name in (*_OWN, _UPLOADERS):
        if name in rest:
            raise MalformedInput("seal.member", f"`step.rest` of the seal has a member called `{name}`")


def agent_rules(value: Value) -> tuple[str, ...]:
    """A step's `agents` as rules `tag=value`, sorted, each once. No rule is added for a queue that is not named.

    Parameters:
        value: a mapping of tag to value, a list of `tag=value`, one such text, or None.

    Raises:
        MalformedInput: `seal.unsealable`.
    """
    if value is None:
        return ()
    if isinstance(value, dict):
        pairs = [(key, _rule_text(item)) for key, item in value.items() if item is not None]
    else:
        texts = value if isinstance(value, list) else [value]
        pairs = []
        for text in texts:
            tag, separator, wanted = _rule_text(text).strip().partition("=")
            pairs.append((tag.strip(), wanted.strip() if separator else "true"))
    return tuple(sorted({scrub(f"{tag}={wanted}") for tag, wanted in pairs}))


def _rule_text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    raise _unsealable(f"`agents` holds {describe(value)}, and text is wanted")


def most_attempts(retry: Value, *, manual: int = 10) -> int:
    """How often each job of a step may be started, by its `retry`: once, and once more for each retry it allows.

    Parameters:
        retry: as the step has it; what it says of no known form counts as nothing.
        manual: how many retries by hand count as allowed when they are not forbidden.
    """
    if not isinstance(retry, dict):
        return 1 + manual
    automatic = retry.get("automatic")
    rules = automatic if isinstance(automatic, list) else [automatic]
    limits = [_limit(rule) for rule in rules]
    by_hand = retry.get("manual")
    if isinstance(by_hand, dict):
        by_hand = by_hand.get("allowed", True)
    return 1 + sum(limits) + (0 if by_hand in (False, "false") else manual)


def _limit(rule: Value) -> int:
    if rule in (True, "true"):
        return 2
    if not isinstance(rule, dict):
        return 0
    try:
        limit = _count(rule.get("limit", 2), "limit")
    except MalformedInput:
        return 0
    return min(limit or 0, 10)
