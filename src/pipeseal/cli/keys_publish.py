"""`pipeseal keys publish`: list public keys on a server, where readers of its pages find them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeseal.cli.rest_options import rest_command

if TYPE_CHECKING:
    from pipeseal.cli.rest_client import RestClient


@click.command("publish")
@click.option(
    "--keys",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Key file with the public keys.  [default: ~/.config/pipeseal/verification.json]",
)
@click.option("--description", default="", metavar="TEXT", help="What they are for, for readers.")
@rest_command
def keys_publish(client: RestClient, keys: Path | None, description: str) -> None:
    """List public keys on a server, so that readers of its pages need not look for them.

    \b
    Examples:
      pipeseal keys publish
      pipeseal keys publish --keys verification.json --description "uploader of the build cluster"

    A link that pins a key names it, and readers have to get it somewhere: from here. Listing a key proves nothing and
    makes nobody trust it, no reader and no agent. A key that is listed already stays as it is.
    """
    import json

    from pipeseal.cli.init import default_directory
    from pipeseal.cli.rest_client import items, text
    from pipeseal.policy.keyset import check_key_set
    from pipeseal.signing.keys.files import read_key_file
    from pipeseal.signing.keys.open import load_verification_keys

    path = keys or default_directory() / "verification.json"
    # Neither a private key nor a shared secret leaves by this way.
    check_key_set(load_verification_keys(str(path)))
    document = json.loads(read_key_file(path))
    jwks = document if "keys" in document else {"keys": [document]}
    for row in items(client.post("keys", body={"jwks": jwks, "description": description})):
        click.echo(f"Listed {text(row.get('kid'))} ({text(row.get('id'))}) on {client.server}")
