"""Meta-data of a build: small values under keys, set and read by its jobs."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from pipeseal.agentapi.messages import MetaDataItem
from pipeseal.controlplane.services.authenticate import not_found
from pipeseal.controlplane.services.job_access import held_job, readable_build, verify_held_token
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.store.database import Transaction
from pipeseal.errors import MalformedInput

_MAX_KEY = 1_000
_MAX_ITEMS = 1_000
# What agents report of the commit they checked out, once a build: the output of `git log`, its object id first.
COMMIT_KEY = "buildkite:git:commit"
_REPORTED_COMMIT = re.compile(r"commit ([0-9a-f]{40}(?:[0-9a-f]{24})?)\b")


# Which build is meant, once the transaction is there: that of a job, or one that the job names.
Find = Callable[[Transaction], str]


def build_of_job(job_id: str, token: str) -> Find:
    """The build of a job that an agent holds; raises as `held_job`."""
    return lambda tx: str(held_job(tx, job_id, token)["build_id"])


def build_by_id(build_id: str, token: str) -> Find:
    """A build that the job of a token may look into; raises as `verify_held_token` and `readable_build`."""
    return lambda tx: str(readable_build(tx, verify_held_token(tx, token), build_id)["id"])


async def set_meta_data(plane: ControlPlane, job_id: str, token: str, items: Sequence[MetaDataItem]) -> None:
    """Set keys of the job's build: all of them, or none.

    Raises:
        VerificationError: `access.unknown_token`, `access.other_job`.
        MalformedInput: `state.not_running`, `request.malformed` (an empty or very long key, a value above the limit,
            too many at once).
    """
    await set_build_meta_data(plane, build_of_job(job_id, token), items)


async def set_build_meta_data(plane: ControlPlane, find: Find, items: Sequence[MetaDataItem]) -> None:
    """Set keys of a build: all of them, or none.

    Parameters:
        find: which build; may refuse.

    Raises:
        MalformedInput: `request.malformed`, as above; what `find` raises.
    """
    if len(items) > _MAX_ITEMS:
        raise MalformedInput("request.malformed", f"at most {_MAX_ITEMS} meta-data keys at once")
    limit = plane.settings.limits.max_meta_data_bytes
    for item in items:
        if not item.key.strip() or len(item.key) > _MAX_KEY:
            raise MalformedInput("request.malformed", f"a meta-data key has 1 to {_MAX_KEY} characters")
        if len(item.value.encode("utf-8", "surrogatepass")) > limit:
            raise MalformedInput(
                "request.malformed", f"a meta-data value has at most {limit} bytes (max_meta_data_bytes)"
            )

    def change(tx: Transaction) -> None:
        build_id = find(tx)
        for item in items:
            _set_item(tx, build_id, item)

    await plane.database.write(change)


def _set_item(tx: Transaction, build_id: str, item: MetaDataItem) -> None:
    tx.run(
        "INSERT INTO meta_data (build_id, key, value) VALUES (:build_id, :key, :value) "
        "ON CONFLICT (build_id, key) DO UPDATE SET value = :value",
        build_id=build_id,
        key=item.key,
        value=item.value,
    )
    reported = _REPORTED_COMMIT.match(item.value) if item.key == COMMIT_KEY else None
    if reported:
        # A build of HEAD is a build of whatever its first job found; the later jobs must get the same.
        tx.run(
            "UPDATE builds SET commit_id = :commit WHERE id = :id AND commit_id = 'HEAD'",
            commit=reported[1],
            id=build_id,
        )


async def get_meta_data(plane: ControlPlane, find: Find, key: str) -> MetaDataItem:
    """A key of a build.

    Parameters:
        find: from `build_of_job` or `build_by_id`.

    Raises:
        MalformedInput: `request.not_found`; what `find` raises.
    """

    def look(tx: Transaction) -> MetaDataItem:
        row = tx.one(
            "SELECT value FROM meta_data WHERE build_id = :build_id AND key = :key", build_id=find(tx), key=key
        )
        if row is None:
            raise not_found("meta-data with that key")
        return MetaDataItem(key=key, value=row["value"])

    return await plane.database.read(look)


async def list_meta_data(plane: ControlPlane, find: Find) -> list[str]:
    """The keys of a build; raises what `find` raises."""

    def look(tx: Transaction) -> list[str]:
        rows = tx.all("SELECT key FROM meta_data WHERE build_id = :build_id ORDER BY key", build_id=find(tx))
        return [row["key"] for row in rows]

    return await plane.database.read(look)


async def set_header_times(plane: ControlPlane, job_id: str, token: str, times: dict[str, str]) -> None:
    """Keep when the sections of a log began; those sent before stay.

    Raises:
        VerificationError: `access.unknown_token`, `access.other_job`.
        MalformedInput: `state.not_running`, `request.malformed`.
    """
    import msgspec

    if len(times) > 10_000 or any(not key.isdecimal() or len(value) > 64 for key, value in times.items()):
        raise MalformedInput("request.malformed", "header times are section numbers with a time each")

    def change(tx: Transaction) -> None:
        held_job(tx, job_id, token)
        row = tx.one("SELECT header_times FROM jobs WHERE id = :id", id=job_id)
        before = row["header_times"] if row is not None else None
        known = msgspec.json.decode(before, type=dict[str, str]) if before else {}
        if len(known) < 10_000:
            text = msgspec.json.encode({**known, **times}).decode()
            tx.run("UPDATE jobs SET header_times = :times WHERE id = :id", times=text, id=job_id)

    await plane.database.write(change)
