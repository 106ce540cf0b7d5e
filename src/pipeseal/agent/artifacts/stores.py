"""The stores that hold artifacts' bytes: which addresses are allowed, and moving files to and from them.

The server names an address for each file, and the server is not trusted. Bytes go to, and come from, the server's
own host, hosts that the operator named, and public hosts over TLS: naming an address inside the agent's network does
not reach it. No token is ever sent to a store. Transfers are streamed and have a deadline that fits their size.
"""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import quote, urljoin, urlsplit

from pipeseal.errors import PipesealError, Unavailable, VerificationError, escape_control

BLOCK_BYTES = 256 << 10
STALL_SECONDS = 60.0
# A transfer may take this long, and as long again as its bytes would at the slowest useful rate.
BASE_SECONDS = 120.0
SLOWEST_BYTES_PER_SECOND = 16_384
MAX_REDIRECTS = 5
_MAX_SHOWN = 2_048
_WRITTEN_AS_IS = "".join(chr(point) for point in range(0x21, 0x7F))


class Address(NamedTuple):
    """A checked address: scheme, host, port, and what to ask for there."""

    scheme: str
    host: str
    port: int
    target: str


class Stored(NamedTuple):
    """What a store answered: status, headers, and the beginning of its body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class StorePolicy:
    """Which addresses may be used.

    Parameters:
        endpoint: URL of the Agent API: its host may be used, with any port, over HTTP too.
        named: hosts, or `host:port`, that the operator names: may be used over HTTP too, wherever they are.
    """

    def __init__(self, endpoint: str, named: Collection[str] = ()) -> None:
        self._own_host = (urlsplit(endpoint).hostname or "").lower()
        self._named = {name.lower().removeprefix("http://").removeprefix("https://").rstrip("/") for name in named}

    def parse_address(self, url: str) -> Address:
        """The parts of `url`, if it may be used.

        Raises:
            VerificationError: it is no address of a store, or not one that may be used (code `artifact.store`).
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise _refused(url, "is no URL") from None
        host = (parts.hostname or "").lower()
        if parts.scheme not in {"http", "https"} or not host or "@" in parts.netloc:
            raise _refused(url, "is not an address of a store")
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        # Of the URL itself: `urlsplit` leaves out some of them without a word.
        if not host.isascii() or any(character < " " or character == "\x7f" for character in url):
            raise _refused(url, "holds characters that an address cannot have")
        target = quote(target.encode("utf-8", "replace"), safe=_WRITTEN_AS_IS)
        port = port or (443 if parts.scheme == "https" else 80)
        if parts.scheme == "http" and not self.is_known(host, port):
            raise _refused(url, "is neither on the server's host nor encrypted")
        return Address(parts.scheme, host, port, target)

    def is_known(self, host: str, port: int) -> bool:
        """Whether the operator chose this host, as the server's or as a store."""
        return host == self._own_host or host in self._named or f"{host}:{port}" in self._named

    def check_destination(self, address: Address, numeric: str) -> None:
        """Refuse what a public name leads to when that is not public.

        Raises:
            VerificationError: code `artifact.store`.
        """
        if self.is_known(address.host, address.port):
            return
        from ipaddress import ip_address

        if not ip_address(numeric.partition("%")[0]).is_global:
            url = f"{address.scheme}://{address.host}:{address.port}"
            raise _refused(url, f"leads to {numeric}, which is not a public address")


def _refused(url: str, problem: str) -> VerificationError:
    shown = escape_control(url.partition("?")[0][:200])
    return VerificationError(
        "artifact.store",
        f"the server wants to use {shown} for artifacts, which {problem}",
        help="if this is your store, name its host with --artifact-store or PIPESEAL_ARTIFACT_STORES",
        evidence={"address": shown},
    )


