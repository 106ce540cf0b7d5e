"""`pipeseal pipeline upload`: sign a pipeline and upload it to the build of the current job."""

from __future__ import annotations

import click


@click.command("upload")
@click.argument("files", nargs=-1, type=click.Path())
@click.option("--replace", is_flag=True, envvar="BUILDKITE_PIPELINE_REPLACE", help="Replace steps not yet started.")
@click.option("--job", envvar="BUILDKITE_JOB_ID", default="", metavar="ID", help="Job that uploads.  [this one]")
@click.option("--dry-run", is_flag=True, envvar="BUILDKITE_PIPELINE_UPLOAD_DRY_RUN", help="Print; upload nothing.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["json", "yaml"]),
    default="json",
    envvar="BUILDKITE_PIPELINE_UPLOAD_DRY_RUN_FORMAT",
    help="Of the dry run.",
)
@click.option("--no-interpolation", is_flag=True, envvar="BUILDKITE_PIPELINE_NO_INTERPOLATION", help="Leave $ alone.")
@click.option(
    "--reject-secrets",
    is_flag=True,
    envvar="BUILDKITE_AGENT_PIPELINE_UPLOAD_REJECT_SECRETS",
    help="Refuse a pipeline that holds the value of a secret variable.",
)
@click.option(
    "--reject-parse-warnings",
    is_flag=True,
    envvar="BUILDKITE_AGENT_PIPELINE_UPLOAD_REJECT_PARSE_WARNINGS",
    help="Refuse a pipeline that was understood only in part.",
)
@click.option(
    "--apply-if-changed/--no-apply-if-changed",
    default=True,
    envvar="BUILDKITE_AGENT_APPLY_IF_CHANGED",
    help="Skip steps whose if_changed matches nothing.",
)
@click.option("--git-diff-base", envvar="BUILDKITE_GIT_DIFF_BASE", default="", metavar="REF", help="For if_changed.")
@click.option("--fetch-diff-base", is_flag=True, envvar="BUILDKITE_FETCH_DIFF_BASE", help="Fetch that first.")
@click.option(
    "--changed-files-path",
    envvar="BUILDKITE_CHANGED_FILES_PATH",
    default="",
    metavar="FILE",
    help="File that lists what changed, instead of asking git.",
)
@click.option(
    "--jwks-file", envvar="BUILDKITE_AGENT_JWKS_FILE", default="", metavar="FILE", help="Private key to sign with."
)
@click.option(
    "--jwks-key-id", envvar="BUILDKITE_AGENT_JWKS_KEY_ID", default="", metavar="ID", help="Which key of that file."
)
@click.option("--no-bindings", is_flag=True, help="Sign what the stock agent signs; do not bind steps to this build.")
@click.option(
    "--redacted-vars",
    envvar="BUILDKITE_REDACTED_VARS",
    metavar="A,B",
    help="Names of secret variables, with * and ?; empty to look for none.",
)
@click.option("--agent-access-token", envvar="BUILDKITE_AGENT_ACCESS_TOKEN", default="", hidden=True)
@click.option("--endpoint", envvar="BUILDKITE_AGENT_ENDPOINT", default="", hidden=True)
@click.option("--no-http2", is_flag=True, hidden=True)
@click.option("--debug", is_flag=True, hidden=True)
@click.option("--no-color", is_flag=True, hidden=True)
@click.option("--log-level", hidden=True)
def pipeline_upload(
    files: tuple[str, ...],
    replace: bool,
    job: str,
    dry_run: bool,
    kind: str,
    no_interpolation: bool,
    reject_secrets: bool,
    reject_parse_warnings: bool,
    apply_if_changed: bool,
    git_diff_base: str,
    fetch_diff_base: bool,
    changed_files_path: str,
    jwks_file: str,
    jwks_key_id: str,
    no_bindings: bool,
    redacted_vars: str | None,
    agent_access_token: str,
    endpoint: str,
    **_ignored: object,
) -> None:
    """Sign a pipeline and upload it to the build of the current job.

    \b
    Examples:
      pipeseal pipeline upload                       # the repository's pipeline file
      pipeseal pipeline upload .buildkite/deploy.yml
      ./generate-steps | pipeseal pipeline upload
      pipeseal pipeline upload --dry-run             # see what would be uploaded

    Without FILE it reads standard input, or else buildkite.yml, .buildkite/pipeline.yml or buildkite/pipeline.yml
    (or .yaml, .json). Steps are signed when the agent has a signing key, and bound to this build and commit.
    """
    import os

    from pipeseal.agent.redaction import DEFAULT_PATTERNS
    from pipeseal.agent.upload import UploadOptions, upload

    patterns = DEFAULT_PATTERNS if redacted_vars is None else tuple(filter(None, redacted_vars.split(",")))
    options = UploadOptions(
        files=files,
        replace=replace,
        dry_run=dry_run,
        format=kind,
        no_interpolation=no_interpolation,
        reject_secrets=reject_secrets,
        reject_parse_warnings=reject_parse_warnings,
        apply_if_changed=apply_if_changed,
        git_diff_base=git_diff_base,
        fetch_diff_base=fetch_diff_base,
        changed_files_path=changed_files_path,
        jwks_file=jwks_file,
        jwks_key_id=jwks_key_id,
        no_bindings=no_bindings,
        redacted_vars=patterns,
        job=job,
    )

    def client():  # type: ignore[no-untyped-def]  # its type would be one more import on a path that is timed
        from pipeseal.agent.client import AgentClient
        from pipeseal.errors import ConfigurationError

        if not agent_access_token:
            raise ConfigurationError(
                "token.missing",
                "there is no token to upload with",
                help="run this inside a job, where BUILDKITE_AGENT_ACCESS_TOKEN is set, or use --dry-run",
            )
        return AgentClient(
            endpoint or "http://127.0.0.1:8080/v3",
            agent_access_token,
            on_failure=lambda _name, error, delay: click.echo(
                f"warning: trying again in {delay:.0f} s: {error}", err=True
            ),
        )

    upload(
        options,
        environment=os.environ,
        client=client,
        say=lambda line: click.echo(line, err=True),
        output=click.echo,
    )
