"""JSON Web Keys and sets of them: reading, checking, telling apart (RFC 7517, RFC 7518, RFC 8037, RFC 7638).

What spoils a set and what only makes one key useless follows the ecosystem's loader, so that a key file works here
exactly when it works there. Beyond that, spellings which only a lenient reader accepts are refused.
No error text, representation or log of these types ever contains private members.
"""

from __future__ import annotations

import hashlib
import json
from binascii import a2b_base64
from typing import Any

from pipeseal.errors import MalformedInput
from pipeseal.pipeline.values import scrub
from pipeseal.signing.base64url import parse_base64url, render_base64url
from pipeseal.signing.keys.algorithms import CURVE_BYTES, REGISTERED_NAMES

MAX_SET_BYTES = 1 << 20
MAX_KEYS = 1000

_CURVES = frozenset({"Ed25519", "Ed448", "X25519", "X448", *CURVE_BYTES})
_OKP_BYTES = {"Ed25519": 32, "X25519": 32}
# RFC 7638 section 3.2 and RFC 8037 section 2: the members a thumbprint covers, in order.
_THUMBPRINT_MEMBERS = {
    "OKP": ("crv", "kty", "x"),
    "EC": ("crv", "kty", "x", "y"),
    "RSA": ("e", "kty", "n"),
    "oct": ("k", "kty"),
}
_BYTES_MEMBERS = {
    "OKP": ("x", "d"),
    "EC": ("x", "y", "d"),
    "RSA": ("n", "e", "d", "p", "q", "dp", "dq", "qi"),
    "oct": ("k",),
}
PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "k"})
_TEXT_MEMBERS = ("kid", "use", "x5u", "x5t", "x5t#S256")


class Jwk:
    """One key as its file has it, structurally sound. What it may be used for is decided where it is used.

    Parameters:
        kty: `OKP`, `EC`, `RSA` or `oct`.
        alg: the registered algorithm name; None when the key has none.
        kid: key id; None when the key has none.
        use: `sig`, another word, or None.
        crv: curve name of OKP and EC keys.
        material: decoded bytes of the key's parts, by member name.
        ambiguous: some member was there twice; such a key is never used.
    """

    __slots__ = ("alg", "ambiguous", "crv", "kid", "kty", "material", "use")

    def __init__(
        self,
        *,
        kty: str,
        alg: str | None,
        kid: str | None,
        use: str | None,
        crv: str | None,
        material: dict[str, bytes],
        ambiguous: bool = False,
    ) -> None:
        self.kty = kty
        self.alg = alg
        self.kid = kid
        self.use = use
        self.crv = crv
        self.material = material
        self.ambiguous = ambiguous

    def __repr__(self) -> str:
        return f"<Jwk {self.kty} alg={self.alg} kid={self.kid!r}>"

    @property
    def is_private(self) -> bool:
        """Whether it can sign: it has a private part, or is a shared secret."""
        return "d" in self.material or self.kty == "oct"

    def public_material(self) -> dict[str, str]:
        """The members a thumbprint covers, as JSON has them; for `oct` keys that is the secret itself."""
        members = {"kty": self.kty} | ({"crv": self.crv} if self.crv else {})
        for name in _THUMBPRINT_MEMBERS[self.kty]:
            if name in self.material:
                value = self.material[name]
                members[name] = render_base64url(value.lstrip(b"\0") if self.kty == "RSA" else value)
        return {name: members[name] for name in _THUMBPRINT_MEMBERS[self.kty]}

    def thumbprint(self) -> str:
        """SHA-256 thumbprint, base64url, 43 characters; the same for the public and the private file (RFC 7638)."""
        canonical = json.dumps(self.public_material(), separators=(",", ":"), ensure_ascii=False)
        return render_base64url(hashlib.sha256(canonical.encode()).digest())


