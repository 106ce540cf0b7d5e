"""Which of the builds that webhooks ask for are made: settings, forks, filters and conditions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipeseal.controlplane.domain.branches import parse_branches
from pipeseal.controlplane.domain.conditions import Place, evaluate_condition, parse_condition
from pipeseal.controlplane.domain.webhooks import (
    BuildRequest,
    Ignored,
    PullRequest,
    TriggerSettings,
    admit,
    request_facts,
)

COMMIT = "0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c"
PUSH = BuildRequest("push", COMMIT, "main", message="Hi", author_name="Ada", source_event="push")
TAG = BuildRequest("tag", COMMIT, "v1", tag="v1", source_event="push")
OWN = BuildRequest(
    "pull_request",
    COMMIT,
    "login",
    message="Login",
    source_event="pull_request",
    source_action="opened",
    pull_request=PullRequest(7, "main", "https://example.com/acme/api.git", False, draft=True, labels=("a", "b")),
)
FORK = replace(
    OWN, branch="main", pull_request=PullRequest(8, "main", "https://example.com/m/api.git", True, owner="mallory")
)
PIPELINE = {"pipeline.slug": "api", "pipeline.default_branch": "main", "organization.slug": "acme"}


def decide(request: BuildRequest, **settings: Any) -> BuildRequest | Ignored:
    return admit(request, TriggerSettings(**settings), pipeline=PIPELINE, env={"DEPLOY": "yes"})


@pytest.mark.parametrize(
    ("request_", "settings", "reason"),
    [
        (PUSH, {}, None),
        (PUSH, {"build_branches": False}, "pushes to branches"),
        (PUSH, {"branch_filter": parse_branches("release/*", source="x")}, "'main'"),
        (PUSH, {"branch_filter": parse_branches("main", source="x")}, None),
        (TAG, {}, "does not build tags"),
        (TAG, {"build_tags": True}, None),
        (TAG, {"build_tags": True, "build_branches": False, "branch_filter": parse_branches("x", source="x")}, None),
        (OWN, {}, None),
        (OWN, {"build_pull_requests": False}, "does not build pull requests"),
        (OWN, {"branch_filter": parse_branches("never", source="x")}, None),
        (OWN, {"pull_request_branch_filter": parse_branches("feature/*", source="x")}, "'login'"),
        (FORK, {}, "from other repositories"),
        (FORK, {"build_pull_request_forks": True}, None),
        (replace(OWN, branch="main"), {"ignore_default_branch_pull_requests": True}, "default branch"),
        (replace(OWN, source_action="synchronize"), {}, None),
        (replace(OWN, source_action="reopened"), {}, None),
        (replace(OWN, source_action="reopened"), {"build_pull_request_reopened": False}, "reopened"),
        (replace(OWN, source_action="ready_for_review"), {}, "ready_for_review"),
        (replace(OWN, source_action="ready_for_review"), {"build_pull_request_ready_for_review": True}, None),
        (replace(OWN, source_action="converted_to_draft"), {}, "converted_to_draft"),
        (replace(OWN, source_action="converted_to_draft"), {"build_pull_request_converted_to_draft": True}, None),
        (replace(OWN, source_action="labeled"), {}, "labeled"),
        (replace(OWN, source_action="unlabeled"), {"build_pull_request_labels_changed": True}, None),
        (replace(OWN, source_action="edited"), {"build_pull_request_base_branch_changed": True}, "edited"),
        (
            replace(OWN, source_action="edited", base_branch_changed=True),
            {"build_pull_request_base_branch_changed": True},
            None,
        ),
    ],
)
def test_settings(request_: BuildRequest, settings: dict[str, Any], reason: str | None) -> None:
    outcome = decide(request_, **settings)
    if reason is None:
        assert isinstance(outcome, BuildRequest), outcome
    else:
        assert isinstance(outcome, Ignored)
        assert reason in outcome.reason


def test_a_fork_cannot_pass_for_a_branch_of_the_pipeline() -> None:
    outcome = decide(FORK, build_pull_request_forks=True)
    assert isinstance(outcome, BuildRequest)
    assert outcome.branch == "mallory:main"
    assert FORK.pull_request is not None
    nameless = replace(FORK, pull_request=replace(FORK.pull_request, owner=""))
    outcome = decide(nameless, build_pull_request_forks=True)
    assert isinstance(outcome, BuildRequest)
    assert outcome.branch == "fork:main"
    outcome = decide(FORK, build_pull_request_forks=True, prefix_pull_request_fork_branch_names=False)
    assert isinstance(outcome, BuildRequest)
    assert outcome.branch == "main"
    condition = parse_condition('build.branch == "main"', source="x", place=Place.BUILD)
    assert isinstance(decide(FORK, build_pull_request_forks=True, filter_condition=condition), Ignored)


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (PUSH, 'build.branch == "main" && build.commit =~ /^0d1a/ && build.tag == null && build.message == "Hi"'),
        (PUSH, 'build.source == "webhook" && build.source_event == "push" && build.source_action == null'),
        (PUSH, 'build.author.name == "Ada" && build.author.email == null'),
        (PUSH, "build.pull_request.id == null && build.pull_request.repository.fork == null"),
        (PUSH, 'build.env("BUILDKITE_PULL_REQUEST") == "false" && build.env("BUILDKITE_TAG") == ""'),
        (PUSH, 'build.env("DEPLOY") == "yes" && pipeline.slug == "api" && organization.slug == "acme"'),
        (TAG, 'build.tag == "v1" && build.env("BUILDKITE_TAG") == "v1"'),
        (OWN, 'build.pull_request.id == "7" && build.pull_request.base_branch == pipeline.default_branch'),
        (OWN, 'build.pull_request.draft && build.pull_request.labels includes "b"'),
        (OWN, '!build.pull_request.repository.fork && build.source_action == "opened"'),
        (OWN, 'build.env("BUILDKITE_PULL_REQUEST_BASE_BRANCH") == "main"'),
        (FORK, 'build.pull_request.repository.fork && build.env("BUILDKITE_PULL_REQUEST_REPO") =~ /m\\/api/'),
    ],
)
def test_what_a_condition_knows_about_a_request(request_: BuildRequest, text: str) -> None:
    condition = parse_condition(text, source="filter", place=Place.BUILD)
    facts = request_facts(request_, pipeline=PIPELINE, env={"DEPLOY": "yes", "BUILDKITE_TAG": "forged"})
    assert evaluate_condition(condition, facts)
    negated = parse_condition(f"!({text})", source="filter", place=Place.BUILD)
    refused = decide(request_, build_tags=True, build_pull_request_forks=True, filter_condition=negated)
    assert isinstance(refused, Ignored)
    assert "condition is false" in refused.reason
