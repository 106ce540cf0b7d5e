"""A signature in another form, of another algorithm, key or purpose."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeseal.lab import lies
from pipeseal.lab.attacks.f_formats.changed import CP, MALFORMED, with_header, with_seal, with_value
from pipeseal.lab.honest import HOUR, KINDS, JobDocument, sign_again
from pipeseal.lab.scenario import Attempt, JobLie, Scenario, Stops
from pipeseal.signing.base64url import parse_base64url, render_base64url
from pipeseal.signing.keys.signing_key import FileSigningKey
from pipeseal.signing.payload import render_canonical

if TYPE_CHECKING:
    from pipeseal.lab.drill import Drill
    from pipeseal.lab.ground import Ground

_KEY_ID_TWICE = b'{"alg":"EdDSA","kid":"nobody","kid":"drill-signer"}'
# Order of the group of edwards25519 (RFC 8032 section 5.1): S and S + L sign the same, and only one is canonical.
_L = 2**252 + 27742317777372353535851937790883648493


def _none(ground: Ground) -> list[Attempt]:
    def unsigned(algorithm: str) -> JobLie:
        header = render_base64url(
            json.dumps({"alg": algorithm, "kid": "drill-signer"}, separators=(",", ":")).encode()
        )
        return lies.all_of(
            lies.edit_command(str(ground.evil)), lies.set_signature(algorithm=algorithm, value=f"{header}..")
        )

    return [
        Attempt(unsigned(name), f"{name}, {job}", job=job) for name in ("none", "None") for job in ("bound", "sealed")
    ]


def _confused(ground: Ground) -> list[Attempt]:
    """Signed with the public key as if it were a shared secret."""
    import hmac

    public = json.loads(ground.pairs["signer"].public_set)["keys"][0]
    secrets = (json.dumps(public).encode(), parse_base64url(public["x"]))

    def forged(secret: bytes) -> JobLie:
        def change(_protected: str, _content: str, _signature: str) -> str:
            header = render_base64url(b'{"alg":"HS256","kid":"drill-signer"}')
            return f"{header}..{render_base64url(hmac.digest(secret, f'{header}.'.encode(), 'sha256'))}"

        return lies.all_of(with_value(change), lies.set_signature(algorithm="HS256"))

    return [
        *(Attempt(forged(secret), "public key as a secret", job="bound") for secret in secrets),
        Attempt(with_header(alg="ES256"), "other algorithm in the header", job="bound"),
        Attempt(
            lies.all_of(with_header(alg="ES256"), lies.set_signature(algorithm="ES256")),
            "in both places",
            job="bound",
        ),
    ]


def _unused_bits(segment: str) -> str:
    """The same bytes, with unused bits of the last character set."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return segment[:-1] + alphabet[alphabet.index(segment[-1]) | 1]


def _larger_s(segment: str) -> str:
    raw = parse_base64url(segment)
    return render_base64url(raw[:32] + (int.from_bytes(raw[32:], "little") + _L).to_bytes(32, "little"))


def _malleable(_ground: Ground) -> list[Attempt]:
    changes: list[tuple[str, Any]] = [
        ("unused bits", lambda p, c, s: f"{p}.{c}.{_unused_bits(s)}"),
        ("padding", lambda p, c, s: f"{p}.{c}.{s}=="),
        ("standard alphabet", lambda p, c, s: f"{p}.{c}.{s.replace('-', '+').replace('_', '/')}+"),
        ("white space", lambda p, c, s: f"{p}.{c}.{s}\n"),
        ("another S of Ed25519", lambda p, c, s: f"{p}.{c}.{_larger_s(s)}"),
    ]
    return [
        *(Attempt(with_value(change), f"signature: {what}", job="bound") for what, change in changes),
        *(Attempt(with_seal(change), f"seal: {what}") for what, change in changes),
    ]


def _cross_protocol(ground: Ground) -> list[Attempt]:
    """The signer's key signed something else: it is no seal, whatever it says."""
    key = FileSigningKey(ground.pairs["signer"].key)

    def signed_as(typ: str | None) -> JobLie:
        def change(_protected: str, payload: str, _signature: str) -> str:
            members = {"alg": "EdDSA", "kid": "drill-signer", **({"typ": typ} if typ is not None else {})}
            header = render_base64url(render_canonical(members))
            return f"{header}.{payload}.{render_base64url(key.sign(f'{header}.{payload}'.encode()))}"

        return with_seal(change)

    def replaced(payload: dict[str, Any]) -> JobLie:
        def change(_protected: str, _payload: str, _signature: str) -> str:
            header = render_base64url(
                render_canonical({"alg": "EdDSA", "kid": "drill-signer", "typ": "pipeseal-seal+jws"})
            )
            body = render_base64url(render_canonical(payload))
            return f"{header}.{body}.{render_base64url(key.sign(f'{header}.{body}'.encode()))}"

        return with_seal(change)

    now = int(time.time())
    token = {"iss": "https://ci.example.test", "sub": "job", "iat": now, "exp": now + HOUR}
    # Each is signed by layer 1 too, as an uploader would, so that it is the seal alone that decides.
    return [
        Attempt(_resigned(ground, lie), what)
        for what, lie in (
            ("a token", signed_as("JWT")),
            ("a receipt", signed_as("pipeseal-receipt+jws")),
            ("no type", signed_as(None)),
            ("a token's claims, as a seal", replaced(token)),
        )
    ]


