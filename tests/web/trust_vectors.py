"""Cases of the ecosystem's vectors as a server would hand them to a page, with what our own verifier says of each."""

from __future__ import annotations

import json
from typing import Any

from pipeseal.cli.conformance_signing import FAMILIES
from pipeseal.controlplane.services.signed_steps import payload_of, signature_of
from pipeseal.errors import MalformedInput, VerificationError
from tests.signing.material import load_vectors


def page_input(content: str, keys: list[dict[str, Any]], *, repository: str, environment: dict[str, str]) -> Any:
    """What `signed-step` answers, for a step that lies on the server like this."""
    signature = signature_of(content)
    found: dict[str, Any] = {"signature": None, "payload": None, "withheld": None, "problem": None}
    if signature is not None:
        found["signature"] = {
            "algorithm": signature.algorithm,
            "signed_fields": signature.signed_fields,
            "value": signature.value,
        }
        try:
            found["payload"] = payload_of(content, signature, repository=repository, environment=environment)
        except (MalformedInput, VerificationError) as error:
            found["problem"] = {"code": error.code, "message": error.message}
    return {**found, "keys": [{"jwk": key, "revoked_at": None} for key in keys]}


def verify_cases() -> list[dict[str, Any]]:
    """Name, input for the page, and our verifier's verdict; without cases that no server would take as a step."""
    cases = []
    for case in load_vectors("verify"):
        given = case["input"]
        verdict = FAMILIES["verify"]({name: value for name, value in case.items() if name != "expect"})
        if verdict.get("stage") in ("decode", "jwks"):
            continue
        keys = json.loads(given["jwks_raw"]) if "jwks_raw" in given else given["jwks"]
        cases.append(
            {
                "name": case["name"],
                "found": page_input(
                    given["step_raw"],
                    keys.get("keys", [keys]),
                    repository=given.get("repository_url") or "",
                    environment=given.get("env") or {},
                ),
                "ok": verdict["ok"],
                "code": verdict.get("code", ""),
                "kid": verdict.get("kid", ""),
            }
        )
    return cases


def sign_cases() -> list[dict[str, Any]]:
    """Every step that the vectors sign, to be accepted by a page that trusts the key."""
    cases = []
    for case in load_vectors("sign"):
        given, expected = case["input"], case["expect"]
        if not expected["ok"] or not given["jwk"].get("kid") or given["jwk"].get("kty") == "oct":
            continue
        key = {name: value for name, value in given["jwk"].items() if name not in ("d", "p", "q", "dp", "dq", "qi")}
        for step in expected["steps"]:
            values = json.loads(step["payload_text"])["values"]
            environment = {name[5:]: value for name, value in values.items() if name.startswith("env::")}
            found = page_input(step["step_json"], [key], repository=given["repository_url"], environment=environment)
            if (found["problem"] or {}).get("code") in ("number.unsafe", "step.malformed"):
                continue  # several values would share the signature; or nobody can verify what was signed
            name = f"{case['name']}#{step['path']}"
            cases.append({"name": name, "found": found, "payload": step["payload_text"]})
    return cases
