"""`artifact`: upload files that a job made, and find and download those of other jobs."""

from __future__ import annotations

import click

from pipeseal.cli.job_options import (
    Api,
    Function,
    add_options,
    api_command,
    build_option,
    job_option,
    option,
    put,
    until_the_end,
)

_store_option = option(
    "--artifact-store",
    multiple=True,
    envvar="PIPESEAL_ARTIFACT_STORES",
    metavar="HOST,HOST",
    help="Hosts beside the server's own that may store artifacts, also over HTTP or inside your network.",
)
_step_option = option(
    "--step", default="", metavar="STEP", help="Look at one step alone: its key or label, or a job's id."
)
_retried_option = option(
    "--include-retried-jobs",
    is_flag=True,
    envvar="BUILDKITE_AGENT_INCLUDE_RETRIED_JOBS",
    help="Also what earlier attempts of retried jobs made.",
)


def _query_command(function: Function) -> Function:
    return add_options(api_command(function), (_step_option, build_option, _retried_option))


@click.command("upload")
@click.argument("paths")
@click.argument("destination", required=False, envvar="BUILDKITE_ARTIFACT_UPLOAD_DESTINATION", default="")
@job_option
@option(
    "--content-type",
    envvar="BUILDKITE_ARTIFACT_CONTENT_TYPE",
    default="",
    metavar="TYPE",
    help="Media type of all files.  [told from each name]",
)
@option("--literal", is_flag=True, envvar="BUILDKITE_AGENT_ARTIFACT_LITERAL", help="Paths, not patterns.")
@option(
    "--delimiter",
    envvar="BUILDKITE_AGENT_ARTIFACT_DELIMITER",
    default=";",
    metavar="TEXT",
    help="What is between patterns; empty for none.  [;]",
)
@option(
    "--glob-resolve-follow-symlinks",
    is_flag=True,
    envvar="BUILDKITE_AGENT_ARTIFACT_GLOB_RESOLVE_FOLLOW_SYMLINKS",
    help="Look into folders that are symbolic links.",
)
@option("--follow-symlinks", is_flag=True, envvar="BUILDKITE_AGENT_ARTIFACT_SYMLINKS", hidden=True)
@option(
    "--upload-skip-symlinks",
    is_flag=True,
    envvar="BUILDKITE_ARTIFACT_UPLOAD_SKIP_SYMLINKS",
    help="Leave out files that are symbolic links.",
)
@option(
    "--no-multipart-artifact-upload",
    is_flag=True,
    envvar="BUILDKITE_NO_MULTIPART_ARTIFACT_UPLOAD",
    help="Send each file in one piece.",
)
@option(
    "--concurrency",
    type=int,
    envvar="BUILDKITE_ARTIFACT_UPLOAD_CONCURRENCY",
    default=0,
    metavar="N",
    help="How many requests at once.  [one for each processor]",
)
@_store_option
@api_command
def artifact_upload(
    api: Api,
    paths: str,
    destination: str,
    job: str,
    content_type: str,
    literal: bool,
    delimiter: str,
    glob_resolve_follow_symlinks: bool,
    follow_symlinks: bool,
    upload_skip_symlinks: bool,
    no_multipart_artifact_upload: bool,
    concurrency: int,
    artifact_store: tuple[str, ...],
) -> None:
    """Upload the files that patterns mean as artifacts of a job.

    Put patterns in quotes. `*` and `?` stay within one folder, `**` goes through folders, `{a,b}` is either, `[abc]`
    is one of the characters; `;` is between patterns. It is no error when nothing matches.

    \b
    Examples:
      buildkite-agent artifact upload "log/**/*.log"
      buildkite-agent artifact upload "dist/*.whl;coverage.xml"
    """
    from pipeseal.agent.artifacts.find import Search, collect_files, describe_files
    from pipeseal.agent.artifacts.upload import ArtifactUpload, check_destination
    from pipeseal.errors import escape_control

    check_destination(destination)
    workers = concurrency if concurrency > 0 else _processors()
    search = Search(
        paths,
        delimiter=delimiter,
        literal=literal,
        follow_links=glob_resolve_follow_symlinks or follow_symlinks,
        skip_links=upload_skip_symlinks,
    )
    talk = api.talk
    files = collect_files(search, content_type=content_type, home=_home(), workers=workers, warn=talk.warn)
    if not files:
        talk.say(f"No files matched paths: {escape_control(paths)}")
        return
    talk.say(f"Found {describe_files(files)} for {escape_control(paths)}")
    ArtifactUpload(
        api.client(),
        job,
        api.stores(artifact_store),
        workers=workers,
        multipart=not no_multipart_artifact_upload,
        say=talk.say,
        warn=talk.warn,
    ).run(files)
    talk.say(f"Uploaded {describe_files(files)}")


