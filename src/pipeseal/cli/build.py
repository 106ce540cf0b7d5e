"""`pipeseal build create|show|log`: builds from the command line."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any

import click

from pipeseal.cli.rest_client import ALL_JOBS, items, members, text, whole
from pipeseal.cli.rest_options import output_option, rest_command
from pipeseal.errors import ConfigurationError, VerificationError

if TYPE_CHECKING:
    from pipeseal.cli.local_repository import LocalRepository
    from pipeseal.cli.rest_client import RestClient

_HOLD_SECONDS = 25


@click.command("create")
@click.option("--pipeline", "slug", help="Slug.  [default: the pipeline of this repository]")
@click.option("--branch", help="[default: the branch checked out here, or the pipeline's default branch]")
@click.option("--commit", help="[default: the commit checked out here, or HEAD of the branch]")
@click.option("--message", help="[default: that commit's message]")
@click.option("--tag", default="", help="Tag that the build is of.")
@click.option("--env", "variables", multiple=True, metavar="NAME=VALUE", help="Variable of every job; may repeat.")
@click.option("--watch", is_flag=True, help="Show states and logs until the build is over; exit by its result.")
@rest_command
@output_option
def build_create(
    client: RestClient,
    slug: str | None,
    branch: str | None,
    commit: str | None,
    message: str | None,
    tag: str,
    variables: tuple[str, ...],
    watch: bool,
    output: str,
) -> None:
    """Create a build, and watch it if asked.

    \b
    Examples:
      pipeseal build create --watch                      # in a clone of the pipeline's repository
      pipeseal build create --pipeline api --branch main --env DEPLOY=no

    With --watch the exit status is 0 when the build passed, 1 when it failed, and that of the check when a job was
    refused (20 not signed, 21 unknown signer, 22 check failed, see `pipeseal explain`).
    """
    from pipeseal.cli.local_repository import find_repository

    repository = find_repository()
    pipeline = _find_pipeline(client, slug, repository)
    slug = str(pipeline.get("slug"))
    # What is checked out here says something only when this is the pipeline's own repository.
    local = repository if repository is not None and pipeline.get("repository") in repository.names else None
    commit = commit or (local.commit if local and branch in (None, local.branch) else "") or "HEAD"
    is_local = local is not None and commit == local.commit
    body = {
        "branch": branch or (local.branch if local else "") or "",
        "commit": commit,
        "message": message if message is not None else local.message if local and is_local else "",
        "tag": tag,
        "author": {"name": local.author if local and is_local else ""},
        "env": dict(_read_variable(variable) for variable in variables),
    }
    build = members(client.post("pipelines", slug, "builds", body=body))
    number = whole(build.get("number"))
    talk_to_stderr = output == "json"
    click.echo(f"Created build #{number} of {text(slug)}: {text(build.get('web_url'))}", err=talk_to_stderr)
    for warning in build.get("warnings") or []:
        click.echo(f"warning: {text(warning)}", err=True)
    if not watch:
        if output == "json":
            click.echo(json.dumps(build, indent=2))
        return
    build = _watch(client, slug, number, to_stderr=talk_to_stderr)
    if output == "json":
        click.echo(json.dumps(build, indent=2))
    else:
        from pipeseal.cli.build_render import render_build

        click.echo("")
        click.echo(render_build(build))
        if build.get("state") == "blocked":
            click.echo("The build waits for a person to unblock it.")
    sys.exit(_result_status(build))


def _watch(client: RestClient, slug: str, number: int, *, to_stderr: bool) -> dict[str, Any]:
    from pipeseal.cli.build_watch import BuildWatch

    stream = sys.stderr if to_stderr else sys.stdout
    watch = BuildWatch(
        client.clone,
        slug,
        number,
        write=lambda line: click.echo(line, err=to_stderr),
        colours=stream.isatty(),
    )
    return watch.run()


def _result_status(build: dict[str, Any]) -> int:
    """The exit status for a build that was watched: of its worst refusal, else whether it passed."""
    from pipeseal.cli import exits

    refusals = [job["refusal"] for job in items(build.get("jobs") or []) if job.get("refusal")]
    codes = [str(members(refusal).get("code")) for refusal in refusals]
    if codes:
        return exits.worst([exits.exit_status(VerificationError(code, "refused")) for code in codes])
    return exits.DONE if build.get("state") in ("passed", "blocked") else exits.FAILED


@click.command("show")
@click.argument("number", type=click.IntRange(1))
@click.option("--pipeline", "slug", help="Slug.  [default: the pipeline of this repository]")
@rest_command
@output_option
def build_show(client: RestClient, number: int, slug: str | None, output: str) -> None:
    """Show a build, its jobs and why any were refused.

    \b
    Examples:
      pipeseal build show 12
      pipeseal build show 12 --pipeline api -o json
    """
    build = members(client.get("pipelines", _find_slug(client, slug), "builds", number, query=ALL_JOBS))
    if output == "json":
        click.echo(json.dumps(build, indent=2))
        return
    from pipeseal.cli.build_render import render_build

    click.echo(render_build(build))


@click.command("log")
@click.argument("number", type=click.IntRange(1))
@click.argument("job")
@click.option("--pipeline", "slug", help="Slug.  [default: the pipeline of this repository]")
@click.option("-f", "--follow", is_flag=True, help="Go on until the log ends.")
@click.option("--raw", is_flag=True, help="The bytes as the job wrote them, terminal control included.")
@rest_command
def build_log(client: RestClient, number: int, job: str, slug: str | None, follow: bool, raw: bool) -> None:
    """Print the log of a job.

    JOB is the key or the label of its step, or the beginning of its id.

    \b
    Examples:
      pipeseal build log 12 test
      pipeseal build log 12 test --follow
      pipeseal build log 12 0197f3 --raw > log.txt
    """
    slug = _find_slug(client, slug)
    build = members(client.get("pipelines", slug, "builds", number, query=ALL_JOBS))
    jobs = items(build.get("jobs") or [])
    job_id = _find_job(jobs, job)
    deleted = next((one for one in jobs if one.get("id") == job_id and one.get("log_deleted_at")), None)
    if deleted is not None:
        # Beside the output, which is the log's bytes and nothing else.
        by, at = text(deleted.get("log_deleted_by")), text(deleted.get("log_deleted_at"))
        click.echo(f"This log was deleted{f' by {by}' if by else ''}, {at}.", err=True)
        return
    path = ("pipelines", slug, "builds", number, "jobs", job_id, "log.txt")
    colours = sys.stdout.isatty()
    offset, rest = 0, b""
    while True:
        part = client.read_log(*path, offset=offset, wait_seconds=_HOLD_SECONDS if follow else 0)
        offset += len(part.data)
        if raw:
            click.echo(part.data, nl=False)
        else:
            *lines, rest = (rest + part.data).split(b"\n")
            _print_lines(lines, colours)
        if part.ended or (not follow and not part.data):
            break
    if rest and not raw:
        _print_lines([rest], colours)


def _print_lines(lines: list[bytes], colours: bool) -> None:
    from pipeseal.cli.build_render import clean_line

    if lines:
        click.echo("\n".join(clean_line(line.decode("utf-8", "replace"), colours=colours) for line in lines))


def _find_job(jobs: list[dict[str, Any]], wanted: str) -> str:
    """The id of the job that is meant; of several tries the last."""
    from pipeseal.cli.build_render import job_name

    scripts = [job for job in jobs if job.get("type") == "script"]
    found = [job for job in scripts if wanted in (job.get("step_key"), job.get("label"), job.get("id"))]
    if not found and len(wanted) >= 4:
        found = [
            job for job in scripts if str(job.get("id")).startswith(wanted) or str(job.get("id")).endswith(wanted)
        ]
    if len(found) > 1:
        found = [job for job in found if not job.get("retried_in_job_id")]
    if len(found) == 1:
        return str(found[0].get("id"))
    listed = "\n".join(f"  {text(job.get('id'))}  {job_name(job)}" for job in found or scripts)
    why = "Several jobs match" if found else "No job matches"
    raise click.UsageError(f"{why} {wanted!r}. Give the id of one of these:\n{listed or '  (none yet)'}")


def _read_variable(variable: str) -> tuple[str, str]:
    name, separator, value = variable.partition("=")
    if not separator or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise click.BadParameter(f"{variable!r} is not NAME=VALUE", param_hint="--env")
    return name, value


def _find_slug(client: RestClient, slug: str | None) -> str:
    if slug is not None:
        return slug
    from pipeseal.cli.local_repository import find_repository

    return str(_find_pipeline(client, None, find_repository()).get("slug"))


def _find_pipeline(client: RestClient, slug: str | None, repository: LocalRepository | None) -> dict[str, Any]:
    """The pipeline that is named, else the one of the repository around the current folder.

    Raises:
        ConfigurationError: `client.pipeline`: no pipeline, or more than one, is of this repository.
    """
    if slug is not None:
        return members(client.get("pipelines", slug))
    names = sorted(repository.names) if repository is not None else []
    found = [one for name in names for one in items(client.get("pipelines", query={"repository": name}))]
    if len(found) == 1:
        return found[0]
    slugs = ", ".join(text(one.get("slug")) for one in found)
    raise ConfigurationError(
        "client.pipeline",
        f"several pipelines are of this repository: {slugs}" if found else "no pipeline is of this repository",
        help="name it with --pipeline" + ("" if found else ", or make one with `pipeseal pipeline create`"),
    )
