"""What a ledger is asked before a job starts: which place is counted, how often, and for how long it is remembered.

And which steps that were sealed outside a build may run at all.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipeseal.pipeline.commandstep import parse_command_step
from pipeseal.pipeline.steps import CommandStep
from pipeseal.policy.starts import SLACK_SECONDS, TOLD_SECONDS, StartRequest
from pipeseal.signing.bindings import static_bindings
from pipeseal.signing.seal.make import static_sealing
from pipeseal.signing.seal.verify import LEEWAY_SECONDS
from tests.policy.honest import COMMIT, LOCAL, NOW, SETTINGS, approved, document, policy, refused, with_env
from tests.signing.material import REPOSITORY

BOUND = static_bindings(organization="acme", pipeline="widgets", tag="", pull_request="false")
MAIN = 'branches = ["main"]\n'
OTHER_BUILD = "0193d0a1-0000-7000-8000-0000000000b2"


def step(text: str) -> CommandStep:
    return parse_command_step(text.encode())


def start(job: dict[str, Any], text: str | None = None) -> StartRequest:
    decision = approved(job, SETTINGS if text is None else policy(text))
    assert decision.start is not None
    return decision.start


def static(
    text: str = '{"command": "scripts/test"}', *, expires: int | None = None, bound: bool = True, **facts: Any
) -> dict[str, Any]:
    sealing = static_sealing(repository_url=REPOSITORY, bindings=BOUND if bound else {}, expires=expires)
    return document("sealed", step(text), seal=sealing._asdict(), **facts)


def test_a_sealed_job_may_start_as_often_as_its_seal_says_and_the_policy_lets_it() -> None:
    job = document("sealed", step('{"command": "x", "retry": {"automatic": {"limit": 2}, "manual": false}}'))
    assert (start(job).attempts, start(job).exclusive, start(job).most) == (3, False, 3)
    assert start(job, "max-attempts = 2").attempts == 2
    assert start(job, "max-attempts = 1000").attempts == 3
    assert start(job, f"max-attempts = 1\n[[allow]]\nrepository = '{REPOSITORY}'\nmax-attempts = 2").attempts == 2


def test_an_exclusive_step_starts_once_whatever_it_says_of_retries() -> None:
    job = document("sealed", step('{"command": "x", "concurrency": 1, "concurrency_group": "g"}'))
    assert (start(job).attempts, start(job).exclusive, start(job).most) == (11, True, 1)


def test_the_server_can_not_make_another_place_of_a_sealed_job() -> None:
    job = document("sealed")
    place = start(job).place
    lies = {"BUILDKITE_RETRY_COUNT": "5", "BUILDKITE_STEP_ID": OTHER_BUILD, "BUILDKITE_BUILD_NUMBER": "99"}
    assert start(with_env(job, **lies)).place == place


def test_each_index_and_each_combination_is_a_place_and_each_seal() -> None:
    several = step('{"command": "x {{matrix}}", "matrix": ["a", "b"], "parallelism": 2}')
    job = document("sealed", several, parallel_count=2, parallel_index=0)

    def of(index: int, value: str) -> StartRequest:
        env = {"BUILDKITE_PARALLEL_JOB": str(index), "BUILDKITE_COMMAND": f"x {value}"}
        return start({**with_env(job, **env), "matrix_permutation": {"": value}})

    places = {of(index, value).place for index in (0, 1) for value in "ab"}
    assert len(places) == 4
    assert of(0, "a") == of(0, "a")
    assert of(1, "b").subject.endswith("… (b), job 1")
    assert document("sealed") != document("sealed", seal={"not_before": 1})
    assert start(document("sealed")).place != start(document("sealed", seal={"not_before": 1})).place


def test_a_start_is_remembered_until_its_seal_is_of_no_use_on_any_clock() -> None:
    ends = int(NOW) + 3600
    assert start(document("sealed")).keep_until == ends + LEEWAY_SECONDS + SLACK_SECONDS


def test_what_only_observes_says_so() -> None:
    assert not start(document("sealed")).observed
    assert start(document("sealed"), 'mode = "observe"').observed


# --- steps sealed outside a build -----------------------------------------------------------------------------


def test_a_static_step_needs_a_branch_that_the_agent_looks_at() -> None:
    for text in ("", "mode = 'enforce'", 'static-steps = "never"', MAIN + 'static-steps = "never"'):
        refusal = refused(static(), policy(text))
        assert (refusal.code, refusal.fields) == ("proof.static", ("build",)), text
    for text in (MAIN, 'static-steps = "any"', MAIN + 'static-steps = "any"'):
        assert approved(static(), policy(text)).limits.on_branch == text.startswith(MAIN)
    # Without a policy everything that the keys signed may run; sealed for a build needs no such fact.
    assert approved(static())
    assert approved(document("sealed"), policy('static-steps = "never"'))


def test_a_section_decides_of_static_steps_and_a_pull_request_is_on_no_branch() -> None:
    section = f'[[allow]]\nrepository = "{REPOSITORY}"\n'
    assert approved(static(), policy(f'{section}static-steps = "any"'))
    assert refused(static(), policy(f'{MAIN}{section}static-steps = "never"')).code == "proof.static"
    request = static(bound=False, pull_request="7")
    with_requests = MAIN + "pull-requests = true\n"
    assert refused(request, policy(with_requests)).code == "proof.static"
    assert approved(request, policy(with_requests + 'static-steps = "any"'))


def test_a_static_step_is_counted_in_each_build_that_the_server_tells_of() -> None:
    here, there = start(static(), MAIN), start(static(build_id=OTHER_BUILD), MAIN)
    assert here.place != there.place
    assert (here.attempts, here.keep_until) == (11, int(NOW) + TOLD_SECONDS)


def test_static_starts_counts_by_commit_and_believes_no_build() -> None:
    text = MAIN + "static-starts = 2\n"
    here, there = start(static(), text), start(static(build_id=OTHER_BUILD), text)
    assert here.place == there.place != start(static(commit="0" * 40), text).place
    # The seal has no end, so neither has what is remembered of it.
    assert (here.most, here.keep_until) == (2, None)
    assert start(static(), text + "max-attempts = 1").most == 1
    assert start(static(expires=int(NOW) + 5), text).keep_until == int(NOW) + 5 + LEEWAY_SECONDS + SLACK_SECONDS


@pytest.mark.parametrize("text", ["static-starts = 2", 'static-starts = 2\nstatic-steps = "any"'])
def test_static_starts_needs_a_commit_on_a_branch(text: str) -> None:
    assert refused(static(), policy(text)).code == "proof.static"
    assert refused(static(commit="HEAD"), policy(MAIN + text)).code == "proof.static"
    assert approved(static(commit=COMMIT), policy(MAIN + text))


def test_an_exclusive_static_step_starts_once_for_a_commit_that_the_agent_knows() -> None:
    once = '{"command": "scripts/test", "concurrency": 1, "concurrency_group": "g"}'
    places = {start(static(once, build_id=build), MAIN).place for build in ("b1", OTHER_BUILD)}
    assert len(places) == 1 and start(static(once), MAIN).most == 1
    # Where nothing says which commit it will be, the build that the server tells of is all there is.
    for commit, text in (("HEAD", MAIN), (COMMIT, 'static-steps = "any"')):
        places = {start(static(once, build_id=build, commit=commit), text).place for build in ("b1", OTHER_BUILD)}
        assert len(places) == 2, text


# --- steps that are only signed -------------------------------------------------------------------------------


def test_a_signature_sets_no_limit_but_the_policy_can() -> None:
    unlimited = start(document("bound"))
    assert (unlimited.most, unlimited.keep_until) == (None, int(NOW) + TOLD_SECONDS)
    limited = start(document("bound"), "max-attempts = 2")
    assert (limited.most, limited.keep_until, limited.place) == (2, None, unlimited.place)


def test_a_signature_that_is_bound_to_its_build_is_one_place() -> None:
    bound = document("bound")
    assert start(with_env(bound, BUILDKITE_RETRY_COUNT="4")).place == start(bound).place
    assert start(bound).place != start(document("bound", build_id=OTHER_BUILD)).place
    # What it does not cover is the server's word.
    reference = document("reference")
    assert start(reference).place != start(with_env(reference, BUILDKITE_BUILD_ID=OTHER_BUILD)).place


def test_a_signature_is_counted_by_what_was_signed_and_not_by_its_own_bytes() -> None:
    # ECDSA signatures can be changed by anybody into others that are right; the payload can not.
    decision = approved(document("bound"))
    assert decision.verified is not None and len(decision.verified.digest) == 64
    assert decision.verified.digest == approved(document("bound")).verified.digest  # type: ignore[union-attr]  # proven


def test_what_proves_nothing_asks_for_no_start() -> None:
    unsigned = document("reference")
    unsigned["step"].pop("signature")
    decision = approved(unsigned, replace(SETTINGS, keys=None), LOCAL)
    assert decision.start is None
