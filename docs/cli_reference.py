"""The reference of the command line, made from the commands themselves: what `--help` says, as one page."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

from pipeseal.cli import COMMANDS, GROUP_HELP, root

_MARKUP = re.compile(r"[*<\[\]]|(?<!\w)_|_(?!\w)")
# An option that a sentence names.
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")


def render_cli() -> str:
    """`cli.md`: every command in the order of its table, with its options."""
    parts = [
        "# Commands\n",
        "Every command of `pipeseal`, as `--help` tells it. Commands that jobs use are `buildkite-agent` ones inside",
        "a job ([more on them](job-commands.md)). Errors carry a [code](refusals.md), and end with the same statuses",
        "everywhere: 2 usage, 3 the server, 4 not found, 5 not allowed, 6 configuration, 7 token, 20 to 27 for what",
        "was checked. This page is generated from the commands.\n",
    ]
    with click.Context(root, info_name="pipeseal") as context:
        last = ""
        for path in sorted(COMMANDS, key=_place):
            group = path.split(" ")[0]
            if group != last:
                parts.append(f"## {group}\n")
                if group in GROUP_HELP:
                    parts.append(f"{GROUP_HELP[group]}\n")
                last = group
            if " " in path:
                parts.append(f"### {path}\n")
            parts += _command(context, path)
    return "\n".join(parts)


def _place(path: str) -> int:
    """Commands of one group stand together, where its first one stands in the table."""
    paths = list(COMMANDS)
    first = next(index for index, other in enumerate(paths) if other.split(" ")[0] == path.split(" ")[0])
    return first * len(paths) + paths.index(path)


def _command(context: click.Context, path: str) -> Iterator[str]:
    command: click.Command = root
    for word in path.split(" "):
        assert isinstance(command, click.Group)
        found = command.get_command(context, word)
        assert found is not None
        command = found
    with click.Context(command, parent=None, info_name=f"pipeseal {path}") as inside:
        usage = " ".join([inside.command_path, *command.collect_usage_pieces(inside)])
        yield f"```text\n{usage}\n```\n"
        yield from _help(command.help or "")
        rows = [row for option in command.params if (row := _option(inside, option))]
        if rows:
            yield "| option | meaning |\n| --- | --- |\n" + "\n".join(rows) + "\n"


def _help(text: str) -> Iterator[str]:
    """Paragraphs as text, and those that click leaves as they are (`\\b`) as they are."""
    for paragraph in re.split(r"\n\s*\n", re.sub(r"\n[ \t]*\n[ \t]*\x08", "\n\n\x08", text).strip()):
        if "\x08" in paragraph:
            lines = [line for line in paragraph.replace("\x08", "").split("\n") if line.strip()]
            if len(lines) > 1 and lines[0].rstrip().endswith(":"):
                yield f"{_escape(lines[0].strip())}\n"
                lines = lines[1:]
                indent = min(len(line) - len(line.lstrip()) for line in lines)
                yield "```text\n" + "\n".join(line[indent:].rstrip() for line in lines) + "\n```\n"
                continue
            paragraph = "\n".join(lines)
        yield f"{_escape(' '.join(paragraph.split()))}\n"


def _option(context: click.Context, option: click.Parameter) -> str:
    if not isinstance(option, click.Option) or option.hidden or option.is_eager:
        return ""
    record = option.get_help_record(context)
    if record is None:
        return ""
    names, words = record
    variables = [option.envvar] if isinstance(option.envvar, str) else list(option.envvar or ())
    told = f" ({', '.join(f'`{name}`' for name in variables)})" if variables else ""
    return f"| `{names.replace('|', ' or ')}` | {_cell(words)}{told} |"


def _cell(text: str) -> str:
    return _escape(" ".join(text.split())).replace("|", "\\|")


def _escape(text: str) -> str:
    """Characters that Markdown would take for its own, outside of what is code already."""
    parts = text.split("`")
    return "`".join(part if index % 2 else _plain(part) for index, part in enumerate(parts))


def _plain(text: str) -> str:
    return _OPTION.sub(r"`\g<0>`", _MARKUP.sub(r"\\\g<0>", text))
