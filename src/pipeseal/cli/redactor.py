"""`redactor add`: hide values in the job's log from now on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pipeseal.cli.job_options import Talk, local_command, option, redacted_vars_option, split_commas

if TYPE_CHECKING:
    from pipeseal.errors import MalformedInput


@click.command("add")
@click.argument("file", required=False, type=click.Path(dir_okay=False))
@option(
    "--format",
    "kind",
    type=click.Choice(["none", "json"]),
    envvar="BUILDKITE_AGENT_REDACT_ADD_FORMAT",
    default="none",
    help="The whole text, or the values of a JSON object.  [none]",
)
@option(
    "--apply-vars-filter",
    is_flag=True,
    envvar="BUILDKITE_AGENT_REDACT_VARS_FILTER",
    help="With json: only values whose names are those of secret variables.",
)
@redacted_vars_option
@option("--agent-access-token", hidden=True, expose_value=False)
@option("--endpoint", hidden=True, expose_value=False)
@local_command
def redactor_add(
    talk: Talk, file: str | None, kind: str, apply_vars_filter: bool, redacted_vars: tuple[str, ...]
) -> None:
    """Add what a file, or standard input, holds to the values that the agent hides in the job's log.

    \b
    Examples:
      buildkite-agent redactor add id_ed25519
      ./fetch-secrets | buildkite-agent redactor add --format json
    """

    from pipeseal.cli.job_options import job_api

    text = _read(file)
    talk.say(f"Hiding what {file or 'standard input'} holds")
    if kind == "none":
        values = [text.strip()]
    else:
        named = _parse(text)
        if apply_vars_filter:
            from pipeseal.agent.redaction import find_secrets
            from pipeseal.pipeline.secret_names import DEFAULT_PATTERNS

            patterns = split_commas(redacted_vars) if redacted_vars else DEFAULT_PATTERNS
            named, short = find_secrets(named, patterns)
            if short:
                talk.warn(f"too short to be hidden: the values of {', '.join(short)}")
        values = list(named.values())
    agent = job_api()
    for value in values:
        if value:
            agent.redact(value)


def _read(file: str | None) -> str:
    from pathlib import Path

    from pipeseal.cli.job_options import read_stdin

    if file is None or file == "-":
        return read_stdin()
    try:
        return Path(file).read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise _malformed(f"{file} cannot be read: {error.strerror}") from error


def _parse(text: str) -> dict[str, str]:
    import json

    try:
        named = json.loads(text)
    except (ValueError, RecursionError):
        # Without the reason: it would show a part of the secrets.
        raise _malformed("the input is not JSON") from None
    if not isinstance(named, dict) or not all(isinstance(value, str) for value in named.values()):
        raise _malformed("the input is not a JSON object of texts")
    return named


def _malformed(problem: str) -> MalformedInput:
    from pipeseal.errors import MalformedInput

    return MalformedInput("redactor.input", problem)
