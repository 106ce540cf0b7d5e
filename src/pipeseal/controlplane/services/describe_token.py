"""What a token of the Agent API is, for whoever holds it and wonders."""

from __future__ import annotations

from uuid import UUID

import msgspec

from pipeseal.controlplane.domain.tokens import digest_token
from pipeseal.controlplane.services.authenticate import unknown_token
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.store import jobs as job_store
from pipeseal.controlplane.store.database import Transaction


class TokenDescription(msgspec.Struct):
    """A token, without anything that opens something. What this server has no such thing for is empty."""

    uuid: str
    description: str
    token_type: str
    organization_slug: str
    organization_uuid: str
    cluster_uuid: str = ""
    cluster_name: str = ""
    organization_queue_uuid: str = ""
    organization_queue_key: str = ""


async def describe_token(plane: ControlPlane, token: str) -> TokenDescription:
    """Whether it is a registration, session or job token, and whose.

    Raises:
        VerificationError: `access.unknown_token`.
    """
    digest = digest_token(token)

    def look(tx: Transaction) -> tuple[str, str]:
        agent = tx.one("SELECT id, name FROM agents WHERE token_digest = :digest", digest=digest)
        if agent is not None:
            return "session", f"agent {agent['name']} ({agent['id']})"
        job = job_store.find_job_by_token(tx, digest)
        if job is None:
            raise unknown_token("agent")
        return "job", f"job {job['id']}"

    if digest in plane.registration_digests:
        kind, description = "registration", plane.registration_digests[digest]
    else:
        kind, description = await plane.database.read(look)
    return TokenDescription(
        uuid=str(UUID(digest[:32])),
        description=description,
        token_type=kind,
        organization_slug=plane.settings.organization,
        organization_uuid=plane.organization_id,
    )
