"""Group F: signatures, seals and JSON in other spellings than the one that there is."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeseal.lab import lies
from pipeseal.lab.honest import HOUR, KINDS, JobDocument, sign_again
from pipeseal.lab.scenario import Attempt, JobLie, Scenario, Stops
from pipeseal.signing.base64url import parse_base64url, render_base64url
from pipeseal.signing.keys.signing_key import FileSigningKey
from pipeseal.signing.payload import render_canonical
from pipeseal.signing.seal.envelope import VARIABLE

if TYPE_CHECKING:
    from pipeseal.lab.drill import Drill
    from pipeseal.lab.ground import Ground
    from pipeseal.lab.lying_server import Lie

_CP = ("CP",)
MALFORMED = "signature.malformed"
_KEY_ID_TWICE = b'{"alg":"EdDSA","kid":"nobody","kid":"drill-signer"}'
_NUMBER_CODES = (
    "signature.mismatch", "number.unsafe", "number.range", "plugins.differ", "json.syntax", "seal.differs",
)  # fmt: skip
_TEXT_CODES = (
    "job.ambiguous", "json.lost_text", "json.syntax", "signature.mismatch", "payload.value", "environment.value",
    "environment.differs",
)  # fmt: skip
# Order of the group of edwards25519 (RFC 8032 section 5.1): S and S + L sign the same, and only one is canonical.
_L = 2**252 + 27742317777372353535851937790883648493


def with_value(change: Any) -> Lie:
    """The signature's text, changed by a function of its three segments."""

    def lie(job: JobDocument) -> JobDocument:
        segments = job["step"]["signature"]["value"].split(".")
        return lies.set_signature(value=change(*segments))(job)

    return lie


def with_header(**members: Any) -> Lie:
    """Other members of the signature's header; None takes one away."""

    def change(protected: str, content: str, signature: str) -> str:
        header = {**json.loads(parse_base64url(protected)), **members}
        kept = {name: value for name, value in header.items() if value is not None}
        text = json.dumps(kept, separators=(",", ":")).encode()
        return f"{render_base64url(text)}.{content}.{signature}"

    return with_value(change)


def with_seal(change: Any) -> Lie:
    """The seal's text, changed by a function of its three segments, in the step and in the job."""

    def lie(job: JobDocument) -> JobDocument:
        text = change(*job["step"]["env"][VARIABLE].split("."))
        env = {**job["step"]["env"], VARIABLE: text}
        return lies.all_of(lies.set_step(env=env), lies.set_variables({VARIABLE: text}))(job)

    return lie


def _text(job: JobDocument) -> str:
    return json.dumps(job)


def _replacing(old: str, new: str) -> JobLie:
    """Other bytes of the job's JSON."""

    def lie(job: JobDocument) -> bytes:
        text = _text(job)
        assert old in text, f"{old} is not in the job"
        return text.replace(old, new, 1).encode("utf-8", "surrogatepass")

    return lie


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


def _numbers(_ground: Ground) -> list[Attempt]:
    """A number of a plugin's configuration, written otherwise: in the variable alone, and everywhere."""
    honest = "9007199254740991"

    def everywhere(number: str) -> JobLie:
        return lambda job: _text(job).replace(honest, number).encode()

    other = [
        Attempt(lie, f"{number}, {where}", job=job)
        for number in ("9007199254740992", "9007199254740993", "1e400")
        for where, lie in (("in the variable", _replacing(honest, number)), ("everywhere", everywhere(number)))
        for job in ("bound", "sealed")
    ]
    # The same number: then it reaches the plugin as it was signed.
    same = [
        Attempt(lie, f"{number}, {where}", job=job, stops=Stops.NEVER)
        for number in ("9007199254740991.0", "9.007199254740991e15", "900719925474099100E-2")
        for where, lie in (("in the variable", _replacing(honest, number)), ("everywhere", everywhere(number)))
        for job in ("bound", "sealed")
    ]
    return other + same


def _duplicates(ground: Ground) -> list[Attempt]:
    evil = json.dumps(str(ground.evil))

    def doubled_plugin(job: JobDocument) -> JobDocument:
        text = job["env"]["BUILDKITE_PLUGINS"].replace('{"text":"checked"', '{"text":"other","text":"checked"', 1)
        return lies.set_env(BUILDKITE_PLUGINS=text)(job)

    return [
        *(
            Attempt(_replacing('"command": ', f'"command": {evil}, "command": '), "in the step", job=job)
            for job in ("bound", "sealed")
        ),
        Attempt(_replacing('"step": ', '"step": {"command": "x"}, "step": '), "the step"),
        Attempt(_replacing('"env": ', '"Env": {"BUILDKITE_COMMAND": "x"}, "env": '), "in another case"),
        Attempt(_replacing('"SAFETY": ', '"SAFETY": "off", "SAFETY": '), "a variable"),
        Attempt(doubled_plugin, "in BUILDKITE_PLUGINS"),
    ]


def _broken_text(_ground: Ground) -> list[Attempt]:
    return [
        Attempt(_replacing('"SAFETY": "on"', f'"SAFETY": "{text}"'), what, job=job)
        for what, text in (
            ("lone surrogate", "on\\ud800"),
            ("lone surrogate, written as bytes", "on\ud800"),
            ("NUL", "on\\u0000"),
        )
        for job in ("bound", "sealed")
    ] + [
        Attempt(lambda job: _text(job).encode().replace(b'"on"', b'"on\xff"'), "invalid UTF-8"),
        Attempt(lambda job: _text(job).encode("utf-16"), "UTF-16"),
    ]


