"""What the server does by itself beside answering: builds it starts, notifications it sends, uploads it gives up,
bytes of what was deleted.

Each chore looks into the database, so any server can do it and none has to; a message or the clock tells it when.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from pipeseal.controlplane.services.artifacts import forget_unfinished
from pipeseal.controlplane.services.deletions import remove_due
from pipeseal.controlplane.services.events import NOTIFICATIONS, REMOVALS, TRIGGERS, wait_for
from pipeseal.controlplane.services.notify import send_due
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.services.schedules import start_due
from pipeseal.controlplane.services.trigger_build import trigger_builds
from pipeseal.errors import PipesealError

_log = logging.getLogger("pipeseal.server")

# Topic that wakes it, and what is done.
CHORES: tuple[tuple[str, Callable[[ControlPlane], Awaitable[None]]], ...] = (
    (TRIGGERS, trigger_builds),
    ("schedules", start_due),
    (NOTIFICATIONS, send_due),
    ("artifacts", forget_unfinished),
    (REMOVALS, remove_due),
)


async def do_chores(plane: ControlPlane) -> None:
    """Do all of it, each as often as there is a reason and at the interval of sweeps, until cancelled."""
    async with asyncio.TaskGroup() as group:
        for topic, chore in CHORES:
            group.create_task(_repeat(plane, topic, chore))


async def _repeat(plane: ControlPlane, topic: str, chore: Callable[[ControlPlane], Awaitable[None]]) -> None:
    with plane.events.listen(topic) as event:
        while True:
            try:
                await chore(plane)
            except PipesealError as error:
                _log.error("%s: %s", topic, error.message)
            except Exception:  # (a fault of one chore must not end it, or the others; its trace is in the log)
                _log.exception("%s: a fault of this program", topic)
            await wait_for(event, plane.settings.sweep_interval)
