"""`lock`: locks between the jobs of one machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pipeseal.cli.job_options import (
    Function,
    Talk,
    add_options,
    local_command,
    option,
    parse_duration,
    put,
    sockets_path_option,
    until_the_end,
)

if TYPE_CHECKING:
    from pipeseal.agent.job_api.client import LockClient

_scope_option = option(
    "--lock-scope",
    type=click.Choice(["machine"]),
    envvar="BUILDKITE_LOCK_SCOPE",
    default="machine",
    expose_value=False,
    help="Only machine.",
)
_timeout_option = option(
    "--lock-wait-timeout",
    callback=parse_duration,
    envvar="BUILDKITE_LOCK_WAIT_TIMEOUT",
    default="0",
    metavar="DURATION",
    help="How long to wait, such as 5m; 0 for as long as it takes.  [0]",
)


def _lock_command(function: Function) -> Function:
    return add_options(local_command(function), (sockets_path_option, _scope_option))


def _open(sockets_path: str) -> LockClient:
    from pathlib import Path

    from pipeseal.agent.job_api.client import LockClient

    return until_the_end(LockClient(Path(sockets_path).expanduser()))


@click.command("acquire")
@click.argument("key")
@_timeout_option
@_lock_command
def lock_acquire(talk: Talk, key: str, sockets_path: str, lock_wait_timeout: float) -> None:
    """Acquire a lock: wait until nobody has it, take it, and print the token that releases it.

    \b
    Example:
      token=$(buildkite-agent lock acquire database)
      ...
      buildkite-agent lock release database "$token"
    """
    put(_open(sockets_path).acquire(key, lock_wait_timeout or None) + "\n")


@click.command("release")
@click.argument("key")
@click.argument("token")
@_lock_command
def lock_release(talk: Talk, key: str, token: str, sockets_path: str) -> None:
    """Release a lock with the token that acquiring it printed."""
    _open(sockets_path).release(key, token)


@click.command("do")
@click.argument("key")
@_timeout_option
@_lock_command
def lock_do(talk: Talk, key: str, sockets_path: str, lock_wait_timeout: float) -> None:
    """Do work that several jobs need only once.

    Prints `do` for the one who is to do it; the others wait, and get `done` when it is done.

    \b
    Example:
      if [ "$(buildkite-agent lock do setup)" = do ]; then
        ./setup
        buildkite-agent lock done setup
      fi
    """
    put("do\n" if _open(sockets_path).begin_once(key, lock_wait_timeout or None) else "done\n")


@click.command("done")
@click.argument("key")
@_lock_command
def lock_done(talk: Talk, key: str, sockets_path: str) -> None:
    """Declare work done that `lock do` began."""
    _open(sockets_path).end_once(key)


@click.command("get")
@click.argument("key")
@_lock_command
def lock_get(talk: Talk, key: str, sockets_path: str) -> None:
    """Get the state of a lock; empty when nobody has it."""
    put(_open(sockets_path).get(key) + "\n")