class StoreSession:
    """Connections to stores for one thread, kept open between files.

    Parameters:
        policy: which addresses may be used.
        user_agent: value of the `User-Agent` header.
    """

    def __init__(self, policy: StorePolicy, user_agent: str) -> None:
        self._policy = policy
        self._user_agent = user_agent
        self._connections: dict[tuple[str, str, int], http.client.HTTPConnection] = {}

    def close(self) -> None:
        """Close the connections."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def abort(self) -> None:
        """End the transfer in progress with an error; may be called from any thread."""
        for connection in list(self._connections.values()):
            try:
                if connection.sock is not None:
                    connection.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has ended by itself

    def send(self, method: str, url: str, headers: Mapping[str, str], length: int, blocks: Iterable[bytes]) -> Stored:
        """Send a body and read the answer, whatever its status.

        Parameters:
            length: how many bytes `blocks` hold.
            blocks: the body; what reading it raises comes out of here.

        Raises:
            VerificationError: an address that may not be used (code `artifact.store`).
            Unavailable: no answer (code `artifact.transfer`).
        """
        address = self._policy.parse_address(url)
        with self._exchange(address, length) as connection:
            connection.putrequest(method, address.target, skip_accept_encoding=True)
            for name, value in (*headers.items(), ("User-Agent", self._user_agent), ("Content-Length", str(length))):
                connection.putheader(name, value)
            connection.endheaders()
            answered_early = False
            for block in blocks:
                try:
                    connection.send(block)
                except (BrokenPipeError, ConnectionResetError):
                    answered_early = True  # perhaps it says why
                    break
            response = connection.getresponse()
            body = response.read(_MAX_SHOWN)
            if answered_early or response.read(1) or response.will_close:
                connection.close()
            return Stored(response.status, _headers(response), body)

    def fetch(self, url: str, take: Callable[[bytes], None], *, size: int | None) -> None:
        """Get a file, following redirects to addresses that may be used.

        Parameters:
            take: gets the bytes, block by block; what it raises comes out of here.
            size: how many bytes there should be; None when nobody knows.

        Raises:
            VerificationError: as `send`; more or fewer bytes than `size` (code `artifact.checksum`).
            Unavailable: no answer, an answer that says no, or not all of it (code `artifact.transfer`).
        """
        for _ in range(MAX_REDIRECTS + 1):
            moved = self._fetch_once(url, take, size)
            if moved is None:
                return
            url = moved
        raise Unavailable("artifact.transfer", f"more than {MAX_REDIRECTS} redirects, the last to {_shown(url)}")

    def _fetch_once(self, url: str, take: Callable[[bytes], None], size: int | None) -> str | None:
        address = self._policy.parse_address(url)
        with self._exchange(address, size or 0) as connection:
            connection.putrequest("GET", address.target, skip_accept_encoding=True)
            connection.putheader("User-Agent", self._user_agent)
            connection.putheader("Accept-Encoding", "identity")
            connection.endheaders()
            response = connection.getresponse()
            if response.status in {301, 302, 303, 307, 308} and response.getheader("Location"):
                connection.close()
                return urljoin(url, response.getheader("Location") or "")
            if not 200 <= response.status < 300:
                raise answer_error("GET", url, Stored(response.status, _headers(response), response.read(_MAX_SHOWN)))
            received = 0
            while block := response.read(BLOCK_BYTES):
                received += len(block)
                if size is not None and received > size:
                    break
                take(block)
            if response.length:  # http.client does not tell a body that ends early from one that is whole
                raise Unavailable("artifact.transfer", f"GET {_shown(url)} ended {response.length:,} bytes too early")
            if size is not None and received != size:
                amount = f"more than {size:,}" if received > size else f"{received:,} of {size:,}"
                raise VerificationError("artifact.checksum", f"{_shown(url)} holds {amount} bytes")
            if response.will_close:
                connection.close()
            return None

    @contextmanager
    def _exchange(self, address: Address, size: int) -> Iterator[http.client.HTTPConnection]:
        """A connection for one request; closed when anything goes wrong, and when its time is over."""
        where = f"{address.scheme}://{address.host}:{address.port}"
        deadline = _Deadline(BASE_SECONDS + size / SLOWEST_BYTES_PER_SECOND)
        connection = None
        try:
            connection = self._connection(address)
            deadline.watch(connection.sock)
            yield connection
        except PipesealError:
            self._drop(address, connection)
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            # ValueError: what `http.client` makes of a chunk whose length is below zero.
            self._drop(address, connection)
            reason = (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
            if deadline.is_over:
                reason = "the transfer is too slow"
            raise Unavailable("artifact.transfer", f"no answer from {where}: {escape_control(reason)}") from error
        except BaseException:
            self._drop(address, connection)
            raise
        finally:
            deadline.cancel()

    def _drop(self, address: Address, connection: http.client.HTTPConnection | None) -> None:
        if connection is not None:
            connection.close()
        self._connections.pop(address[:3], None)

    def _connection(self, address: Address) -> http.client.HTTPConnection:
        known = self._connections.get(address[:3])
        if known is not None and known.sock is not None and not _is_stale(known.sock):
            return known
        connection: http.client.HTTPConnection
        if address.scheme == "https":
            import ssl

            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(address.host, address.port, context=context)
        else:
            context = None
            connection = http.client.HTTPConnection(address.host, address.port)
        plain = self._connect(address)
        try:
            connection.sock = context.wrap_socket(plain, server_hostname=address.host) if context else plain
        except BaseException:
            plain.close()
            raise
        connection.auto_open = 0  # never to an address that was not checked
        self._connections[address[:3]] = connection
        return connection

    def _connect(self, address: Address) -> socket.socket:
        """Connect to a checked numeric address, so that a name cannot lead elsewhere between check and use."""
        failure: OSError | None = None
        for family, kind, protocol, _, place in socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM
        ):
            self._policy.check_destination(address, str(place[0]))
            plain = socket.socket(family, kind, protocol)
            try:
                plain.settimeout(STALL_SECONDS)
                plain.connect(place)
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as error:
                plain.close()
                failure = error
            else:
                return plain
        raise failure or OSError("the host has no address")


class _Deadline:
    """Ends a transfer that takes too long, however alive it looks."""

    def __init__(self, seconds: float) -> None:
        self.is_over = False
        self._socket: Any = None
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def watch(self, source: Any) -> None:
        self._socket = source
        self._timer.start()

    def cancel(self) -> None:
        self._timer.cancel()

    def _end(self) -> None:
        self.is_over = True
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it has ended by itself


def _is_stale(source: Any) -> bool:
    """Whether a kept-alive connection was closed meanwhile (or sent what nobody asked for)."""
    import select

    poll = select.poll()
    poll.register(source, select.POLLIN)
    return bool(poll.poll(0))


def _headers(response: http.client.HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.getheaders()}


def _shown(url: str) -> str:
    # The query of a signed URL is as good as a password.
    return escape_control(url.partition("?")[0][:200])


def answer_error(method: str, url: str, answer: Stored) -> Unavailable:
    """The error for an answer that says no."""
    text = escape_control(answer.body.decode("utf-8", "replace").strip()[:300])
    return Unavailable(
        "artifact.transfer",
        f"{method} {_shown(url)} answered {answer.status}" + (f": {text}" if text else ""),
        status=answer.status,
    )
