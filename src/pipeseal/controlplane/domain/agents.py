"""Which agent may run which job: tags, rules and how they match."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, TypeAlias

from pipeseal.errors import MalformedInput

Tags: TypeAlias = frozenset[tuple[str, str]]
Rules: TypeAlias = tuple[tuple[str, str], ...]

DEFAULT_QUEUE = "default"
ANY = "*"


def read_tags(meta_data: Iterable[str] | None) -> Tags:
    """An agent's tags.

    Parameters:
        meta_data: texts `key=value`; a text without `=` is the tag of that name with the value `true`.

    Returns:
        The tags; `queue=default` among them when the agent names no queue.
    """
    tags = {_split(text) for text in meta_data or () if text.strip()}
    if not any(key == "queue" for key, _ in tags):
        tags.add(("queue", DEFAULT_QUEUE))
    return frozenset(tags)


def render_tags(tags: Tags) -> list[str]:
    """Tags as the Agent API carries them."""
    return [f"{key}={value}" for key, value in sorted(tags)]


def read_rules(value: Any, where: str) -> Rules:
    """A step's `agents` member: what an agent must have.

    Parameters:
        value: a mapping of tag to value, a list of `key=value` texts, or None.
        where: the step, for the error.

    Returns:
        The rules, sorted; `queue=default` among them when no queue is named.

    Raises:
        MalformedInput: `upload.step`.
    """
    match value:
        case None:
            pairs = []
        case dict():
            pairs = [(key, _text(item, where)) for key, item in value.items() if item is not None]
        case list():
            pairs = [_split(_text(item, where)) for item in value]
        case str():
            pairs = [_split(value)]
        case _:
            raise MalformedInput("upload.step", f"{where}: `agents` must be a mapping or a list of `tag=value`")
    if not any(key == "queue" for key, _ in pairs):
        pairs.append(("queue", DEFAULT_QUEUE))
    return tuple(sorted(set(pairs)))


def matches(rules: Rules, tags: Tags) -> bool:
    """Whether an agent with `tags` satisfies every rule; the value `*` asks only that the tag is there."""
    return all((key, value) in tags if value != ANY else any(tag == key for tag, _ in tags) for key, value in rules)


def meta_data_variables(tags: Tags) -> dict[str, str]:
    """`BUILDKITE_AGENT_META_DATA_<TAG>` for each tag."""
    return {
        "BUILDKITE_AGENT_META_DATA_" + re.sub(r"[^A-Z0-9]", "_", key.upper()): value for key, value in sorted(tags)
    }


def _split(text: str) -> tuple[str, str]:
    key, separator, value = text.strip().partition("=")
    return key.strip(), value.strip() if separator else "true"


def _text(value: Any, where: str) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str() | int():
            return str(value)
        case _:
            raise MalformedInput("upload.step", f"{where}: an `agents` rule must be text, not {type(value).__name__}")
