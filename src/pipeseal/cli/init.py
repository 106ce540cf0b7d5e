"""`pipeseal init`: keys with safe modes, settings for two agents, a signed upload step, and what to do next."""

from __future__ import annotations

from pathlib import Path

import click

UPLOAD_STEPS = """\
# The one step kept in the pipeline's settings: it uploads .buildkite/pipeline.yml of the commit being built.
# Signed: after a change here, sign it again with `pipeseal tool sign`.
steps:
  - label: ":pipeline: upload"
    command: buildkite-agent pipeline upload
    agents:
      queue: uploader
"""


def default_directory() -> Path:
    """Where a user's keys and settings are."""
    import os

    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "pipeseal"


@click.command("init")
@click.option(
    "--directory", type=click.Path(path_type=Path, file_okay=False), help="Where to.  [default: ~/.config/pipeseal]"
)
@click.option("--repository", metavar="URL", help="The repository that will be built; also signs its upload step.")
@click.option("--pipeline", metavar="SLUG", help="The pipeline that step is for; needed with --repository.")
@click.option(
    "--organization", metavar="SLUG", default="local", show_default=True, help="The pipeline's organisation."
)
@click.option("--endpoint", metavar="URL", default="http://127.0.0.1:8080/v3", show_default=True, help="Agent API.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The control plane's token for agents.  [default: that of a server on this machine, if there is one]",
)
@click.option("--branch", metavar="NAME", help="The one branch whose commits may be built; any, without this.")
@click.option("--key-id", metavar="ID", help="Name of the key.  [default: uploader- and a part of its thumbprint]")
@click.option("--signer", is_flag=True, help="Keep the key with a process of its own, not with the uploading agent.")
def init(
    directory: Path | None,
    repository: str | None,
    pipeline: str | None,
    organization: str,
    endpoint: str,
    token_file: Path | None,
    branch: str | None,
    key_id: str | None,
    signer: bool,
) -> None:
    """Make keys and an agent configuration, and say what to do next.

    \b
    Examples:
      pipeseal init
      pipeseal init --repository git@example.org:acme/app.git --pipeline app
      pipeseal init --repository git@example.org:acme/app.git --pipeline app --branch main --signer

    Writes a key pair, a policy (only steps that this key sealed, only this repository), the settings of an agent
    that uploads (and holds the private key) and of one that runs everything else (and holds only the public key).
    With --signer neither holds it: `pipeseal signer` does, and signs only what a verified commit's pipeline says.
    Nothing that exists is overwritten.
    """
    if branch and not repository:
        raise click.UsageError("--branch goes with --repository.")
    if bool(repository) != bool(pipeline):
        raise click.UsageError("--repository and --pipeline go together: a signed step is bound to both.")

    from pipeseal.errors import ConfigurationError
    from pipeseal.signing.keys.digits import comparison_digits
    from pipeseal.signing.keys.files import write_key_file
    from pipeseal.signing.keys.generate import generate_key_pair

    directory = (directory or default_directory()).absolute()
    names = [
        "signing.json",
        "verification.json",
        "uploader.cfg",
        "runner.cfg",
        "policy.toml",
        *(["steps.yml"] if repository else []),
        *(["signer.toml"] if signer else []),
    ]
    existing = [name for name in names if (directory / name).exists()]
    if existing:
        raise ConfigurationError(
            "init.exists",
            f"{directory} already holds {', '.join(existing)}",
            help="keep what is there, or give another --directory; nothing is ever overwritten",
        )
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    pair = generate_key_pair("EdDSA", key_id or "", prefix="uploader")
    write_key_file(directory / "signing.json", pair.private_set)
    write_key_file(directory / "verification.json", pair.public_set)
    (directory / "verification.json").chmod(0o644)
    token_file = token_file.absolute() if token_file else _find_agent_token()
    for name, uploads in (("uploader.cfg", True), ("runner.cfg", False)):
        settings = _agent_settings(directory, endpoint, token_file, uploads=uploads, signer=signer)
        _write_new(directory / name, settings)
    if signer:
        _write_new(directory / "signer.toml", _signer_settings(directory), mode=0o600)
    _write_new(directory / "policy.toml", _policy(pair.key.kid or "", repository, branch))
    if repository and pipeline:
        _write_new(directory / "steps.yml", _signed_upload_step(directory, repository, organization, pipeline))

    click.echo(f"Made a key pair and settings for two agents in {directory}\n")
    click.echo(
        f"  signing.json        private key {pair.key.kid} (0600): for the {'signer' if signer else 'uploader'} alone"
    )
    click.echo("  verification.json   public key: for every agent")
    how = "has the signer sign what it uploads" if signer else "signs what it uploads"
    click.echo(f"  uploader.cfg        an agent for queue uploader: {how}")
    click.echo("  runner.cfg          an agent for everything else: runs only what that key signed")
    what = f"only {repository}{f', branch {branch}' if branch else ''}" if repository else "any repository so far"
    click.echo(f"  policy.toml         what both may run: only what that key sealed, {what}")
    if signer:
        click.echo(
            "  signer.toml         what the signer works with; better a user of its own: docs/how-to/signer.md"
        )
    if repository:
        click.echo("  steps.yml           the pipeline's upload step, signed")
    thumbprint = pair.key.thumbprint()
    click.echo(f"  thumbprint          {thumbprint}")
    click.echo(f"  digits              {comparison_digits(thumbprint)}   the same key, to compare by voice\n")
    click.echo("Next:")
    token = "" if token_file else " --token file://TOKEN_FILE"
    steps = [
        f"pipeseal pipeline create {pipeline or 'SLUG'} --repository {repository or 'URL'}"
        f" --steps {directory / 'steps.yml'}",
        f"pipeseal agent start --config {directory / 'uploader.cfg'}{token}",
        f"pipeseal agent start --config {directory / 'runner.cfg'}{token}",
        f"pipeseal build create --pipeline {pipeline or 'SLUG'} --watch",
    ]
    if signer:
        words = f"--config {directory / 'signer.toml'} --socket {directory / 'signer.socket'}"
        steps.insert(1, f"pipeseal signer {words}")
    if not token_file:
        steps.insert(0, "pipeseal server      (a control plane, if you have none; it says where its tokens are)")
    for number, step in enumerate(steps, 1):
        click.echo(f"  {number}. {step}")
    if not repository:
        click.echo(
            "\nThe upload step in the pipeline's settings must be signed as well; "
            "`pipeseal init --repository URL --pipeline SLUG` does that too."
        )
    pages = f"{_server_of(endpoint)}/{organization}"
    click.echo("\nFor readers of a Pipeseal server's pages, who need not believe them:")
    click.echo(f"  link    {pages}/{pipeline or 'SLUG'}#pin={thumbprint}")
    click.echo(
        "          for a README or a chat; browsers keep what follows # to themselves, and only that key counts"
    )
    click.echo(f"  list    pipeseal keys publish --keys {directory / 'verification.json'}")
    click.echo("          so that they find the key that the link names; listing proves nothing, the link does")
    click.echo(f"  check   pipeseal verify {pages}/{pipeline or 'SLUG'}/builds/1#pin={thumbprint}")
    leaked = f"pipeseal keys revoke {pair.key.kid} --reason TEXT"
    click.echo(f"\nIf you lose signing.json, make a new key pair; if it leaks: {leaked}")


