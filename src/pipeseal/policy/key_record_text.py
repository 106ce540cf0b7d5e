"""Writing into the record of a key in a policy file, and leaving every other character of the file as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from pipeseal.errors import ConfigurationError
from pipeseal.policy.file import parse_policy

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_KEY = r"\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'|[A-Za-z0-9_-]+"
_HEADER = re.compile(rf"[ \t]*\[[ \t]*key[ \t]*\.[ \t]*({_KEY})[ \t]*\][ \t]*(?:#[^\n]*)?(?:\r?\n)?")
_TABLE = re.compile(r"[ \t]*\[")


def set_in_record(text: str, kid: str, values: Mapping[str, str], *, source: str = "policy.toml") -> str:
    """The policy's text with members of `[key.KID]` set.

    Parameters:
        text: of a policy file; it is one.
        kid: the key's id.
        values: member to its value as TOML writes it.
        source: the file's name, for messages.

    Returns:
        The new text. It says the same as before of everything else.

    Raises:
        MalformedInput: as `parse_policy`: the text is no policy.
        ConfigurationError: `policy.edit`: the file is written in a way that this cannot change for sure.
    """
    before = parse_policy(text.encode(), source=source)
    lines = text.splitlines(keepends=True)
    headers = _headers(kid)
    at = next((index for index, line in enumerate(lines) if _header_of(line) in headers), None)
    written = [f"{name} = {value}\n" for name, value in values.items()]
    if at is None:
        if kid in before.keys:
            raise _cannot(kid, source)
        gap = "" if not text or text.endswith("\n\n") else "\n" if text.endswith("\n") else "\n\n"
        new = f"{text}{gap}[key.{_name(kid)}]\n{''.join(written)}"
    else:
        end = next((n for n in range(at + 1, len(lines)) if _TABLE.match(lines[n])), len(lines))
        names = "|".join(map(re.escape, values))
        taken = re.compile(rf"[ \t]*(?:\"(?:{names})\"|'(?:{names})'|(?:{names}))[ \t]*=")
        inside = [line for line in lines[at + 1 : end] if not taken.match(line)]
        head = lines[at] if lines[at].endswith("\n") else f"{lines[at]}\n"
        new = "".join([*lines[:at], head, *written, *inside, *lines[end:]])
    _check(before_text=text, new=new, kid=kid, values=values, source=source)
    return new


def render_text(value: str) -> str:
    """A text as TOML writes it (1.0, "String": a basic string)."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")


def _headers(kid: str) -> set[str]:
    # The ways to write one header that people use.
    names = {json.dumps(kid, ensure_ascii=False), f"'{kid}'"} | ({kid} if _BARE.fullmatch(kid) else set())
    return {f"[key.{name}]" for name in names}


def _header_of(line: str) -> str:
    """The header of a key's record in its one spelling; empty when the line is none."""
    match = _HEADER.fullmatch(line)
    return f"[key.{match[1]}]" if match else ""


def _name(kid: str) -> str:
    return kid if _BARE.fullmatch(kid) else json.dumps(kid, ensure_ascii=False)


def _check(*, before_text: str, new: str, kid: str, values: Mapping[str, str], source: str) -> None:
    """That the new text says what was wanted of this key, and nothing else than before of anything else."""
    import tomllib

    try:
        old, now = tomllib.loads(before_text), tomllib.loads(new)
        wanted = tomllib.loads("".join(f"{name} = {value}\n" for name, value in values.items()))
    except ValueError:
        raise _cannot(kid, source) from None
    record = {**old.get("key", {}).get(kid, {}), **wanted}
    if now != {**old, "key": {**old.get("key", {}), kid: record}}:
        raise _cannot(kid, source)
    parse_policy(new.encode(), source=source)


def _cannot(kid: str, source: str) -> ConfigurationError:
    return ConfigurationError(
        "policy.edit",
        f"the record of the key {kid!r} in {source} is written in a way that this command does not change",
        help=f"write it as a table of its own, [key.{_name(kid)}], or change it by hand",
    )
