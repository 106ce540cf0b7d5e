"""`agent stop`, `agent pause`, `agent resume`: from inside a job, what its agent does next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pipeseal.cli.job_options import Api, api_command, option

if TYPE_CHECKING:
    from pipeseal.agentapi.job_messages import AgentPause


@click.command("stop")
@option("--force", is_flag=True, help="Cancel the job it is running.")
@api_command
def agent_stop(api: Api, force: bool) -> None:
    """Stop the agent that runs this job, after the job."""
    api.client().stop_agent(force=force)
    api.talk.say("The agent stops")


@click.command("pause")
@option("--note", envvar="BUILDKITE_AGENT_PAUSE_NOTE", default="", metavar="TEXT", help="Why, for people.")
@option(
    "--timeout-in-minutes",
    type=click.IntRange(min=0),
    envvar="BUILDKITE_AGENT_PAUSE_TIMEOUT_MINUTES",
    default=0,
    metavar="N",
    help="Resume by itself after so long; 0: the server's word.",
)
@api_command
def agent_pause(api: Api, note: str, timeout_in_minutes: int) -> None:
    """Pause the agent that runs this job: it takes no others."""
    message: AgentPause = {}
    if note:
        message["note"] = note
    if timeout_in_minutes:
        message["timeout_in_minutes"] = timeout_in_minutes
    api.client().pause_agent(message)
    api.talk.say("The agent is paused")


@click.command("resume")
@api_command
def agent_resume(api: Api) -> None:
    """Resume the agent that runs this job."""
    api.client().resume_agent()
    api.talk.say("The agent takes jobs again")
