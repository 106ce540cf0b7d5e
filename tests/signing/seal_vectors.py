"""The vectors of the seal's specification, made from bytes, a key that everybody knows, and a list of faults.

`python -m tests.signing.seal_vectors` writes `docs/spec/vectors/seals.json`; a test holds that the file is what this
makes. The valid seals here are put together without the product's own code for making them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.signing.seal_material import (
    ASKED,
    COMMIT,
    HEADER,
    JOB_ENV,
    JOB_STEP,
    KEYS,
    NOW,
    ORDER,
    OTHER_PRIVATE,
    PAYLOAD,
    PRIVATE,
    STEP,
    TREE,
    base64url,
    canonical,
    changed,
    raw_signature,
    sealed,
    valid_payloads,
)

PATH = Path(__file__).resolve().parents[2] / "docs" / "spec" / "vectors" / "seals.json"


def verify_cases() -> Iterator[dict[str, Any]]:
    """Seals, what is asked about them, and the outcome."""
    good = sealed(PAYLOAD)
    for name, payload in valid_payloads().items():
        asked = {"now": NOW} if name != "a test step of a build" else ASKED
        yield _case(name, sealed(payload), "ok", **asked) | {
            "payload": canonical(payload).decode(),
            "digest": hashlib.sha256(canonical(payload)).hexdigest(),
        }
    yield _case("another trusted key", sealed(PAYLOAD, header={**HEADER, "kid": "other"}, key=OTHER_PRIVATE), "ok")
    yield _case("the last moment", good, "ok", now=NOW + 604_800 + 120)
    yield _case("the first moment", good, "ok", now=NOW - 120)
    yield _case(
        "asked for its own audience",
        good,
        "ok",
        organization="acme",
        pipeline="widgets",
        repository=PAYLOAD["audience"]["repository"],
    )
    yield from _spellings(good)
    yield from _headers(good)
    yield from _signatures(good)
    yield from _texts()
    yield from _members()
    yield from _times_and_places(good)


def _case(name: str, seal: str, expected: str, **asked: Any) -> dict[str, Any]:
    return {"name": name, "seal": seal, "now": NOW, **(asked or ASKED), "expected": expected}


def _spellings(good: str) -> Iterator[dict[str, Any]]:
    header, payload, signature = good.split(".")
    for name, seal in {
        "empty": "",
        "two segments": f"{header}.{payload}",
        "four segments": f"{good}.",
        "five segments, as of an encrypted JWT": f"{good}.{header}.{header}",
        "payload left out": f"{header}..{signature}",
        "signature left out": f"{header}.{payload}.",
        "header left out": f".{payload}.{signature}",
        "padding": f"{header}.{payload}.{signature}==",
        "white space at the end": f"{good}\n",
        "white space inside": f"{header}. {payload}.{signature}",
        "standard base64 alphabet": f"{header}.{payload}.{signature[:-2]}+/",
        "loose bits at the end of the signature": good[:-1] + _loose(good[-1]),
        "flattened JSON serialisation": json.dumps({"protected": header, "payload": payload, "signature": signature}),
        "general JSON serialisation": json.dumps(
            {"payload": payload, "signatures": [{"protected": header, "signature": signature}]}
        ),
    }.items():
        yield _case(name, seal, "seal.malformed")


def _loose(character: str) -> str:
    """The character after this one: it stands for the same four bits."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return alphabet[alphabet.index(character) + 1]


