"""What people do with their own account: another password, and an end to browsers that they are signed in with."""

from __future__ import annotations

import asyncio
from sqlite3 import Row

from pipeseal.controlplane.domain.access import Reader
from pipeseal.controlplane.domain.passwords import check_new_password, digest_password, verify_password
from pipeseal.controlplane.services.accounts import TOKEN_ID, signed_out
from pipeseal.controlplane.services.authenticate import not_found
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.store import accounts as account_store
from pipeseal.controlplane.store.database import Transaction


async def change_password(plane: ControlPlane, reader: Reader, current: str, password: str, *, session: str) -> None:
    """Another password for whoever knows the current one; all other browsers of the account are signed out.

    Parameters:
        session: digest of the browser's token, which stays signed in.

    Raises:
        VerificationError: `access.sign_in`, it is not the current password; `access.slow_down`; `access.signed_out`.
        MalformedInput: `account.password`.
    """
    row = await plane.database.read(lambda tx: account_store.find_account(tx, reader.id))
    if row is None:
        raise signed_out()
    now = plane.clock.now()
    # A browser that was left open must not be a place to guess at.
    plane.sign_ins.by_email.check(row["email"], now)
    check_new_password(password, row["name"], row["email"])

    def compare() -> str:
        verify_password(current, row["password"])
        return digest_password(password, plane.randomness)

    try:
        async with plane.sign_ins.lanes:
            digest = await asyncio.to_thread(compare)
    except Exception:  # (whatever failed counts as an attempt, and is raised again)
        plane.sign_ins.by_email.note_failure(row["email"], now)
        raise

    def change(tx: Transaction) -> None:
        account_store.set_password(tx, reader.id, digest)
        account_store.delete_sessions(tx, reader.id, but=session)

    await plane.database.write(change)


async def list_sessions(plane: ControlPlane, reader: Reader) -> list[Row]:
    """The browsers in which somebody is signed in, the one used last first."""
    now = plane.now()
    return await plane.database.read(lambda tx: account_store.list_sessions(tx, reader.id, now))


async def end_session(plane: ControlPlane, reader: Reader, session_id: str) -> None:
    """Sign one of somebody's own browsers out.

    Parameters:
        session_id: the beginning of its digest.

    Raises:
        MalformedInput: `request.not_found`, also for browsers of other people.
    """
    now = plane.now()

    def end(tx: Transaction) -> None:
        rows = account_store.list_sessions(tx, reader.id, now)
        found = [row["digest"] for row in rows if row["digest"][:TOKEN_ID] == session_id]
        if not found:
            raise not_found("such session")
        account_store.delete_session(tx, found[0])

    await plane.database.write(end)
