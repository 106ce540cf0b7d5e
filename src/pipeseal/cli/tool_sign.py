"""`pipeseal tool sign`: sign the steps of a pipeline file, and leave the rest of it as it is."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pipeseal.signing.keys.signing_key import SigningKey
    from pipeseal.signing.seal.envelope import ResolvedPlugin
    from pipeseal.signing.seal.make import Sealing
    from pipeseal.signing.signtext import SignedText


def sign_text(
    text: str,
    *,
    source: str,
    key: SigningKey,
    repository_url: str,
    bindings: Mapping[str, str] | None = None,
) -> str:
    """The pipeline file `text` with every command step signed and sealed; see `signing.signtext.sign_text`."""
    from pipeseal.signing.seal.make import static_sealing
    from pipeseal.signing.signtext import sign_text as sign

    sealing = static_sealing(repository_url=repository_url, bindings=bindings or {})
    return sign(text, source=source, key=key, repository_url=repository_url, bindings=bindings, sealing=sealing).text


@click.command("sign")
@click.argument("file", required=False, type=click.Path(allow_dash=True, path_type=Path))
@click.option(
    "--jwks-file",
    default="",
    envvar="BUILDKITE_AGENT_JWKS_FILE",
    metavar="FILE|URI",
    help="The private key to sign with: a key file, or pkcs11:, awskms:, gcpkms:, vault:, openbao:.",
)
@click.option(
    "--jwks-key-id",
    default="",
    envvar="BUILDKITE_AGENT_JWKS_KEY_ID",
    metavar="ID",
    help="Which key of the file; needed when it holds several.",
)
@click.option(
    "--signing-aws-kms-key", default="", envvar="BUILDKITE_AGENT_AWS_KMS_KEY", metavar="ID", help="A key in AWS KMS."
)
@click.option(
    "--signing-gcp-kms-key",
    default="",
    envvar="BUILDKITE_AGENT_GCP_KMS_KEY",
    metavar="NAME",
    help="A key in Google Cloud KMS.",
)
@click.option(
    "--repo",
    envvar="BUILDKITE_REPO",
    metavar="URL",
    help="The repository's URL, exactly as jobs will have it; needed for a FILE.",
)
@click.option(
    "--organization-slug", envvar="BUILDKITE_ORGANIZATION_SLUG", metavar="SLUG", help="Bind to this organisation."
)
@click.option("--pipeline-slug", envvar="BUILDKITE_PIPELINE_SLUG", metavar="SLUG", help="Bind to this pipeline.")
@click.option("--tag", metavar="TAG", help="Bind to builds of this tag; '' for builds of no tag.")
@click.option("--pull-request", metavar="N", help="Bind to this pull request; 'false' for builds of none.")
@click.option(
    "--no-bindings", is_flag=True, help="Sign exactly what stock agents sign, whatever else is known; no seals."
)
@click.option("--no-seal", is_flag=True, help="Sign the steps, and do not seal them.")
@click.option("--seal-valid-for", metavar="TIME", help="How long seals are good for: 12h, 90d.  [without end]")
@click.option("--plugins-lock", metavar="FILE", help="Hold plugins against this lock.  [.buildkite/plugins.lock]")
@click.option("--resolve-plugins", is_flag=True, help="Seal plugins at their commits of now, without a lock too.")
@click.option(
    "--git-config-file",
    metavar="FILE",
    envvar="PIPESEAL_GIT_CONFIG_FILE",
    help="What git reads when it asks for plugins.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write here, not to the terminal."
)
@click.option("-i", "--in-place", is_flag=True, help="Write the result back into FILE.")
@click.option(
    "--graphql-token",
    envvar="BUILDKITE_GRAPHQL_TOKEN",
    default="",
    metavar="TOKEN",
    help="API token of the server that keeps the pipeline; the steps come from there when there is no FILE.",
)
@click.option(
    "--graphql-endpoint",
    envvar="BUILDKITE_GRAPHQL_ENDPOINT",
    default="",
    metavar="URL",
    help="Its GraphQL API: URL/graphql/v1 of a Pipeseal server.  [https://graphql.buildkite.com/v1]",
)
@click.option(
    "--update", is_flag=True, envvar="BUILDKITE_TOOL_SIGN_UPDATE", help="Put the result in place on the server."
)
@click.option(
    "--no-confirm",
    is_flag=True,
    envvar="BUILDKITE_TOOL_SIGN_NO_CONFIRM",
    help="Do not ask; to sign what the server says, --expect-digest is needed then.",
)
@click.option(
    "--expect-digest",
    default="",
    metavar="SHA256",
    help="Sign what the server says only if it is still what you read: the digest that was shown then.",
)
def tool_sign(
    file: Path | None,
    jwks_file: str,
    jwks_key_id: str,
    signing_aws_kms_key: str,
    signing_gcp_kms_key: str,
    repo: str | None,
    organization_slug: str | None,
    pipeline_slug: str | None,
    tag: str | None,
    pull_request: str | None,
    no_bindings: bool,
    no_seal: bool,
    seal_valid_for: str | None,
    plugins_lock: str | None,
    resolve_plugins: bool,
    git_config_file: str | None,
    output: Path | None,
    in_place: bool,
    graphql_token: str,
    graphql_endpoint: str,
    update: bool,
    no_confirm: bool,
    expect_digest: str,
) -> None:
    """Sign and seal the steps of a pipeline file, or of a pipeline that a server keeps.

    \b
    Examples:
      pipeseal tool sign pipeline.yml --jwks-file sign.json --repo git@example.org:acme/app.git > signed.yml
      pipeseal tool sign --in-place pipeline.yml --jwks-file sign.json --repo URL --pipeline-slug app
      pipeseal tool sign pipeline.yml --jwks-file sign.json --repo URL --organization-slug local \\
        --pipeline-slug app --graphql-token TOKEN --graphql-endpoint http://ci/graphql/v1 --update

    Reads FILE, or standard input (`-`). Comments, key order and quoting stay as they are; JSON stays JSON. Secrets
    of the pipeline are merged into its steps first, as the stock tool does. A command that names a file of this
    folder is sealed as a script.

    With a token and no FILE, the steps and the repository are what the server says. They are shown, and signed only
    once you vouch for them: your signature is what others will trust. Better sign a FILE that you keep, and --update.
    """
    from_server = bool(graphql_token) and file is None
    from_stdin = not from_server and (file is None or str(file) == "-")
    if in_place and (from_server or from_stdin or output is not None):
        raise click.UsageError("--in-place needs a FILE, and no --output.")
    if from_stdin and sys.stdin.isatty():
        raise click.UsageError("Give the FILE to sign, or pipe a pipeline in.")
    if not from_server and not repo:
        raise click.UsageError("Missing option '--repo'.")
    if graphql_token and not (organization_slug and pipeline_slug):
        raise click.UsageError("--graphql-token needs --organization-slug and --pipeline-slug.")
    if update and not graphql_token:
        raise click.UsageError("--update needs --graphql-token.")
    from pipeseal.signing.keys.uri import key_file, signing_key_uri

    uri = signing_key_uri(jwks_file, aws_kms_key=signing_aws_kms_key, gcp_kms_key=signing_gcp_kms_key)
    if not uri:
        raise click.UsageError("Missing option '--jwks-file'.")
    if expect_digest and not from_server:
        raise click.UsageError("--expect-digest is for what a server says; here the text is your own.")

    from pipeseal.signing.bindings import static_bindings
    from pipeseal.signing.keys.files import exposure_of
    from pipeseal.signing.keys.open import open_signing_key
    from pipeseal.signing.signtext import sign_text as sign

    key = open_signing_key(uri, jwks_key_id)
    if (path := key_file(uri)) is not None and (exposed := exposure_of(path)):
        click.echo(f"warning: {exposed}", err=True)
    server = stored = None
    if graphql_token:
        from pipeseal.cli.stored_pipeline import (
            DEFAULT_ENDPOINT,
            PipelineServer,
            check_repository,
            confirm,
            confirm_text,
        )

        server = PipelineServer(graphql_endpoint or DEFAULT_ENDPOINT, graphql_token)
        stored = server.fetch_pipeline(organization_slug or "", pipeline_slug or "")
        check_repository(stored, repo or stored.repository)
        repo = stored.repository
        if from_server:
            confirm_text(stored, expected_digest=expect_digest, ask=not no_confirm)
    assert repo is not None
    bindings = (
        {}
        if no_bindings
        else static_bindings(
            organization=organization_slug or None, pipeline=pipeline_slug or None, tag=tag, pull_request=pull_request
        )
    )
    sealing = None
    if not no_bindings and not no_seal:
        sealing = _sealing(key, repo, bindings, seal_valid_for)
    data: bytes | str
    if from_server and stored is not None:
        source, data = f"{organization_slug}/{pipeline_slug}", stored.text
    elif file is None or from_stdin:
        source, data = "<stdin>", sys.stdin.buffer.read()
    else:
        source, data = str(file), _read(file)
    if sealing is not None:
        pinned = _pin(data, source, plugins_lock or "", git_config_file or "", resolve=resolve_plugins)
        sealing = sealing._replace(resolved=pinned)
    signed = sign(data, source=source, key=key, repository_url=repo, bindings=bindings, sealing=sealing)
    target = file if in_place else output
    if update and server is not None and stored is not None:
        if not no_confirm:
            confirm(f"Replace the steps of {organization_slug}/{pipeline_slug} on the server by the signed ones?")
        server.replace_steps(stored, signed.text)
    if update and target is None:
        pass  # the server has it
    elif target is None:
        sys.stdout.buffer.write(signed.text.encode("utf-8", "surrogateescape"))
        sys.stdout.buffer.flush()
    else:
        from pipeseal.cli.replace_file import replace_file

        replace_file(target, signed.text, code="signing.file")
    _report(signed, source, key, bindings, sealed=sealing is not None)


def _sealing(key: SigningKey, repo: str, bindings: Mapping[str, str], valid_for: str | None) -> Sealing | None:
    """What the seals say alike; None, said by `_report`, for a key that cannot seal."""
    import time

    from pipeseal.agent.upload_seal import parse_validity, script_finder
    from pipeseal.signing.seal.make import static_sealing

    if not key.kid:
        return None
    is_script = script_finder(".")
    if valid_for is None:
        return static_sealing(repository_url=repo, bindings=bindings, is_script=is_script)
    now = int(time.time())
    return static_sealing(
        repository_url=repo,
        bindings=bindings,
        not_before=now,
        expires=now + parse_validity(valid_for),
        is_script=is_script,
    )


def _pin(
    data: bytes | str, source: str, lock_file: str, git_config_file: str, *, resolve: bool
) -> dict[str, ResolvedPlugin]:
    """The commits of the plugins of all the file's pipelines; what cannot be read is told when it is signed."""
    from pipeseal.pipeline.parse import parse_all
    from pipeseal.pipeline.steps import Pipeline
    from pipeseal.repository.pin import pin_plugins

    steps = [
        step for parsed in parse_all(data, source=source) if isinstance(parsed, Pipeline) for step in parsed.steps
    ]
    return dict(pin_plugins(steps, lock_file=lock_file, resolve=resolve, git_config_file=git_config_file))


