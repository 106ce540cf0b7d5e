"""The page's own verifier beside ours: every vector of signatures and seals, judged alike in a real browser."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from copy import deepcopy
from random import Random
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from pipeseal.errors import MalformedInput
from pipeseal.signing.seal.parse import parse_seal
from tests.controlplane.running import running_server
from tests.signing import seal_material, seal_vectors
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
# Refused either way, at another stage.
SAME = {("seal.json", "seal.canonical"), ("seal.json", "payload.value")}
SEALS = """async ([keys, seals]) => {
  const { readSeal } = await import("/web/trust/judge.js");
  return Promise.all(seals.map((seal) => readSeal(seal, keys).then(() => "ok", (flaw) => {
    if (!flaw.code) throw flaw;
    return flaw.code;
  })));
}"""


# What members of a sealed step may look like, and what they may not.
VALUES: list[Any] = [
    None,
    "",
    "x",
    0,
    7,
    True,
    [],
    {},
    [1],
    [[]],
    {"deep": []},
    {"deep": [None]},
    {"with": "a"},
    {"": "y"},
]
SETUPS: list[Any] = [
    None, [], ["a"], ["a", 1], {}, {"": []}, {"": ["a"]}, {"": None}, {"os": ["a", "b"]}, {"os": None}, {"os": "a"},
    {"os": [], "": ["b"]}, {"os": [True]}, "a",
]  # fmt: skip
ADJUSTMENTS: list[Any] = [
    None, [], [None], [{"with": "a"}], [{"with": {"": "a"}}], [{"with": {"os": "a"}, "skip": True}],
    [{"skip": "why"}], [{"with": {}, "skip": False}], [{"with": {"os": 1}}], [{"with": "a", "skip": {}}],
    [{"with": "a", "skip": [[]]}], [{"with": "a", "soft_fail": []}], [{"with": "a", "": True}], [{"with": None}],
    {}, [1],
]  # fmt: skip
DEEP: Any = "end"
for _ in range(100):
    DEEP = [DEEP]
PARTS: dict[str, list[Any]] = {
    "matrix": [
        None, [], ["a"], ["a", None],
        *({"setup": setup} for setup in SETUPS),
        *({"setup": setup, "adjustments": one} for setup in SETUPS for one in ADJUSTMENTS),
        *({"adjustments": one} for one in ADJUSTMENTS),
    ],
    "cache": [
        None, False, {}, {"paths": ["a"]}, {"paths": []}, {"paths": "a"}, {"name": ""}, {"name": "n", "size": "20g"},
        {"disabled": False}, {"size": 5}, {"paths": [1]}, {"more": DEEP}, {"more": [DEEP]},
    ],
    "checkout": [
        None, {}, {"skip": True}, {"skip": None}, {"depth": 1}, {"depth": True}, {"depth": "1"}, {"ssh_secret": ""},
        {"submodules": False, "flags": []}, {"flags": {"a": [1]}}, {"ssh_secret": 1},
    ],
    "inherited": [None, {}, {"skip": False}, {"skip": "no"}, {"depth": None}, {"other": []}, {"other": [{}]}],
    "rest": [
        {}, {"name": "n"}, {"label": "l"}, {"id": "i"}, {"key": "k"}, {"identifier": "i"}, {"notify": []},
        {"if": None}, {"signature": {}}, {"agents": {"queue": "x"}}, {"retry": {"automatic": [{"limit": 1}]}},
        {"retry": {"x": []}}, {"more": DEEP}, {"more": [DEEP]}, {"commands": "x"}, {"if_changed": "x"},
    ],
    "key": ["", "test", "a key"],
    "label": ["", "Tests"],
    "artifact_paths": [[], ["a"], [""], ["a;b"], [" a"], ["a\u00a0"], ["a\u0085"], ["\ufeffa"], ["a b", "c"]],
    "plugins": [
        [{"commit": commit, "config": config, "source": source, "tree": None}]
        for commit in (None, seal_material.COMMIT)
        for config in (None, "{}", "[]", "null", '"x"', "1", "1.0", '{"a":1}', '{"a": 1}', '{"b":1,"a":1}', "{")
        for source in (
            "", "docker", "docker#v5", "acme/docker#v1", "./local", "https://example.org/x.git#v1", "a/b/c",
            "a%2fb%2Fc", "a%2Fb", "a%zz", "host:path", "*", "a b", "a\u0007",
            "github.com/acme/x#" + seal_material.COMMIT, "x#y#z", "a/b/c#%zz", "a?b/c/d", "a#%z",
        )
    ],
}  # fmt: skip


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
        and not (result == "ok" and case["expected"] in NOT_ASKED)
    ]
    assert wrong == [], "\n".join(map(str, wrong))


def test_page_and_verifier_agree_on_what_the_one_form_of_a_step_is(page: Page) -> None:
    """Steps put together at random from what is normal and what is nearly so; both must take the same ones."""
    seals = [seal_material.sealed(payload) for payload in nearly_normal(Random(8785), 600)]
    results = page.evaluate(SEALS, [seal_material.KEYS["keys"], seals])
    wrong = []
    for seal, result in zip(seals, results, strict=True):
        try:
            ours = "ok" if parse_seal(seal) else ""
        except MalformedInput as error:
            ours = error.code
        if (ours == "ok") != (result == "ok"):
            step = json.loads(urlsafe_b64decode(seal.split(".")[1] + "=="))["step"]
            wrong.append((ours, result, step))
    assert wrong == [], "\n".join(map(str, wrong[:5]))
    assert 100 < results.count("ok") < 500


def nearly_normal(random: Random, count: int) -> Iterator[dict[str, Any]]:
    """Payloads of seals whose step is in its normal form, or off it in up to two members."""
    for _ in range(count):
        payload = deepcopy(seal_material.PAYLOAD)
        for member in random.sample(sorted(PARTS), random.choice([1, 1, 2])):
            value = deepcopy(random.choice(PARTS[member]))
            if isinstance(value, dict) and random.random() < 0.4:
                value[random.choice(["", "extra", "name"])] = deepcopy(random.choice(VALUES))
            if member == "inherited":
                payload["inherited"]["checkout"] = value
            else:
                payload["step"][member] = value
        yield payload