def parse_jwks(data: bytes) -> list[Jwk]:
    """The keys of a JWK Set, or the one key of a bare JWK (RFC 7517 sections 4 and 5).

    Parameters:
        data: JSON text, UTF-8, up to 1 MiB and 1000 keys. One unreadable key spoils the set.

    Raises:
        MalformedInput: `key.set` for what is not such JSON, `key.malformed` for a key that is not sound. Neither says
            anything of the key's contents.
    """
    if len(data) > MAX_SET_BYTES:
        raise MalformedInput("key.set", f"a key set of {len(data)} bytes is too long; the limit is {MAX_SET_BYTES}")
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_members, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        line = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise MalformedInput(
            "key.set",
            f"the key file is not JSON{line}",
            help="a key file is a JWK Set in JSON, as `pipeseal tool keygen` writes it; PEM files are not read",
        ) from None
    if not isinstance(document, _Members):
        raise MalformedInput("key.set", "the key file is JSON, but neither a JWK Set nor a JWK")
    if "keys" not in document:
        return [_parse_jwk(document, 0)]
    if "keys" in document.duplicates:
        raise MalformedInput("key.set", "the key file has its `keys` member twice", help="keep one of them")
    keys = document["keys"]
    if not isinstance(keys, list):
        raise MalformedInput("key.set", "the `keys` member of the key file is not a list")
    if len(keys) > MAX_KEYS:
        raise MalformedInput("key.set", f"the key file holds {len(keys)} keys; the limit is {MAX_KEYS}")
    return [_parse_jwk(key, index) for index, key in enumerate(keys)]


