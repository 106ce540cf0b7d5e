"""What a reader needs to check the signature of a job's step, and what the server knows of keys.

Nothing of it proves anything: readers build the signed bytes again and check them with keys of their own choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from sqlite3 import Row
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from pipeseal.controlplane.services.accept_job import SentJob, find_sent
from pipeseal.controlplane.services.build_shape import time_text
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.store import signing_keys as key_store
from pipeseal.controlplane.store.database import Transaction
from pipeseal.errors import MalformedInput, VerificationError
from pipeseal.pipeline.secret_names import is_secret_name
from pipeseal.signing.bindings import BINDINGS
from pipeseal.signing.fields import ENVIRONMENT_PREFIX
from pipeseal.signing.seal.envelope import VARIABLE

_BOUND: Final = frozenset(row.name for row in BINDINGS)
_NEWEST_BUILDS: Final = 200
_MOST_STEPS: Final = 2000


class StepSignature(msgspec.Struct):
    """A step's signature, as it was uploaded."""

    algorithm: str
    signed_fields: list[str]
    value: str


class SigningKey(msgspec.Struct):
    """A public key that steps are signed with: `id` is its thumbprint (RFC 7638), `jwk` the key (RFC 7517)."""

    id: str
    kid: str
    algorithm: str
    jwk: dict[str, str]
    description: str
    created_at: str
    revoked_at: str | None


class Problem(msgspec.Struct):
    """Why the server cannot say what the signature covers."""

    code: str
    message: str


class SignedStep(msgspec.Struct):
    """What the signature of a job's step covers, as far as this server has it, for whoever wants to check it.

    `payload` is what was signed, if nothing was changed (RFC 8785 makes the bytes of it); null when there is no
    signature, when `withheld` says why it is not shown, or when `problem` says why there is none. `keys` are those
    that the server knows by the id that the signature names.
    """

    job_id: str
    signature: StepSignature | None
    payload: dict[str, Any] | None
    keys: list[SigningKey]
    withheld: str | None = None
    problem: Problem | None = None


class KeyUse(msgspec.Struct):
    """A step of a recent build whose signature names a key."""

    pipeline: str
    number: int
    step: str
    created_at: str


class _Signature(msgspec.Struct):
    algorithm: Any = None
    signed_fields: Any = None
    value: Any = None


class _Step(msgspec.Struct):
    signature: _Signature | None = None
    env: Any = None


_STEP: Final = msgspec.json.Decoder(_Step)
_HEADER: Final = msgspec.json.Decoder(dict[str, Any])


def signature_of(content: str) -> StepSignature | None:
    """The signature of a step's JSON; None without one, and for one that does not even look like one."""
    try:
        found = _STEP.decode(content).signature
    except msgspec.DecodeError:
        return None
    if found is None or not isinstance(found.algorithm, str) or not isinstance(found.value, str):
        return None
    if not isinstance(found.signed_fields, list) or not all(isinstance(name, str) for name in found.signed_fields):
        return None
    return StepSignature(found.algorithm, found.signed_fields, found.value)


def carries_seal(content: str) -> bool:
    """Whether a step's JSON has a seal among its variables."""
    env = _STEP.decode(content).env
    return isinstance(env, dict) and VARIABLE in env


def key_id_of(jws: str) -> str:
    """The key that a signature names, as it says itself; empty when it names none."""
    from pipeseal.signing.jws import parse_jws

    try:
        return parse_jws(jws).header.kid
    except MalformedInput:
        return ""


def key_shape(row: Row) -> SigningKey:
    """A key of the database."""
    return SigningKey(
        id=row["thumbprint"],
        kid=row["kid"],
        algorithm=row["algorithm"],
        jwk=msgspec.json.decode(row["jwk"], type=dict[str, str]),
        description=row["description"],
        created_at=time_text(row["created_at"]) or "",
        revoked_at=time_text(row["revoked_at"]),
    )


class _Found(msgspec.Struct):
    sent: SentJob
    signature: StepSignature | None
    keys: list[SigningKey]


async def read_signed_steps(plane: ControlPlane, job_ids: Sequence[str], *, stranger: bool) -> list[SignedStep]:
    """What the signatures of these script jobs' steps cover; other jobs are left out.

    Parameters:
        stranger: whoever asks has shown nothing, and sees no more of a step than elsewhere.
    """

    def look(tx: Transaction) -> list[tuple[str, _Found]]:
        keys: dict[str, list[SigningKey]] = {}
        found = []
        for job_id in job_ids:
            sent = find_sent(tx, plane, job_id)
            if sent is None:
                continue
            signature = signature_of(sent.content)
            kid = key_id_of(signature.value) if signature is not None else ""
            if kid not in keys:
                keys[kid] = [key_shape(row) for row in key_store.keys_called(tx, kid)] if kid else []
            found.append((job_id, _Found(sent, signature, keys[kid])))
        return found

    from pipeseal.controlplane.services.plan_pipeline import run_sized

    found = await plane.database.read(look)
    size = sum(len(one.sent.content) for _, one in found)
    return await run_sized(size, lambda: [_signed_step(job_id, one, stranger=stranger) for job_id, one in found])