def _resigned(ground: Ground, lie: JobLie) -> JobLie:
    """A lie about the seal, with the step signed again over it, so that the seal alone decides."""

    def again(job: JobDocument) -> JobDocument:
        changed = lie(job)
        assert isinstance(changed, dict)
        return sign_again(ground, changed)

    return again


def _sealed_and_resigned(ground: Ground, changes: list[tuple[str, Any]], *codes: str) -> list[Attempt]:
    return [Attempt(_resigned(ground, with_seal(change)), f"seal: {what}", codes=codes) for what, change in changes]


def _keys_signed_elsewhere(drill: Drill) -> None:
    """Signatures of a key that is kept elsewhere verify with the public set, like any other."""
    import json

    from pipeseal.signing.keys.generate import generate_key_pair

    # Each algorithm that key homes offer, verified by one agent from one public set.
    pairs = {name: generate_key_pair(name, f"drill-{name.lower()}") for name in ("ES256", "ES384", "PS256")}
    members = [json.loads(pair.public_set)["keys"][0] for pair in pairs.values()]
    keys = drill.folder / "kept-elsewhere.json"
    keys.write_text(json.dumps({"keys": members}), encoding="utf-8")
    keys.chmod(0o644)
    name = "kept-elsewhere"
    drill.start_agent(name, {"verification-jwks-file": str(keys)})
    for algorithm, pair in pairs.items():
        drill.ground.pairs[algorithm] = pair
        for proof in ("sealed", "bound"):
            kind = replace(KINDS[proof], key=algorithm)
            drill.must_run(drill.send(drill.honest(kind, name), name), what=f"{algorithm}, {proof}")
            lie = lies.edit_command(str(drill.ground.evil))
            record = drill.send(lie(drill.honest(kind, name)), name)
            drill.must_refuse(record, ("signature.mismatch",), what=f"{algorithm}, {proof}, edited")
            other = lies.set_signature(algorithm="EdDSA")(drill.honest(kind, name))
            drill.must_refuse(
                drill.send(other, name), ("algorithm.mismatch",), what=f"{algorithm}, {proof}, other name"
            )
    drill.stop_agent(name)


def _embedded(_ground: Ground) -> list[Attempt]:
    public = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    headers: dict[str, Any] = {
        "jwk": public,
        "jku": "http://127.0.0.1:9/keys",
        "x5c": ["MIIB"],
        "x5u": "http://127.0.0.1:9/chain",
        "cty": "JWT",
    }
    return [
        Attempt(with_header(**{name: value}), name, job=job)
        for name, value in headers.items()
        for job in ("bound", "sealed")
    ]


def _other_serialisations(job: JobDocument) -> list[str]:
    protected, _, signature = job["step"]["signature"]["value"].split(".")
    flat = {"protected": protected, "signature": signature}
    return [
        json.dumps(flat),
        json.dumps({"signatures": [flat]}),
        json.dumps({"signatures": [flat, flat]}),
        json.dumps({**flat, "header": {"kid": "drill-signer"}}),
        f" {protected}..{signature}",
        f"{protected}..{signature}.",
    ]


def _other_serialisation(index: int) -> JobLie:
    return lambda job: lies.set_signature(value=_other_serialisations(job)[index])(job)