def _normalised(_ground: Ground) -> list[Attempt]:
    """Characters that look alike or compose: text is compared byte for byte."""

    def everywhere(old: str, new: str) -> JobLie:
        return lambda job: json.loads(_text(job).replace(old, new))

    pairs = (("scripts/test", "scripts/te\u0455t"), ("scripts/test", "scripts/test\u200b"), ("on", "\u202eno"))
    return [Attempt(everywhere(old, new), ascii(new), job=job) for old, new in pairs for job in ("bound", "sealed")]


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


def _types(_ground: Ground) -> list[Attempt]:
    return [
        Attempt(lies.set_env(SAFETY=value), f"a variable that is {value!r}")  # type: ignore[arg-type]  # the attack
        for value in (True, 1, 1.5, ["on"], {"on": 1})
    ] + [
        Attempt(lies.set_job(**{name: value}), f"{name} that is {value!r}")
        for name, value in (
            ("env", [["SAFETY", "on"]]),
            ("env", "SAFETY=on"),
            ("step", [1]),
            ("step", "scripts/test"),
            ("id", 7),
            ("token", ["t"]),
            ("matrix_permutation", ["alpine"]),
            ("chunks_max_size_bytes", "100"),
            ("chunks_interval_seconds", 1.5),
            ("priority", True),
        )
    ]


def _command_types(_ground: Ground) -> list[Attempt]:
    """Where the format lets a command be written in several ways, one of them was signed."""
    return [
        Attempt(lies.set_step(command=None, commands=["scripts/test", "evil"]), "a list", job="bound"),
        Attempt(lies.set_step(command=["scripts/test", "evil"]), "a list of two"),
        Attempt(
            lies.set_step(commands="evil"), "both", codes=("signature.mismatch", "seal.differs", "step.malformed")
        ),
        Attempt(lies.set_step(command={"x": 1}), "a mapping", codes=("step.malformed", "signature.mismatch")),
        Attempt(lies.set_step(env={"SAFETY": ["on"]}), "a variable", codes=("step.malformed", "signature.mismatch")),
    ]


SCENARIOS = (
    Scenario(
        id="F01",
        title="No algorithm",
        actors=_CP,
        change='the signature\'s header says `"alg":"none"`, without a signature',
        happens="there is no such algorithm",
        codes=(MALFORMED,),
        attempts=_none,
    ),
    Scenario(
        id="F02",
        title="Another algorithm",
        actors=_CP,
        change="`HS256` with the public key as the secret; `ES256` for a key of Ed25519",
        happens="the key says which algorithm it is for",
        codes=("algorithm.mismatch",),
        attempts=_confused,
    ),
    Scenario(
        id="F03",
        title="Another key id",
        actors=_CP,
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
        actors=_CP,
        change="headers `jwk`, `jku`, `x5c`, `x5u`",
        happens="a header has an algorithm and a key id; nothing is fetched",
        codes=(MALFORMED,),
        attempts=_embedded,
    ),
    Scenario(
        id="F05",
        title="Payload inside the signature",
        actors=_CP,
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
        actors=_CP,
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
        actors=_CP,
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
        id="F08",
        title="Numbers that are not what was signed",
        actors=_CP,
        change="`9007199254740991` in a plugin's configuration, as `...992`, `...993`, `...991.0` and `9.007...e15`",
        happens="another number is refused; the same one in other spelling reaches the plugin as it was signed",
        codes=_NUMBER_CODES,
        attempts=_numbers,
    ),
    Scenario(
        id="F09",
        title="Members written twice",
        actors=_CP,
        change="a member of the job, the step or a plugin twice, or again in other case",
        happens="a text that can be read in two ways is refused, whatever it says",
        codes=("job.ambiguous", "plugins.differ"),
        attempts=_duplicates,
    ),
    Scenario(
        id="F10",
        title="Text that is none",
        actors=_CP,
        change="lone surrogates, invalid UTF-8, NUL, other encodings",
        happens="refused before anything is compared",
        codes=_TEXT_CODES,
        attempts=_broken_text,
    ),
    Scenario(
        id="F11",
        title="Characters that look alike",
        actors=_CP,
        change="other letters, joining and direction characters in command and variables",
        happens="text is compared byte for byte",
        codes=("signature.mismatch",),
        attempts=_normalised,
    ),
    Scenario(
        id="F12",
        title="Signed fields repeated or in another order",
        actors=_CP,
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
        actors=_CP,
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
        actors=_CP,
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
        actors=_CP,
        change="jobs signed with the algorithms that key services offer, honest and edited",
        happens="whatever home a key has, its signatures verify with the public set, and as strictly",
        codes=("signature.mismatch", "algorithm.mismatch"),
        play=_keys_signed_elsewhere,
    ),
    Scenario(
        id="F16",
        title="Values of another type",
        actors=_CP,
        change="variables that are numbers, lists or mappings; a command that is a list or a mapping",
        happens="no value is made into another; a command written in another way is another one",
        codes=("job.malformed", "signature.mismatch", "step.malformed", "command.differs"),
        attempts=lambda ground: [*_types(ground), *_command_types(ground)],
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