@click.command("download")
@click.argument("query")
@click.argument("destination")
@_store_option
@option("--no-s3-multipart-download", is_flag=True, hidden=True, expose_value=False)
@_query_command
def artifact_download(
    api: Api,
    query: str,
    destination: str,
    step: str,
    build: str,
    include_retried_jobs: bool,
    artifact_store: tuple[str, ...],
) -> None:
    """Download the artifacts of a build that match, to a folder that is there already.

    An artifact's folders are made below the destination. When its path begins with the destination's own name, that
    is not repeated: `app/logs/a` goes to `out/app/logs/a` in a destination `out/app`.

    \b
    Examples:
      buildkite-agent artifact download "dist/*.whl" .
      buildkite-agent artifact download "log/**" out --step tests
    """
    from pipeseal.agent.artifacts.destination import Destination
    from pipeseal.agent.artifacts.download import download_artifacts, plan_downloads
    from pipeseal.agent.artifacts.search import none_found, search_artifacts
    from pipeseal.errors import escape_control

    folder = until_the_end(Destination(destination))
    client, talk = api.client(), api.talk
    found = search_artifacts(client, build, query, step=step, include_retried_jobs=include_retried_jobs)
    if not found:
        raise none_found(query, step)
    downloads = plan_downloads(found, query, folder.name)
    talk.say(f"Found {len(found):,} artifacts; downloading to {escape_control(folder.path)}")
    download_artifacts(
        downloads,
        folder,
        api.stores(artifact_store),
        # They wait for the network more than they work.
        workers=min(8 * _processors(), 32),
        wait=client.stop.wait,
        say=talk.say,
        warn=talk.warn,
    )


@click.command("search")
@click.argument("query")
@option(
    "--format",
    "template",
    default="%j %p %c\\n",
    metavar="TEXT",
    help="%i id, %p path, %c time, %j job, %s bytes, %S SHA-1, %T SHA-256, %u address.  [%j %p %c\\n]",
)
@option("--allow-empty-results", is_flag=True, help="It is no error when nothing matches.")
@_query_command
def artifact_search(
    api: Api,
    query: str,
    step: str,
    build: str,
    include_retried_jobs: bool,
    template: str,
    allow_empty_results: bool,
) -> None:
    """Search the artifacts of a build, and print a line for each.

    \b
    Examples:
      buildkite-agent artifact search "dist/*"
      buildkite-agent artifact search "*" --format "%p\\t%s\\n"
    """
    from pipeseal.agent.artifacts.search import none_found, parse_format, render_found, search_artifacts
    from pipeseal.errors import escape_control

    pattern = parse_format(template)
    found = search_artifacts(
        api.client(), build, query, step=step, include_retried_jobs=include_retried_jobs, include_duplicates=True
    )
    if not found:
        if not allow_empty_results:
            raise none_found(query, step)
        api.talk.say(f"No artifact matches {escape_control(query)!r}")
    put("".join(render_found(artifact, pattern) for artifact in found))


@click.command("shasum")
@click.argument("query")
@option("--sha256", is_flag=True, help="SHA-256 instead of SHA-1.")
@_query_command
def artifact_shasum(api: Api, query: str, step: str, build: str, include_retried_jobs: bool, sha256: bool) -> None:
    """Print the checksum of the one artifact that matches, as the server has it.

    \b
    Example:
      buildkite-agent artifact shasum dist/app.tar.gz --sha256
    """
    from pipeseal.agent.artifacts.search import search_artifacts, select_checksum

    found = search_artifacts(api.client(), build, query, step=step, include_retried_jobs=include_retried_jobs)
    put(select_checksum(found, query, step, sha256=sha256) + "\n")


def _processors() -> int:
    import os

    return max(1, len(os.sched_getaffinity(0)))


def _home() -> str:
    import os

    home = os.path.expanduser("~")  # noqa: PTH111  (text: names need not be UTF-8)
    return home if home.startswith("/") else ""
