"""Group L: keys that leaked, are out of date, are for something else, or must never be trusted at all."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeseal.lab import lies
from pipeseal.lab.honest import HOUR, KINDS
from pipeseal.lab.scenario import Attempt, Scenario
from pipeseal.signing.base64url import render_base64url
from pipeseal.signing.keys.generate import generate_key_pair

if TYPE_CHECKING:
    from pipeseal.lab.drill import Drill
    from pipeseal.lab.ground import Ground

WEEK = 7 * 24 * HOUR


def _members(text: str) -> list[dict[str, Any]]:
    members: list[dict[str, Any]] = json.loads(text)["keys"]
    return members


def _must_not_start_with(drill: Drill, name: str, keys: list[dict[str, Any]], code: str) -> None:
    """An agent with these keys beside an honest one."""
    path = drill.folder / f"{name}.json"
    honest = _members(drill.ground.pairs["signer"].public_set)
    path.write_text(json.dumps({"keys": [*honest, *keys]}), encoding="utf-8")
    path.chmod(0o600)
    drill.must_not_start(name, {"verification-jwks-file": str(path)}, code)


def _revoked(drill: Drill) -> None:
    """A key is believed, is revoked while the agent runs, and is not believed any more; then it is taken back."""
    drill.must_refuse(
        drill.send(drill.honest(replace(KINDS["sealed"], key="revoked"))), ("key.revoked",), what="from the start"
    )
    name = "revoking"
    drill.start_agent(name)
    policy = drill.agent_folder(name) / "policy.toml"
    drill.must_run(drill.send(drill.honest("second-key", name), name), what="before")
    policy.write_text(f'{drill.ground.policy()}\n[key.drill-second]\nrevoked = "leaked"\n', encoding="utf-8")
    drill.must_refuse(drill.send(drill.honest("second-key", name), name), ("key.revoked",), what="without a restart")
    drill.must_run(drill.send(drill.honest("sealed", name), name), what="the other key")
    # A policy that cannot be read any more refuses everything; nobody goes on with what was believed before.
    policy.write_text("version = 1\nnonsense = 1\n", encoding="utf-8")
    drill.must_refuse(drill.send(drill.honest("sealed", name), name), ("policy.key",), what="with a broken policy")
    drill.stop_agent(name)


def _out_of_time(drill: Drill) -> None:
    now = int(time.time())
    drill.twin("sealed")
    times = (
        ("key.expired", {"key": "expired"}),
        ("key.not_yet_valid", {"key": "early"}),
        ("seal.expired", {"sealing": {"not_before": now - 2 * WEEK, "expires": now - WEEK}}),
        ("seal.early", {"sealing": {"not_before": now + WEEK, "expires": now + 2 * WEEK}}),
    )
    for code, changes in times:
        kind = replace(KINDS["sealed"], **changes)
        drill.must_refuse(drill.send(drill.honest(kind)), (code,), what=code)
    drill.must_refuse(
        drill.send(drill.honest(replace(KINDS["bound"], key="expired"))), ("key.expired",), what="signed"
    )


def _out_of_scope(drill: Drill) -> None:
    """A key for one repository: honest there, refused here."""
    drill.twin("elsewhere")
    for kind in ("sealed", "bound"):
        record = drill.send(drill.honest(replace(KINDS[kind], key="elsewhere")))
        drill.must_refuse(record, ("key.scope",), what=kind)
    record = drill.send(drill.honest(replace(KINDS["sealed"], key="unknown")))
    drill.must_refuse(record, ("key.unknown",), what="a key that nobody trusts")


def _symmetric(drill: Drill) -> None:
    secret = {"kty": "oct", "k": render_base64url(b"k" * 64), "alg": "HS512", "kid": "shared", "use": "sig"}
    _must_not_start_with(drill, "symmetric", [secret], "key.symmetric")


def _weak(drill: Drill) -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa

    # Too short on purpose: the agent has to notice.
    numbers = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key().public_numbers()  # noqa: S505
    short = {
        "kty": "RSA",
        "n": render_base64url(numbers.n.to_bytes(128, "big")),
        "e": "AQAB",
        "alg": "PS256",
        "kid": "short",
    }
    _must_not_start_with(drill, "short", [short], "key.malformed")
    sound = _members(generate_key_pair("PS256", "old").public_set)[0]
    _must_not_start_with(drill, "old-algorithm", [{**sound, "alg": "RS256"}], "key.weak")


def _private(drill: Drill) -> None:
    _must_not_start_with(drill, "private", _members(drill.ground.pairs["second"].private_set), "key.private")


def _twice(drill: Drill) -> None:
    key = {**_members(drill.ground.pairs["second"].public_set)[0], "kid": "drill-signer"}
    _must_not_start_with(drill, "twice", [key], "key.duplicate")


def _no_keys(drill: Drill) -> None:
    drill.must_not_start("no-keys", {"verification-jwks-file": "", "policy-file": ""}, "key.none")
    drill.must_not_start("no-keys-with-policy", {"verification-jwks-file": ""}, "key.none")


def _warn(drill: Drill) -> None:
    drill.must_not_start("warning", {"verification-failure-behavior": "warn"}, "config.value")
    drill.must_not_start("both", {"no-verification": True}, "config.value")


def _writable(drill: Drill) -> None:
    def writable(name: str) -> Any:
        return lambda folder: (folder / name).chmod(0o666)

    def folder_writable(folder: Path) -> None:
        inner = folder / "keys"
        inner.mkdir()
        (inner / "verification.json").write_bytes((drill.ground.keys / "verification.json").read_bytes())
        inner.chmod(0o777)

    drill.must_not_start("open-policy", {}, "policy.permissions", writable("policy.toml"))
    drill.must_not_start("open-settings", {}, "config.permissions", writable("agent.cfg"))
    keys = drill.agent_folder("open-folder") / "keys" / "verification.json"
    drill.must_not_start("open-folder", {"verification-jwks-file": str(keys)}, "key.permissions", folder_writable)


def _overlap(drill: Drill) -> None:
    """During a rotation both keys are trusted; after the old one's last day it is not, and the new one still is."""
    name = "rotating"
    drill.start_agent(name)
    for kind in ("sealed", "second-key"):
        drill.must_run(drill.send(drill.honest(kind, name), name), what=f"{kind}, while both are valid")
    policy = drill.agent_folder(name) / "policy.toml"
    policy.write_text(f"{drill.ground.policy()}\n[key.drill-second]\nnot-after = 2020-01-01\n", encoding="utf-8")
    drill.must_refuse(drill.send(drill.honest("second-key", name), name), ("key.expired",), what="the old key")
    drill.must_run(drill.send(drill.honest("sealed", name), name), what="the new key")
    drill.stop_agent(name)


