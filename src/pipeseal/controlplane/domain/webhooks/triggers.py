"""Which of the builds that webhooks ask for a pipeline wants: the provider settings of a pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pipeseal.controlplane.domain.branches import BranchFilter
from pipeseal.controlplane.domain.conditions import Condition, ConditionFacts, MatchBudget, evaluate_condition
from pipeseal.controlplane.domain.webhooks.outcomes import BuildRequest, Ignored

_ANY_BRANCH = BranchFilter()


@dataclass(frozen=True, slots=True)
class TriggerSettings:
    """What a pipeline builds; names and meanings are the ecosystem's, except that a fork's branch is always marked
    unless `prefix_pull_request_fork_branch_names` is switched off.

    Parameters:
        branch_filter: branches whose pushes are built; does not concern pull requests and tags.
        pull_request_branch_filter: branches whose pull requests are built.
        filter_condition: holds for what is built; made for `Place.BUILD`.
        default_branch: of the pipeline.
    """

    build_branches: bool = True
    build_tags: bool = False
    build_pull_requests: bool = True
    build_pull_request_forks: bool = False
    build_pull_request_reopened: bool = True
    build_pull_request_ready_for_review: bool = False
    build_pull_request_converted_to_draft: bool = False
    build_pull_request_labels_changed: bool = False
    build_pull_request_base_branch_changed: bool = False
    prefix_pull_request_fork_branch_names: bool = True
    ignore_default_branch_pull_requests: bool = False
    branch_filter: BranchFilter = _ANY_BRANCH
    pull_request_branch_filter: BranchFilter = _ANY_BRANCH
    filter_condition: Condition | None = None
    default_branch: str = "main"


def admit(
    request: BuildRequest,
    settings: TriggerSettings,
    *,
    pipeline: Mapping[str, str | int | bool | Sequence[str] | None],
    env: Mapping[str, str],
    budget: MatchBudget | None = None,
) -> BuildRequest | Ignored:
    """The build to make, or why none is made.

    Parameters:
        request: from a proven delivery about the pipeline's repository.
        pipeline: the variables `pipeline.*` and `organization.*` for the condition.
        env: variables of the pipeline, for the condition.
        budget: of matching, to share among the outcomes of one delivery; a fresh one when not given.

    Returns:
        The request, its branch written as `owner:branch` when it comes from a fork.

    Raises:
        MalformedInput: `condition.value`, `condition.limit` or `condition.unknown_name`, from deciding the condition.
    """
    refusal = _refuse_pull_request(request, settings) if request.pull_request else _refuse_push(request, settings)
    if refusal:
        return Ignored(refusal)
    if request.pull_request and request.pull_request.is_fork and settings.prefix_pull_request_fork_branch_names:
        # Without this, a stranger's branch called `main` would pass for the pipeline's own.
        request = replace(request, branch=f"{request.pull_request.owner or 'fork'}:{request.branch}")
    condition = settings.filter_condition
    if condition is not None and not evaluate_condition(
        condition, request_facts(request, pipeline=pipeline, env=env), budget
    ):
        return Ignored(f"the pipeline's condition is false: {condition.text[:200]}")
    return request


def request_facts(
    request: BuildRequest,
    *,
    pipeline: Mapping[str, str | int | bool | Sequence[str] | None],
    env: Mapping[str, str],
) -> ConditionFacts:
    """What conditions can know about a build that is asked for.

    Parameters:
        pipeline: the variables `pipeline.*` and `organization.*`.
        env: variables of the pipeline; those of the build go over them.
    """
    pull_request = request.pull_request
    values: dict[str, str | int | bool | Sequence[str] | None] = {
        **pipeline,
        "build.author.email": request.author_email,
        "build.author.name": request.author_name,
        "build.branch": request.branch,
        "build.commit": request.commit,
        "build.message": request.message,
        "build.source": "webhook",
        "build.source_action": request.source_action,
        "build.source_event": request.source_event,
        "build.tag": request.tag,
    }
    variables = {
        **env,
        "BUILDKITE_BRANCH": request.branch,
        "BUILDKITE_COMMIT": request.commit,
        "BUILDKITE_MESSAGE": request.message,
        "BUILDKITE_PULL_REQUEST": str(pull_request.number) if pull_request else "false",
        "BUILDKITE_TAG": request.tag,
    }
    if pull_request is not None:
        values |= {
            "build.pull_request.base_branch": pull_request.base_branch,
            "build.pull_request.draft": pull_request.draft,
            "build.pull_request.id": str(pull_request.number),
            "build.pull_request.label": pull_request.label,
            "build.pull_request.labels": pull_request.labels,
            "build.pull_request.repository": pull_request.repository,
            "build.pull_request.repository.fork": pull_request.is_fork,
        }
        variables |= {
            "BUILDKITE_PULL_REQUEST_BASE_BRANCH": pull_request.base_branch,
            "BUILDKITE_PULL_REQUEST_LABELS": ",".join(pull_request.labels),
            "BUILDKITE_PULL_REQUEST_REPO": pull_request.repository,
        }
    return ConditionFacts(values, variables)


def _refuse_push(request: BuildRequest, settings: TriggerSettings) -> str:
    if request.tag:
        return "" if settings.build_tags else "this pipeline does not build tags"
    if not settings.build_branches:
        return "this pipeline does not build pushes to branches"
    if not settings.branch_filter.includes(request.branch):
        return f"the pipeline's branch filter does not include {request.branch!r}"
    return ""


def _refuse_pull_request(request: BuildRequest, settings: TriggerSettings) -> str:
    pull_request, action = request.pull_request, request.source_action
    assert pull_request is not None
    if not settings.build_pull_requests:
        return "this pipeline does not build pull requests"
    if pull_request.is_fork and not settings.build_pull_request_forks:
        return "this pipeline does not build pull requests from other repositories"
    wanted = {
        "reopened": settings.build_pull_request_reopened,
        "ready_for_review": settings.build_pull_request_ready_for_review,
        "converted_to_draft": settings.build_pull_request_converted_to_draft,
        "labeled": settings.build_pull_request_labels_changed,
        "unlabeled": settings.build_pull_request_labels_changed,
        "edited": settings.build_pull_request_base_branch_changed and request.base_branch_changed,
    }
    if not wanted.get(action or "", True):
        return f"this pipeline builds nothing when a pull request is {action}"
    if settings.ignore_default_branch_pull_requests and request.branch == settings.default_branch:
        return "this pipeline does not build pull requests of its default branch"
    if not settings.pull_request_branch_filter.includes(request.branch):
        return f"the pipeline's filter for pull requests does not include {request.branch!r}"
    return ""
