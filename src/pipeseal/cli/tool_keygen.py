"""`pipeseal tool keygen`: a key pair for signing and verifying steps, in two files; or a kept key's public file."""

from __future__ import annotations

from pathlib import Path

import click

# The stock agent's three first. Kept here so that `--help` imports nothing; a test holds that it is
# `generate.GENERATED`.
ALGORITHMS = ("EdDSA", "ES512", "PS512", "ES256", "ES384", "PS256", "PS384", "HS256", "HS384", "HS512")


@click.command("keygen")
@click.option(
    "--alg",
    type=click.Choice(ALGORITHMS),
    default="EdDSA",
    envvar="BUILDKITE_AGENT_KEYGEN_ALG",
    show_default=True,
    help="Algorithm. Only EdDSA gives the same signature each time; only it, ES512 and PS512 sign in stock agents.",
)
@click.option(
    "--key-id",
    default="",
    envvar="BUILDKITE_AGENT_KEYGEN_KEY_ID",
    metavar="ID",
    help="Name of the key.  [default: the algorithm and a part of the key's thumbprint]",
)
@click.option(
    "--private-jwks-file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="BUILDKITE_AGENT_KEYGEN_PRIVATE_JWKS_FILE",
    help="Where to put the private key.  [default: ./ALG-ID-private.json]",
)
@click.option(
    "--public-jwks-file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="BUILDKITE_AGENT_KEYGEN_PUBLIC_JWKS_FILE",
    help="Where to put the public key.  [default: ./ALG-ID-public.json]",
)
@click.option(
    "--key",
    "kept_key",
    metavar="URI",
    help="Make no key: write the public half of this one, in a PKCS #11 token, AWS KMS, Google Cloud KMS or Vault.",
)
@click.option("--force-in-repo", is_flag=True, help="Write the private key even into a git work tree.")
def tool_keygen(
    alg: str,
    key_id: str,
    private_jwks_file: Path | None,
    public_jwks_file: Path | None,
    kept_key: str | None,
    force_in_repo: bool,
) -> None:
    """Make a key pair for signing and verifying steps.

    \b
    Examples:
      pipeseal tool keygen
      pipeseal tool keygen --key-id uploader-1 --private-jwks-file /etc/ci/sign.json
      pipeseal tool keygen --key awskms:///alias/ci --public-jwks-file ci-public.json

    Files are JWK Sets, mode 0600, and never overwritten. With --key and no file, the public set is printed.
    """
    if kept_key is not None:
        if private_jwks_file is not None:
            raise click.UsageError("--key is for keys that are kept elsewhere: there is no private file.")
        _publish(kept_key, key_id, public_jwks_file)
        return
    from pipeseal.cli.keys import in_fours
    from pipeseal.errors import ConfigurationError
    from pipeseal.signing.keys.digits import comparison_digits
    from pipeseal.signing.keys.files import find_work_tree, write_key_file
    from pipeseal.signing.keys.generate import generate_key_pair

    pair = generate_key_pair(alg, key_id)
    kid = pair.key.kid or ""
    private = private_jwks_file or Path(f"{alg}-{kid}-private.json")
    public = public_jwks_file or Path(f"{alg}-{kid}-public.json")
    work_tree = None if force_in_repo else find_work_tree(private)
    if work_tree is not None:
        raise ConfigurationError(
            "key.in_repository",
            f"{private} would be in the git work tree {work_tree}, from where keys are committed by accident",
            help="name another place with --private-jwks-file, or insist with --force-in-repo",
        )
    for path in (private, public):
        if path.exists():
            # Before anything is written, so that no half of a pair is left behind.
            raise ConfigurationError(
                "key.exists",
                f"file already exists: {path}",
                help="choose another --key-id, or move the old file away; keys are never overwritten",
            )
    write_key_file(private, pair.private_set)
    if public != private:
        write_key_file(public, pair.public_set)

    thumbprint = pair.key.thumbprint()
    shared = pair.key.kty == "oct"
    click.echo(f"Created {'a shared secret' if shared else 'a key pair'} for {alg}.\n")
    click.echo(f"  private     {private}   (0600)  keep on uploader machines only")
    if shared:
        click.echo(f"  to verify   {public}   the same secret: whoever verifies with it can sign, too")
    else:
        click.echo(f"  public      {public}   copy to every agent, commit to your repository")
    click.echo(f"  key id      {kid}")
    click.echo(f"  thumbprint  {in_fours(thumbprint)}")
    click.echo(f"  digits      {comparison_digits(thumbprint)}   the same key, to compare by voice\n")
    click.echo("Next:")
    click.echo(f'  1. on uploaders   signing-jwks-file="{private.absolute()}"')
    click.echo(f'  2. on all agents  verification-jwks-file="{public.absolute()}"')
    click.echo(f"  3. try it         pipeseal tool sign pipeline.yml --jwks-file {private} --repo URL > signed.yml")
    click.echo(f"                    pipeseal tool verify signed.yml --jwks-file {public} --repo URL")
    click.echo(
        "If you lose the private key, make a new pair; if it leaks, take its key out of every agent's key file."
    )
    if alg not in ("EdDSA", "HS256", "HS384", "HS512"):
        click.echo(f"note: {alg} gives another signature each time it signs, even for the same step.")


def _publish(uri: str, key_id: str, file: Path | None) -> None:
    """Write or print the public set of a key that is kept elsewhere."""
    import json

    from pipeseal.signing.keys.files import write_key_file
    from pipeseal.signing.keys.open import open_signing_key

    key = open_signing_key(uri, key_id)
    text = json.dumps({"keys": [key.public_jwk()]}, sort_keys=True, separators=(",", ":"))
    if file is None:
        click.echo(text)
        return
    write_key_file(file, text)
    click.echo(f"Wrote the public key of {uri}: {key.alg}, key id {key.kid}, thumbprint {key.thumbprint}\n")
    click.echo("Next:")
    named = f'\n                    signing-jwks-key-id="{key_id}"' if key_id else ""
    click.echo(f'  1. on uploaders   signing-jwks-file="{uri}"{named}')
    click.echo(f'  2. on all agents  verification-jwks-file="{file.absolute()}"')