class _Members(dict[str, Any]):
    """A JSON object that remembers which of its members were there more than once; the last one counts."""

    __slots__ = ("duplicates",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.duplicates: frozenset[str] = frozenset()
        if len(self) != len(pairs):
            names = [name for name, _ in pairs]
            self.duplicates = frozenset(name for name in self if names.count(name) > 1)


def _members(pairs: list[tuple[str, Any]]) -> _Members:
    return _Members(pairs)


def _refuse_constant(_name: str) -> None:
    raise ValueError("NaN and infinities are not JSON")


def _parse_jwk(document: object, index: int) -> Jwk:
    if not isinstance(document, _Members):
        raise _malformed(index, "is not a JSON object")
    kty = document.get("kty")
    if not isinstance(kty, str) or kty not in _BYTES_MEMBERS:
        raise _malformed(index, "has a key type (`kty`) other than OKP, EC, RSA and oct")
    alg = document.get("alg")
    if "alg" in document and (not isinstance(alg, str) or alg not in REGISTERED_NAMES):
        raise _malformed(index, "has an algorithm (`alg`) that is not a registered name")
    for name in _TEXT_MEMBERS:
        value = document.get(name, "")
        if not isinstance(value, str | None) or scrub(value or "") != (value or ""):
            raise _malformed(index, f"has a member {name!r} that is not text")
    operations = document.get("key_ops")
    if operations is not None and not (
        isinstance(operations, list) and all(isinstance(word, str | None) for word in operations)
    ):
        raise _malformed(index, "has a member 'key_ops' that is not a list of text")
    _check_spelling(document, kty, index)
    if "x5c" in document:
        _check_certificates(document["x5c"], index)

    public = tuple(name for name in _BYTES_MEMBERS[kty] if name in _THUMBPRINT_MEMBERS[kty])
    is_private = "d" in document and kty != "oct"
    material: dict[str, bytes] = {}
    for name in _BYTES_MEMBERS[kty]:
        if name in document and (name in public or is_private):
            value = document[name]
            if not isinstance(value, str | None):
                raise _malformed(index, f"has a member {name!r} that is not text")
            try:
                material[name] = parse_base64url(value or "")
            except ValueError:
                raise _malformed(index, f"has a member {name!r} that is not base64url without padding") from None
    for name in (*public, "d") if is_private else public:
        if not material.get(name):
            raise _malformed(index, f"lacks its member {name!r}")

    crv = document.get("crv") if kty in ("OKP", "EC") else None
    if kty in ("OKP", "EC") and (not isinstance(crv, str) or crv not in _CURVES):
        raise _malformed(index, "has a curve (`crv`) that is not a registered name")
    _CHECKS[kty](index, crv, material)
    return Jwk(
        kty=kty,
        alg=alg,
        kid="" if "kid" in document and document["kid"] is None else document.get("kid"),
        use="" if "use" in document and document["use"] is None else document.get("use"),
        crv=crv,
        material=material,
        ambiguous=bool(document.duplicates),
    )


def _check_spelling(document: _Members, kty: str, index: int) -> None:
    """A member that differs from a known one by case alone means one thing to one reader and another to the next."""
    known = {"kty", "alg", "kid", "use", "key_ops", "crv", *_BYTES_MEMBERS[kty]}
    for name in document:
        if name not in known and name.casefold() in known:
            raise _malformed(index, f"has a member {name!r}; it is written {name.casefold()!r}")


def _check_certificates(chain: object, index: int) -> None:
    """Nothing is verified with certificates; one that cannot be read spoils its key all the same (RFC 7517 4.7)."""
    from cryptography.x509 import load_der_x509_certificate

    if not isinstance(chain, list):
        raise _malformed(index, "has a member 'x5c' that is not a list")
    for certificate in chain:
        try:
            load_der_x509_certificate(a2b_base64(certificate, strict_mode=True))
        except (TypeError, ValueError):
            raise _malformed(index, "has a member 'x5c' with something that is not a certificate") from None


def _check_okp(index: int, crv: str | None, material: dict[str, bytes]) -> None:
    size = _OKP_BYTES.get(crv or "")
    for name in ("x", "d"):
        if size and name in material and len(material[name]) != size:
            raise _malformed(index, f"has a member {name!r} of {len(material[name])} bytes; {crv} needs {size}")


def _check_ec(index: int, crv: str | None, material: dict[str, bytes]) -> None:
    size = CURVE_BYTES.get(crv or "")
    if size is None:
        raise _malformed(index, f"has the curve {crv}, which is not one for EC keys")
    for name, value in material.items():
        if len(value) != size:
            # RFC 7518 section 6.2.1.2: full size, leading zeros kept.
            raise _malformed(index, f"has a member {name!r} of {len(value)} bytes; {crv} needs {size}")
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    from pipeseal.signing.keys.crypto import curve

    try:
        EllipticCurvePublicKey.from_encoded_point(curve(crv or ""), b"\x04" + material["x"] + material["y"])
    except ValueError:
        raise _malformed(index, f"has a point (`x`, `y`) that is not on its curve {crv}") from None


def _check_rsa(index: int, _crv: str | None, material: dict[str, bytes]) -> None:
    modulus = int.from_bytes(material["n"], "big")
    exponent = int.from_bytes(material["e"], "big")
    if modulus.bit_length() < 2048:
        # RFC 7518 section 3.5: 2048 bits or larger.
        raise _malformed(index, f"is an RSA key of {modulus.bit_length()} bits; at least 2048 are needed")
    if exponent < 3 or exponent % 2 == 0 or exponent.bit_length() > 63:
        raise _malformed(index, "is an RSA key with an unusable public exponent")


def _check_oct(_index: int, _crv: str | None, _material: dict[str, bytes]) -> None:
    """Any secret loads; one too short for its algorithm is refused where it is used."""


_CHECKS = {"OKP": _check_okp, "EC": _check_ec, "RSA": _check_rsa, "oct": _check_oct}


def _malformed(index: int, what: str) -> MalformedInput:
    return MalformedInput(
        "key.malformed",
        f"key number {index + 1} of the key file {what}",
        help="make keys with `pipeseal tool keygen`; one unreadable key spoils its whole file",
    )
