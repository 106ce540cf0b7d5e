"""`pipeseal signer`: the process that holds the signing key, and signs what a verified commit says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pipeseal.signer.trust import Working


@click.command("signer")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("/etc/pipeseal/signer.toml"),
    show_default=True,
    help="The signer's file.",
)
@click.option(
    "--socket",
    "socket_path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("/run/pipeseal-signer/socket"),
    show_default=True,
    help="Where agents and jobs ask it.",
)
@click.option("--check", is_flag=True, help="Read the files, say what they mean, and end.")
def signer(config: Path, socket_path: Path, check: bool) -> None:
    """Run the process that signs uploads, as a user of its own.

    \b
    Examples:
      pipeseal signer --check --config /etc/pipeseal/signer.toml
      pipeseal signer --config /etc/pipeseal/signer.toml --socket /run/pipeseal-signer/socket

    An agent with `signer-socket` asks it about each job. A job whose step is sealed and may upload is granted one
    upload: the signer then reads the pipeline file itself from the verified commit, and signs nothing else. It does
    not start with a key or a file that other users can read or change. SIGHUP: read the files again.
    """
    import signal
    import threading
    import time

    from pipeseal.signer.trust import SignerTrust

    trust = SignerTrust(config.absolute())
    working = trust.current()
    for line in _banner(working, config, socket_path):
        click.echo(line)
    if check:
        return
    from pipeseal.signer.server import SignerServer
    from pipeseal.signer.service import SignerService

    def tell(line: str) -> None:
        from pipeseal.clock import render_timestamp
        from pipeseal.errors import escape_control

        click.echo(f"{render_timestamp(time.time())} {escape_control(line)}", err=True)

    service = SignerService(trust, now=time.time, tell=tell)
    server = SignerServer(socket_path.absolute(), service, tell=tell, group=working.settings.socket_group)
    stop = threading.Event()

    def reload(_number: int, _frame: object) -> None:
        trust.reload()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    signal.signal(signal.SIGHUP, reload)
    serving = threading.Thread(target=server.serve, name="serve")
    serving.start()
    _notify(b"READY=1")
    tell(f"listening at {socket_path}")
    stop.wait()
    _notify(b"STOPPING=1")
    server.close()
    serving.join()
    tell("stopped")


def _banner(working: Working, config: Path, socket_path: Path) -> list[str]:
    settings, key = working.settings, working.key
    keys = working.verification.keys
    assert keys is not None  # a signer's settings have some
    users = ", ".join(str(uid) for uid in sorted(settings.supervisors))
    jobs = ", ".join(str(uid) for uid in sorted(settings.jobs))
    lines = [
        f"pipeseal signer  config {config}",
        f"  signs with   {key.kid} ({key.thumbprint[:8]}…, {key.alg})",
        f"  believes     {', '.join(f'{one.kid} ({one.thumbprint()[:8]}…)' for one in keys)}",
        f"  policy       {settings.policy}",
        f"  socket       {socket_path}   supervisors: uid {users}   jobs: uid {jobs}",
    ]
    lines += [f"  uploads      {rule.title}" for rule in settings.rules]
    if not settings.separates:
        lines.append(
            "warning: jobs run as the user that agents run as: a job that asks here in its agent's place is granted "
            "the upload of any upload step whose signature it has seen. Run jobs as another user where you can."
        )
    return lines


def _notify(state: bytes) -> None:
    """Tell the service manager, if there is one (sd_notify(3))."""
    import os
    import socket

    place = os.environ.get("NOTIFY_SOCKET", "")
    if not place:
        return
    address = f"\0{place[1:]}" if place.startswith("@") else place
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.sendto(state, address)
        except OSError as error:
            click.echo(f"warning: the service manager cannot be told: {error}", err=True)
