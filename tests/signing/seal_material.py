"""What seals are put together from in tests, without the product: a key that everybody knows, a payload, a job."""

from __future__ import annotations

import base64
import json
from copy import deepcopy
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

# RFC 8037 appendix A.1: a private key that is in every library's tests, and signs nothing real.
PRIVATE = {
    "kty": "OKP",
    "crv": "Ed25519",
    "alg": "EdDSA",
    "kid": "everybody-knows",
    "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
}
# RFC 8032 section 7.1, test 2: trusted as well, under another id.
OTHER_PRIVATE = {
    "kty": "OKP",
    "crv": "Ed25519",
    "alg": "EdDSA",
    "kid": "other",
    "d": "TM0Imyj_ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U-4pvs",
    "x": "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw",
}
KEYS = {"keys": [{name: value for name, value in key.items() if name != "d"} for key in (PRIVATE, OTHER_PRIVATE)]}
# The order of the group (RFC 8032 section 5.1).
ORDER = 2**252 + 27742317777372353535851937790883648493

NOW = 1_800_000_000
COMMIT = "4f2a9c1d7be0835f6a1c2d3e4f5061728394a5b6"
TREE = "9d1dcfdaf1a6857c5f83dc27019c7600e1ffaff8"
HEADER = {"alg": "EdDSA", "kid": "everybody-knows", "typ": "pipeseal-seal+jws"}

STEP: dict[str, Any] = {
    "artifact_paths": ["reports/*.xml"],
    "cache": None,
    "checkout": None,
    "command": "make test",
    "env": {"REPORTS": "reports"},
    "execution": "shell",
    "key": "test",
    "label": "Tests",
    "matrix": None,
    "parallelism": None,
    "plugins": [
        {
            "commit": None,
            "config": '{"cpus":0.5,"image":"golang:1.25"}',
            "source": "github.com/buildkite-plugins/docker-buildkite-plugin#v5.13.0",
            "tree": None,
        }
    ],
    "rest": {"agents": {"queue": "linux"}, "retry": {"automatic": True}},
    "secrets": [{"environment_variable": "TOKEN", "key": "test-token"}],
    "timeout_in_minutes": 20,
}
PAYLOAD: dict[str, Any] = {
    "attempts": 13,
    "audience": {
        "agents": ["queue=linux"],
        "organization": "acme",
        "pipeline": "widgets",
        "repository": "https://git.example.org/acme/widgets.git",
    },
    "build": {
        "branch": "main",
        "commit": COMMIT,
        "id": "0192f0a4-2222-7000-8000-0000000b111d",
        "pull_request": "false",
        "tag": "",
        "tree": TREE,
    },
    "exclusive": False,
    "expires": NOW + 604_800,
    "gates": [],
    "inherited": {"checkout": None, "env": {"SHARED": "1"}},
    "not_before": NOW,
    "parent": {"position": 0, "seal": "ab" * 32, "upload": "0192f0a4-4444-7000-8000-00000000feed"},
    "step": STEP,
    "type": "pipeseal-seal",
    "version": 1,
}
ASKED: dict[str, Any] = {"now": NOW + 60, "agent_tags": ["queue=linux", "os=debian"]}

