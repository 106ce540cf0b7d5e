"""Which variables and functions a condition may use: one table, with the ecosystem's names."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Place(StrEnum):
    """Where a condition stands, which decides what it may ask about."""

    BUILD = "build"  # may an incoming webhook make a build?
    STEP = "step"  # `if` of a step, decided when the pipeline is uploaded
    BUILD_NOTIFICATION = "build notification"  # `if` inside `notify` of a pipeline
    STEP_NOTIFICATION = "step notification"  # `if` inside `notify` of a step


class Type(StrEnum):
    """What kind of value something is; every kind but `PATTERN` may also be null."""

    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"
    ARRAY = "array of strings"
    NULL = "null"
    PATTERN = "regular expression"


class Variable(NamedTuple):
    """One row.

    Parameters:
        values: all values it can have, when they are a fixed set.
        places: where it may be used; empty means everywhere.
        blank_is_null: an empty text counts as null.
    """

    name: str
    type: Type
    meaning: str
    values: frozenset[str] = frozenset()
    places: frozenset[Place] = frozenset()
    blank_is_null: bool = False


_STATES = frozenset(
    {
        "creating",
        "scheduled",
        "started",
        "running",
        "passed",
        "failing",
        "started_failing",
        "failed",
        "blocked",
        "canceling",
        "canceled",
        "skipped",
        "not_run",
    }
)
_SOURCES = frozenset({"ui", "api", "webhook", "trigger_job", "schedule", "pipeline_trigger"})
_STEP_TYPES = frozenset({"command", "wait", "block", "input", "trigger", "group"})
_STEP_STATES = frozenset(
    {
        "ignored",
        "waiting_for_dependencies",
        "ready",
        "waiting_for_input",
        "running",
        "failing",
        "canceled",
        "finished",
    }
)
_OUTCOMES = frozenset({"neutral", "passed", "soft_failed", "hard_failed", "errored"})
_OF_BUILDS = frozenset({Place.BUILD_NOTIFICATION})
_OF_STEPS = frozenset({Place.BUILD_NOTIFICATION, Place.STEP_NOTIFICATION})
_S, _N, _B, _A = Type.STRING, Type.NUMBER, Type.BOOLEAN, Type.ARRAY

VARIABLES: tuple[Variable, ...] = (
    Variable(
        "build.author.email", _S, "e-mail address of the commit's author, as the commit says", blank_is_null=True
    ),
    Variable("build.author.id", _S, "id of the user who is the commit's author"),
    Variable("build.author.name", _S, "name of the commit's author, as the commit says", blank_is_null=True),
    Variable("build.author.teams", _A, "teams of that user"),
    Variable("build.branch", _S, "branch the build is of"),
    Variable("build.commit", _S, "commit the build is of"),
    Variable("build.creator.email", _S, "e-mail address of whoever made the build"),
    Variable("build.creator.id", _S, "id of whoever made the build"),
    Variable("build.creator.name", _S, "name of whoever made the build"),
    Variable("build.creator.teams", _A, "teams of whoever made the build"),
    Variable("build.id", _S, "id of the build"),
    Variable("build.merge_queue.base_branch", _S, "branch a merge queue will merge into"),
    Variable("build.merge_queue.base_commit", _S, "commit a merge queue will merge onto"),
    Variable("build.message", _S, "message of the build, usually the commit's", blank_is_null=True),
    Variable("build.number", _N, "number of the build in its pipeline"),
    Variable("build.pull_request.base_branch", _S, "branch the pull request would be merged into"),
    Variable("build.pull_request.draft", _B, "whether the pull request is a draft"),
    Variable("build.pull_request.id", _S, "number of the pull request, as text"),
    Variable("build.pull_request.label", _S, "label that was just added or removed"),
    Variable("build.pull_request.labels", _A, "labels of the pull request"),
    Variable("build.pull_request.repository", _S, "repository the pull request comes from"),
    Variable("build.pull_request.repository.fork", _B, "whether that is another repository than the pipeline's"),
    Variable("build.source", _S, "what made the build", _SOURCES),
    Variable("build.source_action", _S, "action of the webhook that made the build"),
    Variable("build.source_event", _S, "event of the webhook that made the build"),
    Variable("build.state", _S, "state of the build", _STATES),
    Variable("build.tag", _S, "tag the build is of", blank_is_null=True),
    Variable("organization.id", _S, "id of the organization"),
    Variable("organization.slug", _S, "slug of the organization"),
    Variable("pipeline.default_branch", _S, "default branch of the pipeline", blank_is_null=True),
    Variable("pipeline.id", _S, "id of the pipeline"),
    Variable("pipeline.repository", _S, "repository of the pipeline", blank_is_null=True),
    Variable("pipeline.slug", _S, "slug of the pipeline"),
    Variable(
        "pipeline.started_failing", _B, "whether this build failed and the one before passed", places=_OF_BUILDS
    ),
    Variable(
        "pipeline.started_passing", _B, "whether this build passed and the one before failed", places=_OF_BUILDS
    ),
    Variable("step.id", _S, "id of the step", places=_OF_STEPS),
    Variable("step.key", _S, "key of the step", places=_OF_STEPS),
    Variable("step.label", _S, "label of the step", places=_OF_STEPS),
    Variable("step.outcome", _S, "how the step ended", _OUTCOMES, _OF_STEPS),
    Variable("step.state", _S, "state of the step", _STEP_STATES, _OF_STEPS),
    Variable("step.type", _S, "kind of the step", _STEP_TYPES, _OF_STEPS),
)
BY_NAME: dict[str, Variable] = {row.name: row for row in VARIABLES}

# Both take the name of an environment variable. Of one that is not set, the first gives null and the second "".
FUNCTIONS = ("build.env", "env")

# `BUILDKITE_` names that exist when a condition is decided; all others are made for each job, later.
BUILD_ENVIRONMENT = frozenset(
    f"BUILDKITE_{name}"
    for name in (
        "BRANCH",
        "COMMIT",
        "GITHUB_ACTION",
        "GITHUB_CHECK_RUN_CONCLUSION",
        "GITHUB_CHECK_RUN_NAME",
        "GITHUB_COMMENT_ID",
        "GITHUB_DEPLOYMENT_ENVIRONMENT",
        "GITHUB_DEPLOYMENT_ID",
        "GITHUB_DEPLOYMENT_PAYLOAD",
        "GITHUB_DEPLOYMENT_STATUS_ENVIRONMENT",
        "GITHUB_DEPLOYMENT_STATUS_STATE",
        "GITHUB_DEPLOYMENT_TASK",
        "GITHUB_EVENT",
        "GITHUB_RELEASE_DRAFT",
        "GITHUB_RELEASE_PRERELEASE",
        "GITHUB_RELEASE_TAG",
        "GITHUB_REVIEW_ID",
        "GITHUB_REVIEW_STATE",
        "GIT_DIFF_BASE",
        "MERGE_QUEUE_BASE_BRANCH",
        "MERGE_QUEUE_BASE_COMMIT",
        "MESSAGE",
        "ORGANIZATION_SLUG",
        "PIPELINE_ID",
        "PIPELINE_NAME",
        "PIPELINE_SLUG",
        "PULL_REQUEST",
        "PULL_REQUEST_BASE_BRANCH",
        "PULL_REQUEST_LABELS",
        "PULL_REQUEST_REPO",
        "PULL_REQUEST_USING_MERGE_REFSPEC",
        "REBUILT_FROM_BUILD_ID",
        "REBUILT_FROM_BUILD_NUMBER",
        "REPO",
        "TAG",
        "TRIGGERED_FROM_BUILD_ID",
        "TRIGGERED_FROM_BUILD_JOB_ID",
        "TRIGGERED_FROM_BUILD_NUMBER",
        "TRIGGERED_FROM_BUILD_PIPELINE_SLUG",
    )
)
