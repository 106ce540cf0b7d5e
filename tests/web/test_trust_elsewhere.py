"""The pages' code and `pipeseal verify` say the same of the same evidence, whatever a server does to it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import Browser

from pipeseal.cli.exits import exit_status
from pipeseal.controlplane.http.pages import VERIFIER, load_assets
from pipeseal.errors import VerificationError
from pipeseal.signing.evidence import parse_evidence, verify_shown_job
from pipeseal.signing.whole import find_left_out
from tests.cli.test_verify_whole import drop, make_build, with_job, withhold, without
from tests.signing.material import pair_of, verification_keys

pytestmark = pytest.mark.peer("chromium")

CHANGES: dict[str, Any] = {
    "nothing": lambda evidence: None,
    "one of a matrix": without("test", place={"matrix": {"": "c"}}),
    "one of several": without("shards", place={"parallel_group_index": 1}),
    "a step": without("test"),
    "two steps": without("test", "shards"),
    "the upload": without("up"),
    "the upload and a step": without("up", "test"),
    "the end": without("deploy"),
    "withheld": withhold("shards"),
    "withheld, and a step": lambda evidence: (withhold("shards")(evidence), without("test")(evidence)),
    "withheld upload": withhold("up"),
    "another queue": with_job("deploy", agent_query_rules=["queue=default"]),
    "no rules": with_job("deploy", agent_query_rules=None),
    "rules left out": drop("deploy", "agent_query_rules"),
    "the default queue": with_job("test", agent_query_rules=["queue=default"]),
    "too early": with_job("deploy", started_at="2027-01-15T07:45:00Z"),
    "too late": with_job("deploy", started_at="2027-01-15T09:30:00Z"),
    "clocks that differ": with_job("deploy", started_at="2027-01-15T07:55:00Z"),
    "no time": with_job("deploy", started_at="soon"),
    "not started": with_job("deploy", started_at=None),
    "another command": with_job("deploy", command="make evil"),
    "another key": with_job("deploy", step_key="test"),
    "another combination": with_job("test", matrix={"": "z"}),
    "a skipped combination": with_job("test", matrix={"": "b"}),
    "numbers left out": drop("shards", "parallel_group_index"),
    "commands left out": drop("deploy", "command"),
    "steps left out": drop("deploy", "step"),
}
# The page's own modules, out of the one file that is the same for everybody.
JUDGE = """async ([evidences, jwk]) => {
  const { judge, asShown } = modules.judge;
  const key = modules.keycheck.soundKey(jwk);
  const keys = { [await modules.keycheck.thumbprintOf(key)]: { jwk: key, how: "added", since: null } };
  const ring = { pins: [], keys, refused: [], fresh: false };
  const said = [];
  for (const evidence of evidences) {
    const steps = new Map(evidence.steps.map((step) => [step.job_id, step]));
    const results = new Map();
    for (const job of evidence.jobs) {
      const found = { ...steps.get(job.id), keys: [] };
      results.set(job.id, await judge(found, asShown(evidence, evidence.build, job), ring));
    }
    const states = evidence.jobs.map((job) => results.get(job.id).state);
    said.push({ states, lacking: modules.whole.leftOut(evidence.jobs, results).length });
  }
  return said;
}"""
STATES = {20: "unsigned", 21: "unknown_signer", 22: "failed", 23: "cannot_check", 24: "missing"}


def verdict(document: dict[str, Any]) -> dict[str, Any]:
    """What our verifier says: the state of each job, and how much is left out."""
    evidence = parse_evidence(json.dumps(document).encode(), source="evidence")
    states, proven, undecided = [], [], []
    for shown in evidence.jobs:
        try:
            proven.append((shown, verify_shown_job(shown, evidence, verification_keys())))
            states.append("verified")
        except VerificationError as error:
            states.append(STATES[exit_status(error)])
            if states[-1] == "cannot_check":
                undecided.append(shown)
    return {"states": states, "lacking": len(find_left_out(proven, undecided))}


def test_the_one_file_verifier_and_the_command_agree(browser: Browser) -> None:
    whole = make_build()
    documents = []
    for change in CHANGES.values():
        document = json.loads(json.dumps(whole))
        change(document)
        documents.append(document)
    jwk = json.loads(pair_of("EdDSA").public_set)["keys"][0]
    with browser.new_context() as context:
        # A file of a disk is a secure context, as an address of this machine is.
        context.route(
            "http://localhost/**",
            lambda route: route.fulfill(
                body=load_assets()[VERIFIER].content, content_type="text/html; charset=utf-8"
            ),
        )
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.goto("http://localhost/verify.html")
        said = page.evaluate(JUDGE, [documents, jwk])
    for name, document, one in zip(CHANGES, documents, said, strict=True):
        assert one == verdict(document), name
    assert said[0] == {"states": ["verified"] * 7, "lacking": 0}
    assert sum(one["lacking"] > 0 for one in said) >= 5
    assert sum("failed" in one["states"] for one in said) >= 8
