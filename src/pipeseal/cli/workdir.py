"""`workdir set`: where the job's later phases run."""

from __future__ import annotations

import click

from pipeseal.cli.job_options import Talk, local_command, option, put, put_json


@click.command("set")
@click.argument("directory", type=click.Path(exists=True, file_okay=False))
@option(
    "--output-format",
    type=click.Choice(["quiet", "plain", "json"]),
    envvar="BUILDKITE_AGENT_WORKDIR_SET_OUTPUT_FORMAT",
    default="plain",
    help="[plain]",
)
@local_command
def workdir_set(talk: Talk, directory: str, output_format: str) -> None:
    """Set the working directory of the job's later phases and hooks.

    For hooks that are not shell scripts; a shell hook changes it with `cd`.

    \b
    Example:
      buildkite-agent workdir set ./app
    """
    import os

    from pipeseal.cli.job_options import job_api

    chosen = job_api().set_directory(os.path.abspath(directory))  # noqa: PTH100  (no links resolved)
    if output_format == "plain":
        put(f"{chosen}\n")
    elif output_format == "json":
        put_json({"workdir": chosen})
