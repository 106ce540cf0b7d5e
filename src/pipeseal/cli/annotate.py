"""`annotate` and `annotation remove`: notes on the build's page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pipeseal.cli.job_options import Api, api_command, job_option, option, redacted_vars_option

if TYPE_CHECKING:
    from pipeseal.agentapi.job_messages import Annotation as AnnotationMessage

MAX_BODY_BYTES = 1 << 20


@click.command("annotate")
@click.argument("body", required=False)
@option(
    "--style",
    envvar="BUILDKITE_ANNOTATION_STYLE",
    default="",
    metavar="STYLE",
    help="One of success, info, warning and error.",
)
@option(
    "--context",
    envvar="BUILDKITE_ANNOTATION_CONTEXT",
    default="",
    metavar="NAME",
    help="Tells annotations apart: the same one again changes it.",
)
@option("--append", is_flag=True, envvar="BUILDKITE_ANNOTATION_APPEND", help="Add to what is there.")
@option(
    "--priority",
    type=int,
    envvar="BUILDKITE_ANNOTATION_PRIORITY",
    default=3,
    metavar="N",
    help="From 1 to 10; 10 is shown first.  [3]",
)
@option(
    "--scope",
    envvar="BUILDKITE_ANNOTATION_SCOPE",
    default="build",
    metavar="SCOPE",
    help="Shown with the build, or with the job.  [build]",
)
@job_option
@redacted_vars_option
@api_command
def annotate(
    api: Api,
    body: str | None,
    style: str,
    context: str,
    append: bool,
    priority: int,
    scope: str,
    job: str,
    redacted_vars: tuple[str, ...],
) -> None:
    """Annotate the build's page with Markdown, from the argument or standard input.

    Without a body, only the style of an annotation that is there changes.

    \b
    Examples:
      buildkite-agent annotate "All tests passed" --style success
      ./report | buildkite-agent annotate --style warning --context report
    """
    from pipeseal.agent.job_client import clean_text
    from pipeseal.cli.job_options import read_stdin, stdin_is_given, without_secrets
    from pipeseal.errors import MalformedInput

    if not body and stdin_is_given():
        api.talk.say("Reading the body from standard input")
        body = read_stdin()
    shown = without_secrets(body or "", redacted_vars, "the annotation", api.talk)
    size = len(shown.encode("utf-8"))
    if size > MAX_BODY_BYTES:
        raise MalformedInput(
            "annotation.too_long",
            f"the annotation has {size:,} bytes; {MAX_BODY_BYTES:,} are the most",
            help="upload it as an artifact, and link to that",
        )
    message: AnnotationMessage = {"priority": priority, "scope": scope}
    if shown:
        message["body"] = shown
    if style:
        message["style"] = style
    if context:
        message["context"] = clean_text(context)
    if append:
        message["append"] = True
    api.client().annotate(job, message)


@click.command("remove")
@option(
    "--context",
    envvar="BUILDKITE_ANNOTATION_CONTEXT",
    default="default",
    metavar="NAME",
    help="Which annotation.  [default]",
)
@option(
    "--scope",
    envvar="BUILDKITE_ANNOTATION_SCOPE",
    default="build",
    metavar="SCOPE",
    help="Of the build, or of the job.  [build]",
)
@job_option
@api_command
def annotation_remove(api: Api, context: str, scope: str, job: str) -> None:
    """Remove an annotation.

    \b
    Example:
      buildkite-agent annotation remove --context report
    """
    from pipeseal.agent.job_client import clean_text

    api.client().remove_annotation(job, clean_text(context), scope)
