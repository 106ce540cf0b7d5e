"""An SSH server that nobody knows, as far as a client needs one to look at its host key (RFC 4253, RFC 8731).

It answers the key exchange with a key made on the spot. A client that does not know the key goes away then; one that
went on would be cut off, since nothing after that is implemented, and nothing needs to be.
"""

from __future__ import annotations

import secrets
import socketserver
import struct
import threading
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

_VERSION = b"SSH-2.0-stranger"
_KEXINIT, _NEWKEYS, _ECDH_INIT, _ECDH_REPLY = 20, 21, 30, 31
_ALGORITHMS = (
    b"curve25519-sha256", b"ssh-ed25519", b"aes128-ctr", b"aes128-ctr", b"hmac-sha2-256", b"hmac-sha2-256",
    b"none", b"none", b"", b"",
)  # fmt: skip


class SshStranger:
    """The server, on a loopback port of its own, until closed.

    Attributes:
        port: where it listens.
        accepted: clients that went on although they could not know the key.
        shown: how many were shown the key.
    """

    def __init__(self) -> None:
        self.shown = 0
        self.accepted = 0
        stranger, key = self, Ed25519PrivateKey.generate()

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.connection.settimeout(10)
                try:
                    stranger._exchange(self.rfile, self.wfile, key)
                except (OSError, EOFError, struct.error, ValueError):
                    pass  # a client that goes away is the point

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _exchange(self, reader: Any, writer: Any, key: Ed25519PrivateKey) -> None:
        writer.write(_VERSION + b"\r\n")
        theirs = reader.readline(255).rstrip(b"\r\n")
        # RFC 4253 section 7.1
        ours = bytes([_KEXINIT]) + secrets.token_bytes(16) + b"".join(map(_string, _ALGORITHMS)) + b"\0" + b"\0" * 4
        writer.write(_packet(ours))
        hello = _read_packet(reader)
        point = b""
        while not point:
            message = _read_packet(reader)
            if message[0] == _ECDH_INIT:
                (length,) = struct.unpack(">I", message[1:5])
                point = message[5 : 5 + length]
        own = X25519PrivateKey.generate()
        shared = own.exchange(X25519PublicKey.from_public_bytes(point))
        public = own.public_key().public_bytes_raw()
        host_key = _string(b"ssh-ed25519") + _string(key.public_key().public_bytes_raw())
        # RFC 8731 section 3.1: the hash that the host key signs.
        parts = b"".join(map(_string, (theirs, _VERSION, hello, ours, host_key, point, public)))
        digest = sha256(parts + _number(shared)).digest()
        signature = _string(b"ssh-ed25519") + _string(key.sign(digest))
        writer.write(
            _packet(bytes([_ECDH_REPLY]) + _string(host_key) + _string(public) + _string(signature))
            + _packet(bytes([_NEWKEYS]))
        )
        self.shown += 1
        if _read_packet(reader)[0] == _NEWKEYS:
            self.accepted += 1


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _number(data: bytes) -> bytes:
    """An `mpint` (RFC 4251 section 5)."""
    data = data.lstrip(b"\0")
    return _string(b"\0" + data if data and data[0] & 0x80 else data)


def _packet(payload: bytes) -> bytes:
    """RFC 4253 section 6, before there are keys."""
    padding = 8 - (len(payload) + 5) % 8
    padding += 8 if padding < 4 else 0
    return struct.pack(">IB", len(payload) + padding + 1, padding) + payload + b"\0" * padding


def _read_packet(reader: Any) -> bytes:
    length, padding = struct.unpack(">IB", reader.read(5))
    if not 1 < length < 35_000:
        raise ValueError("not a packet")
    return bytes(reader.read(length - 1)[: length - 1 - padding])
