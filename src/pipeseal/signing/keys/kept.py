"""`KeptSigningKey`: a signing key that never leaves its home, and what all such homes have in common.

A home gives two things: the public key, and a function that signs. The rest is here: the key's JWK and its id, the
form that JOSE wants of signatures, and the proof that what came back is a signature of this key.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, NoReturn
from urllib.parse import parse_qsl, unquote

from pipeseal.errors import ConfigurationError, MalformedInput, VerificationError
from pipeseal.signing.base64url import render_base64url
from pipeseal.signing.keys.algorithms import ALGORITHMS, CURVE_BYTES, Algorithm
from pipeseal.signing.keys.crypto import SignatureMismatch, UnusableKey, make_verifier
from pipeseal.signing.keys.generate import default_key_id
from pipeseal.signing.keys.jwk import Jwk, parse_jwks

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

# RFC 7518 section 3.4: each curve has one algorithm.
EC_ALGORITHMS = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
# Of the names that cryptographic libraries have for curves.
_CURVE_NAMES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


class KeyUri(NamedTuple):
    """A key's URI, taken apart.

    Parameters:
        text: the whole of it; holds no secret, see `parse_key_uri`.
        home: its scheme.
        path: what comes after the scheme and any slashes, percent escapes replaced.
        query: settings after `?`.
    """

    text: str
    home: str
    path: str
    query: dict[str, str]


class KeptSigningKey:
    """A signing key whose private part is elsewhere.

    Parameters:
        home: what its home is called in messages.
        jwk: the public key, with its algorithm and id.
        sign: takes the signing input, gives the raw signature as JOSE has it.

    Raises:
        ConfigurationError: `key.unusable`: nothing can be verified with that public key.
    """

    __slots__ = ("_home", "_jwk", "_sign", "_verify", "alg", "kid")

    def __init__(self, home: str, jwk: Jwk, sign: Callable[[bytes], bytes]) -> None:
        self._home = home
        self._jwk = jwk
        self._sign = sign
        self.alg: str = jwk.alg or ""
        self.kid: str | None = jwk.kid
        try:
            self._verify = make_verifier(jwk)
        except UnusableKey as error:
            refuse_key(home, str(error))

    @property
    def thumbprint(self) -> str:
        return self._jwk.thumbprint()

    def public_jwk(self) -> dict[str, str]:
        """The public key, for verification key files."""
        return {**self._jwk.public_material(), "alg": self.alg, "kid": self.kid or "", "use": "sig"}

    def sign(self, signing_input: bytes) -> bytes:
        """The raw signature over `signing_input`, checked with the public key before anyone relies on it.

        Raises:
            Unavailable: `key.service`: the key's home did not answer, or refused.
            VerificationError: `key.wrong_signature`: what it gave is no signature of this key.
        """
        signature = self._sign(signing_input)
        try:
            self._verify(signature, signing_input)
        except SignatureMismatch:
            raise VerificationError(
                "key.wrong_signature",
                f"{self._home} gave something that is not a signature of the key {self.kid!r}",
                help="see whether the key was replaced or rotated there; open it again, and publish its public key",
            ) from None
        return signature

    def __repr__(self) -> str:
        return f"<KeptSigningKey {self.alg} kid={self.kid!r} in {self._home}>"


def parse_key_uri(text: str, *, settings: frozenset[str]) -> KeyUri:
    """A key's URI, taken apart: `home:path?setting=value`, with or without slashes after the colon.

    Parameters:
        settings: names that may stand after the `?`.

    Raises:
        ConfigurationError: `key.home`: a setting that this home does not know, or one that is there twice.
    """
    home, _, rest = text.partition(":")
    location, _, query = rest.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    values = dict(pairs)
    for name in values:
        if name not in settings:
            raise ConfigurationError(
                "key.home",
                f"{home}: keys have no setting {name!r}",
                help=f"after ? there can be: {', '.join(sorted(settings)) or 'nothing'}",
            )
    if len(values) != len(pairs):
        raise ConfigurationError("key.home", f"{text} has a setting twice", help="keep one of them")
    return KeyUri(text, home, unquote(location.lstrip("/")), values)


def make_public_jwk(public: PublicKeyTypes, *, alg: str, kid: str, home: str) -> Jwk:
    """The JWK of a public key from somewhere else.

    Parameters:
        public: of `cryptography`.
        alg: a JOSE algorithm name; empty for the one that fits: the curve's, or for RSA PS512 from 4096 bits on and
            else PS256.
        kid: the key's id; empty for one made of the algorithm and the thumbprint, as for generated keys.
        home: where the key is, for messages.

    Raises:
        ConfigurationError: `key.unusable`: a kind of key or size that steps are not signed with.
    """
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    members: dict[str, str]
    match public:
        case Ed25519PublicKey():
            fitting = "EdDSA"
            members = {"kty": "OKP", "crv": "Ed25519", "x": render_base64url(public.public_bytes_raw())}
        case EllipticCurvePublicKey():
            name = _CURVE_NAMES.get(public.curve.name)
            if name is None:
                curves = ", ".join(CURVE_BYTES)
                refuse_key(home, f"is on the curve {public.curve.name}, and steps are signed on {curves}")
            fitting = EC_ALGORITHMS[name]
            point = public.public_numbers()
            size = CURVE_BYTES[name]
            coordinates = {"x": point.x, "y": point.y}
            members = {"kty": "EC", "crv": name} | {
                part: render_base64url(value.to_bytes(size, "big")) for part, value in coordinates.items()
            }
        case RSAPublicKey():
            fitting = "PS512" if public.key_size >= 4096 else "PS256"
            numbers = public.public_numbers()
            members = {"kty": "RSA"} | {
                part: render_base64url(value.to_bytes((value.bit_length() + 7) // 8, "big"))
                for part, value in (("n", numbers.n), ("e", numbers.e))
            }
        case _:
            refuse_key(home, f"is of a kind ({type(public).__name__}) that steps are not signed with")
    members |= {"alg": alg or fitting, "use": "sig"}
    try:
        jwk = parse_jwks(json.dumps(members).encode())[0]
    except MalformedInput as error:
        refuse_key(home, error.message.removeprefix("key number 1 of the key file "))
    row = ALGORITHMS.get(jwk.alg or "")
    if row is None or row.kty != jwk.kty or (jwk.kty == "EC" and jwk.alg != fitting):
        refuse_key(home, f"cannot sign with {jwk.alg}; {fitting} fits it")
    jwk.kid = kid or default_key_id(jwk)
    return jwk


def read_public_pem(text: str | bytes, *, home: str) -> PublicKeyTypes:
    """The public key in a PEM text, or in DER.

    Raises:
        ConfigurationError: `key.unusable`: there is none in it.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

    try:
        return load_der_public_key(text) if isinstance(text, bytes) else load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        refuse_key(home, "has a public key that cannot be read")


