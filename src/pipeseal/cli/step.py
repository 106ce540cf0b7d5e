"""`step`: look at, change and cancel steps of the running build."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pipeseal.cli.job_options import Api, api_command, option, put, redacted_vars_option

if TYPE_CHECKING:
    from pipeseal.agentapi.job_messages import StepExport

_step_option = option(
    "--step", envvar="BUILDKITE_STEP_ID", required=True, metavar="ID", help="The step: its id or key.  [this one]"
)
_build_option = option(
    "--build",
    envvar="BUILDKITE_BUILD_ID",
    default="",
    metavar="ID",
    help="The build to look in for a key.  [this one]",
)


@click.command("get")
@click.argument("attribute", required=False)
@_step_option
@_build_option
@option("--format", "kind", envvar="BUILDKITE_STEP_GET_FORMAT", default="", metavar="FORMAT", help="json")
@api_command
def step_get(api: Api, attribute: str | None, step: str, build: str, kind: str) -> None:
    """Get an attribute of a step, or the whole step.

    \b
    Examples:
      buildkite-agent step get label --step deploy
      buildkite-agent step get --format json
    """
    from pipeseal.agent.job_client import clean_text

    export: StepExport = {}
    if attribute:
        export["attribute"] = clean_text(attribute)
    if build:
        export["build_id"] = build
    if kind:
        export["format"] = kind
    put(api.client().export_step(clean_text(step), export) + "\n")


@click.command("update")
@click.argument("attribute")
@click.argument("value", required=False)
@option("--append", is_flag=True, envvar="BUILDKITE_STEP_UPDATE_APPEND", help="Add to the value that is there.")
@_step_option
@_build_option
@redacted_vars_option
@api_command
def step_update(
    api: Api,
    attribute: str,
    value: str | None,
    append: bool,
    step: str,
    build: str,
    redacted_vars: tuple[str, ...],
) -> None:
    """Update an attribute of a step; the value comes from standard input when it is left out.

    \b
    Examples:
      buildkite-agent step update label "Tests, second run"
      buildkite-agent step update priority 10 --step deploy
    """
    from pipeseal.agent.job_client import clean_text, new_uuid
    from pipeseal.cli.job_options import value_or_stdin, without_secrets

    text = value_or_stdin(value, "the value", api.talk)
    shown = without_secrets(text, redacted_vars, f"the value of {attribute!r}", api.talk)
    api.client().update_step(
        clean_text(step),
        {
            "idempotency_uuid": new_uuid(),
            "build_id": build,
            "attribute": clean_text(attribute),
            "value": shown,
            "append": append,
        },
    )


@click.command("cancel")
@_step_option
@_build_option
@option("--force", is_flag=True, envvar="BUILDKITE_STEP_CANCEL_FORCE", help="Do not wait for jobs to end.")
@option(
    "--force-grace-period-seconds",
    type=click.IntRange(min=0),
    envvar=["BUILDKITE_STEP_CANCEL_FORCE_GRACE_PERIOD_SECONDS", "BUILDKITE_CANCEL_GRACE_PERIOD"],
    default=10,
    metavar="N",
    help="With --force: how long jobs have all the same.  [10]",
)
@api_command
def step_cancel(api: Api, step: str, build: str, force: bool, force_grace_period_seconds: int) -> None:
    """Cancel the unfinished jobs of a step.

    \b
    Example:
      buildkite-agent step cancel --step slow-tests
    """
    from pipeseal.agent.job_client import clean_text
    from pipeseal.errors import escape_control

    cancelled = api.client().cancel_step(
        clean_text(step),
        {"build_id": build, "force": force, "force_grace_period": force_grace_period_seconds},
    )
    api.talk.say(f"Cancelled step {escape_control(cancelled)}")
