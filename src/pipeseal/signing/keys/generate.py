"""Making key pairs: which algorithms, how they are called, and what their two files hold."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import NamedTuple

from pipeseal.errors import ConfigurationError
from pipeseal.signing.base64url import render_base64url
from pipeseal.signing.keys.algorithms import ALGORITHMS, CURVE_BYTES, Algorithm
from pipeseal.signing.keys.jwk import PRIVATE_MEMBERS, Jwk, parse_jwks

# RFC 7518 section 3.4 ties each of these names to a curve.
_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
_RSA_BITS = {"PS256": 3072, "PS384": 3072, "PS512": 4096}
_KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")

# Names that can be generated, the ones that every agent of the ecosystem signs with first.
GENERATED = tuple(
    sorted(
        (name for name in ALGORITHMS if name != "Ed25519" and not name.startswith("RS")),
        key=lambda name: not ALGORITHMS[name].uploads,
    )
)


class KeyPair(NamedTuple):
    """A new key pair.

    Parameters:
        key: the private key.
        private_set: text of the private file, a JWK Set with this one key.
        public_set: text of the public file; for a shared secret the same as the private one.
    """

    key: Jwk
    private_set: str
    public_set: str

    def __repr__(self) -> str:
        return f"<KeyPair {self.key!r}>"


def generate_key_pair(algorithm: str, key_id: str = "", *, prefix: str = "") -> KeyPair:
    """A new key pair for signing steps.

    Parameters:
        algorithm: one of `GENERATED`.
        key_id: the key's id: letters, digits, `.`, `_`, `-`. When empty, it is made of `prefix` and the first 8
            characters of the key's thumbprint, so that two keys never share an id by accident.
        prefix: word before the thumbprint characters of such an id; the algorithm's name in lower case when empty.

    Raises:
        ConfigurationError: `key.unusable`: another algorithm; `key.id`: an id that cannot be part of a file name.
    """
    row = ALGORITHMS.get(algorithm)
    if row is None or algorithm not in GENERATED:
        raise ConfigurationError(
            "key.unusable", f"keys for {algorithm} are not made here", help=f"choose one of {', '.join(GENERATED)}"
        )
    members = _GENERATORS[row.kty](row)
    if not key_id:
        key_id = default_key_id(parse_jwks(json.dumps(members | {"alg": algorithm}).encode())[0], prefix=prefix)
    if not _KEY_ID.match(key_id):
        raise ConfigurationError(
            "key.id",
            f"{key_id!r} cannot be a key id",
            help="use letters, digits, dots, underscores and hyphens, at most 128, the first a letter or digit",
        )
    private = members | {"alg": algorithm, "kid": key_id, "use": "sig"}
    public = private if row.kty == "oct" else {k: v for k, v in private.items() if k not in PRIVATE_MEMBERS}
    private_set, public_set = (
        json.dumps({"keys": [key]}, sort_keys=True, separators=(",", ":")) for key in (private, public)
    )
    return KeyPair(parse_jwks(private_set.encode())[0], private_set, public_set)


def default_key_id(key: Jwk, *, prefix: str = "") -> str:
    """The id that a key has when nobody named it: the same for the same key, wherever it is kept.

    Parameters:
        key: with its algorithm.
        prefix: word before the characters of the thumbprint; the algorithm's name in lower case when empty.
    """
    # Only letters and digits of it: an id that begins with `-` would read as a flag.
    return f"{prefix or (key.alg or '').lower()}-{re.sub('[^A-Za-z0-9]', '', key.thumbprint())[:8].lower()}"


def _generate_okp(_row: Algorithm) -> dict[str, str]:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate()
    return {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": render_base64url(private.public_key().public_bytes_raw()),
        "d": render_base64url(private.private_bytes_raw()),
    }


def _generate_ec(row: Algorithm) -> dict[str, str]:
    from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key

    from pipeseal.signing.keys.crypto import curve

    name = _CURVES[row.name]
    size = CURVE_BYTES[name]
    numbers = generate_private_key(curve(name)).private_numbers()
    parts = {"x": numbers.public_numbers.x, "y": numbers.public_numbers.y, "d": numbers.private_value}
    return {"kty": "EC", "crv": name} | {
        part: render_base64url(value.to_bytes(size, "big")) for part, value in parts.items()
    }


def _generate_rsa(row: Algorithm) -> dict[str, str]:
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

    numbers = generate_private_key(public_exponent=65537, key_size=_RSA_BITS[row.name]).private_numbers()
    parts = {
        "n": numbers.public_numbers.n,
        "e": numbers.public_numbers.e,
        "d": numbers.d,
        "p": numbers.p,
        "q": numbers.q,
        "dp": numbers.dmp1,
        "dq": numbers.dmq1,
        "qi": numbers.iqmp,
    }
    return {"kty": "RSA"} | {
        part: render_base64url(value.to_bytes((value.bit_length() + 7) // 8, "big")) for part, value in parts.items()
    }


def _generate_oct(row: Algorithm) -> dict[str, str]:
    import secrets

    return {"kty": "oct", "k": render_base64url(secrets.token_bytes(row.hash_bits // 8))}


_GENERATORS: dict[str, Callable[[Algorithm], dict[str, str]]] = {
    "OKP": _generate_okp,
    "EC": _generate_ec,
    "RSA": _generate_rsa,
    "oct": _generate_oct,
}
