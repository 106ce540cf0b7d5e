"""`pipeseal pipeline upload`: sign a pipeline and upload it to the build of the current job."""

from __future__ import annotations

from typing import Any

import click

from pipeseal.agent.upload_options import UPLOAD_OPTIONS, UploadOption, make_call


def _option(row: UploadOption) -> click.Option:
    flags = f"--{row.name}/--no-{row.name}" if row.kind == "switch" else f"--{row.name}"
    return click.Option(
        [flags],
        is_flag=row.kind != "text",
        default=None,
        envvar=row.variable or None,
        metavar=row.metavar or None,
        type=click.Choice(row.choices) if row.choices else None,
        help=row.help,
        hidden=not row.help,
    )


def run(files: tuple[str, ...], **given: Any) -> None:
    from pipeseal.agent.inside import perform

    perform(make_call(files, given))


pipeline_upload = click.Command(
    "upload",
    callback=run,
    help="""Sign a pipeline and upload it to the build of the current job.

    \b
    Examples:
      pipeseal pipeline upload                       # the repository's pipeline file
      pipeseal pipeline upload .buildkite/deploy.yml
      ./generate-steps | pipeseal pipeline upload
      pipeseal pipeline upload --dry-run             # see what would be uploaded

    Without FILE it reads standard input, or else buildkite.yml, .buildkite/pipeline.yml or buildkite/pipeline.yml
    (or .yaml, .json). Steps are signed when the agent has a signing key, and bound to this build and commit.
    """,
    params=[click.Argument(["files"], nargs=-1, type=click.Path()), *map(_option, UPLOAD_OPTIONS)],
)
