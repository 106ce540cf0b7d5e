"""Pipelines are kept: their steps, what they are of, and their settings."""

from __future__ import annotations

from collections.abc import Callable

from pipeseal.controlplane.domain.identifiers import SLUG, make_slug
from pipeseal.controlplane.domain.pipeline_settings import (
    PipelineSettings,
    check_settings,
    decode_settings,
    encode_settings,
)
from pipeseal.controlplane.services.authenticate import not_found
from pipeseal.controlplane.services.plan_pipeline import read_steps, run_sized
from pipeseal.controlplane.services.plane import ControlPlane
from pipeseal.controlplane.store import builds as build_store
from pipeseal.controlplane.store.database import Transaction
from pipeseal.errors import MalformedInput

# What existing users have in their settings: their own pipeline file, uploaded by the first job.
DEFAULT_STEPS = 'steps:\n  - label: ":pipeline: Upload"\n    command: buildkite-agent pipeline upload\n'

_MAX_TEXT = 4_096


async def create_pipeline(
    plane: ControlPlane,
    *,
    name: str,
    repository: str,
    slug: str = "",
    default_branch: str = "main",
    description: str = "",
    configuration: str = "",
    settings: PipelineSettings | None = None,
) -> str:
    """Make a pipeline; returns its slug.

    Parameters:
        name: for people; `slug` is made from it when empty.
        repository: what agents check out, and what signatures are bound to.
        settings: what else its owner chose.
        configuration: steps as YAML; empty: one step that uploads the repository's own pipeline file.

    Raises:
        MalformedInput: `request.slug`, `request.exists`, `request.malformed`, or the steps cannot be used.
    """
    slug = slug or make_slug(name)
    if not SLUG.fullmatch(slug) or len(slug) > 100:
        raise MalformedInput("request.slug", f"{slug!r} is no slug: lower-case letters, digits and single dashes")
    check_texts(repository=repository, name=name, default_branch=default_branch, description=description)
    if not repository:
        raise MalformedInput("request.malformed", "a pipeline needs a `repository`")
    configuration = configuration or DEFAULT_STEPS
    await run_sized(len(configuration), lambda: read_steps(plane, configuration))
    kept = encode_settings(check_settings(settings or PipelineSettings()))
    now = plane.now()

    def change(tx: Transaction) -> None:
        if build_store.find_pipeline(tx, slug) is not None:
            raise MalformedInput("request.exists", f"there is a pipeline {slug!r} already")
        build_store.insert_pipeline(
            tx,
            id=plane.new_id(),
            slug=slug,
            name=name or slug,
            description=description,
            repository=repository,
            default_branch=default_branch or "main",
            configuration=configuration,
            settings=kept,
            created_at=now,
        )

    await plane.database.write(change)
    return slug


async def update_pipeline(
    plane: ControlPlane,
    slug: str,
    changes: dict[str, str],
    revise: Callable[[PipelineSettings], PipelineSettings] = lambda settings: settings,
) -> None:
    """Change a pipeline's name, description, repository, default branch or steps (`configuration`), and its settings.

    Parameters:
        revise: from the pipeline's settings to the new ones.

    Raises:
        MalformedInput: `request.not_found`, `request.malformed`, or the steps cannot be used.
    """
    configuration = changes.get("configuration")
    check_texts(**{name: value for name, value in changes.items() if name != "configuration"})
    if changes.get("repository") == "":
        raise MalformedInput("request.malformed", "a pipeline needs a `repository`")
    if configuration is not None:
        await run_sized(len(configuration), lambda: read_steps(plane, configuration))

    def change(tx: Transaction) -> None:
        pipeline = build_store.find_pipeline(tx, slug)
        if pipeline is None:
            raise not_found("such pipeline")
        settings = encode_settings(check_settings(revise(decode_settings(pipeline["settings"]))))
        build_store.update_pipeline(tx, slug, **changes, settings=settings)

    await plane.database.write(change)


def check_texts(**texts: str) -> None:
    """Short texts by the names of their members, for errors.

    Raises:
        MalformedInput: `request.malformed`.
    """
    for name, text in texts.items():
        if len(text) > _MAX_TEXT or any(ord(character) < 0x20 for character in text):
            raise MalformedInput(
                "request.malformed", f"`{name}` has control characters, or more than {_MAX_TEXT} characters"
            )
