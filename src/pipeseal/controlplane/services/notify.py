"""Notifications are sent: signed, only to where the operator allows, repeated until they arrive or it is too late.

What is to be sent stands in the database (`note_event`). Before each attempt a request is taken for a while, so that
no other server sends it at the same time; a server that dies leaves it to the next. A receiver may therefore get a
request twice, and knows it by its `webhook-id`.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import ssl
from collections.abc import Mapping
from sqlite3 import Row

from pipeseal.controlplane.domain.destinations import (
    AllowedDestination,
    parse_destination,
    parse_networks,
    verify_destination,
)
from pipeseal.controlplane.domain.notifications import Event, notification_headers
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.services.secrets import open_text, seal_text
from pipeseal.controlplane.store import agents as agent_store
from pipeseal.controlplane.store import notifications as notification_store
from pipeseal.controlplane.store.database import Transaction
from pipeseal.errors import MalformedInput, PipesealError, VerificationError

_log = logging.getLogger("pipeseal.server")
# Seconds from one attempt to the next; after the last one it is given up.
PAUSES = (10, 60, 300, 1_800, 7_200, 21_600)
_ATTEMPT_SECONDS = 15  # for one address, from looking it up to its answer
_AT_ONCE = 16  # requests under way at the same time
_MAX_ANSWER = 16 * 1024  # bytes of a status line and headers
_SETTING = "notification_secret"
_SEALED_AS = "notification"
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: [^\r\n]*)?\r?\n")


async def notification_secret(plane: ControlPlane) -> str:
    """The secret that notifications are signed with, for their receivers; made the first time.

    Raises:
        ConfigurationError: `server.data`.
        Unavailable: `server.store`.
    """
    sealed = await plane.database.read(lambda tx: agent_store.get_setting(tx, _SETTING))
    if sealed is None:
        fresh = seal_text(plane, plane.organization_id, _SEALED_AS, plane.randomness(32).hex())

        def keep(tx: Transaction) -> str:
            known = agent_store.get_setting(tx, _SETTING)
            if known is None:
                agent_store.set_setting(tx, _SETTING, fresh)
            return known or fresh

        sealed = await plane.database.write(keep)
    return open_text(plane, plane.organization_id, _SEALED_AS, sealed)


async def send_due(plane: ControlPlane) -> None:
    """Send the notifications that are due."""
    now = plane.now()
    while rows := await plane.database.look(lambda tx: notification_store.due_notifications(tx, now, limit=_AT_ONCE)):
        secret = await notification_secret(plane)
        await asyncio.gather(*(_attempt(plane, row, secret) for row in rows))


async def _attempt(plane: ControlPlane, row: Row, secret: str) -> None:
    attempt = row["attempts"]
    last = attempt >= len(PAUSES)
    pause = PAUSES[min(attempt, len(PAUSES) - 1)]
    next_at = plane.now() + pause * 1_000_000
    if not await plane.database.write(lambda tx: notification_store.claim_notification(tx, row, next_at=next_at)):
        return  # another server is at it
    try:
        status, final = await _send(plane, row, secret), True
    except (MalformedInput, VerificationError) as error:
        status, final = error.message, True  # the same the next time
    except (PipesealError, OSError, ssl.SSLError, TimeoutError, asyncio.IncompleteReadError) as error:
        status, final = f"{type(error).__name__}: {error}"[:500], last
    if not status.startswith("sent"):
        _log.warning("notification %s of build %s: %s", row["id"], row["build_id"], status)
    await plane.database.write(lambda tx: notification_store.end_attempt(tx, row["id"], status=status, final=final))


async def _send(plane: ControlPlane, row: Row, secret: str) -> str:
    """One attempt; returns how it went.

    Raises:
        MalformedInput: `notification.url`.
        VerificationError: `notification.destination`.
        OSError, TimeoutError: it did not get through, or was not taken.
    """
    settings = plane.settings
    async with asyncio.timeout(_ATTEMPT_SECONDS):
        destination = parse_destination(row["url"], allow_http=settings.notify_http)
        found = await asyncio.get_running_loop().getaddrinfo(
            destination.host, destination.port, type=socket.SOCK_STREAM
        )
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        allowed = verify_destination(destination, addresses, allowed=parse_networks(settings.notify_networks))
        body = row["body"].encode()
        headers = notification_headers(
            Event(row["event"]), body, identifier=row["id"], secret=secret, now=plane.clock.now()
        )
        status = await _post(allowed, headers, body)
    if not 200 <= status < 300:  # a redirect is not followed: it could lead anywhere
        raise OSError(f"the receiver answered {status}")
    return f"sent ({status})"


async def _post(allowed: AllowedDestination, headers: Mapping[str, str], body: bytes) -> int:
    """Send a request to an address that was judged; returns the status of the answer. # RFC 9112"""
    destination = allowed.destination
    context = ssl.create_default_context() if destination.scheme == "https" else None
    reader, writer = await asyncio.open_connection(
        allowed.addresses[0],
        destination.port,
        ssl=context,
        server_hostname=destination.host if context is not None else None,
        limit=_MAX_ANSWER,
    )
    try:
        authority = destination.url.split("/", 3)[2]
        lines = {"Host": authority, "User-Agent": "pipeseal", "Connection": "close", **headers}
        head = f"POST {destination.target} HTTP/1.1\r\n" + "".join(
            f"{name}: {text}\r\n" for name, text in lines.items()
        )
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
        match = _STATUS_LINE.match(await reader.readline())
        if match is None:
            raise OSError("the receiver does not speak HTTP")
        return int(match[1])
    except ValueError as error:  # a line beyond the limit
        raise OSError("the receiver's answer is too long") from error
    finally:
        writer.close()
