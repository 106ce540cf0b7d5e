"""Are two repository URLs about the same repository?"""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

# git's short form for ssh, `user@host:path` (git-clone(1), "GIT URLS"); not a Windows drive, not a path.
_SCP = re.compile(r"(?:[^@/:]+@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^/:\[\]]+):(?P<path>(?!//).+)")
_DEFAULT_PORTS = {"https": 443, "http": 80, "ssh": 22, "git": 9418}


def same_repository(first: str, second: str) -> bool:
    """Whether two URLs name one repository, however it is fetched.

    User names, schemes, default ports, a trailing `.git` or `/` and the case of letters do not matter; in a path on
    this machine the case does.

    Parameters:
        first: clone or page URL, in URL form, in git's short ssh form, or a path on this machine.
        second: likewise.
    """
    return _identity(first) == _identity(second)


def _identity(url: str) -> tuple[str, str]:
    host, path = _split(url.strip())
    path = re.sub(r"/{2,}", "/", path).strip("/").removesuffix(".git").rstrip("/")
    return host.lower(), path.lower() if host else path


def _split(url: str) -> tuple[str, str]:
    if "://" not in url:
        match = _SCP.fullmatch(url)
        return (match["host"], match["path"]) if match else ("", url)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # a port or an IPv6 address that is none: equal to itself only
        return "", url
    host = parts.hostname or ""
    if port is not None and port != _DEFAULT_PORTS.get(parts.scheme):
        host = f"{host}:{port}"
    return host, unquote(parts.path)
