"""What conditions may ask about a build."""

from __future__ import annotations

from sqlite3 import Row
from typing import TYPE_CHECKING

import msgspec

from pipeseal.controlplane.domain.build_origin import decode_origin
from pipeseal.controlplane.domain.environment import NO_PULL_REQUEST
from pipeseal.controlplane.domain.expand import BuildFacts
from pipeseal.controlplane.store.database import Transaction

if TYPE_CHECKING:
    from pipeseal.controlplane.services.plane import ControlPlane


def read_facts(tx: Transaction, plane: ControlPlane, build_id: str) -> BuildFacts:
    """What conditions may ask about a build."""
    build = tx.one("SELECT * FROM builds WHERE id = :id", id=build_id)
    assert build is not None
    pipeline = tx.one("SELECT * FROM pipelines WHERE id = :id", id=build["pipeline_id"])
    assert pipeline is not None
    return facts_of(plane, build, pipeline)


def facts_of(plane: ControlPlane, build: Row | dict[str, object], pipeline: Row) -> BuildFacts:
    """What conditions may ask, from a build's row or the columns it is going to have."""
    branch, tag, commit = str(build["branch"]), str(build["tag"]), str(build["commit_id"])
    pull_request = str(build["pull_request"])
    author = str(build["author"]) or None
    organization = plane.settings.organization
    origin = decode_origin(str(build["origin"]))
    return BuildFacts(
        branch=branch,
        variables={
            "build.id": str(build["id"]),
            "build.number": int(str(build["number"])),
            "build.branch": branch,
            "build.tag": tag,
            "build.commit": commit,
            "build.message": str(build["message"]),
            "build.source": str(build["source"]),
            "build.author.name": author,
            "build.creator.name": author,
            "build.pull_request.id": None if pull_request == NO_PULL_REQUEST else pull_request,
            "pipeline.id": pipeline["id"],
            "pipeline.slug": pipeline["slug"],
            "pipeline.repository": pipeline["repository"],
            "pipeline.default_branch": pipeline["default_branch"],
            "organization.slug": organization,
            "organization.id": plane.organization_id,
            **origin.variables,
        },
        build_env=msgspec.json.decode(str(build["env"]), type=dict[str, str]),
        standard_env={
            "BUILDKITE_BRANCH": branch,
            "BUILDKITE_TAG": tag,
            "BUILDKITE_COMMIT": commit,
            "BUILDKITE_MESSAGE": str(build["message"]),
            "BUILDKITE_PULL_REQUEST": pull_request,
            "BUILDKITE_REPO": pipeline["repository"],
            "BUILDKITE_PIPELINE_ID": pipeline["id"],
            "BUILDKITE_PIPELINE_NAME": pipeline["name"],
            "BUILDKITE_PIPELINE_SLUG": pipeline["slug"],
            "BUILDKITE_ORGANIZATION_SLUG": organization,
            **origin.env,
        },
    )
