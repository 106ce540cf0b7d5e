"""`job`: change the running job, and promise that it will fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pipeseal.cli.job_options import Api, api_command, job_option, option, redacted_vars_option

if TYPE_CHECKING:
    from pipeseal.errors import Unavailable


@click.command("update")
@click.argument("attribute")
@click.argument("value", required=False)
@job_option
@redacted_vars_option
@api_command
def job_update(api: Api, attribute: str, value: str | None, job: str, redacted_vars: tuple[str, ...]) -> None:
    """Update an attribute of a job; the value comes from standard input when it is left out.

    \b
    Example:
      buildkite-agent job update timeout 20
    """
    from pipeseal.agent.job_client import clean_text
    from pipeseal.cli.job_options import value_or_stdin, without_secrets

    text = value_or_stdin(value, "the value", api.talk)
    shown = without_secrets(text, redacted_vars, f"the value of {attribute!r}", api.talk)
    api.client().update_job(job, clean_text(attribute), shown)


@click.command("promise-failure")
@click.argument("exit_status", metavar="EXIT-STATUS", type=click.IntRange(min=1))
@option("--reason", default="", metavar="TEXT", help="Why, for people.")
@option("--job", envvar="BUILDKITE_JOB_ID", required=True, hidden=True)
@redacted_vars_option
@api_command
def job_promise_failure(api: Api, exit_status: int, reason: str, job: str, redacted_vars: tuple[str, ...]) -> None:
    """Promise that this job will fail, before it ends: the build can begin to fail.

    The job then ends with at least this exit status. Promising the same again changes nothing; promising another
    exit status is an error.

    \b
    Example:
      buildkite-agent job promise-failure 1 --reason "a test failed"
    """

    from pipeseal.cli.job_options import job_api, without_secrets
    from pipeseal.errors import MalformedInput, Unavailable

    shown = without_secrets(reason, redacted_vars, "the reason", api.talk)
    try:
        # The agent asks the control plane once, however often jobs promise.
        outcome = job_api().promise_failure(exit_status, shown)
    except (Unavailable, MalformedInput) as error:
        if error.code != "job_api.unavailable" or "is not set" not in error.message:
            api.talk.warn(f"{error}; promising without the agent")
    else:
        if not outcome.accepted:
            raise _refused(exit_status, outcome.status, outcome.error)
        if outcome.by_this_call or api.talk.is_debugging:
            api.talk.say(f"Promised that this job fails with {exit_status}")
        return
    try:
        api.client().promise_failure(job, exit_status, shown)
    except Unavailable as error:
        raise _refused(exit_status, error.status or 0, error.message) from error
    api.talk.say(f"Promised that this job fails with {exit_status}")


def _refused(exit_status: int, status: int, reason: str) -> Unavailable:
    from pipeseal.errors import Unavailable

    why = {409: "another exit status was promised before", 422: "the job is not running any more"}.get(status, reason)
    return Unavailable(
        "job.promise",
        f"the promise that this job fails with {exit_status} was not accepted: {why}",
        status=status or None,
        evidence={"answer": reason} if why != reason else {},
    )
