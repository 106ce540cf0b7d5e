"""The ecosystem's vectors, through the product's functions: same outcome, same bytes, nothing lenient accepted."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import pytest

from pipeseal.cli.conformance_signing import FAMILIES
from pipeseal.pipeline.parse import parse_command_step
from pipeseal.signing.keys.verification_keys import parse_verification_keys
from pipeseal.signing.verify import verify_step
from tests.signing.material import load_vectors

Case = dict[str, Any]

# Refused on purpose where the reference is content: numbers that share a payload, steps no verifier could accept.
OURS = {"number.unsafe", "signing.unverifiable"}

# Called lenient, and not to be told from what every signer writes: a header whose length needs no padding, and the
# lower one of the two equally good values of s, which half of all ECDSA signatures have anyway.
SAME_AS_SIGNED = {"compact/header-padded", "compact/header-std-padded", "crypto/ec-high-s"}


def _run(family: str, case: Case) -> Case:
    return FAMILIES[family]({name: value for name, value in case.items() if name != "expect"})


def _mismatches(family: str, check: Any) -> list[str]:
    found = []
    for case in load_vectors(family):
        result = _run(family, case)
        found += [f"{case['name']}: {problem}" for problem in check(case, case["expect"], result)]
    return found


def _different(expected: Case, result: Case, *names: str) -> list[str]:
    return [
        f"{name} is {result.get(name)!r}, not {expected.get(name)!r} ({result.get('code')})"
        for name in names
        if result.get(name) != expected.get(name)
    ]


def test_canon() -> None:
    def check(case: Case, expected: Case, result: Case) -> list[str]:
        if case["area"] == "jcs-only" and expected["ok"]:
            # The reference's canonicaliser takes text that is no JSON; we take JSON.
            try:
                json.loads(b64decode(case["input"]["data_b64"]))
            except ValueError:
                return _different({"ok": False}, result, "ok")
        if not expected["ok"]:
            return _different(expected, result, "ok", "stage")
        return _different(expected, result, "ok", "b64", *(["marshal_b64"] if "marshal_b64" in expected else []))

    assert _mismatches("canon", check) == []


def test_sign() -> None:
    def check(_case: Case, expected: Case, result: Case) -> list[str]:
        if result.get("code") in OURS:
            return [] if expected["ok"] else ["refused with a code of ours where the reference refuses too"]
        if not expected["ok"]:
            return _different(expected, result, "ok", "stage")
        problems = _different(expected, result, "ok", "kinds", "loadkey_accepts", "pipeline_json")
        for theirs, ours in zip(expected["steps"], result.get("steps", ()), strict=True):
            problems += _different(theirs, ours, "path", "payload_b64", "header", "deterministic")
            problems += _different(theirs["signature"], ours["signature"], "algorithm", "signed_fields")
            if theirs["deterministic"]:
                problems += _different(theirs, ours, "signature", "step_json")
        return problems

    assert _mismatches("sign", check) == []


def test_our_signatures_verify_again() -> None:
    """What `sign` makes with any of the vectors' keys is accepted again, from the JSON that would travel."""
    for case in load_vectors("sign"):
        given, result = case["input"], _run("sign", case)
        if not result["ok"] or not given["jwk"].get("kid"):
            continue
        keys = parse_verification_keys(json.dumps({"keys": [given["jwk"]]}).encode())
        for step in result["steps"]:
            values = json.loads(step["payload_text"])["values"]
            verify_step(
                parse_command_step(step["step_json"]),
                env={name[5:]: value for name, value in values.items() if name.startswith("env::")},
                repository_url=given["repository_url"],
                keys=keys,
            )


def test_verify() -> None:
    def check(case: Case, expected: Case, result: Case) -> list[str]:
        if expected.get("lenient"):
            return _different({"ok": case["name"] in SAME_AS_SIGNED}, result, "ok")
        if result.get("code") == "number.unsafe":
            return []
        return _different(expected, result, "ok", *([] if expected["ok"] else ["stage"]))

    assert _mismatches("verify", check) == []


def test_what_cannot_be_refused_is_what_a_signer_writes() -> None:
    """The exceptions above are exceptions for a reason, and only for that one."""
    cases = {
        case["name"]: json.loads(case["input"]["step_raw"])
        for case in load_vectors("verify")
        if case["area"] in ("compact", "crypto")
    }
    honest = cases["compact/ok"]["signature"]["value"]
    assert cases["compact/header-padded"]["signature"]["value"] == honest
    assert cases["compact/header-std-padded"]["signature"]["value"] == honest
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    raw = cases["crypto/ec-high-s"]["signature"]["value"].rpartition(".")[2]
    signature = b64decode(raw + "==", altchars="-_")
    assert int.from_bytes(signature[32:], "big") <= order // 2


@pytest.mark.parametrize(
    "area", ["integration", "alg", "config", "command", "env", "plugins", "matrix", "fields", "rawjob"]
)
def test_jobverify(area: str) -> None:
    def check(case: Case, expected: Case, result: Case) -> list[str]:
        if case["area"] != area:
            return []
        if expected.get("lenient"):
            return _different({"ran": False}, {"ran": result.get("ran", False)}, "ran")
        problems = _different(expected, result, "ran", "exit_status", "signal_reason", "error_stage")
        if "log" in expected and not result["log"].startswith(expected["log"]):
            problems.append(f"log begins {result['log'][:300]!r}, not {expected['log']!r}")
        problems += [f"log lacks {line!r}" for line in expected.get("log_contains", ()) if line not in result["log"]]
        if "step_after" in expected:
            problems += _different(expected, result, "step_after")
        return problems

    assert _mismatches("jobverify", check) == []
    assert any(case["area"] == area for case in load_vectors("jobverify"))


def test_keys() -> None:
    def check(_case: Case, expected: Case, result: Case) -> list[str]:
        problems = []
        for part in ("signing_key", "verification_set"):
            names = [name for name in expected[part] if name != "error"]
            problems += [f"{part}: {problem}" for problem in _different(expected[part], result[part], *names)]
        return problems

    assert _mismatches("keys", check) == []


def test_every_family_of_the_vectors_is_run() -> None:
    assert set(FAMILIES) == {"canon", "sign", "verify", "jobverify", "keys"}
