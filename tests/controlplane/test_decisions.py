"""What agents tell of their policies: kept for the job whose token says it, within bounds, hidden from strangers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.controlplane.running import QUICK, Api, FakeAgent, FakeJob, running_server
from tests.controlplane.test_public import publish, stranger

STEPS = """
steps:
  - {key: one, label: first, command: make, agents: {queue: %s}}
  - {key: two, label: second, command: make, agents: {queue: %s}}
"""
SEALED = {"mode": "enforce", "proof": "seal", "key": "uploader", "thumbprint": "T" * 43, "seal": "a" * 64}
OBSERVED = {
    "mode": "observe",
    "proof": "none",
    "findings": [{"code": "signature.missing", "fields": []}],
}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_server(tmp_path_factory.mktemp("decisions") / "data", QUICK) as running:
        yield running.api


def begin(api: Api, slug: str) -> tuple[FakeAgent, str]:
    """A pipeline with a build, and an agent for its jobs."""
    api.create_pipeline(STEPS % (slug, slug), slug)
    api.create_build(slug)
    return FakeAgent(api, f"queue={slug}", name=f"agent-of-{slug}"), slug


def told(api: Api, job: FakeJob, slug: str) -> Any:
    """What the API says that the job's agent told."""
    answer = api.rest("GET", f"/pipelines/{slug}/builds/1/jobs/{job.id}")
    assert answer.status == 200, answer.json
    return answer.json["decision"]


def test_the_server_asks_to_be_told(api: Api) -> None:
    assert FakeAgent(api).registered["pipeseal_extensions"] == ["decisions"]


def test_job_shows_what_its_agent_told(api: Api) -> None:
    agent, slug = begin(api, "shows")
    one, two = agent.run(decision=SEALED), agent.run(decision=OBSERVED)
    assert told(api, one, slug) == {**SEALED, "findings": []}
    assert told(api, two, slug) == {**OBSERVED, "key": None, "thumbprint": None, "seal": None}
    assert {job["decision"]["proof"] for job in api.build(1, slug)["jobs"]} == {"seal", "none"}


def test_agent_shows_the_mode_that_it_told_of_last(api: Api) -> None:
    agent, _ = begin(api, "modes")

    def mode() -> Any:
        return api.rest("GET", f"/agents/{agent.id}").json["policy_mode"]

    assert mode() is None
    agent.run(decision=OBSERVED)
    assert mode() == "observe"
    # An agent that keeps its next decision has told no other mode.
    agent.run()
    assert mode() == "observe"


def test_agents_that_tell_nothing_are_heard_of_as_such(api: Api) -> None:
    agent, slug = begin(api, "silent")
    one, two = agent.run(), agent.run(decision=None)
    assert told(api, one, slug) is None and told(api, two, slug) is None
    report = api.rest("GET", f"/pipelines/{slug}/signing").json
    assert report["modes"] == {"untold": 1} and report["outcomes"]["untold"] == report["jobs"] == 2
    assert report["proposal"] == {"stage": None, "since": None, "next": None, "on": None, "in_the_way": [agent.name]}


def test_what_is_told_has_bounds_and_words_that_nobody_knows_are_no_state(api: Api) -> None:
    agent, slug = begin(api, "bounds")
    findings = [{"code": "c" * 300, "fields": ["n" * 300] * 30}] * 30
    strange = {"mode": "enforced-twice", "proof": "<b>", "seal": "s" * 300, "findings": findings}
    job = agent.run(decision={**SEALED, **strange})
    kept = told(api, job, slug)
    assert (kept["mode"], kept["proof"], len(kept["seal"])) == ("unknown", "unknown", 200)
    assert [len(finding["fields"]) for finding in kept["findings"]] == [20] * 20
    assert {len(name) for name in kept["findings"][0]["fields"]} == {200}


