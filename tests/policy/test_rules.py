"""What each rule of a policy refuses, with which code, and that the honest twin passes it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipeseal.pipeline.steps import Plugin
from pipeseal.policy import ApprovedJob, OnFailure, Refused
from pipeseal.policy.facts import Proof
from pipeseal.policy.patterns import expressions, globs
from pipeseal.policy.policy import Mode, Policy
from pipeseal.policy.rules import NO_LIMITS, NO_PLUGINS, Limits, Plugins, Repositories, Scripts
from pipeseal.signing.seal.envelope import ResolvedPlugin
from tests.policy.honest import (
    COMMIT,
    LOCAL,
    NOW,
    SETTINGS,
    STEP,
    approved,
    decide,
    document,
    policy,
    refused,
    with_env,
)
from tests.signing.material import REPOSITORY

BOUND, SEALED = document("bound"), document("sealed")
UNSIGNED = {**BOUND, "step": {name: value for name, value in BOUND["step"].items() if name != "signature"}}
SECTION = f'[[allow]]\nrepository = "{REPOSITORY}"\n'


def moved(**facts: Any) -> dict[str, Any]:
    """An honest job of another branch, tag or pull request, bound to it."""
    return document("bound", **facts)


PASSES = [
    'proof = "signature"',
    'keys = ["eddsa-one"]',
    'keys = ["eddsa-*", "other"]',
    'branches = ["main", "release/*"]',
    "pull-requests = false",
    "head-commits = false",
    'commands = "any"',
    'commands = "scripts"',
    'plugins = ["github.com/buildkite-plugins/docker-buildkite-plugin#v5.*"]',
    f'repositories = ["{REPOSITORY}"]',
    'repositories = ["git@git.example.test:acme/*"]',
    "max-attempts = 1",
    SECTION,
    '[[allow]]\nrepository = "other"\n' + SECTION,
    SECTION + 'organization = "acme"\npipeline = "wid*"\n',
    '[key.eddsa-one]\nnot-before = 2020-01-01\nnot-after = 2100-01-01T00:00:00Z\norganizations = "acme"\n'
    f'pipelines = ["widgets"]\nrepositories = "{REPOSITORY}"',
    '[key.other]\nrevoked = "gone"',
]
REFUSES = [
    ('proof = "seal"', "proof.not_enough"),
    ('keys = ["other"]', "key.not_allowed"),
    ('keys = ["EDDSA-ONE"]', "key.not_allowed"),
    ('branches = ["release/*"]', "branch.not_allowed"),
    ('branches = ["mai"]', "branch.not_allowed"),
    ('plugins = ["github.com/acme/*"]', "plugin.not_allowed"),
    ("plugins = []", "plugin.not_allowed"),
    ('repositories = ["git@git.example.test:acme/other.git"]', "repository.not_allowed"),
    ('[[allow]]\nrepository = "other"', "policy.no_section"),
    (SECTION + 'pipeline = "other"', "policy.no_section"),
    (SECTION + 'organization = "other"', "policy.no_section"),
    (SECTION + 'keys = ["other"]', "key.not_allowed"),
    (f'keys = ["other"]\n{SECTION}keys = ["eddsa-one"]', "key.not_allowed"),
    ('[key.eddsa-one]\nrevoked = "leaked"', "key.revoked"),
    ("[key.eddsa-one]\nnot-after = 2020-01-01", "key.expired"),
    ("[key.eddsa-one]\nnot-before = 2099-01-01", "key.not_yet_valid"),
    ('[key.eddsa-one]\nrepositories = ["other"]', "key.scope"),
    ('[key.eddsa-one]\norganizations = ["other"]', "key.scope"),
    ('[key.eddsa-one]\npipelines = ["other"]', "key.scope"),
    ('[key.eddsa-one]\nbranches = ["release/*"]', "key.scope"),
    ('[key.eddsa-one]\nroles = ["static"]', "key.scope"),
]


def test_a_key_for_some_branches_signs_no_pull_requests_tags_or_what_is_bound_to_no_branch() -> None:
    main = policy('[key.eddsa-one]\nbranches = "main"')
    assert approved(BOUND, main)
    assert refused(moved(branch="main", pull_request="7"), main).code == "key.scope"
    assert refused(moved(branch="main", tag="main"), main).code == "key.scope"
    assert refused(document("static"), main).code == "policy.unproven"


def test_plugins_have_to_be_sealed_at_a_commit_where_the_policy_says_so() -> None:
    source = "github.com/buildkite-plugins/docker-buildkite-plugin#v5.9.0"
    pinned = policy("pinned-plugins = true")
    assert approved(document("sealed", seal={"resolved": {source: ResolvedPlugin("1" * 40, "2" * 40)}}), pinned)
    assert refused(SEALED, pinned).code == "plugin.not_pinned"
    assert refused(BOUND, pinned).code == "plugin.not_pinned"
    vendored = replace(STEP, plugins=[Plugin("./.buildkite/plugins/lint")])
    assert approved(document("sealed", vendored), pinned)
    assert approved(SEALED, policy("pinned-plugins = false"))


def test_a_key_for_uploads_signs_nothing_outside_of_builds() -> None:
    uploads = policy('[key.eddsa-one]\nroles = "uploads"')
    assert approved(BOUND, uploads)
    assert refused(document("static"), uploads).code == "key.scope"
    assert approved(document("static"), policy('[key.eddsa-one]\nroles = "static"'))


@pytest.mark.parametrize("text", PASSES)
@pytest.mark.parametrize("job", [BOUND, SEALED], ids=["bound", "sealed"])
def test_honest_job_passes(job: dict[str, Any], text: str) -> None:
    assert approved(job, policy(text)).command == "scripts/test"


@pytest.mark.parametrize(("text", "code"), REFUSES)
def test_rule_refuses(text: str, code: str) -> None:
    decision = refused(BOUND, policy(text))
    assert (decision.code, decision.signal_reason, decision.exit_status) == (code, "agent_refused", -1)
    assert any(f"refused[{code}]" in line for line in decision.log)
    assert any("pipeseal explain" in line for line in decision.log)


def test_seal_is_enough_where_a_seal_is_asked_for() -> None:
    assert approved(SEALED, policy('proof = "seal"')).proof is Proof.SEAL
    section = f'proof = "seal"\n{SECTION}proof = "signature"'
    assert approved(BOUND, policy(section)).proof is Proof.SIGNATURE


def test_branches_tags_and_pull_requests() -> None:
    only_main = policy('branches = ["main"]')
    assert refused(moved(branch="main", pull_request="7"), only_main).code == "branch.not_allowed"
    assert refused(moved(branch="v1", tag="v1"), only_main).code == "branch.not_allowed"
    assert refused(moved(branch="v1", tag="v1"), policy('branches = ["*"]')).code == "branch.not_allowed"
    assert approved(moved(branch="main", pull_request="7"), policy('branches = ["main"]\npull-requests = true'))
    assert refused(moved(pull_request="7"), policy("pull-requests = false")).code == "pull_request.not_allowed"
    assert approved(moved(pull_request="7"), policy("pull-requests = true"))


def test_branches_are_looked_up_at_the_remote() -> None:
    assert approved(BOUND, policy('branches = ["main"]')).limits.on_branch
    assert approved(document("static"), policy('branches = ["main"]')).limits.on_branch
    pull = approved(moved(pull_request="7"), policy('branches = ["main"]\npull-requests = true'))
    assert not pull.limits.on_branch
    assert approved(BOUND).limits == replace(NO_LIMITS, own_host=True)


@pytest.mark.parametrize(
    "command",
    [
        "make test", "/bin/ls", "../x", "a/../../x", "~/x", "-x", "x;y", "x\ny", "$X", "`x`", "a|b", "x>y", "x*",
        'a"b', "a\\b",
    ],
)  # fmt: skip
def test_what_is_no_script_is_refused_before_anything_happens(command: str) -> None:
    decision = refused(document("bound", replace(STEP, command=command)), policy('commands = "scripts"'))
    assert decision.code == "command.not_script"


@pytest.mark.parametrize("command", ["scripts/test", "./scripts/test", "x.sh", "a b/c".replace(" ", "_"), ""])
def test_scripts_pass_and_the_runner_looks_again(command: str) -> None:
    step = replace(STEP, command=command)
    assert approved(document("bound", step), policy('commands = "scripts"')).limits.scripts_only


def test_submodules_of_other_hosts_have_to_be_named_unless_the_policy_observes() -> None:
    assert approved(BOUND, policy("")).limits.own_host
    named = approved(BOUND, policy('submodules = ["https://parts.example.test/*"]')).limits
    assert not named.own_host and len(named.submodules) == 1
    assert not approved(BOUND, policy('mode = "observe"')).limits.own_host


def test_attempts_are_counted_as_the_server_admits_them() -> None:
    retried = document("bound", retry_count=2)
    assert approved(retried, policy("max-attempts = 3"))
    assert refused(retried, policy("max-attempts = 2")).code == "attempt.too_many"
    assert approved(retried, policy(f"max-attempts = 2\n{SECTION}max-attempts = 3"))


def test_sections_are_not_chosen_by_what_only_the_server_says() -> None:
    text = '[[allow]]\norganization = "acme"\npipeline = "widgets"'
    assert approved(BOUND, policy(text))
    assert refused(document("reference"), policy(text)).code == "policy.unproven"
    lax = '[[allow]]\npipeline = "lax"\n[[allow]]\nbranches = ["main"]'
    claimed = with_env(document("reference"), BUILDKITE_PIPELINE_SLUG="lax")
    assert refused(claimed, policy(lax)).code == "policy.unproven"
    record = '[key.eddsa-one]\npipelines = ["widgets"]'
    assert refused(document("reference"), policy(record)).code == "policy.unproven"


def test_first_section_that_matches_holds() -> None:
    text = f'{SECTION}max-attempts = 5\n[[allow]]\nkeys = ["other"]'
    decision = approved(BOUND, policy(text))
    assert decision.section.startswith("1 (")


def test_everything_that_is_wrong_is_told_and_the_first_gives_the_code() -> None:
    decision = refused(
        with_env(BOUND, EVIL="1", LD_PRELOAD="2"), policy('proof = "seal"\nbranches = ["release"]\nplugins = []')
    )
    codes = [finding.code for finding in decision.findings]
    assert codes == [
        "proof.not_enough",
        "branch.not_allowed",
        "plugin.not_allowed",
        "environment.forbidden",
        "environment.unknown",
    ]
    assert decision.code == codes[0]
    text = "\n".join(decision.log)
    assert all(f"refused[{code}]" in text for code in codes)


def test_observing_runs_proven_jobs_and_says_what_would_have_been_refused() -> None:
    job = with_env(BOUND, EVIL="1", LD_PRELOAD="2")
    decision = approved(job, policy('mode = "observe"\nproof = "seal"'))
    assert [finding.code for finding in decision.findings] == [
        "proof.not_enough",
        "environment.forbidden",
        "environment.unknown",
    ]
    assert decision.env["EVIL"] == "1" and "LD_PRELOAD" not in decision.env
    assert [row.name for row in decision.left_out] == ["LD_PRELOAD"]
    assert any("would be refused[proof.not_enough]" in line for line in decision.log)
    assert len(decision.warnings) == 3


@pytest.mark.parametrize(("mode", "group"), [("observe", "~~~ "), ("warn", "+++ ")])
def test_a_log_shows_what_is_observed_folded_and_what_is_warned_of_open(mode: str, group: str) -> None:
    proven = approved(BOUND, policy(f'mode = "{mode}"\nproof = "seal"'))
    assert f"{group}⚠️ This job would be refused; the policy only {mode}s" in proven.log
    unproven = approved(UNSIGNED, policy(f'mode = "{mode}"'))
    assert unproven.log[0] == f"{group}⚠️ Job signature verification failed"


def test_decisions_say_the_mode_that_held() -> None:
    assert approved(BOUND, policy("")).mode is Mode.ENFORCE
    assert refused(UNSIGNED, policy("")).mode is Mode.ENFORCE
    # A section's mode is for what is proven; whatever claims to belong to it is judged by the whole policy's.
    section = policy(f'{SECTION}mode = "warn"')
    assert approved(BOUND, section).mode is Mode.WARN and refused(UNSIGNED, section).mode is Mode.ENFORCE
    for mode in (Mode.OBSERVE, Mode.WARN):
        settings = policy(f'mode = "{mode.value}"')
        assert approved(BOUND, settings).mode is approved(UNSIGNED, settings).mode is mode
        # Names that are none are refused in every mode.
        assert refused(with_env(UNSIGNED, **{"A=B": ""}), settings).mode is mode
    setting = replace(SETTINGS, on_failure=OnFailure.WARN)
    assert approved(BOUND, setting).mode is approved(UNSIGNED, setting).mode is Mode.WARN
    assert approved({**BOUND, "step": {"command": "x"}}, replace(SETTINGS, keys=None)).mode is None


def test_section_that_observes_does_not_let_unproven_jobs_in() -> None:
    text = f'{SECTION}mode = "observe"\nproof = "seal"'
    assert approved(BOUND, policy(text)).findings
    assert refused(UNSIGNED, policy(text)).code == "signature.missing"
    assert approved(UNSIGNED, policy('mode = "observe"')).verified is None
    assert approved(UNSIGNED, replace(SETTINGS, on_failure=OnFailure.WARN)).verified is None


def test_switches_hold_in_any_mode_and_for_unverified_jobs() -> None:
    switched = Policy().with_switches((Repositories(expressions(["^https://"])),), Limits(scripts_only=True))
    for settings in (
        replace(SETTINGS, policy=switched),
        replace(SETTINGS, policy=switched, on_failure=OnFailure.WARN),
        replace(SETTINGS, policy=switched, keys=None),
    ):
        job = BOUND if settings.keys is not None else {**BOUND, "step": {"command": "x"}}
        assert refused(job, settings).code == "repository.not_allowed"
    for rule, code in ((NO_PLUGINS, "plugin.not_allowed"), (Plugins(expressions(["acme"])), "plugin.not_allowed")):
        assert refused(BOUND, replace(SETTINGS, policy=Policy().with_switches((rule,), NO_LIMITS))).code == code
    inline = document("bound", replace(STEP, command="make test"))
    only_scripts = Policy().with_switches((Scripts(),), Limits(scripts_only=True))
    assert refused(inline, replace(SETTINGS, policy=only_scripts)).code == "command.not_script"


def test_unverified_jobs_run_as_the_server_wants_but_with_names_that_are_names() -> None:
    settings = replace(SETTINGS, keys=None)
    job = {**BOUND, "step": {"command": "x"}}
    decision = approved(with_env(job, LD_PRELOAD="x", ANYTHING="y"), settings)
    assert decision.env["LD_PRELOAD"] == "x" and decision.env["ANYTHING"] == "y"
    assert refused(with_env(job, **{"A=B": ""}), settings).code == "environment.name"
    assert refused(with_env(job, A="\0"), settings).code == "environment.value"


def test_server_variables_add_up_and_never_reach_what_is_forbidden() -> None:
    text = f'server-variables = ["DEPLOY_*"]\n{SECTION}server-variables = ["TARGET", "*"]'
    job = with_env(BOUND, DEPLOY_X="1", TARGET="2", OTHER="3")
    decision = approved(job, policy(text))
    assert (decision.env["DEPLOY_X"], decision.env["TARGET"], decision.env["OTHER"]) == ("1", "2", "3")
    assert {"DEPLOY_X", "TARGET", "OTHER"} <= decision.informational
    for name in ("LD_PRELOAD", "BUILDKITE_PLUGIN_X", "BUILDKITE_SHELL", "GIT_DIR"):
        assert refused(with_env(job, **{name: "x"}), policy(text)).code == "environment.forbidden"
    assert refused(with_env(job, **{"A-B": "x"}), policy(text)).code == "environment.name"


def test_free_text_becomes_a_variable_only_when_asked_for() -> None:
    job = with_env(BOUND, BUILDKITE_MESSAGE="a\nb\x1b[2J" + "c" * 5000)
    assert "BUILDKITE_MESSAGE" not in approved(job).env
    decision = approved(job, policy('server-variables = ["BUILDKITE_MESSAGE"]'))
    assert decision.env["BUILDKITE_MESSAGE"].startswith("a b [2Jc") and len(decision.env["BUILDKITE_MESSAGE"]) == 4096
    assert decision.texts["BUILDKITE_MESSAGE"].startswith("a\nb\x1b[2J")


def test_nothing_of_the_servers_word_is_handed_over_when_asked_so() -> None:
    decision = approved(SEALED, policy("informational-variables = false"))
    assert decision.informational == frozenset() and decision.texts == {}
    assert "BUILDKITE_BUILD_NUMBER" not in decision.env and decision.env["BUILDKITE_COMMIT"] == COMMIT


def test_revocation_and_windows_follow_the_clock() -> None:
    text = policy("[key.eddsa-one]\nnot-before = 2026-09-21\nnot-after = 2026-09-21")
    noon = 1_789_992_000.0  # 2026-09-21T12:00:00Z
    for now, code in ((noon - 86_400, "key.not_yet_valid"), (noon + 86_400, "key.expired")):
        assert refused(BOUND, text, replace(LOCAL, now=now)).code == code
    assert isinstance(decide(BOUND, text, replace(LOCAL, now=noon)), ApprovedJob)


def test_sealed_for_other_agents_or_another_time() -> None:
    assert refused(SEALED, local=replace(LOCAL, tags=("queue=deploy",))).code == "seal.audience"
    assert refused(SEALED, local=replace(LOCAL, now=NOW + 10_000)).code == "seal.expired"
    assert isinstance(decide(SEALED, local=replace(LOCAL, now=NOW - 10_000)), Refused)


def test_patterns() -> None:
    assert globs(["a*"]).match("abc\nd") and not globs(["a"]).match("xa") and not globs(["a*"]).match("xa")
    assert expressions(["b"]).match("abc") and not expressions(["^b"]).match("abc")
    both = globs(["x"]) + expressions(["^y"])
    assert both.match("x") and both.match("yy") and not both.match("xx") and str(both) == "x, ^y"
