"""Reading a pipeline for a build: the one place where the server uses what `pipeline/` knows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from pipeseal.controlplane.domain.expand import BuildFacts, Expansion, Plan
from pipeseal.errors import MalformedInput

if TYPE_CHECKING:
    from pipeseal.controlplane.services.plane import ControlPlane
    from pipeseal.pipeline.steps import CommandStep


# Steps in settings are read again for every build; the same few texts come again and again.
_KEPT_TEXTS = 64
# What is shorter is read in less time than it takes to hand it to another thread.
INLINE_BYTES = 16 * 1024


T = TypeVar("T")


def plan_pipeline(plane: ControlPlane, pipeline: bytes, facts: BuildFacts) -> Plan:
    """Steps and jobs of a pipeline's JSON, for a build.

    Raises:
        MalformedInput: as `Expansion.expand`.
    """
    from pipeseal.pipeline.commandstep import parse_command_step
    from pipeseal.pipeline.matrix import interpolate_matrix

    expansion = Expansion(
        limits=plane.settings.limits,
        facts=facts,
        parse_step=parse_command_step,
        interpolate=interpolate_matrix,
        inherit_secrets=inherit_secrets,
        allow_http=plane.settings.notify_http,
    )
    return expansion.expand(pipeline)


def inherit_secrets(content: str, step: CommandStep, inherited: Any) -> str | None:
    """A step with the secrets of its pipeline, merged as by whoever signs a pipeline beforehand.

    Parameters:
        content: JSON of the step.
        step: the same, read.
        inherited: the pipeline's secrets, in any of the forms they are written in.

    Returns:
        JSON of the step, all other members untouched; None when its signature stands in the way.

    Raises:
        MalformedInput: the pipeline's secrets are none.
    """
    from pipeseal.pipeline.commandstep import parse_command_step
    from pipeseal.pipeline.render import secrets_value
    from pipeseal.signing.merge import merge_secrets

    holder = parse_command_step(
        b'{"command":"","secrets":%s}' % msgspec.json.encode(inherited), source="the pipeline's secrets"
    )
    merged = merge_secrets(holder.secrets, step.secrets)
    if merged == step.secrets:
        return content
    if step.signature is not None:
        return None
    members = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    members["secrets"] = msgspec.Raw(msgspec.json.encode(secrets_value(merged)))
    return msgspec.json.encode(members).decode()


def read_steps(plane: ControlPlane, text: str) -> bytes:
    """The JSON of steps kept as YAML in a pipeline's settings, in the normal form that uploaders send.

    Raises:
        MalformedInput: the text is no pipeline, or is too long (`upload.limit`).
    """
    limit = plane.settings.limits.max_upload_bytes
    if len(text) > limit:
        raise MalformedInput(
            "upload.limit", f"the steps are longer than the limit of {limit} bytes (max_upload_bytes)"
        )
    return _normalise(text)


@lru_cache(_KEPT_TEXTS)
def _normalise(text: str) -> bytes:
    from pipeseal.pipeline.parse import parse_pipeline
    from pipeseal.pipeline.render import pipeline_value, render_json

    return render_json(pipeline_value(parse_pipeline(text, source="pipeline settings"))).encode()


async def run_sized(size: int, work: Callable[[], T]) -> T:
    """Do `work` here when it is about little text, in another thread when it is about much."""
    return work() if size <= INLINE_BYTES else await asyncio.to_thread(work)