WRONG: dict[str, Any] = {
    "number": 5, "text": "observe", "list": [], "no-proof": {"mode": "observe"}, "type": {"mode": 1, "proof": "none"}
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_decision_is_refused_and_ends_nothing(api: Api, wrong: str) -> None:
    agent, slug = begin(api, f"wrong-{wrong}")
    job = agent.take()
    assert job.finish(0, decision=WRONG[wrong]).status == 422
    assert job.state().json["state"] == "running"
    assert job.finish(0, decision=SEALED).status == 200 and told(api, job, slug)["proof"] == "seal"


def test_no_token_but_the_jobs_own_marks_it_and_nobody_marks_it_twice(api: Api) -> None:
    agent, slug = begin(api, "marked")
    other_agent, other_slug = begin(api, "marker")
    job, other = agent.take(), other_agent.take()
    body = {"exit_status": "0", "decision": SEALED}
    for token in (other.token, other_agent.token, agent.token, api.registration_token, api.api_token, "x"):
        assert api.agent_call("PUT", f"/jobs/{job.id}/finish", token, body).status in (401, 403)
    # The path says which job it is; a body that names another one says nothing.
    assert other.finish(0, decision=OBSERVED, id=job.id, job_id=job.id).status == 200
    assert told(api, job, slug) is None and told(api, other, other_slug)["mode"] == "observe"
    assert job.finish(0, decision=OBSERVED).status == 200
    assert job.finish(0, decision=SEALED).status == 200
    assert told(api, job, slug)["mode"] == "observe"


def test_strangers_are_shown_none_of_it(api: Api) -> None:
    agent, slug = begin(api, "public")
    publish(api, slug, public_since="all")
    agent.run(decision=OBSERVED)
    root = "/v2/organizations/local"
    shown = stranger(api, f"{root}/pipelines/{slug}/builds/1")
    assert shown.status == 200 and all("decision" not in one for one in shown.json["jobs"])
    for path in ("/signing", f"/pipelines/{slug}/signing"):
        assert stranger(api, root + path).status == 401
    assert b"observe" not in shown.body


def test_report_groups_by_code_and_step_and_counts_agents_by_mode(api: Api) -> None:
    agent, slug = begin(api, "grouped")
    other = FakeAgent(api, f"queue={slug}", name="enforcer")
    api.create_build(slug)
    api.create_build(slug)
    several = {**OBSERVED, "findings": [{"code": "proof.not_enough", "fields": ["A", "B"]}] * 2}
    agent.run(decision=OBSERVED)
    agent.run(decision={**several, "proof": "signature"})
    agent.run(decision=OBSERVED)
    refusal = {"code": "signature.missing", "message": "it is not signed"}
    agent.run(-1, signal_reason="signature_rejected", refusal=refusal, decision={"mode": "observe", "proof": "none"})
    agent.run()
    other.run(decision=SEALED)
    report = api.rest("GET", f"/pipelines/{slug}/signing?days=7").json
    assert report["days"] == 7 and report["jobs"] == 6
    assert report["outcomes"] == {
        "sealed": 1, "signed": 1, "unproven": 2, "refused": 1, "untold": 1, "would_be_refused": 3
    }  # fmt: skip
    groups = [(one["code"], one["step"], one["jobs"], one["fields"]) for one in report["would_be_refused"]]
    assert groups == [("signature.missing", "one", 2, []), ("proof.not_enough", "two", 1, ["A", "B"])]
    newest = report["would_be_refused"][0]
    assert newest["newest"]["number"] == 2 and newest["newest"]["label"] == "first" and newest["fix"]
    # The agent's latest job told nothing, so nothing is known of how it stands now.
    assert report["modes"] == {"untold": 1, "enforce": 1}
    assert [(one["name"], one["mode"], one["jobs"]) for one in report["agents"]] == [
        (agent.name, None, 5), ("enforcer", "enforce", 1)
    ]  # fmt: skip
    proposal = report["proposal"]
    assert (proposal["stage"], proposal["next"], proposal["in_the_way"]) == ("enforce", None, [agent.name])


def test_list_of_pipelines_says_what_is_signed_and_which_modes_were_told(api: Api) -> None:
    agent, slug = begin(api, "listed")
    begin(api, "listed-too")
    agent.run(decision=OBSERVED)
    agent.run(decision={"mode": "off", "proof": "none"})
    found = {one["pipeline"]: one for one in api.rest("GET", "/signing?per_page=100").json}
    assert found[slug] == {
        "pipeline": slug, "name": slug, "steps": 2, "signed_steps": 0, "modes": ["observe", "off"]
    }  # fmt: skip
    first = api.rest("GET", "/signing?per_page=1")
    assert len(first.json) == 1 and 'rel="next"' in first.headers["link"]


@pytest.mark.parametrize("days", ["91", "-1", "x", ""])
def test_report_looks_back_for_some_days_at_most(api: Api, days: str) -> None:
    if api.rest("GET", "/pipelines/days").status == 404:
        api.create_pipeline("steps: []", "days")
    assert api.rest("GET", f"/pipelines/days/signing?days={days}").status == 422
