"""What a pipeline's owner chooses beyond its steps; the names are those of the ecosystem's REST API."""

from __future__ import annotations

import msgspec

from pipeseal.controlplane.domain.branches import BranchFilter, parse_branches
from pipeseal.controlplane.domain.conditions import Place, parse_condition
from pipeseal.controlplane.domain.webhooks import TriggerSettings
from pipeseal.errors import MalformedInput

_MAX_TEXT = 4_096


class ProviderSettings(msgspec.Struct, forbid_unknown_fields=True):
    """Which of the builds that webhooks ask for are made; see `TriggerSettings`."""

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
    pull_request_branch_filter_enabled: bool = False
    pull_request_branch_filter_configuration: str = ""
    filter_enabled: bool = False
    filter_condition: str = ""
    cancel_deleted_branch_builds: bool = False


class PipelineSettings(msgspec.Struct):
    """Settings of one pipeline.

    Parameters:
        branch_configuration: filter of the branches that webhooks may build.
        skip_queued_branch_builds: a new build of a branch makes older ones that have not begun needless.
        cancel_running_branch_builds: a new build of a branch cancels older ones that run.
    """

    branch_configuration: str = ""
    skip_queued_branch_builds: bool = False
    skip_queued_branch_builds_filter: str = ""
    cancel_running_branch_builds: bool = False
    cancel_running_branch_builds_filter: str = ""
    provider_settings: ProviderSettings = msgspec.field(default_factory=ProviderSettings)

    def skips(self, branch: str) -> bool:
        """Whether a new build of `branch` makes older ones needless that have not begun."""
        return self.skip_queued_branch_builds and _filter(self.skip_queued_branch_builds_filter).includes(branch)

    def cancels(self, branch: str) -> bool:
        """Whether a new build of `branch` cancels older ones that run."""
        return self.cancel_running_branch_builds and _filter(self.cancel_running_branch_builds_filter).includes(
            branch
        )


_DECODER = msgspec.json.Decoder(PipelineSettings)


def decode_settings(text: str) -> PipelineSettings:
    """Settings as the database keeps them."""
    return _DECODER.decode(text)


def encode_settings(settings: PipelineSettings) -> str:
    """Settings as the database keeps them."""
    return msgspec.json.encode(settings).decode()


def check_settings(settings: PipelineSettings) -> PipelineSettings:
    """Settings whose filters and condition can be used.

    Raises:
        MalformedInput: `branches.malformed`, those of `parse_condition`, `request.malformed`.
    """
    texts = (
        settings.branch_configuration,
        settings.skip_queued_branch_builds_filter,
        settings.cancel_running_branch_builds_filter,
        settings.provider_settings.pull_request_branch_filter_configuration,
    )
    for text in texts:
        if len(text) > _MAX_TEXT:
            raise MalformedInput("request.malformed", f"a branch filter has at most {_MAX_TEXT} characters")
        _filter(text)
    trigger_settings(settings, default_branch="main")
    return settings


def trigger_settings(settings: PipelineSettings, *, default_branch: str) -> TriggerSettings:
    """The part that decides about webhooks.

    Raises:
        MalformedInput: as `check_settings`.
    """
    chosen = settings.provider_settings
    condition = None
    if chosen.filter_enabled and chosen.filter_condition.strip():
        condition = parse_condition(chosen.filter_condition, source="filter_condition", place=Place.BUILD)
    text = chosen.pull_request_branch_filter_configuration if chosen.pull_request_branch_filter_enabled else ""
    return TriggerSettings(
        build_branches=chosen.build_branches,
        build_tags=chosen.build_tags,
        build_pull_requests=chosen.build_pull_requests,
        build_pull_request_forks=chosen.build_pull_request_forks,
        build_pull_request_reopened=chosen.build_pull_request_reopened,
        build_pull_request_ready_for_review=chosen.build_pull_request_ready_for_review,
        build_pull_request_converted_to_draft=chosen.build_pull_request_converted_to_draft,
        build_pull_request_labels_changed=chosen.build_pull_request_labels_changed,
        build_pull_request_base_branch_changed=chosen.build_pull_request_base_branch_changed,
        prefix_pull_request_fork_branch_names=chosen.prefix_pull_request_fork_branch_names,
        ignore_default_branch_pull_requests=chosen.ignore_default_branch_pull_requests,
        branch_filter=_filter(settings.branch_configuration),
        pull_request_branch_filter=_filter(text),
        filter_condition=condition,
        default_branch=default_branch,
    )


def _filter(text: str) -> BranchFilter:
    return parse_branches(text, source="pipeline settings")