def digest_of(alg: str, signing_input: bytes) -> bytes:
    """The hash that an algorithm signs (RFC 7518 sections 3.3 to 3.5); not for Ed25519, which has none."""
    import hashlib

    return hashlib.new(f"sha{ALGORITHMS[alg].hash_bits}", signing_input).digest()


def hash_name(alg: str) -> str:
    """Such as `SHA256`."""
    return f"SHA{ALGORITHMS[alg].hash_bits}"


def row_of(alg: str) -> Algorithm:
    """The table's row for an algorithm."""
    return ALGORITHMS[alg]


def raw_ecdsa(der: bytes, jwk: Jwk, *, home: str) -> bytes:
    """An ECDSA signature as JOSE has it (RFC 7518 section 3.4: R and S at full size), from DER.

    Raises:
        VerificationError: `key.wrong_signature`: it is no such signature.
    """
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    size = CURVE_BYTES[jwk.crv or ""]
    try:
        r, s = decode_dss_signature(der)
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")
    except (ValueError, OverflowError):
        raise VerificationError(
            "key.wrong_signature",
            f"{home} gave something that is not an ECDSA signature",
            help="see whether the key was replaced there",
        ) from None


def refuse_key(home: str, why: str) -> NoReturn:
    """Say that a key does not serve.

    Raises:
        ConfigurationError: `key.unusable`.
    """
    raise ConfigurationError(
        "key.unusable",
        f"the key in {home} {why}",
        help="make a key for signing there: Ed25519, ECDSA P-256, P-384 or P-521, or RSA of 3072 bits or more (PSS)",
    )
