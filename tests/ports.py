"""Ports of loopback that somebody comes back to."""

from __future__ import annotations

import socket


def hold_port(port: int) -> socket.socket:
    """Keep the system from handing out a port while whoever listens there is away; it can come back meanwhile."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", port))
    return held
