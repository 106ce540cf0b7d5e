"""Secrets that the control plane keeps for jobs.

They are encrypted in the database with a key from a file beside it, which protects copies of the database and
nothing else: this server reads every secret that it is given, and whoever holds the server holds them. Secrets that
must not depend on the server belong to the agents.
"""

from __future__ import annotations

import re
import threading
from base64 import b64decode, b64encode
from collections.abc import Sequence
from pathlib import Path

import msgspec

from pipeseal.agentapi.job_messages import Secret
from pipeseal.controlplane.domain.identifiers import SLUG
from pipeseal.controlplane.services.authenticate import not_found
from pipeseal.controlplane.services.job_access import held_job
from pipeseal.controlplane.services.plane import ControlPlane, write_private
from pipeseal.controlplane.store import secrets as secret_store
from pipeseal.controlplane.store.database import Transaction
from pipeseal.errors import ConfigurationError, MalformedInput, Unavailable

KEY_FILE = "secrets-key"
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,254}")
_MAX_DESCRIPTION = 1_000
_MAX_PIPELINES = 1_000
_NONCE_BYTES = 12
_making_key = threading.Lock()


async def set_secret(
    plane: ControlPlane, key: str, value: str, *, description: str = "", pipelines: Sequence[str] | None = None
) -> None:
    """Set a secret.

    Parameters:
        key: letters, digits and underscores, a letter first.
        value: not empty.
        pipelines: slugs of the pipelines whose jobs may have it; None for all.

    Raises:
        MalformedInput: `request.malformed`.
        ConfigurationError: `server.data`, the key file cannot be written.
        Unavailable: `server.store`.
    """
    limit = plane.settings.limits.max_secret_bytes
    if not _KEY.fullmatch(key):
        raise MalformedInput("request.malformed", "a secret's key is letters, digits and underscores, a letter first")
    if not value or len(value.encode("utf-8", "surrogatepass")) > limit:
        raise MalformedInput("request.malformed", f"a secret's value has 1 to {limit} bytes (max_secret_bytes)")
    if len(description) > _MAX_DESCRIPTION:
        raise MalformedInput("request.malformed", f"a description has at most {_MAX_DESCRIPTION} characters")
    if pipelines is not None and (
        len(pipelines) > _MAX_PIPELINES or not all(SLUG.fullmatch(slug) for slug in pipelines)
    ):
        raise MalformedInput("request.malformed", f"`pipelines` is a list of at most {_MAX_PIPELINES} slugs")
    secret_id = plane.new_id()
    sealed = seal_text(plane, secret_id, key, value)
    slugs = None if pipelines is None else msgspec.json.encode(sorted(set(pipelines))).decode()
    now = plane.now()
    await plane.database.write(
        lambda tx: secret_store.put_secret(
            tx, id=secret_id, key=key, description=description, pipelines=slugs, sealed=sealed, now=now
        )
    )


async def delete_secret(plane: ControlPlane, key: str) -> None:
    """Remove a secret.

    Raises:
        MalformedInput: `request.not_found`.
    """
    if not await plane.database.write(lambda tx: secret_store.delete_secret(tx, key)):
        raise not_found("such secret")


async def get_secret(plane: ControlPlane, job_id: str, token: str, key: str) -> Secret:
    """A secret for a job.

    Raises:
        VerificationError: `access.unknown_token`, `access.other_job`.
        MalformedInput: `state.not_running`; `request.not_found`: there is none, or not for this pipeline.
        Unavailable: `server.store`: it was sealed with another key file.
    """

    def look(tx: Transaction) -> tuple[str, str]:
        job = held_job(tx, job_id, token)
        row = secret_store.find_secret(tx, key)
        pipeline = tx.one(
            "SELECT pipelines.slug FROM pipelines JOIN builds ON builds.pipeline_id = pipelines.id "
            "WHERE builds.id = :id",
            id=job["build_id"],
        )
        assert pipeline is not None
        allowed = row is not None and (
            row["pipelines"] is None or pipeline["slug"] in msgspec.json.decode(row["pipelines"], type=list[str])
        )
        if row is None or not allowed:
            raise not_found("secret of that key for this pipeline")
        return row["id"], row["sealed"]

    secret_id, sealed = await plane.database.read(look)
    return {"key": key, "value": open_text(plane, secret_id, key, sealed), "uuid": secret_id}


def seal_text(plane: ControlPlane, secret_id: str, key: str, value: str) -> str:
    """`value` as the database may keep it; opened again only for the same id and key.

    Raises:
        ConfigurationError: `server.data`.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = plane.randomness(_NONCE_BYTES)
    # NIST SP 800-38D; id and key are authenticated too, so that rows cannot be exchanged for one another.
    sealed = AESGCM(_server_key(plane)).encrypt(
        nonce, value.encode("utf-8", "surrogatepass"), _context(secret_id, key)
    )
    return b64encode(nonce + sealed).decode("ascii")


def open_text(plane: ControlPlane, secret_id: str, key: str, sealed: str) -> str:
    """What `seal_text` sealed.

    Raises:
        ConfigurationError: `server.data`.
        Unavailable: `server.store`: it was sealed with another key file.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    raw = b64decode(sealed)
    try:
        value = AESGCM(_server_key(plane)).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _context(secret_id, key))
    except InvalidTag as error:
        raise Unavailable(
            "server.store",
            f"the secret {key!r} was sealed with another key than that of this server",
            help=f"put the key file `{KEY_FILE}` of that time back into the data folder, or set the secret anew",
        ) from error
    return value.decode("utf-8", "surrogatepass")


def _context(secret_id: str, key: str) -> bytes:
    return f"secret/{secret_id}/{key}".encode()


def _server_key(plane: ControlPlane) -> bytes:
    """The key that seals secrets; made the first time, and never replaced: without it they are lost."""
    path = plane.folder / KEY_FILE
    with _making_key:
        try:
            key = path.read_bytes()
        except FileNotFoundError:
            key = plane.randomness(32)
            write_private(Path(path), key)
        except OSError as error:
            raise ConfigurationError(
                "server.data", f"cannot read {path}: {error.strerror}", help="let the server read its data folder"
            ) from error
    if len(key) != 32:
        raise ConfigurationError(
            "server.data", f"{path} is not a key of 32 bytes", help="put the right file back; secrets need it"
        )
    return key
