"""`env`: the variables of this process, and of the job's later phases."""

from __future__ import annotations

import click

from pipeseal.cli.job_options import Talk, local_command, option, put, put_json

_KINDS = ["plain", "json", "json-pretty"]


@click.command("dump")
@option(
    "--format",
    "kind",
    type=click.Choice(["json", "json-pretty"]),
    envvar="BUILDKITE_AGENT_ENV_DUMP_FORMAT",
    default="json",
    help="One line, or many.",
)
@local_command
def env_dump(talk: Talk, kind: str) -> None:
    """Print the variables of this process as a JSON object."""
    put_json(_started_with(), pretty=kind == "json-pretty")


def _started_with() -> dict[str, str]:
    """The variables this process was started with; Python itself may have set LC_CTYPE since (PEP 538)."""
    import os
    from pathlib import Path

    try:
        block = Path("/proc/self/environ").read_bytes()
    except OSError:
        block = b"\0".join(name + b"=" + value for name, value in os.environb.items())
    pairs = (entry.decode("utf-8", "replace").partition("=") for entry in block.split(b"\0"))
    return {name: value for name, equals, value in pairs if equals and name}


@click.command("get")
@click.argument("names", nargs=-1)
@option(
    "--format",
    "kind",
    type=click.Choice(_KINDS),
    envvar="BUILDKITE_AGENT_ENV_GET_FORMAT",
    default="plain",
    help="[plain]",
)
@local_command
def env_get(talk: Talk, names: tuple[str, ...], kind: str) -> None:
    """Get variables of the job as later phases will see them; with one name, only its value.

    \b
    Examples:
      buildkite-agent env get
      buildkite-agent env get DEPLOY_TARGET
    """
    import sys

    from pipeseal.cli.job_options import job_api

    values = job_api().environment()
    missing = [name for name in names if name not in values]
    for name in missing:
        talk.warn(f"{name!r} is not set")
    if names:
        values = {name: values[name] for name in names if name in values}
    if kind != "plain":
        put_json(values, pretty=kind == "json-pretty")
    elif len(names) == 1:
        put("".join(f"{value}\n" for value in values.values()))
    else:
        put("".join(f"{name}={value}\n" for name, value in sorted(values.items())))
    if missing:
        sys.exit(1)


@click.command("set")
@click.argument("variables", nargs=-1, metavar="NAME=VALUE...")
@option(
    "--input-format",
    type=click.Choice(["plain", "json"]),
    envvar="BUILDKITE_AGENT_ENV_SET_INPUT_FORMAT",
    default="plain",
    help="NAME=value, or JSON objects of texts.  [plain]",
)
@option(
    "--output-format",
    type=click.Choice(["quiet", *_KINDS]),
    envvar="BUILDKITE_AGENT_ENV_SET_OUTPUT_FORMAT",
    default="plain",
    help="[plain]",
)
@local_command
def env_set(talk: Talk, variables: tuple[str, ...], input_format: str, output_format: str) -> None:
    """Set variables of the job, for its later phases and hooks; `-` reads them from standard input.

    \b
    Examples:
      buildkite-agent env set DEPLOY_TARGET=staging
      echo '{"DEPLOY_TARGET":"staging"}' | buildkite-agent env set --input-format json -
    """

    from pipeseal.cli.job_options import job_api

    values: dict[str, str] = {}
    for text in _given(variables, input_format):
        if input_format == "json":
            for found in _json_values(text):
                values |= _texts_of(found)
        else:
            name, equals, value = text.partition("=")
            if not equals or not name:
                raise _malformed(f"{_start(text)} is not NAME=value")
            values[name] = value
    added, updated = job_api().set_variables(values)
    if output_format == "plain":
        lines = [*(["Added:"] if added else []), *(f"+ {name}" for name in added)]
        lines += [*(["Updated:"] if updated else []), *(f"~ {name}" for name in updated)]
        put("".join(f"{line}\n" for line in lines or ["No variables added or updated."]))
    elif output_format != "quiet":
        put_json({"added": added, "updated": updated}, pretty=output_format == "json-pretty")


@click.command("unset")
@click.argument("names", nargs=-1, metavar="NAME...")
@option(
    "--input-format",
    type=click.Choice(["plain", "json"]),
    envvar="BUILDKITE_AGENT_ENV_UNSET_INPUT_FORMAT",
    default="plain",
    help="Names, or JSON lists of names.  [plain]",
)
@option(
    "--output-format",
    type=click.Choice(["quiet", *_KINDS]),
    envvar="BUILDKITE_AGENT_ENV_UNSET_OUTPUT_FORMAT",
    default="plain",
    help="[plain]",
)
@local_command
def env_unset(talk: Talk, names: tuple[str, ...], input_format: str, output_format: str) -> None:
    """Unset variables of the job, for its later phases and hooks; `-` reads names from standard input.

    \b
    Example:
      buildkite-agent env unset DEPLOY_TARGET
    """

    from pipeseal.cli.job_options import job_api

    wanted: list[str] = []
    for text in _given(names, input_format):
        if input_format == "plain":
            wanted.append(text)
            continue
        for found in _json_values(text):
            if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
                raise _malformed("the input is not a JSON list of names")
            wanted += found
    unset = job_api().unset_variables(wanted)
    if output_format == "plain":
        lines = ["Unset:", *(f"- {name}" for name in unset)] if unset else ["No variables unset."]
        put("".join(f"{line}\n" for line in lines))
    elif output_format != "quiet":
        put_json(unset, pretty=output_format == "json-pretty")


def _given(arguments: tuple[str, ...], input_format: str) -> list[str]:
    """The arguments, with standard input in the place of `-`: line by line, or JSON as a whole."""
    from pipeseal.cli.job_options import read_stdin

    texts: list[str] = []
    for argument in arguments:
        if argument != "-":
            texts.append(argument)
        elif input_format == "json":
            texts.append(read_stdin())
        else:
            texts += [line.removesuffix("\r") for line in read_stdin().removesuffix("\n").split("\n")]
    return texts


def _json_values(text: str) -> list[object]:
    """The JSON values in `text`, one after the other."""
    import json

    decoder = json.JSONDecoder()
    values: list[object] = []
    rest = text.lstrip()
    try:
        while rest:
            value, end = decoder.raw_decode(rest)
            values.append(value)
            rest = rest[end:].lstrip()
    except (ValueError, RecursionError) as error:
        raise _malformed("the input is not JSON") from error
    return values


def _texts_of(found: object) -> dict[str, str]:
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise _malformed("the input is not a JSON object of texts")
    return found


def _start(text: str) -> str:
    """The beginning of a text that may hold a secret."""
    return repr(text if len(text) <= 20 else f"{text[:20]}...")


def _malformed(problem: str) -> Exception:
    from pipeseal.errors import MalformedInput

    return MalformedInput("environment.input", problem)
