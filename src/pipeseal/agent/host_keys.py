"""SSH host keys: believed only when the operator says so, and then on first sight (`ssh-keyscan`).

The key of a host that nobody has checked proves nothing on the day it is first seen: whoever answers, is believed.
So this is off unless asked for; `known_hosts` is the operator's.
"""

from __future__ import annotations

import fcntl
import re
import subprocess
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from pipeseal.agent.session import JobSession

TIMEOUT_SECONDS = 30

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,254}")
_SHORT_FORM = re.compile(r"(?:[^@/\s]+@)?(?P<host>[^@/:\s]+):(?!//)[^\s]*")


class SshHost(NamedTuple):
    """A host that is reached with SSH, and its port."""

    host: str
    port: int = 22

    @property
    def known_as(self) -> str:
        """Its name in `known_hosts`."""
        return self.host if self.port == 22 else f"[{self.host}]:{self.port}"


def ssh_host(repository: str) -> SshHost | None:
    """The host of a repository's address; None when it is not reached with SSH."""
    if "://" in repository:
        try:
            parts = urlsplit(repository)
            port = parts.port
        except ValueError:
            return None
        if parts.scheme not in {"ssh", "git+ssh", "ssh+git"} or not parts.hostname:
            return None
        host = SshHost(parts.hostname, port or 22)
    elif match := _SHORT_FORM.fullmatch(repository):
        host = SshHost(match["host"])
    else:
        return None
    return host if _HOST.fullmatch(host.host) else None


def trust_on_first_sight(session: JobSession, repository: str) -> None:
    """Add the keys of the repository's host to `known_hosts`, unless it is there already; failing is a warning."""
    host = ssh_host(repository)
    home = session.environment.get("HOME", "")
    if host is None or not home:
        return
    file = Path(home) / ".ssh" / "known_hosts"
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with file.open("a") as known:
            fcntl.flock(known, fcntl.LOCK_EX)
            if _call(session, "ssh-keygen", "-F", host.known_as, "-f", str(file)):
                return
            keys = _call(session, "ssh-keyscan", "-T", "10", "-p", str(host.port), host.host)
            if not keys:
                session.log.warning(f"No SSH host key could be had from {host.known_as}")
                return
            known.write(keys if keys.endswith("\n") else f"{keys}\n")
    except (OSError, subprocess.TimeoutExpired) as error:
        session.log.warning(f"The SSH host key of {host.known_as} could not be kept: {error}")
        return
    session.log.comment(f"Added the SSH host keys of {host.known_as} to {file}, as they were seen now (ssh-keyscan)")


def _call(session: JobSession, *arguments: str) -> str:
    """What a program prints; empty when it fails."""
    done = subprocess.run(
        arguments,
        env=dict(session.environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""
