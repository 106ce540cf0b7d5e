"""`meta-data`: keys and values that the jobs of a build share."""

from __future__ import annotations

import click

from pipeseal.cli.job_options import (
    Api,
    Function,
    add_options,
    api_command,
    job_option,
    option,
    put,
    redacted_vars_option,
)

NOT_SET = 100

_scope_options = (
    option("--job", envvar="BUILDKITE_JOB_ID", default="", metavar="ID", help="A job of the build.  [this one]"),
    option(
        "--build",
        envvar="BUILDKITE_METADATA_BUILD_ID",
        default="",
        metavar="ID",
        help="The build; wins over --job.",
    ),
)


def _scoped(function: Function) -> Function:
    return add_options(function, _scope_options)


def _scope(job: str, build: str) -> dict[str, str]:
    if build:
        return {"build_id": build}
    if job:
        return {"job_id": job}
    raise click.UsageError("Say which build: --job (BUILDKITE_JOB_ID) or --build (BUILDKITE_METADATA_BUILD_ID).")


@click.command("set")
@click.argument("key")
@click.argument("value", required=False)
@job_option
@redacted_vars_option
@api_command
def meta_data_set(api: Api, key: str, value: str | None, job: str, redacted_vars: tuple[str, ...]) -> None:
    """Set a key of the build's meta-data.

    The value comes from standard input when it is left out. Neither may be blank.

    \b
    Examples:
      buildkite-agent meta-data set release-version 1.2.3
      git describe | buildkite-agent meta-data set release-version
    """
    from pipeseal.agent.job_client import clean_text
    from pipeseal.cli.job_options import value_or_stdin, without_secrets

    text = value_or_stdin(value, "the value", api.talk)
    _check_not_blank(key, text)
    shown = without_secrets(text, redacted_vars, f"the value of {key!r}", api.talk)
    api.client().set_meta_data(job, clean_text(key), shown)


def _check_not_blank(key: str, value: str, argument: str = "") -> None:
    where = f" in {argument!r}" if argument else ""
    if not key.strip():
        raise click.UsageError(f"The key{where} is empty, or only blanks.")
    if not value.strip():
        raise click.UsageError(f"The value{where or f' of {key!r}'} is empty, or only blanks.")


@click.command("set-batch")
@click.argument("pairs", nargs=-1, required=True, metavar="KEY=VALUE...")
@job_option
@redacted_vars_option
@api_command
def meta_data_set_batch(api: Api, pairs: tuple[str, ...], job: str, redacted_vars: tuple[str, ...]) -> None:
    """Set several keys of the build's meta-data, all or none.

    \b
    Example:
      buildkite-agent meta-data set-batch version=1.2.3 "title=Release notes"
    """
    from pipeseal.agent.job_client import clean_text
    from pipeseal.cli.job_options import without_secrets

    items = []
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise click.UsageError(f"{pair!r} is not KEY=VALUE.")
        _check_not_blank(key, value, pair)
        shown = without_secrets(value, redacted_vars, f"the value of {key!r}", api.talk)
        items.append((clean_text(key), shown))
    api.client().set_meta_data_batch(job, items)


@click.command("get")
@click.argument("key")
@option("--default", default=None, metavar="TEXT", help="Print this when the key is not set.")
@_scoped
@api_command
def meta_data_get(api: Api, key: str, default: str | None, job: str, build: str) -> None:
    """Get a key of the build's meta-data.

    Prints the value and nothing after it, no line break either.

    \b
    Examples:
      buildkite-agent meta-data get release-version
      buildkite-agent meta-data get release-version --default none
    """
    from pipeseal.agent.job_client import clean_text, is_absent
    from pipeseal.errors import Unavailable

    try:
        put(api.client().get_meta_data(_scope(job, build), clean_text(key)))
    except Unavailable as error:
        if default is None or not is_absent(error):
            raise
        api.talk.warn(f"{key!r} is not set; this is the default")
        put(default)


@click.command("exists")
@click.argument("key")
@_scoped
@api_command
def meta_data_exists(api: Api, key: str, job: str, build: str) -> None:
    """Ask whether a key is set: exit status 0 if it is, 100 if it is not.

    \b
    Example:
      buildkite-agent meta-data exists release-version && ./publish
    """
    import sys

    from pipeseal.agent.job_client import clean_text

    if not api.client().has_meta_data_in(_scope(job, build), clean_text(key)):
        sys.exit(NOT_SET)


@click.command("keys")
@_scoped
@api_command
def meta_data_keys(api: Api, job: str, build: str) -> None:
    """List the keys of the build's meta-data, one a line."""
    for key in api.client().list_meta_data(_scope(job, build)):
        put(f"{key}\n")
