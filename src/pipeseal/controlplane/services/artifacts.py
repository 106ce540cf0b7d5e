"""Artifacts: announced by a job, sent to the server, checked against what was announced, and found again."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from functools import partial
from sqlite3 import Row
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pipeseal.agentapi.job_messages import (
    MAX_ARTIFACTS_IN_BATCH,
    Artifact,
    ArtifactBatch,
    ArtifactsCreated,
    ArtifactState,
    ArtifactStates,
    UploadAction,
    UploadInstructions,
)
from pipeseal.clock import render_timestamp
from pipeseal.controlplane.domain.identifiers import UUID
from pipeseal.controlplane.domain.path_patterns import parse_path_pattern
from pipeseal.controlplane.services.artifact_bytes import Digests, forget_all, forget_parts, join_parts, put_whole
from pipeseal.controlplane.services.artifact_links import (
    UPLOAD,
    UPLOAD_SECONDS,
    WHOLE,
    download_url,
    make_link,
)
from pipeseal.controlplane.services.authenticate import not_found
from pipeseal.controlplane.services.events import build_topic
from pipeseal.controlplane.services.job_access import held_job, readable_build, verify_held_token
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.store import artifacts as artifact_store
from pipeseal.controlplane.store.database import Transaction
from pipeseal.errors import MalformedInput

FILE_FIELD = "file"
MAX_STATES_IN_UPDATE = 10_000
_MAX_PARTS = 10_000
_MAX_PATH = 4_096
_MAX_TEXT = 1_024
_FORGET_AT_ONCE = 100
_STORES = {"http", "https", "s3", "gs", "rt"}
_SHA1, _SHA256 = re.compile(r"[0-9a-f]{40}|"), re.compile(r"[0-9a-f]{64}|")


async def create_artifacts(plane: ControlPlane, job_id: str, token: str, batch: ArtifactBatch) -> ArtifactsCreated:
    """Announce artifacts of a job, and say how to send them. The same batch again gets the same ids.

    Parameters:
        job_id, token: the job.
        batch: up to 30 artifacts; its `id` names the request.

    Raises:
        VerificationError: `access.unknown_token`, `access.other_job`.
        MalformedInput: `state.not_running`; `request.malformed`; `artifact.limit`: too many for one build, or one is
            too large; `artifact.conflict`: other artifacts under the same batch id.
    """
    announced = batch["artifacts"]
    if not 1 <= len(announced) <= MAX_ARTIFACTS_IN_BATCH:
        raise MalformedInput("request.malformed", f"a batch holds 1 to {MAX_ARTIFACTS_IN_BATCH} artifacts")
    if not batch["id"] or len(batch["id"]) > _MAX_TEXT:
        raise MalformedInput("request.malformed", f"a batch needs an id of at most {_MAX_TEXT} characters")
    limits = plane.settings.limits
    for artifact in announced:
        _check_announced(artifact, limits.max_artifact_bytes)
    now = plane.now()
    in_parts = batch.get("multipart_supported", False)
    ids = [plane.new_id() for _ in announced]

    def change(tx: Transaction) -> list[Row]:
        job = held_job(tx, job_id, token)
        known = artifact_store.batch_of_job(tx, job_id, batch["id"])
        if known:
            if [_essence(row) for row in known] != [_announced_essence(artifact) for artifact in announced]:
                raise MalformedInput("artifact.conflict", "other artifacts were announced under this batch id before")
            return known
        limit = limits.max_artifacts_per_build
        if artifact_store.count_artifacts(tx, job["build_id"]) + len(announced) > limit:
            raise MalformedInput("artifact.limit", f"a build has at most {limit} artifacts (max_artifacts_per_build)")
        rows = [
            {
                "id": artifact_id,
                "build_id": job["build_id"],
                "job_id": job_id,
                "batch_id": batch["id"],
                "position": position,
                "path": artifact["path"],
                "absolute_path": artifact["absolute_path"],
                "glob_path": artifact["glob_path"],
                "content_type": artifact.get("content_type", ""),
                "file_size": artifact["file_size"],
                "sha1sum": artifact["sha1sum"],
                "sha256sum": artifact["sha256sum"],
                "upload_destination": artifact.get("upload_destination") or batch["upload_destination"],
                "url": artifact.get("url", ""),
                "part_count": _part_count(artifact["file_size"], limits.artifact_part_bytes) if in_parts else 0,
                "created_at": now,
            }
            for position, (artifact_id, artifact) in enumerate(zip(ids, announced, strict=True))
        ]
        artifact_store.insert_artifacts(tx, rows)
        return artifact_store.batch_of_job(tx, job_id, batch["id"])

    rows = await plane.database.write(change)
    return {
        "id": batch["id"],
        "artifact_ids": [row["id"] for row in rows],
        "per_artifact_instructions": {row["id"]: _instructions(plane, row) for row in rows},
    }


def _check_announced(artifact: Artifact, max_bytes: int) -> None:
    path = artifact["path"]
    if not path or len(path) > _MAX_PATH or "\0" in path:
        raise MalformedInput(
            "request.malformed", f"an artifact's path has 1 to {_MAX_PATH} characters, none of them NUL"
        )
    if max(len(artifact["absolute_path"]), len(artifact["glob_path"]), len(artifact.get("url", ""))) > _MAX_PATH:
        raise MalformedInput("request.malformed", f"a path or address of {path[:80]!r} is too long")
    if max(len(artifact.get("content_type", "")), len(artifact.get("upload_destination", ""))) > _MAX_TEXT:
        raise MalformedInput("request.malformed", f"the content type or destination of {path[:80]!r} is too long")
    if artifact["file_size"] < 0:
        raise MalformedInput("request.malformed", f"the size of {path[:80]!r} is negative")
    if artifact["file_size"] > max_bytes:
        raise MalformedInput(
            "artifact.limit", f"{path[:80]!r} has {artifact['file_size']} bytes; {max_bytes} are the most"
        )
    if not _SHA1.fullmatch(artifact["sha1sum"]) or not _SHA256.fullmatch(artifact["sha256sum"]):
        raise MalformedInput("request.malformed", f"a checksum of {path[:80]!r} is none")
    url = artifact.get("url", "")
    if url and url.partition(":")[0].lower() not in _STORES:
        raise MalformedInput("request.malformed", f"the address of {path[:80]!r} is not that of a store")


def _announced_essence(artifact: Artifact) -> tuple[str, int, str, str]:
    return artifact["path"], artifact["file_size"], artifact["sha1sum"], artifact["sha256sum"]


def _essence(row: Row) -> tuple[str, int, str, str]:
    return row["path"], row["file_size"], row["sha1sum"], row["sha256sum"]


def _part_count(size: int, part_bytes: int) -> int:
    """How many parts a file comes in; 0 when it comes in one piece."""
    count = -(-size // part_bytes)
    return 0 if count < 2 else min(count, _MAX_PARTS)


def _instructions(plane: ControlPlane, row: Row) -> UploadInstructions:
    base = urlsplit(plane.url)

    def link(part: int) -> str:
        return make_link(plane, UPLOAD, row["id"], part, seconds=UPLOAD_SECONDS)

    if row["part_count"]:
        actions: list[UploadAction] = [
            {
                "url": urlunsplit((base.scheme, base.netloc, link(part), "", "")),
                "method": "PUT",
                "part_number": part,
            }
            for part in range(1, row["part_count"] + 1)
        ]
        return {"actions": actions}
    action: UploadAction = {"url": plane.url, "method": "POST", "path": link(WHOLE), "file_input": FILE_FIELD}
    return {"action": action, "data": {}}


async def find_expected(plane: ControlPlane, artifact_id: str, part: int) -> Row:
    """The artifact whose bytes, or a part of them, are about to come.

    Raises:
        MalformedInput: `request.not_found`; `state.not_expected`: its upload is over.
    """
    row = await plane.database.read(lambda tx: artifact_store.find_artifact(tx, artifact_id))
    if row is None or part > row["part_count"] or (part == WHOLE and row["part_count"]):
        raise not_found("such artifact")
    if row["state"] != "new":
        raise MalformedInput("state.not_expected", f"the upload of this artifact is over: it is {row['state']}")
    return row


async def receive_whole(plane: ControlPlane, row: Row, blocks: AsyncIterator[bytes]) -> None:
    """Store the bytes of an artifact that comes in one piece. The same bytes may come again.

    Parameters:
        row: from `find_expected`.
        blocks: the bytes.

    Raises:
        VerificationError: `artifact.mismatch`: not the bytes that were announced.
        MalformedInput: `request.too_large`; whatever `blocks` raises.
        Unavailable: `server.store`.
    """
    await _mark_stored(plane, row, await put_whole(plane, row, blocks))


async def _mark_stored(plane: ControlPlane, row: Row, digests: Digests) -> None:
    await plane.database.write(
        lambda tx: artifact_store.mark_stored(tx, row["id"], sha1sum=digests.sha1, sha256sum=digests.sha256)
    )


async def update_artifacts(plane: ControlPlane, job_id: str, token: str, update: ArtifactStates) -> None:
    """The agent says which uploads are done, and which failed. Said again, it changes nothing.

    Raises:
        VerificationError: `access.unknown_token`, `access.other_job`, `artifact.mismatch`.
        MalformedInput: `state.not_running`; `request.malformed`; `request.not_found`: not an artifact of this job;
            `artifact.incomplete`: said to be finished, and its bytes never came.
        Unavailable: `server.store`.
    """
    states = update["artifacts"]
    if len(states) > MAX_STATES_IN_UPDATE:
        raise MalformedInput("request.malformed", f"at most {MAX_STATES_IN_UPDATE} artifacts at once")

    def look(tx: Transaction) -> list[Row]:
        held_job(tx, job_id, token)
        return [_of_job(tx, job_id, state) for state in states]

    rows = await plane.database.read(look)
    joined: list[Row] = []
    for state, row in zip(states, rows, strict=True):
        if state["state"] == "finished" and row["part_count"] and not row["is_stored"] and row["state"] == "new":
            await _mark_stored(plane, row, await join_parts(plane, row, state.get("multipart_etags", [])))
            joined.append(row)
    now = plane.now()

    def change(tx: Transaction) -> None:
        job = held_job(tx, job_id, token)
        for state in states:
            row = _of_job(tx, job_id, state)
            if state["state"] == "finished" and not row["is_stored"] and not row["url"]:
                raise MalformedInput(
                    "artifact.incomplete", f"the bytes of {row['path'][:80]!r} did not come, so it is not finished"
                )
            artifact_store.end_artifact(tx, row["id"], state["state"], now=now)
        build_id = job["build_id"]
        tx.after_commit(lambda: plane.events.publish(build_topic(build_id)))

    await plane.database.write(change)
    for row in joined:
        await forget_parts(plane, row)
    for state, row in zip(states, rows, strict=True):
        if state["state"] == "error" and row["state"] == "new":
            await forget_all(plane, row)


async def forget_unfinished(plane: ControlPlane) -> None:
    """Give up uploads that nobody can go on with: their addresses work no longer, and no word came.

    Raises:
        Unavailable: `server.store`.
    """
    now = plane.now()
    before = now - 2 * UPLOAD_SECONDS * 1_000_000
    rows = await plane.database.look(
        lambda tx: artifact_store.unfinished_artifacts(tx, before, limit=_FORGET_AT_ONCE)
    )
    for row in rows:
        await forget_all(plane, row)
        await plane.database.write(
            partial(artifact_store.end_artifact, artifact_id=row["id"], state="error", now=now)
        )


def _of_job(tx: Transaction, job_id: str, state: ArtifactState) -> Row:
    if state["state"] not in ("finished", "error"):
        raise MalformedInput("request.malformed", "an upload becomes `finished` or `error`")
    row = artifact_store.find_artifact(tx, state["id"]) if UUID.fullmatch(state["id"]) else None
    if row is None or row["job_id"] != job_id:
        raise not_found("such artifact of this job")
    return row


async def search_artifacts(
    plane: ControlPlane,
    build_id: str,
    token: str,
    *,
    query: str,
    scope: str = "",
    state: str = "",
    include_retried_jobs: bool = False,
    include_duplicates: bool = False,
) -> list[Artifact]:
    """Artifacts of a build that a job may look into, with addresses that work for a while.

    Parameters:
        query: pattern of the path; see `domain.path_patterns`.
        scope: key or label of a step, or id of a job; empty for all.
        state: `finished`, when empty.
        include_retried_jobs: also of jobs that were retried.
        include_duplicates: also older artifacts where a newer one has the same path.

    Raises:
        VerificationError: `access.unknown_token`, `access.other_build`.
        MalformedInput: `state.not_running`, `request.not_found`, `request.malformed`.
    """
    matches = parse_path_pattern(query)

    def look(tx: Transaction) -> list[Row]:
        build = readable_build(tx, verify_held_token(tx, token), build_id)
        return artifact_store.artifacts_of_build(tx, build["id"], state=state or "finished")

    found = [
        row
        for row in await plane.database.read(look)
        if (include_retried_jobs or row["retried_in"] is None)
        and (not scope or scope in (row["step_key"], row["job_id"], row["label"]))
        and matches(row["path"])
    ]
    return [artifact_message(plane, row) for row in (found if include_duplicates else newest_of_paths(found))]


def newest_of_paths(rows: Sequence[Row]) -> list[Row]:
    """Of rows in order of their making, the last one of each path."""
    return list({row["path"]: row for row in rows}.values())


def artifact_message(plane: ControlPlane, row: Row) -> Artifact:
    """An artifact as agents read it."""
    message: Artifact = {
        "id": row["id"],
        "path": row["path"],
        "absolute_path": row["absolute_path"],
        "glob_path": row["glob_path"],
        "file_size": row["file_size"],
        "sha1sum": row["sha1sum"],
        "sha256sum": row["sha256sum"],
        "job_id": row["job_id"],
        "created_at": render_timestamp(row["created_at"] / 1_000_000),
        "url": row["url"] or download_url(plane, row["id"]),
    }
    if row["content_type"]:
        message["content_type"] = row["content_type"]
    if row["upload_destination"]:
        message["upload_destination"] = row["upload_destination"]
    return message


async def find_stored(plane: ControlPlane, artifact_id: str) -> Row:
    """A finished artifact whose bytes are here.

    Raises:
        MalformedInput: `request.not_found`.
    """
    row = await plane.database.read(lambda tx: artifact_store.find_artifact(tx, artifact_id))
    if row is None or row["state"] != "finished" or not row["is_stored"]:
        raise not_found("such artifact")
    return row


def query_flag(value: Any) -> bool:
    """A flag of a query: `true` or `1`."""
    return value in ("true", "1")
