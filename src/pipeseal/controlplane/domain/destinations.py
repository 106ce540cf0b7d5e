"""Where the server may send webhooks: not into the network it stands in, unless its operator says so.

Pipelines name the addresses of webhooks, and a pipeline can come from anybody with a pull request. A server that
sends wherever it is told is a door into its own network (server-side request forgery): to a metadata service, a
database, its own administration. So a URL is read strictly, and the addresses its host name stands for are judged one
by one, after they were looked up. The caller then connects to an address that was judged, never looks the name up
again, and follows no redirect.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from pipeseal.errors import ConfigurationError, MalformedInput, VerificationError

_Network = IPv4Network | IPv6Network
_Address = IPv4Address | IPv6Address

_MAX_URL = 2_048
_PORTS = {"https": 443, "http": 80}
_HOST_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")

# IANA special-purpose registries (RFC 6890 and its successors), written out so that no library's idea of "global"
# changes what is allowed.
_SPECIAL = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # between a provider and its customers
        "127.0.0.0/8",  # this machine
        "169.254.0.0/16",  # this link; metadata services live here
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # former 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)
_GLOBAL_V6 = IPv6Network("2000::/3")  # the only part of IPv6 that is handed out for the open network
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: stands for the IPv4 address in its last 32 bits


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a request should go, not yet judged: made by `parse_destination`.

    Parameters:
        url: as it is requested.
        host: name or address to look up, in lower case, without brackets.
        port: to connect to.
        target: path and query, for the request line.
    """

    url: str
    scheme: str
    host: str
    port: int
    target: str


@dataclass(frozen=True, slots=True)
class AllowedDestination:
    """Where a request may go: made by `verify_destination`.

    Parameters:
        addresses: connect to one of these and nothing else; `destination.host` is for TLS and the Host header only.
    """

    destination: Destination
    addresses: tuple[str, ...]


def parse_destination(url: str, *, allow_http: bool = False) -> Destination:
    """A webhook's URL.

    Parameters:
        allow_http: a URL without TLS is allowed.

    Raises:
        MalformedInput: `notification.url`.
    """
    if len(url) > _MAX_URL:
        raise _bad_url(url, f"it is longer than {_MAX_URL} characters")
    if not re.fullmatch(r"[!-~]+", url):
        raise _bad_url(url, "it has blanks or characters outside of ASCII", "write those as %20 and the like")
    if "\\" in url:
        raise _bad_url(url, "it has a backslash")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").rstrip(".")
    except ValueError as error:
        raise _bad_url(url, str(error)) from error
    if parts.scheme not in _PORTS or (parts.scheme == "http" and not allow_http):
        help = "the server's operator can allow http" if parts.scheme == "http" else "write https://"
        raise _bad_url(url, "it does not start with https://", help)
    if "@" in parts.netloc:
        raise _bad_url(url, "it has a user name or a password in it", "let the receiver check the signature instead")
    if port == 0:
        raise _bad_url(url, "there is no port 0")
    if not _is_host(host) or ("[" in parts.netloc) is not (":" in host):
        raise _bad_url(url, f"{host[:80]!r} is no host name")
    path = parts.path or "/"
    target = f"{path}?{parts.query}" if parts.query else path
    shown = f"[{host}]" if ":" in host else host
    authority = shown if port in (None, _PORTS[parts.scheme]) else f"{shown}:{port}"
    return Destination(
        url=f"{parts.scheme}://{authority}{target}",
        scheme=parts.scheme,
        host=host,
        port=port or _PORTS[parts.scheme],
        target=target,
    )


def parse_networks(texts: Sequence[str]) -> tuple[_Network, ...]:
    """The networks that an operator allows destinations in, such as `10.1.0.0/16`.

    Raises:
        ConfigurationError: `notification.network`.
    """
    networks: list[_Network] = []
    for text in texts:
        try:
            networks.append(ip_network(text))
        except ValueError as error:
            raise ConfigurationError(
                "notification.network",
                f"{text!r} is no network: {error}",
                help="write it as 10.1.0.0/16 or as one address",
            ) from error
    return tuple(networks)


def verify_destination(
    destination: Destination, addresses: Sequence[str], *, allowed: Sequence[_Network] = ()
) -> AllowedDestination:
    """A destination whose addresses are all allowed.

    1. The name stands for at least one address, and each one can be read.
    2. An address inside another is taken out of it (IPv4-mapped, NAT64), so that it is judged as what it reaches.
    3. Each address is in a network the operator allows, or in the open network. One that is not spoils them all: a
       name that points to both is a trick.

    Parameters:
        addresses: all that the host name stands for, as they were looked up just now.
        allowed: networks that the operator allows beyond the open one.

    Does not check: that the caller connects to one of `addresses`, and that it follows no redirect.

    Raises:
        VerificationError: `notification.destination`.
    """
    # 1. Addresses that can be read.
    if not addresses:
        raise _refused(destination, "its name stands for no address")
    for text in addresses:
        try:
            address: _Address = ip_address(text.split("%", 1)[0])
        except ValueError as error:
            raise _refused(destination, f"{text[:80]!r} is no address") from error
        # 2. What it reaches.
        address = _inner(address)
        # 3. Allowed, or open.
        if any(address in network for network in allowed if network.version == address.version):
            continue
        if not _is_open(address):
            raise _refused(destination, f"its name stands for {text[:80]}, which is not in the open network")
    return AllowedDestination(destination, tuple(addresses))


def _inner(address: _Address) -> _Address:
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _is_open(address: _Address) -> bool:
    if isinstance(address, IPv6Address) and address not in _GLOBAL_V6:
        return False
    return not any(address in network for network in _SPECIAL if network.version == address.version)


def _is_host(host: str) -> bool:
    if ":" in host:
        try:
            return IPv6Address(host).scope_id is None
        except ValueError:
            return False
    return 0 < len(host) <= 253 and all(_HOST_LABEL.fullmatch(label) for label in host.split("."))


def _bad_url(url: str, reason: str, help: str = "") -> MalformedInput:
    return MalformedInput("notification.url", f"{url[:120]!r} is not a webhook's URL: {reason}", help=help)


def _refused(destination: Destination, reason: str) -> VerificationError:
    return VerificationError(
        "notification.destination",
        f"nothing is sent to {destination.host}: {reason}",
        help="the server's operator can allow networks of its own",
    )
