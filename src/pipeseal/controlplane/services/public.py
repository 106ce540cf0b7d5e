"""Public pipelines: the organisation allows them, then a pipeline may be public, from now on or for all builds."""

from __future__ import annotations

from typing import Final

import msgspec

from pipeseal.controlplane.services.authenticate import not_found
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.store import agents as agent_store
from pipeseal.controlplane.store import builds as build_store
from pipeseal.controlplane.store import steps as step_store
from pipeseal.controlplane.store.database import Transaction
from pipeseal.errors import MalformedInput
from pipeseal.pipeline.secret_names import is_secret_name
from pipeseal.signing.seal.envelope import VARIABLE

PUBLIC: Final = "public"
PRIVATE: Final = "private"
_ALLOWED: Final = "public_pipelines"
_HIDDEN: Final = "[REDACTED]"


class _StepEnvironment(msgspec.Struct):
    env: dict[str, str] | None = None


def public_pipelines_allowed(tx: Transaction) -> bool:
    """Whether the organisation lets its pipelines be public."""
    return agent_store.get_setting(tx, _ALLOWED) == "true"


async def allow_public_pipelines(plane: ControlPlane, allowed: bool) -> None:
    """Let pipelines be public, or not: those that are public already are private while it is not allowed."""
    await plane.database.write(lambda tx: agent_store.set_setting(tx, _ALLOWED, "true" if allowed else "false"))


async def set_visibility(plane: ControlPlane, slug: str, visibility: str, *, past: bool) -> None:
    """Make a pipeline public or private.

    Parameters:
        visibility: `public` or `private`.
        past: strangers may see the builds that are there already, too.

    Raises:
        MalformedInput: `request.not_found`, `request.malformed`; `pipeline.public`, the organisation says no.
    """
    if visibility not in (PUBLIC, PRIVATE):
        raise MalformedInput("request.malformed", f"`visibility` is {PRIVATE} or {PUBLIC}")
    now = plane.now()

    def change(tx: Transaction) -> None:
        pipeline = build_store.find_pipeline(tx, slug)
        if pipeline is None:
            raise not_found("such pipeline")
        if visibility == PUBLIC and not public_pipelines_allowed(tx):
            raise MalformedInput(
                "pipeline.public",
                "this organisation does not allow public pipelines",
                help="an owner allows them in the organisation's settings",
            )
        since = 0 if past else now
        if visibility == pipeline["visibility"] == PUBLIC and not past:
            since = pipeline["public_since"]  # what was shown before stays as it was
        build_store.set_visibility(tx, slug, visibility, since if visibility == PUBLIC else 0)

    await plane.database.write(change)


async def read_pipeline_environment(plane: ControlPlane, job_id: str) -> dict[str, tuple[str, str]]:
    """The variables of a job that its pipeline and its step set, as they were uploaded, with which of the two it was.

    Values of names that are hidden in logs are hidden here too. The seal is left out: it names secrets and agents.

    Raises:
        MalformedInput: `request.not_found`.
    """

    def look(tx: Transaction) -> tuple[str, str]:
        row = step_store.find_environment(tx, job_id)
        if row is None:
            raise not_found("environment of such a job")
        return row["env"], row["content"]

    upload, content = await plane.database.read(look)
    step = msgspec.json.decode(content, type=_StepEnvironment).env or {}
    values = {**msgspec.json.decode(upload, type=dict[str, str]), **step}
    return {
        name: (_HIDDEN if is_secret_name(name) else value, "step" if name in step else "pipeline")
        for name, value in sorted(values.items())
        if name != VARIABLE
    }
