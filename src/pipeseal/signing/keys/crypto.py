"""Raw signatures: the only place that calls a cryptographic library, one signer and one verifier for each algorithm.

Ed25519 goes through libsodium (PyNaCl): it takes 0.7 of the time of `cryptography` to sign and 0.6 to verify, half of
it to import, and is as strict (S below the order, no small-order points, RFC 8032 section 5.1.7). The others go
through `cryptography`. Everything is imported where it is needed: a command that signs one step must not pay for RSA.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import TYPE_CHECKING

from pipeseal.errors import ConfigurationError
from pipeseal.signing.keys.algorithms import ALGORITHMS, CURVE_BYTES, Algorithm
from pipeseal.signing.keys.jwk import Jwk

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurve
    from cryptography.hazmat.primitives.asymmetric.padding import AsymmetricPadding
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
    from cryptography.hazmat.primitives.hashes import HashAlgorithm

# Takes the signing input, gives the raw signature.
Signer = Callable[[bytes], bytes]
# Takes the raw signature and the signing input; raises `SignatureMismatch` unless the signature is right.
Verifier = Callable[[bytes, bytes], None]


class SignatureMismatch(Exception):
    """The signature is not one that this key made over these bytes."""


class UnusableKey(Exception):
    """This key cannot serve its algorithm; the text says why without key material."""


def make_signer(key: Jwk) -> Signer:
    """A function that signs bytes with the private key `key`, by the algorithm its `alg` names.

    Raises:
        ConfigurationError: `key.unusable`: no algorithm, one we do not sign with, or one that does not fit the key;
            `key.not_private`: a public key.
    """
    algorithm = ALGORITHMS.get(key.alg or "")
    if algorithm is None:
        raise _unusable(key, f"has the algorithm {key.alg or '(none)'}, which steps are not signed with")
    if algorithm.kty != key.kty:
        raise _unusable(key, f"is of type {key.kty}, and {algorithm.name} needs {algorithm.kty}")
    if not key.is_private:
        raise ConfigurationError(
            "key.not_private",
            f"the key {key.kid!r} is a public key and cannot sign",
            help="give the private file that `pipeseal tool keygen` wrote beside the public one",
        )
    if key.ambiguous:
        raise _unusable(key, "has a member twice in its file")
    try:
        return _SIGNERS[algorithm.kty](key, algorithm)
    except UnusableKey as error:
        raise _unusable(key, str(error)) from None


def make_verifier(key: Jwk) -> Verifier:
    """A function that checks raw signatures with `key`, by the algorithm its `alg` names.

    Raises:
        UnusableKey: nothing can be verified with this key.
    """
    algorithm = ALGORITHMS.get(key.alg or "")
    if algorithm is None:
        raise UnusableKey(f"has the algorithm {key.alg or '(none)'}, which nothing is verified with")
    if algorithm.kty != key.kty:
        raise UnusableKey(f"is of type {key.kty}, and {algorithm.name} needs {algorithm.kty}")
    if key.ambiguous:
        raise UnusableKey("has a member twice in its file")
    return _VERIFIERS[algorithm.kty](key, algorithm)


def curve(name: str) -> EllipticCurve:
    """The curve called `name` (RFC 7518 section 6.2.1.1)."""
    from cryptography.hazmat.primitives.asymmetric import ec

    curves: dict[str, EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
    return curves[name]


def _unusable(key: Jwk, why: str) -> ConfigurationError:
    return ConfigurationError(
        "key.unusable",
        f"the key {key.kid!r} {why}",
        help="make a key with `pipeseal tool keygen`",
    )


def _hash(algorithm: Algorithm) -> HashAlgorithm:
    from cryptography.hazmat.primitives import hashes

    digests: dict[int, HashAlgorithm] = {256: hashes.SHA256(), 384: hashes.SHA384(), 512: hashes.SHA512()}
    return digests[algorithm.hash_bits]


# --- Ed25519 (RFC 8037 section 3.1) ---------------------------------------------------------------------------------


def _ed25519_signer(key: Jwk, _algorithm: Algorithm) -> Signer:
    from nacl.bindings import crypto_sign, crypto_sign_BYTES, crypto_sign_seed_keypair

    if key.crv != "Ed25519":
        raise UnusableKey(f"is on the curve {key.crv}, and only Ed25519 is signed with")
    public, private = crypto_sign_seed_keypair(key.material["d"])
    if public != key.material["x"]:
        raise UnusableKey("has halves (`x`, `d`) that do not belong together")

    def sign(signing_input: bytes) -> bytes:
        return crypto_sign(signing_input, private)[:crypto_sign_BYTES]

    return sign


def _ed25519_verifier(key: Jwk, _algorithm: Algorithm) -> Verifier:
    from nacl.bindings import crypto_sign_open
    from nacl.exceptions import BadSignatureError

    if key.crv != "Ed25519":
        raise UnusableKey(f"is on the curve {key.crv}, and only Ed25519 is verified with")
    public = key.material["x"]

    def verify(signature: bytes, signing_input: bytes) -> None:
        if len(signature) != 64:
            raise SignatureMismatch
        try:
            crypto_sign_open(signature + signing_input, public)
        except BadSignatureError:
            raise SignatureMismatch from None

    return verify


# --- ECDSA (RFC 7518 section 3.4); the hash follows the algorithm's name, the curve follows the key -----------------


def _ecdsa_signer(key: Jwk, algorithm: Algorithm) -> Signer:
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, derive_private_key
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    assert key.crv is not None  # an EC key without a curve does not load
    try:
        private = derive_private_key(int.from_bytes(key.material["d"], "big"), curve(key.crv))
    except ValueError:
        raise UnusableKey("has a private part (`d`) outside its curve's range") from None
    size = CURVE_BYTES[key.crv]
    point = private.public_key().public_numbers()
    if (point.x, point.y) != tuple(int.from_bytes(key.material[name], "big") for name in ("x", "y")):
        raise UnusableKey("has halves (`x`, `y` and `d`) that do not belong together")
    scheme = ECDSA(_hash(algorithm))

    def sign(signing_input: bytes) -> bytes:
        r, s = decode_dss_signature(private.sign(signing_input, scheme))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    return sign


def _ecdsa_verifier(key: Jwk, algorithm: Algorithm) -> Verifier:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    assert key.crv is not None  # an EC key without a curve does not load
    public = EllipticCurvePublicKey.from_encoded_point(
        curve(key.crv), b"\x04" + key.material["x"] + key.material["y"]
    )
    size = CURVE_BYTES[key.crv]
    scheme = ECDSA(_hash(algorithm))

    def verify(signature: bytes, signing_input: bytes) -> None:
        if len(signature) != 2 * size:
            raise SignatureMismatch
        r, s = int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
        try:
            public.verify(encode_dss_signature(r, s), signing_input, scheme)
        except InvalidSignature:
            raise SignatureMismatch from None

    return verify


# --- RSA (RFC 7518 sections 3.3 and 3.5) ----------------------------------------------------------------------------


def _rsa_padding(algorithm: Algorithm) -> AsymmetricPadding:
    from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, PKCS1v15

    if algorithm.name.startswith("RS"):
        return PKCS1v15()
    # RFC 7518 section 3.5: MGF1 with the same hash, and a salt exactly as long as the hash.
    return PSS(mgf=MGF1(_hash(algorithm)), salt_length=algorithm.hash_bits // 8)


def _rsa_signer(key: Jwk, algorithm: Algorithm) -> Signer:
    private = _rsa_private_key(key)
    padding, digest = _rsa_padding(algorithm), _hash(algorithm)

    def sign(signing_input: bytes) -> bytes:
        return private.sign(signing_input, padding, digest)

    return sign


def _rsa_private_key(key: Jwk) -> RSAPrivateKey:
    from cryptography.hazmat.primitives.asymmetric import rsa

    number = {name: int.from_bytes(value, "big") for name, value in key.material.items()}
    if not number.get("p") or not number.get("q"):
        raise UnusableKey("lacks its prime factors (`p`, `q`)")
    d, p, q = (number[name] for name in ("d", "p", "q"))
    try:
        # The other parts follow from these; computing them spares us from trusting what the file says.
        return rsa.RSAPrivateNumbers(
            p=p,
            q=q,
            d=d,
            dmp1=rsa.rsa_crt_dmp1(d, p),
            dmq1=rsa.rsa_crt_dmq1(d, q),
            iqmp=rsa.rsa_crt_iqmp(p, q),
            public_numbers=rsa.RSAPublicNumbers(e=number["e"], n=number["n"]),
        ).private_key()
    except (ValueError, ZeroDivisionError):
        raise UnusableKey("has parts that do not belong together") from None


def _rsa_verifier(key: Jwk, algorithm: Algorithm) -> Verifier:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import rsa

    try:
        public: RSAPublicKey = rsa.RSAPublicNumbers(
            e=int.from_bytes(key.material["e"], "big"), n=int.from_bytes(key.material["n"], "big")
        ).public_key()
    except ValueError:
        raise UnusableKey("has a modulus or exponent that no RSA key has") from None
    padding, digest = _rsa_padding(algorithm), _hash(algorithm)

    def verify(signature: bytes, signing_input: bytes) -> None:
        try:
            public.verify(signature, signing_input, padding, digest)
        except InvalidSignature:
            raise SignatureMismatch from None

    return verify


# --- HMAC (RFC 7518 section 3.2) ------------------------------------------------------------------------------------


def _hmac_signer(key: Jwk, algorithm: Algorithm) -> Signer:
    secret, digest = key.material["k"], f"sha{algorithm.hash_bits}"
    return lambda signing_input: hmac.digest(secret, signing_input, digest)


def _hmac_verifier(key: Jwk, algorithm: Algorithm) -> Verifier:
    secret, digest = key.material["k"], f"sha{algorithm.hash_bits}"

    def verify(signature: bytes, signing_input: bytes) -> None:
        if not hmac.compare_digest(hmac.digest(secret, signing_input, digest), signature):
            raise SignatureMismatch

    return verify


_SIGNERS: dict[str, Callable[[Jwk, Algorithm], Signer]] = {
    "OKP": _ed25519_signer,
    "EC": _ecdsa_signer,
    "RSA": _rsa_signer,
    "oct": _hmac_signer,
}
_VERIFIERS: dict[str, Callable[[Jwk, Algorithm], Verifier]] = {
    "OKP": _ed25519_verifier,
    "EC": _ecdsa_verifier,
    "RSA": _rsa_verifier,
    "oct": _hmac_verifier,
}
