"""`secret get`: print secrets, once the agent hides them in the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pipeseal.cli.job_options import Api, api_command, job_option, option, put, put_json

if TYPE_CHECKING:
    from pipeseal.errors import PipesealError

AT_ONCE = 10


@click.command("get")
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@option(
    "--format",
    "kind",
    type=click.Choice(["default", "json", "env"]),
    envvar="BUILDKITE_AGENT_SECRET_GET_FORMAT",
    default="default",
    help="default: the bare value of one, JSON of several.",
)
@job_option
@option(
    "--skip-redaction",
    is_flag=True,
    envvar="BUILDKITE_AGENT_SECRET_GET_SKIP_SECRET_REDACTION",
    help="Do not hide the values in the log.",
)
@api_command
def secret_get(api: Api, keys: tuple[str, ...], kind: str, job: str, skip_redaction: bool) -> None:
    """Get secrets and print them.

    The agent hides the values in the job's log from then on; when it cannot be told to, nothing is printed.

    \b
    Examples:
      buildkite-agent secret get deploy_key
      eval "$(buildkite-agent secret get --format env deploy_key api_token)"
    """
    from pipeseal.agent.parallel import in_parallel
    from pipeseal.errors import PipesealError, Unavailable

    client = api.client()

    def fetch(key: str) -> str | PipesealError:
        try:
            return client.get_secret(job, key)
        except PipesealError as error:
            return error

    wanted = list(dict.fromkeys(keys))
    answers = dict(zip(wanted, in_parallel(fetch, wanted, workers=min(AT_ONCE, len(wanted))), strict=True))
    failures = {key: answer for key, answer in answers.items() if isinstance(answer, PipesealError)}
    if failures:
        first = next(iter(failures.values()))
        raise Unavailable(
            "secret.fetch",
            "these secrets could not be had: " + "; ".join(f"{key}: {error}" for key, error in failures.items()),
            status=first.status if isinstance(first, Unavailable) else None,
        )
    values = {key: answer for key, answer in answers.items() if isinstance(answer, str)}
    if not skip_redaction:
        hide_in_log(list(values.values()), "--skip-redaction")
    if kind == "default" and len(wanted) == 1:
        put(f"{values[wanted[0]]}\n")
    elif kind == "env":
        put("".join(f"{key.upper()}={_quoted(values[key])}\n" for key in sorted(values)))
    else:
        put_json(values)


def hide_in_log(values: list[str], switch: str) -> None:
    """Let the agent hide values in the job's log.

    Parameters:
        switch: the option by which the command goes without.

    Raises:
        Unavailable: it could not be told to (code `secret.redaction`).
    """

    from pipeseal.cli.job_options import job_api
    from pipeseal.errors import PipesealError, Unavailable

    try:
        agent = job_api()
        for value in values:
            agent.redact(value)
    except PipesealError as error:
        raise Unavailable(
            "secret.redaction",
            f"nothing was printed, because the agent could not be told to hide it in the log: {error}",
            help=f"if it does not go to a log, say {switch}",
        ) from error


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