def _headers(good: str) -> Iterator[dict[str, Any]]:
    _, payload, _ = good.split(".")
    unsigned = f"{base64url(canonical({**HEADER, 'alg': 'none'}))}.{payload}."
    yield _case("algorithm none, no signature", unsigned, "seal.malformed")
    yield _case("algorithm none, any signature", f"{unsigned}AAAA", "seal.header")
    for name, header in {
        "algorithm that nothing is signed with": {**HEADER, "alg": "RSA1_5"},
        "algorithm in other letters": {**HEADER, "alg": "eddsa"},
        "algorithm is a list": {**HEADER, "alg": ["EdDSA"]},
        "no algorithm": {name: value for name, value in HEADER.items() if name != "alg"},
        "no key id": {name: value for name, value in HEADER.items() if name != "kid"},
        "empty key id": {**HEADER, "kid": ""},
        "key id is a number": {**HEADER, "kid": 1},
        "crit": {**HEADER, "crit": ["exp"]},
        "b64": {**HEADER, "b64": False},
        "embedded key": {**HEADER, "jwk": KEYS["keys"][0]},
        "remote key": {**HEADER, "jku": "https://keys.example.org/"},
        "certificate": {**HEADER, "x5c": ["AA"]},
        "compressed": {**HEADER, "zip": "DEF"},
        "content type": {**HEADER, "cty": "json"},
        "spaces": json.dumps(HEADER).encode(),
        "another order": b'{"typ":"pipeseal-seal+jws","alg":"EdDSA","kid":"everybody-knows"}',
        "a member twice": b'{"alg":"none","alg":"EdDSA","kid":"everybody-knows","typ":"pipeseal-seal+jws"}',
        "an escape": b'{"alg":"EdDSA","kid":"everybody\\u002dknows","typ":"pipeseal-seal+jws"}',
        "not JSON": b"EdDSA",
        "not an object": b'["EdDSA"]',
        "not UTF-8": b'{"alg":"EdDSA","kid":"\xff","typ":"pipeseal-seal+jws"}',
    }.items():
        yield _case(f"header: {name}", sealed(PAYLOAD, header=header), "seal.header")
    for name, header in {
        "no type": {name: value for name, value in HEADER.items() if name != "typ"},
        "type of a token": {**HEADER, "typ": "JWT"},
        "type of something else that was signed": {**HEADER, "typ": "pipeseal-receipt+jws"},
        "type in other letters": {**HEADER, "typ": "Pipeseal-Seal+JWS"},
        "type with prefix": {**HEADER, "typ": "application/pipeseal-seal+jws"},
        "empty object": {},
    }.items():
        yield _case(f"header: {name}", sealed(PAYLOAD, header=header), "seal.type")
    yield _case("key that is not trusted", sealed(PAYLOAD, header={**HEADER, "kid": "stranger"}), "key.unknown")
    yield _case("key id like a path", sealed(PAYLOAD, header={**HEADER, "kid": "../everybody-knows"}), "key.unknown")
    signing_input = f"{base64url(canonical({**HEADER, 'alg': 'HS256'}))}.{payload}"
    forged = hmac.digest(base64.urlsafe_b64decode(PRIVATE["x"] + "="), signing_input.encode(), "sha256")
    yield _case("public key as shared secret", f"{signing_input}.{base64url(forged)}", "algorithm.mismatch")
    yield _case(
        "another algorithm than the key's", sealed(PAYLOAD, header={**HEADER, "alg": "ES256"}), "algorithm.mismatch"
    )


