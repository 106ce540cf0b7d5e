"""OpenID Connect tokens: other services can check, with this server's public key, which job asks them.

They say what this server says about a job. Services that must not trust the server should ask for more than such a
token.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from sqlite3 import Row
from typing import TYPE_CHECKING, Any

import msgspec

from pipeseal.agentapi.job_messages import OidcTokenRequest
from pipeseal.controlplane.services.job_access import held_job
from pipeseal.controlplane.services.plane import ControlPlane, write_private
from pipeseal.controlplane.store import agents as agent_store
from pipeseal.controlplane.store.database import Transaction
from pipeseal.errors import ConfigurationError, MalformedInput
from pipeseal.signing.base64url import render_base64url

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

KEY_FILE = "oidc-key.pem"
ALGORITHM = "RS256"  # the one algorithm that every relying party knows (OpenID Connect Core 15.1)
DEFAULT_SECONDS = 300
MAX_SECONDS = 2 * 3600
JWKS_PATH = "/.well-known/jwks"
AWS_TAGS = "https://aws.amazon.com/tags"
OPTIONAL_CLAIMS = ("organization_id", "pipeline_id", "build_id")
_MAX_AUDIENCE = 1_000
_PUBLISHED = "oidc-key/"  # settings of that name hold public keys
_PUBLISHED_SECONDS = 24 * 3600  # longer than any token lives
_MAX_NAMES = 50
_making_key = threading.Lock()


async def request_oidc_token(plane: ControlPlane, job_id: str, token: str, asked: OidcTokenRequest) -> str:
    """A signed token that says which job this is. # RFC 7519, OpenID Connect Core 2

    Parameters:
        job_id, token: the job.
        asked: audience (this server's organisation, when empty), lifetime in seconds, further claims, claims that
            become AWS session tags, and the claim that becomes the subject.

    Raises:
        VerificationError: `access.unknown_token`, `access.other_job`.
        MalformedInput: `state.not_running`, `request.malformed`.
        ConfigurationError: `server.data`, the key cannot be kept.
        Unavailable: `server.store`.
    """
    audience = asked.get("audience", "")
    seconds = asked.get("lifetime", 0) or DEFAULT_SECONDS
    wanted, tags = asked.get("claims", []), asked.get("aws_session_tags", [])
    if len(audience) > _MAX_AUDIENCE or max(len(wanted), len(tags)) > _MAX_NAMES:
        raise MalformedInput("request.malformed", "the audience or a list of claims is too long")
    if not 1 <= seconds <= MAX_SECONDS:
        raise MalformedInput("request.malformed", f"a token lives 1 to {MAX_SECONDS} seconds, not {seconds}")
    claims, optional = await plane.database.read(lambda tx: _claims(tx, plane, held_job(tx, job_id, token)))
    known = {**claims, **optional}
    for name in wanted:
        if name not in known:
            raise _unknown(name, known)
        claims[name] = known[name]
    subject = asked.get("subject_claim", "")
    if subject:
        if not isinstance(known.get(subject), str) or not known[subject]:
            raise _unknown(subject, known)
        claims["sub"] = known[subject]
    if tags:
        for name in tags:
            if name not in known:
                raise _unknown(name, known)
        claims[AWS_TAGS] = {"principal_tags": {name: [str(known[name] or "")] for name in tags}}
    now = int(plane.clock.now())
    claims |= {
        "iss": plane.url,
        "aud": audience or f"{plane.url}/{plane.settings.organization}",
        "iat": now,
        "nbf": now,
        "exp": now + seconds,
        "jti": plane.new_id(),
    }
    key = await asyncio.to_thread(_server_key, plane)
    await _publish(plane, key)
    return await asyncio.to_thread(_sign, key, claims)


def _unknown(name: str, known: dict[str, Any]) -> MalformedInput:
    return MalformedInput(
        "request.malformed",
        f"this job has no claim {name[:80]!r} that can be used so",
        help=f"there are: {', '.join(sorted(known))}",
    )


def _claims(tx: Transaction, plane: ControlPlane, job: Row) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a token always says, and what it says when asked."""
    row = tx.one(
        "SELECT builds.*, pipelines.slug AS pipeline_slug, steps.key AS step_key FROM builds "
        "JOIN pipelines ON pipelines.id = builds.pipeline_id JOIN steps ON steps.id = :step_id "
        "WHERE builds.id = :build_id",
        step_id=job["step_id"],
        build_id=job["build_id"],
    )
    assert row is not None
    organization = plane.settings.organization
    reference = f"refs/tags/{row['tag']}" if row["tag"] else f"refs/heads/{row['branch']}"
    subject = (
        ("organization", organization),
        ("pipeline", row["pipeline_slug"]),
        ("ref", reference),
        ("commit", row["commit_id"]),
        ("step", row["step_key"]),
    )
    claims = {
        # A colon in a branch must not look like the beginning of the next part.
        "sub": ":".join(f"{name}:{value.replace('%', '%25').replace(':', '%3A')}" for name, value in subject),
        "organization_slug": organization,
        "pipeline_slug": row["pipeline_slug"],
        "build_number": row["number"],
        "build_branch": row["branch"],
        "build_tag": row["tag"] or None,
        "build_commit": row["commit_id"],
        "build_source": row["source"],
        "step_key": row["step_key"] or None,
        "job_id": job["id"],
        "agent_id": job["agent_id"],
        "runner_environment": "self-hosted",
    }
    optional = {
        "organization_id": plane.organization_id,
        "pipeline_id": row["pipeline_id"],
        "build_id": row["id"],
    }
    return claims, optional


def configuration(plane: ControlPlane) -> dict[str, Any]:
    """What relying parties read first. # OpenID Connect Discovery 3"""
    return {
        "issuer": plane.url,
        "jwks_uri": plane.url + JWKS_PATH,
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [ALGORITHM],
        "scopes_supported": ["openid"],
        "claims_supported": [
            *("sub", "aud", "exp", "iat", "iss", "nbf", "jti", "organization_slug", "pipeline_slug", "build_number"),
            *("build_branch", "build_tag", "build_commit", "build_source", "step_key", "job_id", "agent_id"),
            *("runner_environment", *OPTIONAL_CLAIMS),
        ],
    }


async def public_keys(plane: ControlPlane) -> dict[str, Any]:
    """The key set that checks the tokens of this server, and of others that share its database. # RFC 7517 5

    Raises:
        ConfigurationError: `server.data`, the key cannot be kept.
        Unavailable: `server.store`.
    """
    own = await _publish(plane, await asyncio.to_thread(_server_key, plane))
    rows = await plane.database.read(lambda tx: agent_store.settings_like(tx, _PUBLISHED))
    published = [msgspec.json.decode(row["value"], type=_Published) for row in rows]
    before = plane.now() - _PUBLISHED_SECONDS * 1_000_000
    others = [one.key for one in published if one.used_at >= before and one.key["kid"] != own["kid"]]
    return {"keys": [own, *others]}


class _Published(msgspec.Struct):
    """A public key in the database, and when a server last said that it signs with it."""

    key: dict[str, str]
    used_at: int


async def _publish(plane: ControlPlane, key: RSAPrivateKey) -> dict[str, str]:
    """Tell the other servers of this one's key: whoever is asked for the keys must know all of them."""
    kid = _key_id(key)
    public = {**_public_members(key), "kid": kid, "alg": ALGORITHM, "use": "sig"}
    name = _PUBLISHED + kid
    known = await plane.database.read(lambda tx: agent_store.get_setting(tx, name))
    now = plane.now()
    fresh = now - _PUBLISHED_SECONDS // 2 * 1_000_000
    if known is None or msgspec.json.decode(known, type=_Published).used_at < fresh:
        value = msgspec.json.encode(_Published(public, now)).decode()
        await plane.database.write(lambda tx: agent_store.set_setting(tx, name, value))
    return public


def _sign(key: RSAPrivateKey, claims: dict[str, Any]) -> str:
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    header = {"alg": ALGORITHM, "kid": _key_id(key), "typ": "JWT"}
    signed = ".".join(render_base64url(msgspec.json.encode(part)) for part in (header, claims))
    signature = key.sign(signed.encode("ascii"), PKCS1v15(), SHA256())  # RFC 7518 3.3
    return f"{signed}.{render_base64url(signature)}"


def _public_members(key: RSAPrivateKey) -> dict[str, str]:
    numbers = key.public_key().public_numbers()

    def text(number: int) -> str:
        return render_base64url(number.to_bytes((number.bit_length() + 7) // 8, "big"))  # RFC 7518 2

    return {"e": text(numbers.e), "kty": "RSA", "n": text(numbers.n)}


def _key_id(key: RSAPrivateKey) -> str:
    # RFC 7638 3: the required members alone, in this order, without white space.
    return render_base64url(hashlib.sha256(msgspec.json.encode(_public_members(key))).digest())


def _server_key(plane: ControlPlane) -> RSAPrivateKey:
    """The key that signs tokens; made the first time."""
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
    )

    path = plane.folder / KEY_FILE
    with _making_key:
        try:
            loaded = load_pem_private_key(path.read_bytes(), None)
        except FileNotFoundError:
            loaded = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            pem = loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            write_private(path, pem)
        except (OSError, ValueError, TypeError) as error:
            raise _unusable(str(path)) from error
    if not isinstance(loaded, rsa.RSAPrivateKey):
        raise _unusable(str(path))
    return loaded


def _unusable(path: str) -> ConfigurationError:
    return ConfigurationError(
        "server.data",
        f"{path} is not an RSA key that this server can read",
        help="put the right file back, or remove it: a new key is made then, and older tokens fail",
    )
