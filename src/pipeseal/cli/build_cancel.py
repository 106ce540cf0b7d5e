"""`build cancel`: from inside a job, cancel the build it belongs to."""

from __future__ import annotations

import click

from pipeseal.cli.job_options import Api, api_command, build_option


@click.command("cancel")
@build_option
@api_command
def build_cancel(api: Api, build: str) -> None:
    """Cancel a build, with the token of one of its jobs.

    \b
    Example:
      ./anything-to-do || buildkite-agent build cancel
    """
    from pipeseal.errors import escape_control

    api.talk.say(f"Cancelled build {escape_control(api.client().cancel_build(build))}")