def _server_of(endpoint: str) -> str:
    """Where a server's pages are that has its Agent API here: the same place without the version."""
    return endpoint.rstrip("/").removesuffix("/v3")


def _find_agent_token() -> Path | None:
    import os

    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    path = data / "pipeseal" / "server" / "agent-token"
    return path if path.exists() else None


def _agent_settings(directory: Path, endpoint: str, token_file: Path | None, *, uploads: bool, signer: bool) -> str:
    does = (
        "uploads pipelines" + (" that a signer signs" if signer else " and signs them")
        if uploads
        else "runs what was signed, and nothing else"
    )
    lines = [
        f"# An agent that {does}.",
        f'endpoint="{endpoint}"',
        *([f'token="file://{token_file}"'] if token_file else []),
        f'verification-jwks-file="{directory / "verification.json"}"',
        f'policy-file="{directory / "policy.toml"}"',
        f'build-path="{directory / ("uploader-builds" if uploads else "builds")}"',
        f'plugins-path="{directory / ("uploader-plugins" if uploads else "plugins")}"',
    ]
    if uploads:
        lines.append('tags="queue=uploader"')
    if uploads and signer:
        lines.append(f'signer-socket="{directory / "signer.socket"}"')
    elif uploads:
        lines += [
            "# Whoever has this key decides what may run: keep it off the agents that run other people's code.",
            f'signing-jwks-file="{directory / "signing.json"}"',
        ]
    return "\n".join(lines) + "\n"


def _signer_settings(directory: Path) -> str:
    import os

    lines = [
        "# What `pipeseal signer` works with. All keys: docs/reference/signer.md; is it right: `--check`",
        "version = 1",
        f"key = {_toml(str(directory / 'signing.json'))}",
        f"verification-keys = {_toml(str(directory / 'verification.json'))}",
        f"policy = {_toml(str(directory / 'policy.toml'))}",
        f"state = {_toml(str(directory / 'signer-state'))}",
        f"supervisors = [{os.getuid()}]            # users that agents run as; better not the signer's own",
        '# jobs = ["ci-jobs"]             # users that jobs run as, if these are others',
        '# socket-group = "pipeseal-agent"',
    ]
    return "\n".join(lines) + "\n"


def _policy(key_id: str, repository: str | None, branch: str | None) -> str:
    lines = [
        "# What the agents here may run. All keys: docs/reference/policy.md; is it right: pipeseal policy check FILE",
        "version = 1",
        'proof = "seal"                # steps signed by a stock uploader need: proof = "signature"',
        f"keys = [{_toml(key_id)}]",
        f"branches = [{_toml(branch)}]"
        if branch
        else '# branches = ["main"]        # only commits of these branches; then take the next line away',
        *([] if branch else ['static-steps = "any"          # steps signed outside a build, at whatever commit']),
        '# commands = "scripts"         # only scripts of the repository, no inline commands',
        "# pull-requests = false",
        "",
        "[[allow]]",
        f"repository = {_toml(repository)}" if repository else '# repository = "git@example.org:acme/app.git"',
    ]
    return "\n".join(lines) + "\n"


def _toml(text: str) -> str:
    import json

    # A TOML basic string is a JSON string, as far as names and addresses go.
    return json.dumps(text, ensure_ascii=False)


def _signed_upload_step(directory: Path, repository: str, organization: str, pipeline: str) -> str:
    from pipeseal.cli.tool_sign import sign_text
    from pipeseal.signing.bindings import static_bindings
    from pipeseal.signing.keys.open import open_signing_key

    return sign_text(
        UPLOAD_STEPS,
        source="steps.yml",
        key=open_signing_key(str(directory / "signing.json")),
        repository_url=repository,
        bindings=static_bindings(organization=organization, pipeline=pipeline),
    )


def _write_new(path: Path, text: str, *, mode: int = 0o644) -> None:
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
    # Whatever the umask: an agent refuses files that others can change.
    path.chmod(mode)