def _unsigned(ground: Ground) -> list[Attempt]:
    return [Attempt(lies.strip_signature(str(ground.evil)), codes=("signature.missing",))]


SCENARIOS = (
    Scenario(
        id="L01",
        title="Leaked key, revoked",
        actors=("KEY",),
        change="jobs signed with a key that leaked",
        happens="a revocation holds at once, for everything that the key ever signed, without a restart",
        codes=("key.revoked", "policy.key"),
        setting="`[key.ID] revoked`, or the key taken out of `verification-jwks-file`",
        play=_revoked,
    ),
    Scenario(
        id="L02",
        title="Out of date",
        actors=("KEY", "CP"),
        change="keys and seals before or after their time",
        happens="keys and seals have dates, and both are looked at",
        codes=("key.expired", "key.not_yet_valid", "seal.expired", "seal.early"),
        setting="`[key.ID] not-before`, `not-after`; `--seal-valid-for` at upload",
        play=_out_of_time,
    ),
    Scenario(
        id="L03",
        title="A key for something else",
        actors=("KEY", "PR"),
        change="a key that is trusted for one repository signs for another",
        happens="a key signs what its record says",
        codes=("key.scope", "key.unknown"),
        setting="`[key.ID] repositories`, `organizations`, `pipelines`; `keys` of a section",
        play=_out_of_scope,
    ),
    Scenario(
        id="L04",
        title="A shared secret among the keys",
        actors=("RUN", "PR"),
        change="an `HS512` key in the verification set",
        happens="the agent does not start: whoever verifies with it could sign",
        codes=("key.symmetric",),
        setting="`allow-shared-secrets`, `shared-secrets`",
        play=_symmetric,
    ),
    Scenario(
        id="L05",
        title="A weak key among the keys",
        actors=("KEY",),
        change="RSA of 1024 bits, or for `RS256`, in the verification set",
        happens="the agent does not start",
        codes=("key.weak", "key.malformed"),
        play=_weak,
    ),
    Scenario(
        id="L06",
        title="Private keys for verification",
        actors=("RUN", "PR"),
        change="a private key in the verification set",
        happens="the agent does not start: runners could sign",
        codes=("key.private",),
        play=_private,
    ),
    Scenario(
        id="L07",
        title="An agent without keys",
        actors=("CP",),
        change="an unsigned job for an agent that could not tell",
        happens="an agent without keys does not start, and one with keys refuses the job",
        codes=("key.none", "signature.missing"),
        setting="`no-verification`, said outright, is the only way",
        attempts=_unsigned,
        play=_no_keys,
    ),
    Scenario(
        id="L08",
        title="Warnings in place of refusals",
        actors=("UI", "CP"),
        change="`verification-failure-behavior = warn`",
        happens="it does not go with a policy that enforces: the agent does not start",
        codes=("config.value",),
        setting='`mode = "observe"` in the policy is the way to look before refusing',
        play=_warn,
    ),
    Scenario(
        id="L09",
        title="The old key after a rotation",
        actors=("KEY", "CP"),
        change="jobs signed with the old key after its last day",
        happens="each key has its own time; the new one goes on",
        codes=("key.expired",),
        setting="`[key.ID] not-after`",
        play=_overlap,
    ),
    Scenario(
        id="L10",
        title="Trust files that others can write",
        actors=("PR",),
        change="policy, keys, settings or their folders, writable by the user of the jobs",
        happens="the agent does not start, and refuses jobs when it happens later",
        codes=("policy.permissions", "config.permissions", "key.permissions"),
        setting="file modes and owners",
        play=_writable,
    ),
    Scenario(
        id="L11",
        title="Two keys with one id",
        actors=("KEY",),
        change="a second key with the first one's id in the verification set",
        happens="the agent does not start",
        codes=("key.duplicate",),
        play=_twice,
    ),
)