# The job that an honest server makes of the first seal.
JOB_STEP: dict[str, Any] = {
    "agents": {"queue": "linux"},
    "artifact_paths": "reports/*.xml",
    "command": "make test",
    "env": {"REPORTS": "reports"},
    "key": "test",
    "label": "Tests",
    "plugins": [
        {"github.com/buildkite-plugins/docker-buildkite-plugin#v5.13.0": {"cpus": 0.5, "image": "golang:1.25"}}
    ],
    "retry": {"automatic": True},
    "secrets": [{"environment_variable": "TOKEN", "key": "test-token"}],
    "timeout_in_minutes": 20,
}
JOB_ENV = {
    "BUILDKITE_ORGANIZATION_SLUG": "acme",
    "BUILDKITE_PIPELINE_SLUG": "widgets",
    "BUILDKITE_REPO": "https://git.example.org/acme/widgets.git",
    "BUILDKITE_BUILD_ID": "0192f0a4-2222-7000-8000-0000000b111d",
    "BUILDKITE_COMMIT": COMMIT,
    "BUILDKITE_BRANCH": "main",
    "BUILDKITE_TAG": "",
    "BUILDKITE_PULL_REQUEST": "false",
    "BUILDKITE_STEP_KEY": "test",
    "BUILDKITE_COMMAND": "make test",
    "BUILDKITE_PLUGINS": json.dumps(JOB_STEP["plugins"]),
    "BUILDKITE_ARTIFACT_PATHS": "reports/*.xml",
    "BUILDKITE_TIMEOUT": "20",
    "BUILDKITE_RETRY_COUNT": "0",
    "REPORTS": "reports",
    "SHARED": "1",
}


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def canonical(value: Any) -> bytes:
    """RFC 8785 of the values that are used here: no numbers but small integers, no keys beyond ASCII."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def raw_signature(signing_input: bytes, key: dict[str, str]) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(base64.urlsafe_b64decode(key["d"] + "=")).sign(signing_input)


def sealed(payload: Any, *, header: Any = HEADER, key: dict[str, str] = PRIVATE) -> str:
    """A compact JWS; header and payload as values or as bytes."""
    segments = [part if isinstance(part, bytes) else canonical(part) for part in (header, payload)]
    signing_input = ".".join(map(base64url, segments))
    return f"{signing_input}.{base64url(raw_signature(signing_input.encode(), key))}"


def changed(path: str, value: Any) -> dict[str, Any]:
    """The payload with one member set, or taken out with `...`."""
    payload = deepcopy(PAYLOAD)
    place: Any = payload
    *parents, last = path.split("/")
    for name in parents:
        place = place[int(name) if isinstance(place, list) else name]
    if value is ...:
        del place[last]
    else:
        place[int(last) if isinstance(place, list) else last] = value
    return payload


def valid_payloads() -> dict[str, dict[str, Any]]:
    """Payloads that have to be accepted."""
    static = {
        **PAYLOAD,
        "attempts": 1,
        "audience": {"agents": [], "organization": None, "pipeline": None, "repository": ""},
        "build": None,
        "expires": None,
        "not_before": 0,
        "parent": {"position": 2**31 - 1, "seal": None, "upload": None},
    }
    matrix = changed(
        "step/matrix",
        {
            "adjustments": [{"skip": "slow", "with": {"os": "mac", "v": "1"}}],
            "setup": {"os": ["linux", "mac"], "v": ["1", "2"]},
        },
    )
    matrix["step"]["command"] = "make {{matrix.os}}-{{matrix.v}}"
    everything = changed(
        "step",
        {
            "artifact_paths": ["a", "b/**/*"],
            "cache": {"name": "deps", "paths": ["vendor"]},
            "checkout": {"depth": 1, "skip": False, "submodules": True},
            "command": "./run.sh",
            "env": {"NÄME": "naïve €", "Z": "</script>&\u2028\x07"},
            "execution": "script",
            "key": "",
            "label": ":rocket: {{matrix}}",
            "matrix": ["a", "b"],
            "parallelism": 4,
            "plugins": [
                {"commit": COMMIT, "config": None, "source": f"https://git.example.org/p.git#{COMMIT}", "tree": TREE},
                {"commit": None, "config": '["a",{"b":null}]', "source": "./local", "tree": None},
            ],
            "rest": {
                "concurrency": 1,
                "concurrency_group": "deploy",
                "if": "build.branch == 'main'",
                "x": [1, [None], {}],
            },
            "secrets": [{"environment_variable": None, "key": "S"}],
            "timeout_in_minutes": None,
        },
    )
    everything |= {
        "exclusive": True,
        "inherited": {"checkout": {"depth": 50}, "env": {}},
        "audience": {**PAYLOAD["audience"], "agents": ["arch=*", "queue=linux"]},
    }
    return {
        "a test step of a build": PAYLOAD,
        "a static seal of nothing in particular": static,
        "a matrix": matrix,
        "everything": everything,
    }