def _signed_step(job_id: str, found: _Found, *, stranger: bool) -> SignedStep:
    step = SignedStep(job_id, found.signature, None, found.keys)
    if found.signature is None:
        return step
    try:
        sent = found.sent
        step.payload = payload_of(
            sent.content, found.signature, repository=sent.repository, environment=sent.environment()
        )
    except (MalformedInput, VerificationError) as error:
        step.problem = Problem(error.code, error.message)
        return step
    if stranger:
        step.withheld = _withheld(step.payload["values"], sent)
        if step.withheld is not None:
            step.payload = None
    return step


def payload_of(
    content: str, signature: StepSignature, *, repository: str, environment: Mapping[str, str]
) -> dict[str, Any]:
    """What a signature should cover, for a step, repository and variables: `{"alg": ..., "values": {...}}`.

    Parameters:
        content: the step's JSON.
        environment: the job's variables.

    Raises:
        MalformedInput, VerificationError: it cannot be said, see `values_to_verify` and `render_payload`.
    """
    from pipeseal.pipeline.commandstep import parse_command_step
    from pipeseal.signing.fields import values_to_verify
    from pipeseal.signing.payload import render_payload

    step = parse_command_step(content.encode())
    values = values_to_verify(step, signature.signed_fields, repository_url=repository, environment=environment)
    payload: dict[str, Any] = msgspec.json.decode(render_payload(signature.algorithm, values))
    return payload


def _withheld(values: Mapping[str, Any], sent: SentJob) -> str | None:
    """Why a stranger may not see what a signature covers; None: all of it can be read elsewhere on public pages."""
    variables = dict(values.get("env") or {})
    variables |= {name[5:]: value for name, value in values.items() if name.startswith(ENVIRONMENT_PREFIX)}
    shown = _BOUND | sent.pipeline_env.keys() | (values.get("env") or {}).keys()
    url = urlsplit(str(values.get("repository_url") or ""))
    if VARIABLE in variables:
        return "the seal, which names agents and secrets"
    if values.get("secrets"):
        return "names of secrets"
    if any(is_secret_name(name) for name in variables):
        return "variables that are hidden in logs"
    if not variables.keys() <= shown:
        return "variables that the server or whoever made the build set"
    if url.password or (url.username and url.scheme in {"http", "https"}):
        return "a repository address with a user name"
    return None


async def add_keys(plane: ControlPlane, document: bytes, description: str) -> list[SigningKey]:
    """Make public keys known to readers; those that are known already stay as they are.

    Parameters:
        document: a JWK Set, or one JWK.
        description: for people.

    Raises:
        MalformedInput: `key.set`, `key.malformed`; `key.private`, a key that could sign; `key.no_algorithm`, a key
            without `alg` or `kid`, or for an algorithm that no reader can check.
    """
    from pipeseal.signing.keys.algorithms import ALGORITHMS
    from pipeseal.signing.keys.jwk import parse_jwks

    keys = parse_jwks(document)
    for key in keys:
        if key.is_private:
            raise MalformedInput(
                "key.private",
                f"the key {key.kid!r} can sign, and only public keys belong here",
                help="send the public file; make another key if this one was private, for it was sent over a network",
            )
        algorithm = ALGORITHMS.get(key.alg or "")
        if not key.kid or algorithm is None or algorithm.kty != key.kty or key.use not in (None, "", "sig"):
            raise MalformedInput(
                "key.no_algorithm",
                f"the key {key.kid!r} lacks an id (`kid`), or an algorithm (`alg`) that steps are signed with",
                help="make keys with `pipeseal tool keygen`, and send the public file",
            )
    now = plane.now()

    def insert(tx: Transaction) -> list[Row]:
        rows = []
        for key in keys:
            thumbprint = key.thumbprint()
            public = {**key.public_material(), "alg": key.alg, "kid": key.kid, "use": "sig"}
            key_store.insert_key(
                tx,
                thumbprint=thumbprint,
                kid=key.kid or "",
                algorithm=key.alg or "",
                jwk=msgspec.json.encode(public).decode(),
                description=description,
                now=now,
            )
            row = key_store.find_key(tx, thumbprint)
            assert row is not None
            rows.append(row)
        return rows

    return [key_shape(row) for row in await plane.database.write(insert)]


async def read_uses(plane: ControlPlane, kid: str) -> list[KeyUse]:
    """The steps of the newest builds whose signatures name a key; whether it made them is for readers to check."""

    def look(tx: Transaction) -> list[Row]:
        return key_store.newest_steps(tx, pipeline_id=None, builds=_NEWEST_BUILDS, limit=_MOST_STEPS)

    found = []
    for row in await plane.database.read(look):
        signature = signature_of(row["content"])
        if signature is not None and key_id_of(signature.value) == kid:
            step = row["key"] or row["label"] or "a step"
            found.append(KeyUse(row["slug"], row["number"], step, time_text(row["created_at"]) or ""))
    return found
