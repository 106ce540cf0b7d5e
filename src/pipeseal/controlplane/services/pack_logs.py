"""Closed logs in an object store are packed: their chunks become one object."""

from __future__ import annotations

import asyncio
import logging

from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.store.log_objects import LogObjects, claim_packing, has_unpacked
from pipeseal.errors import PipesealError

_PACKING_SECONDS = 600  # for which a log is left to the server that packs it
_log = logging.getLogger("pipeseal.server")


async def pack_logs(plane: ControlPlane) -> int:
    """Pack the chunks of some logs that were closed a while ago, where logs are in an object store; says how many."""
    logs = plane.logs
    if not isinstance(logs, LogObjects):
        return 0
    now = plane.now()
    before = now - int(plane.settings.log_packing_delay * 1_000_000)
    until = now + _PACKING_SECONDS * 1_000_000
    packed = 0
    while await plane.database.read(lambda tx: has_unpacked(tx, before, now)):
        job_id = await plane.database.write(
            lambda tx: claim_packing(tx, finished_before=before, now=now, until=until)
        )
        if job_id is None:
            break  # another server was quicker
        await asyncio.to_thread(logs.pack, job_id)
        packed += 1
    return packed


async def pack_forever(plane: ControlPlane) -> None:
    """Pack at the interval of the settings until cancelled."""
    while True:
        await asyncio.sleep(plane.settings.sweep_interval)
        try:
            await pack_logs(plane)
        except PipesealError as error:
            _log.error("packing logs: %s", error.message)
