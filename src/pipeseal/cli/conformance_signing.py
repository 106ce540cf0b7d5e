"""The signing families of `pipeseal conformance`: canon, sign, verify, jobverify, keys."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from pipeseal.agentapi.job import parse_job
from pipeseal.errors import ConfigurationError, MalformedInput, PipesealError, VerificationError
from pipeseal.pipeline.expand import interpolate_pipeline
from pipeseal.pipeline.jsontext import decode_json
from pipeseal.pipeline.parse import parse_command_step, parse_pipeline
from pipeseal.pipeline.plugins import unordered
from pipeseal.pipeline.render import pipeline_value, render_json, step_value
from pipeseal.pipeline.steps import CommandStep, GroupStep, Step
from pipeseal.policy.decision import ApprovedJob
from pipeseal.policy.evaluate import evaluate
from pipeseal.policy.settings import VerificationSettings, parse_on_failure
from pipeseal.signing.base64url import parse_base64url
from pipeseal.signing.fields import values_to_verify
from pipeseal.signing.keys.jwk import parse_jwks
from pipeseal.signing.keys.open import select_signing_key
from pipeseal.signing.keys.signing_key import FileSigningKey
from pipeseal.signing.keys.verification_keys import VerificationKeys, parse_verification_keys
from pipeseal.signing.merge import merge_pipeline_checkout, merge_pipeline_secrets
from pipeseal.signing.payload import render_canonical_rounded, render_payload
from pipeseal.signing.sign import sign_pipeline
from pipeseal.signing.strictjson import AMBIGUOUS, decode_strict_json
from pipeseal.signing.verify import verify_step

Case: TypeAlias = Mapping[str, Any]
Result: TypeAlias = dict[str, Any]


def _refused(stage: str, error: PipesealError) -> Result:
    return {"ok": False, "stage": stage, "code": error.code, "error": error.message}


def _jwks(given: Mapping[str, Any]) -> bytes:
    return str(given["jwks_raw"]).encode() if "jwks_raw" in given else json.dumps(given["jwks"]).encode()


def _canon(case: Case) -> Result:
    data = b64decode(case["input"]["data_b64"])
    alone = case.get("area") == "jcs-only"
    try:
        if alone:
            # Numbers are rounded as a canonicaliser does; nothing else that is not one value of JSON passes.
            value = decode_json(data, refuse_duplicates=True)
            try:
                decode_strict_json(data)
            except MalformedInput as error:
                if error.code != "number.unsafe":
                    raise
        else:
            value = decode_json(data)
        canonical = render_canonical_rounded(value)
    except MalformedInput as error:
        return _refused("jcs" if alone else "decode", error)
    except VerificationError as error:
        return _refused("jcs", error)
    result: Result = {"ok": True, "b64": b64encode(canonical).decode(), "canonical": canonical.decode()}
    if not alone:
        result["marshal_b64"] = b64encode(render_json(unordered(value)).encode()).decode()
    return result


def _sign(case: Case) -> Result:
    from pipeseal.cli.conformance import kind_of

    given = case["input"]
    try:
        pipeline = parse_pipeline(given["yaml"])
    except MalformedInput as error:
        return _refused("parse", error)
    if not given.get("no_interpolation"):
        try:
            pipeline, _ = interpolate_pipeline(pipeline, given.get("env") or {})
        except MalformedInput as error:
            return _refused("interpolate", error)
    if given.get("merge_secrets"):
        pipeline = merge_pipeline_secrets(pipeline)
    if given.get("merge_checkout"):
        pipeline = merge_pipeline_checkout(pipeline)
    try:
        jwk = parse_jwks(json.dumps(given["jwk"]).encode())[0]
    except MalformedInput as error:
        return _refused("jwk", error)
    environment = given.get("pipeline_env")
    if environment is None:
        environment = pipeline.env
    try:
        key = FileSigningKey(jwk)
        signed = sign_pipeline(pipeline, key=key, repository_url=given["repository_url"], pipeline_env=environment)
    except (MalformedInput, ConfigurationError) as error:
        return _refused("sign", error)
    deterministic = key.alg == "EdDSA" or key.alg.startswith("HS")
    steps = [
        _signed_step(path, step, given["repository_url"], environment, deterministic=deterministic)
        for path, step in _command_steps(signed.steps, "")
    ]
    result: Result = {
        "ok": True,
        "kinds": [kind_of(step) for step in signed.steps],
        "steps": steps,
        "loadkey_accepts": _is_upload_key(jwk),
    }
    if deterministic:
        result["pipeline_json"] = render_json(pipeline_value(signed))
    return result


def _command_steps(steps: list[Step], prefix: str) -> Iterator[tuple[str, CommandStep]]:
    for index, step in enumerate(steps):
        if isinstance(step, CommandStep):
            yield f"{prefix}{index}", step
        elif isinstance(step, GroupStep):
            yield from _command_steps(step.steps, f"{prefix}{index}.")


def _signed_step(
    path: str, step: CommandStep, repository_url: str, environment: Mapping[str, str], *, deterministic: bool
) -> Result:
    signature = step.signature
    assert signature is not None  # it was just made
    values = values_to_verify(step, signature.signed_fields, repository_url=repository_url, environment=environment)
    payload = render_payload(signature.algorithm, values)
    return {
        "path": path,
        "payload_b64": b64encode(payload).decode(),
        "payload_text": payload.decode(),
        "header": parse_base64url(signature.value.partition(".")[0]).decode(),
        "signature": {
            "algorithm": signature.algorithm,
            "signed_fields": signature.signed_fields,
            "value": signature.value,
        },
        "deterministic": deterministic,
        "step_json": render_json(step_value(step)),
    }


def _is_upload_key(jwk: Any) -> bool:
    try:
        select_signing_key([jwk])
    except ConfigurationError:
        return False
    return True


def _verify(case: Case) -> Result:
    given = case["input"]
    doubt: MalformedInput | None = None
    try:
        try:
            value = decode_strict_json(given["step_raw"])
        except MalformedInput as error:
            if error.code not in AMBIGUOUS:
                raise
            # Ambiguous text is refused in any case. Reading on as the reference does only finds out whether it, too,
            # refuses, and at which stage.
            doubt, value = error, decode_json(given["step_raw"])
        step = parse_command_step(value)
    except MalformedInput as error:
        return _refused("decode", error)
    try:
        keys = VerificationKeys(parse_jwks(_jwks(given)))
    except MalformedInput as error:
        return _refused("jwks", error)
    try:
        verified = verify_step(
            step, env=given.get("env") or {}, repository_url=given.get("repository_url") or "", keys=keys
        )
    except VerificationError as error:
        return _refused("nosignature" if error.code == "signature.missing" else "verify", error)
    if doubt is not None:
        return _refused("decode", doubt)
    return {"ok": True, "kid": verified.key.kid, "signed_fields": list(verified.signed_fields)}


def _jobverify(case: Case) -> Result:
    given = case["input"]
    try:
        on_failure = parse_on_failure(given.get("behavior") or "")
    except ConfigurationError as error:
        return _failed_before("config", error)
    keys = None
    if "jwks" in given or "jwks_raw" in given:
        try:
            keys = parse_verification_keys(_jwks(given))
        except (MalformedInput, ConfigurationError) as error:
            return _failed_before("jwks", error)
    try:
        job = parse_job(given["job_raw"].encode("utf-8", "surrogatepass"))
    except MalformedInput as error:
        return _failed_before("decode", error)
    decision = evaluate(job, VerificationSettings(keys=keys, on_failure=on_failure))
    log = "".join(f"{line}\n" for line in decision.log)
    if isinstance(decision, ApprovedJob):
        return {
            "ran": True,
            "exit_status": "0",
            "signal_reason": "",
            "log": log,
            "step_after": render_json(step_value(decision.step)),
        }
    return {
        "ran": False,
        "exit_status": str(decision.exit_status),
        "signal_reason": decision.signal_reason,
        "code": decision.code,
        "fields": list(decision.fields),
        "log": log,
    }


def _failed_before(stage: str, error: PipesealError) -> Result:
    return {**_refused(stage, error), "error_stage": stage}


def _keys(case: Case) -> Result:
    given = case["input"]
    data = _jwks(given)
    try:
        key = select_signing_key(parse_jwks(data), given.get("key_id") or "")
        signing_key: Result = {"ok": True, "alg": key.alg, "kid": key.kid or "", "kty": key.kty}
    except (MalformedInput, ConfigurationError) as error:
        signing_key = _refused("key", error)
    try:
        keys = [
            {"alg": key.alg, "kid": key.kid or "", "kty": key.kty, "use": key.use or ""}
            for key in parse_verification_keys(data)
        ]
        verification_set: Result = {"ok": True, "keys": keys}
    except (MalformedInput, ConfigurationError) as error:
        verification_set = _refused("jwks", error)
    return {"signing_key": signing_key, "verification_set": verification_set}


FAMILIES: dict[str, Callable[[Case], Result]] = {
    "canon": _canon,
    "sign": _sign,
    "verify": _verify,
    "jobverify": _jobverify,
    "keys": _keys,
}