def _read(path: Path) -> bytes:
    from pipeseal.errors import ConfigurationError

    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            "signing.file", f"{path} cannot be read: {error.strerror}", help="check the path, and who may read it"
        ) from None


def _report(signed: SignedText, source: str, key: SigningKey, bindings: Mapping[str, str], *, sealed: bool) -> None:
    from pipeseal.errors import escape_control

    for pipeline in signed.pipelines:
        for warning in pipeline.warnings:
            click.echo(f"warning: {warning}", err=True)
    if not signed.kept:
        click.echo(
            f"warning: {source} shares steps in a way that signatures cannot be put into; it was written anew, "
            "without its comments",
            err=True,
        )
    count = signed.signed_steps
    steps = "1 step" if count == 1 else f"{count} steps"
    words = {
        "BUILDKITE_ORGANIZATION_SLUG": "organisation",
        "BUILDKITE_PIPELINE_SLUG": "pipeline",
        "BUILDKITE_TAG": "tag",
        "BUILDKITE_PULL_REQUEST": "pull request",
    }
    bound = ", ".join(f"{words[name]} {value or '(none)'}" for name, value in bindings.items())
    done = "Signed and sealed" if sealed else "Signed"
    line = f"{done} {steps} of {source} with {key.kid or 'a key without an id'} ({key.thumbprint[:8]}…)"
    click.echo(escape_control(line + (f", bound to {bound}" if bound else "")), err=True)
    if not key.kid and count:
        click.echo(
            "warning: the key has no id (`kid`), so no verifier that picks keys by id will accept this", err=True
        )
