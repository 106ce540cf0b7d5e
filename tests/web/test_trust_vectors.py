"""The page's own verifier beside ours: every vector of signatures and seals, judged alike in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.controlplane.running import running_server
from tests.signing import seal_vectors
from tests.web.trust_vectors import sign_cases, verify_cases

pytestmark = pytest.mark.peer("chromium")

# The page trusts what it is given (`first`), and knows nothing of where the step stands: only signatures count.
JUDGE = """async (cases) => {
  const { judge } = await import("/web/trust/judge.js");
  const { canonical } = await import("/web/trust/canonical.js");
  const shown = { build: {}, job: {} };
  const ring = { pins: [], keys: {}, refused: [], fresh: true };
  return Promise.all(cases.map(async (found) => {
    const { state, code, says, signer, values } = await judge(found, shown, ring);
    const payload = values && canonical({ alg: found.signature.algorithm, values });
    return { state, code, says, kid: signer?.kid ?? "", thumbprint: signer?.thumbprint ?? "", payload };
  }));
}"""
# What the page does not ask of a seal: the time, since a finished build outlives it, and which agents may run it.
NOT_ASKED = {"seal.early", "seal.expired", "seal.audience"}
# Nor whether the step inside is in its normal form (docs/spec/seal.md section 4).
NORMAL_FORM = {
    f"member: {name}"
    for name in (
        "cache in short form", "checkout of the wrong kind", "checkout that says nothing", "command among the others",
        "condition of the uploader among the others", "empty list among the others", "empty pattern",
        "empty plugin configuration", "inherited checkout of the wrong kind", "inherited checkout that says nothing",
        "matrix in long form where the short one does", "matrix of numbers", "nameless member among the others",
        "null among the others", "null as plugin configuration", "pattern with a space around it",
        "pinned plugin that was not resolved", "plugin configuration that is no JSON",
        "plugin configuration with a great number", "plugin configuration with a member twice",
        "plugin configuration with spaces", "plugin source in short form", "second key among the others",
        "several patterns in one", "signature among the others",
    )
}  # fmt: skip
# Refused either way, at another stage.
SAME = {("seal.json", "seal.canonical"), ("seal.json", "payload.value")}
SEALS = """async ([keys, seals]) => {
  const { readSeal } = await import("/web/trust/judge.js");
  return Promise.all(seals.map((seal) => readSeal(seal, keys).then(() => "ok", (flaw) => {
    if (!flaw.code) throw flaw;
    return flaw.code;
  })));
}"""


@pytest.fixture(scope="module")
def page(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with running_server(tmp_path_factory.mktemp("vectors") / "data") as running:
        context = browser.new_context()
        page = context.new_page()
        page.goto(running.api.url)
        yield page
        context.close()


def test_page_and_verifier_agree_on_every_signature(page: Page) -> None:
    cases = verify_cases()
    results = page.evaluate(JUDGE, [case["found"] for case in cases])
    wrong = []
    for case, result in zip(cases, results, strict=True):
        shared = any(key["jwk"].get("kty") == "oct" for key in case["found"]["keys"])
        if case["ok"] and shared and result["state"] == "cannot_check":
            continue  # whoever can check a shared secret can sign with it
        if (result["state"] == "verified") != case["ok"]:
            wrong.append((case["name"], case["code"], result))
        elif case["ok"]:
            assert result["kid"] == case["kid"]
    assert wrong == [], "\n".join(map(str, wrong))
    assert sum(case["ok"] for case in cases) > 30
    assert {result["state"] for result in results} == {"verified", "failed", "cannot_check", "unsigned"}


def test_page_accepts_what_the_ecosystem_signs_and_builds_the_same_bytes(page: Page) -> None:
    cases = sign_cases()
    results = page.evaluate(JUDGE, [case["found"] for case in cases])
    wrong = [
        (case["name"], result)
        for case, result in zip(cases, results, strict=True)
        if (result["state"], result["payload"]) != ("verified", case["payload"])
    ]
    assert wrong == [], "\n".join(map(str, wrong))
    assert len(cases) > 100


def test_page_and_verifier_agree_on_every_seal(page: Page) -> None:
    vectors: dict[str, Any] = json.loads(seal_vectors.PATH.read_text(encoding="ascii"))
    cases = vectors["verify"]
    results = page.evaluate(SEALS, [vectors["keys"]["keys"], [case["seal"] for case in cases]])
    wrong = [
        (case["name"], case["expected"], result)
        for case, result in zip(cases, results, strict=True)
        if result != case["expected"]
        and (case["expected"], result) not in SAME
        and not (result == "ok" and (case["expected"] in NOT_ASKED or case["name"] in NORMAL_FORM))
    ]
    assert wrong == [], "\n".join(map(str, wrong))