SCENARIOS = (
    Scenario(
        id="F01",
        title="No algorithm",
        actors=CP,
        change='the signature\'s header says `"alg":"none"`, without a signature',
        happens="there is no such algorithm",
        codes=(MALFORMED,),
        attempts=_none,
    ),
    Scenario(
        id="F02",
        title="Another algorithm",
        actors=CP,
        change="`HS256` with the public key as the secret; `ES256` for a key of Ed25519",
        happens="the key says which algorithm it is for",
        codes=("algorithm.mismatch",),
        attempts=_confused,
    ),
    Scenario(
        id="F03",
        title="Another key id",
        actors=CP,
        change="`kid`: unknown, absent, repeated, like a path, another trusted key's",
        happens="a key id is looked up in the set, and is nothing else",
        codes=("key.unknown", MALFORMED, "signature.mismatch"),
        attempts=lambda _ground: [
            *(
                Attempt(with_header(kid=kid), repr(kid)[:40], job=job)
                for kid in ("nobody", "../../keys/signing.json", "http://127.0.0.1:9/k", "", None, 7, "drill-second")
                for job in ("bound", "sealed")
            ),
            Attempt(
                with_value(lambda _p, _c, s: f"{render_base64url(_KEY_ID_TWICE)}..{s}"),
                "twice",
                job="bound",
            ),
        ],
    ),
    Scenario(
        id="F04",
        title="Keys inside the signature",
        actors=CP,
        change="headers `jwk`, `jku`, `x5c`, `x5u`",
        happens="a header has an algorithm and a key id; nothing is fetched",
        codes=(MALFORMED,),
        attempts=_embedded,
    ),
    Scenario(
        id="F05",
        title="Payload inside the signature",
        actors=CP,
        change="`header.payload.signature` in place of `header..signature`",
        happens="what was signed is made from the job, and never taken from the signature",
        codes=(MALFORMED,),
        attempts=lambda _ground: [
            Attempt(with_value(lambda p, _c, s: f"{p}.e30.{s}"), "", job=job) for job in ("bound", "sealed")
        ],
    ),
    Scenario(
        id="F06",
        title="Other serialisations",
        actors=CP,
        change="JSON serialisation, several signatures, unprotected headers, spaces",
        happens="there is one spelling",
        codes=(MALFORMED,),
        attempts=lambda _ground: [
            Attempt(_other_serialisation(index), f"spelling {index + 1}", job=job)
            for index in range(6)
            for job in ("bound", "sealed")
        ],
    ),
    Scenario(
        id="F07",
        title="Another spelling of the same signature",
        actors=CP,
        change="unused bits of base64url, padding, another S that verifies the same; of signatures and of seals",
        happens="there is one spelling, and S is canonical",
        codes=(MALFORMED, "signature.mismatch", "environment.differs"),
        attempts=lambda ground: [
            *_malleable(ground),
            *_sealed_and_resigned(
                ground,
                [
                    ("unused bits", lambda h, p, s: f"{h}.{p}.{_unused_bits(s)}"),
                    ("another S of Ed25519", lambda h, p, s: f"{h}.{p}.{_larger_s(s)}"),
                    ("padding", lambda h, p, s: f"{h}.{p}.{s}=="),
                ],
                "seal.malformed",
                "seal.signature",
            ),
        ],
    ),
    Scenario(
        id="F12",
        title="Signed fields repeated or in another order",
        actors=CP,
        change="`signature.signed_fields`",
        happens="a name twice is refused; the order changes nothing that is signed, and it ran like its twin",
        codes=("field.repeated",),
        attempts=lambda _ground: [
            *(
                Attempt(
                    lambda job: lies.set_signature(
                        signed_fields=[*job["step"]["signature"]["signed_fields"], "command"]
                    )(job),
                    "repeated",
                    job=job,
                )
                for job in ("bound", "sealed")
            ),
            Attempt(
                lambda job: lies.set_signature(signed_fields=job["step"]["signature"]["signed_fields"][::-1])(job),
                "in another order",
                job="bound",
                stops=Stops.NEVER,
            ),
        ],
    ),
    Scenario(
        id="F13",
        title="Headers that change what is signed",
        actors=CP,
        change='`crit`, `"b64":false`',
        happens="a header has an algorithm and a key id",
        codes=(MALFORMED,),
        attempts=lambda _ground: [
            Attempt(with_header(b64=False, crit=["b64"]), "b64", job="bound"),
            Attempt(with_header(crit=["exp"], exp=1), "crit", job="sealed"),
        ],
    ),
    Scenario(
        id="F14",
        title="The algorithm's name beside the signature",
        actors=CP,
        change="`signature.algorithm`",
        happens="header, key and this name have to be one",
        codes=("algorithm.mismatch", "step.malformed"),
        attempts=lambda _ground: [
            Attempt(lies.set_signature(algorithm=name), name, job=job)
            for name in ("none", "HS256", "ES256", "", "eddsa")
            for job in ("bound", "sealed")
        ],
    ),
    Scenario(
        id="F15",
        title="Keys that are kept elsewhere",
        actors=CP,
        change="jobs signed with the algorithms that key services offer, honest and edited",
        happens="whatever home a key has, its signatures verify with the public set, and as strictly",
        codes=("signature.mismatch", "algorithm.mismatch"),
        play=_keys_signed_elsewhere,
    ),
    Scenario(
        id="F17",
        title="The key signed something else",
        actors=("KEY", "CP"),
        change="a token, a receipt or another document of the same key, presented as a seal",
        happens="a seal says in its header and in its payload that it is one",
        codes=("seal.type", "seal.header", "seal.member", "seal.version"),
        attempts=_cross_protocol,
    ),
)
