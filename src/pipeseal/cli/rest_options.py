"""The options that every command for the control plane's REST API has."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from pipeseal.cli.rest_client import DEFAULT_ORGANIZATION, DEFAULT_SERVER, open_client


def rest_command(function: Callable[..., None]) -> Callable[..., None]:
    """Add `--server`, `--token-file`, `--organization`; the command gets `client` in their place."""

    @click.option(
        "--server", envvar="PIPESEAL_SERVER", default=DEFAULT_SERVER, show_default=True, help="Control plane."
    )
    @click.option(
        "--token-file",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="PIPESEAL_TOKEN_FILE",
        help="File with the API token; or set PIPESEAL_TOKEN.  [default: api-token of the local server]",
    )
    @click.option("--organization", envvar="PIPESEAL_ORGANIZATION", default=DEFAULT_ORGANIZATION, show_default=True)
    @wraps(function)
    def command(server: str, token_file: Path | None, organization: str, **arguments: Any) -> None:
        client = open_client(server, token_file, organization)
        try:
            function(client=client, **arguments)
        finally:
            client.close()

    return command


def output_option(function: Callable[..., None]) -> Callable[..., None]:
    """Add `-o text|json`."""
    return click.option(
        "-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Text, or JSON for tools."
    )(function)
