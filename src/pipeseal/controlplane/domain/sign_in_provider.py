"""Where people sign in who have no password here, and who of them gets an account."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from pipeseal.controlplane.domain.access import ROLES
from pipeseal.errors import ConfigurationError

_HELP: Final = "give --oidc-issuer, --oidc-client-id and --oidc-client-secret-file as the provider shows them"


@dataclass(frozen=True, slots=True)
class SignInProvider:
    """A provider, and who may sign in by it.

    Parameters:
        issuer: its URL, `https`, or `http` on this computer alone.
        client_id, client_secret: what this server is called there, and its secret; a public client has none.
        domains: people with verified addresses in these domains get an account when they first come.
        role: of such an account.
        owners: verified addresses that get an account as owners.
    """

    issuer: str
    client_id: str
    client_secret: str = ""
    domains: tuple[str, ...] = ()
    role: str = "member"
    owners: tuple[str, ...] = ()


def make_provider(
    issuer: str,
    client_id: str,
    client_secret: str,
    *,
    domains: tuple[str, ...],
    role: str,
    owners: tuple[str, ...],
) -> SignInProvider:
    """A provider as it is set.

    Raises:
        ConfigurationError: `server.oidc`.
    """
    check_address(issuer)
    if not client_id:
        raise ConfigurationError("server.oidc", "the sign-in provider knows this server by no name", help=_HELP)
    if role not in ROLES:
        raise ConfigurationError("server.oidc", f"{role[:40]!r} is no role: {', '.join(ROLES)}", help=_HELP)
    if any("@" not in owner for owner in owners):
        raise ConfigurationError("server.oidc", "an owner is an e-mail address", help=_HELP)
    shown = tuple(domain.strip().lower().lstrip("@") for domain in domains)
    if any("." not in domain or "@" in domain for domain in shown):
        raise ConfigurationError("server.oidc", "a domain is one such as example.org", help=_HELP)
    return SignInProvider(
        issuer.rstrip("/"), client_id, client_secret, shown, role, tuple(owner.strip().lower() for owner in owners)
    )


def check_address(address: str) -> None:
    """Nothing, when what goes there is read by nobody else.

    Raises:
        ConfigurationError: `server.oidc`.
    """
    try:
        parts = urlsplit(address)
        _port = parts.port
        host = parts.hostname or ""
    except ValueError:
        parts, host = urlsplit(""), ""
    local = host in ("127.0.0.1", "::1", "localhost")
    if not host or "@" in parts.netloc or parts.scheme not in (("http", "https") if local else ("https",)):
        raise ConfigurationError(
            "server.oidc",
            f"{address[:200]!r} is no address of a sign-in provider",
            help="give one such as https://login.example.org; http is for this computer alone",
        )