def _signatures(good: str) -> Iterator[dict[str, Any]]:
    header, payload, signature = good.split(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    beyond = (int.from_bytes(raw[32:], "little") + ORDER).to_bytes(32, "little")
    detached = raw_signature(f"{header}.".encode(), PRIVATE)
    tampered = canonical(changed("step/command", "make tests"))
    for name, seal in {
        "the other key under this key's id": sealed(PAYLOAD, key=OTHER_PRIVATE),
        "payload changed": f"{header}.{base64url(tampered)}.{signature}",
        "one bit of the signature changed": f"{header}.{payload}.{base64url(bytes([raw[0] ^ 1]) + raw[1:])}",
        "signature of 63 bytes": f"{header}.{payload}.{base64url(raw[:-1])}",
        "signature of 65 bytes": f"{header}.{payload}.{base64url(raw + bytes(1))}",
        "signature of zeros": f"{header}.{payload}.{base64url(bytes(64))}",
        "the same signature with S + L": f"{header}.{payload}.{base64url(raw[:32] + beyond)}",
        "signed without its header": f"{header}.{payload}.{base64url(raw_signature(canonical(PAYLOAD), PRIVATE))}",
        "signed as detached content": f"{header}.{payload}.{base64url(detached)}",
    }.items():
        yield _case(f"signature: {name}", seal, "seal.signature")


def _texts() -> Iterator[dict[str, Any]]:
    text = canonical(PAYLOAD)
    for name, payload in {
        "not JSON": b"seal",
        "cut off": text[:-1],
        "two values": text + b"{}",
        "not UTF-8": text.replace(b"make test", b"make \xff"),
        "half of a surrogate pair": text.replace(b"make test", b"make \\ud800"),
        "a list": canonical([PAYLOAD]),
        "null": b"null",
        "a member twice": text.replace(b'"command":', b'"command":"make","command":'),
        "a member twice, same value": text.replace(b'"version":1', b'"version":1,"version":1'),
        "integer of 2**53": text.replace(b'"attempts":13', b'"attempts":9007199254740992'),
        "integer that no double has": text.replace(b'"attempts":13', b'"attempts":9007199254740993'),
        "fraction": text.replace(b'"automatic":true', b'"automatic":0.5'),
        "NaN": text.replace(b'"attempts":13', b'"attempts":NaN'),
        "nested too deep": text.replace(b'"automatic":true', b'"automatic":' + b"[" * 300 + b"]" * 300),
    }.items():
        yield _case(f"payload: {name}", sealed(payload), "seal.json")
    for name, payload in {
        "spaces": json.dumps(PAYLOAD, sort_keys=True).encode(),
        "line feed at the end": text + b"\n",
        "another order": b'{"version":1,' + text.removesuffix(b',"version":1}').removeprefix(b"{") + b"}",
        "an escape that is not needed": text.replace(b"make test", b"m\\u0061ke test"),
        "an escaped slash": text.replace(b"reports/*.xml", b"reports\\/*.xml"),
        "integer with a fraction of zero": text.replace(b'"attempts":13', b'"attempts":13.0'),
        "integer with an exponent": text.replace(b'"attempts":13', b'"attempts":1.3e1'),
        "minus zero": text.replace(b'"position":0', b'"position":-0'),
    }.items():
        yield _case(f"payload: {name}", sealed(payload), "seal.canonical")


def _members() -> Iterator[dict[str, Any]]:
    yield _case("version 2", sealed(changed("version", 2)), "seal.version")
    yield _case("version 2 with a member of its own", sealed({**changed("version", 2), "new": 1}), "seal.version")
    places: dict[str, Any] = {
        "": PAYLOAD,
        **{f"{name}/": PAYLOAD[name] for name in ("audience", "build", "inherited", "parent", "step")},
    }
    places["step/plugins/0/"] = STEP["plugins"][0]
    places["step/secrets/0/"] = STEP["secrets"][0]
    for path, members in places.items():
        for name in members:
            yield _case(f"missing: {path}{name}", sealed(changed(path + name, ...)), "seal.member")
        yield _case(f"unknown: {path}extra", sealed(changed(f"{path}extra", None)), "seal.member")
    for name, (path, value) in {
        "another type": ("type", "pipeseal-receipt"),
        "version as text": ("version", "1"),
        "version is true": ("version", True),
        "no attempts": ("attempts", 0),
        "attempts below zero": ("attempts", -1),
        "attempts as text": ("attempts", "3"),
        "exclusive as a number": ("exclusive", 0),
        "a gate of a later version": ("gates", [{"after": "test"}]),
        "gates null": ("gates", None),
        "no end, in a build": ("expires", None),
        "ends before it begins": ("expires", NOW - 1),
        "time below zero": ("not_before", -1),
        "time as text": ("not_before", "2027-01-15T08:00:00Z"),
        "audience null": ("audience", None),
        "empty organisation": ("audience/organization", ""),
        "repository null": ("audience/repository", None),
        "agents as an object": ("audience/agents", {"queue": "linux"}),
        "agents not sorted": ("audience/agents", ["queue=linux", "os=linux"]),
        "an agent rule twice": ("audience/agents", ["queue=linux", "queue=linux"]),
        "an agent rule without a value": ("audience/agents", ["linux"]),
        "build that says nothing": ("build", dict.fromkeys(PAYLOAD["build"])),
        "empty build id": ("build/id", ""),
        "abbreviated commit": ("build/commit", COMMIT[:12]),
        "commit in capitals": ("build/commit", COMMIT.upper()),
        "commit by name": ("build/commit", "HEAD"),
        "pull request as a number": ("build/pull_request", 7),
        "parent that is no digest": ("parent/seal", "ab" * 20),
        "parent without an upload": ("parent/upload", None),
        "position below zero": ("parent/position", -1),
        "inherited variable that is no text": ("inherited/env/SHARED", 1),
        "inherited seal": ("inherited/env/PIPESEAL_SEAL", "x"),
        "inherited checkout that says nothing": ("inherited/checkout", {}),
        "inherited checkout of the wrong kind": ("inherited/checkout", {"depth": "all"}),
        "command as a list": ("step/command", ["make"]),
        "command null": ("step/command", None),
        "variable null": ("step/env/REPORTS", None),
        "a seal inside the seal": ("step/env/PIPESEAL_SEAL", "x"),
        "execution by guessing": ("step/execution", "auto"),
        "key null": ("step/key", None),
        "timeout of zero": ("step/timeout_in_minutes", 0),
        "timeout as text": ("step/timeout_in_minutes", "20"),
        "parallelism as text": ("step/parallelism", "4"),
        "parallelism below zero": ("step/parallelism", -1),
        "several patterns in one": ("step/artifact_paths", ["a;b"]),
        "pattern with a space around it": ("step/artifact_paths", [" a"]),
        "empty pattern": ("step/artifact_paths", [""]),
        "matrix as text": ("step/matrix", "a"),
        "matrix in long form where the short one does": ("step/matrix", {"setup": ["a", "b"]}),
        "matrix of numbers": ("step/matrix", [1, 2]),
        "checkout of the wrong kind": ("step/checkout", {"skip": "yes"}),
        "checkout that says nothing": ("step/checkout", {}),
        "cache that is true": ("step/cache", True),
        "cache in short form": ("step/cache", {"paths": "vendor"}),
        "plugin that is text": ("step/plugins", ["docker#v5.13.0"]),
        "plugin source in short form": ("step/plugins/0/source", "docker#v5.13.0"),
        "plugin configuration that is no text": ("step/plugins/0/config", {}),
        "plugin configuration that is no JSON": ("step/plugins/0/config", "{"),
        "plugin configuration with a member twice": ("step/plugins/0/config", '{"a":1,"a":2}'),
        "plugin configuration with spaces": ("step/plugins/0/config", '{"a": 1}'),
        "plugin configuration with a great number": ("step/plugins/0/config", '{"a":9007199254740993}'),
        "empty plugin configuration": ("step/plugins/0/config", "{}"),
        "null as plugin configuration": ("step/plugins/0/config", "null"),
        "plugin tree without a commit": ("step/plugins/0/tree", TREE),
        "plugin commit that is a tag": ("step/plugins/0/commit", "v5.13.0"),
        "pinned plugin that was not resolved": ("step/plugins/0/source", f"./local#{COMMIT}"),
        "secret without a name": ("step/secrets/0/key", ""),
        "secret that is text": ("step/secrets", ["test-token"]),
        "command among the others": ("step/rest/command", "make"),
        "signature among the others": ("step/rest/signature", {}),
        "condition of the uploader among the others": ("step/rest/if_changed", "src/**"),
        "null among the others": ("step/rest/branches", None),
        "empty list among the others": ("step/rest/notify", []),
        "second key among the others": ("step/rest/commands", ["make"]),
        "nameless member among the others": ("step/rest/", 1),
    }.items():  # fmt: skip
        yield _case(f"member: {name}", sealed(changed(path, value)), "seal.member")


def _times_and_places(good: str) -> Iterator[dict[str, Any]]:
    yield _case("too early", good, "seal.early", now=NOW - 121)
    yield _case("expired", good, "seal.expired", now=NOW + 604_800 + 121)
    yield _case("another organisation", good, "seal.audience", now=NOW, organization="other")
    yield _case("another pipeline", good, "seal.audience", now=NOW, pipeline="gadgets")
    yield _case(
        "another repository", good, "seal.audience", now=NOW, repository="https://git.example.org/acme/gadgets.git"
    )
    yield _case("an agent of another queue", good, "seal.audience", now=NOW, agent_tags=["queue=deploy"])
    yield _case("an agent of no queue", good, "seal.audience", now=NOW, agent_tags=[])
    no_queue = sealed(changed("audience/agents", ["os=debian"]))
    yield _case("no queue, default agent", no_queue, "ok", now=NOW, agent_tags=["os=debian"])
    yield _case(
        "no queue, agent of another queue",
        no_queue,
        "seal.audience",
        now=NOW,
        agent_tags=["os=debian", "queue=deploy"],
    )
    yield _case("no queue, agent without the tag", no_queue, "seal.audience", now=NOW, agent_tags=["queue=default"])
    any_arch = sealed(changed("audience/agents", ["arch=*", "queue=linux"]))
    yield _case("any value of a tag", any_arch, "ok", now=NOW, agent_tags=["queue=linux", "arch=arm64"])
    yield _case(
        "any value of a tag that is not there", any_arch, "seal.audience", now=NOW, agent_tags=["queue=linux"]
    )


def job_cases() -> Iterator[dict[str, Any]]:
    """Jobs, the names of their valid seals, and what a comparison finds."""
    yield _job("as it was sealed", "ok")
    yield _job("a variable that the seal says nothing of", "ok", env={"OTHER": "1"})
    yield _job("null among the others", "ok", step={"branches": None})
    yield _job("last attempt", "ok", env={"BUILDKITE_RETRY_COUNT": "12"})
    for text in ("13", "-1", "one"):
        yield _job(f"attempt {text}", "seal.attempts", "attempts", env={"BUILDKITE_RETRY_COUNT": text})
    index = {"BUILDKITE_PARALLEL_JOB": "0", "BUILDKITE_PARALLEL_JOB_COUNT": "2"}
    yield _job("one of two", "seal.index", "step.parallelism", env=index)
    yield _job("a matrix value", "matrix.permutation", "step.matrix") | {"matrix_permutation": {"": "a"}}
    own: dict[str, Any] = {
        "command": "make tests", "env": {}, "key": "other", "label": "Test", "plugins": [], "secrets": [],
        "timeout_in_minutes": 21, "artifact_paths": "**/*", "matrix": ["a"], "checkout": {"skip": True},
        "cache": "vendor", "parallelism": 2,
    }  # fmt: skip
    for member, value in own.items():
        yield _job(f"step: {member}", "seal.differs", f"step.{member}", step={member: value})
    others = (
        "agents", "retry", "soft_fail", "if", "branches", "depends_on", "concurrency", "priority", "skip", "new",
    )  # fmt: skip
    for member in others:
        yield _job(f"step: {member}", "seal.differs", "step.rest", step={member: "x"})
    yield _job("step: agents left out", "seal.differs", "step.rest", step={"agents": ...})
    for variable, member in {
        "BUILDKITE_COMMAND": "step.command",
        "REPORTS": "step.env",
        "SHARED": "step.env",
        "BUILDKITE_PLUGINS": "step.plugins",
        "BUILDKITE_STEP_KEY": "step.key",
        "BUILDKITE_TIMEOUT": "step.timeout_in_minutes",
        "BUILDKITE_ARTIFACT_PATHS": "step.artifact_paths",
        "BUILDKITE_REPO": "audience.repository",
        "BUILDKITE_ORGANIZATION_SLUG": "audience.organization",
        "BUILDKITE_PIPELINE_SLUG": "audience.pipeline",
        "BUILDKITE_BUILD_ID": "build.id",
        "BUILDKITE_COMMIT": "build.commit",
        "BUILDKITE_BRANCH": "build.branch",
        "BUILDKITE_TAG": "build.tag",
        "BUILDKITE_PULL_REQUEST": "build.pull_request",
    }.items():
        yield _job(f"variable: {variable}", "seal.differs", member, env={variable: "other"})
        if JOB_ENV[variable]:
            yield _job(f"variable left out: {variable}", "seal.differs", member, env={variable: ...})
    several = {"BUILDKITE_BRANCH": "x", "BUILDKITE_RETRY_COUNT": "99"}
    yield _job(
        "several at once", "seal.differs", "step.label", "build.branch", "attempts", step={"label": "x"}, env=several
    )


def _job(
    name: str, expected: str, *fields: str, step: dict[str, Any] | None = None, env: dict[str, Any] | None = None
) -> dict[str, Any]:
    def with_changes(members: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in {**members, **changes}.items() if value is not ...}

    return {
        "name": name,
        "seal": "a test step of a build",
        "step": with_changes(JOB_STEP, step or {}),
        "env": with_changes(JOB_ENV, env or {}),
        "matrix_permutation": None,
        "expected": expected,
        "fields": list(fields),
    }


def document() -> dict[str, Any]:
    return {
        "about": "Vectors of docs/spec/seal.md. `verify`: is the seal accepted, or with which code is it refused? "
        "`jobs`: does a job keep to its seal (a valid one of `verify`, by name; its step and its variables carry it "
        "as PIPESEAL_SEAL besides)? The private key is that of RFC 8037 appendix A.1.",
        "private_key": PRIVATE,
        "keys": KEYS,
        "leeway_seconds": 120,
        "default_queue": "default",
        "verify": list(verify_cases()),
        "jobs": list(job_cases()),
    }  # fmt: skip


def render() -> str:
    return json.dumps(document(), indent=1, ensure_ascii=True) + "\n"


if __name__ == "__main__":
    PATH.write_text(render(), encoding="ascii")
