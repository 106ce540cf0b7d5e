"""What a provider says of somebody who signed in there: an ID token, and what it proves.

OpenID Connect Core 1.0, https://openid.net/specs/openid-connect-core-1_0.html
"""

from __future__ import annotations

from dataclasses import dataclass
from hmac import compare_digest
from typing import TYPE_CHECKING, Any, Final

import msgspec

from pipeseal.errors import VerificationError
from pipeseal.signing.base64url import parse_base64url

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

_MAX_BYTES: Final = 32_768
_SKEW_SECONDS: Final = 120
_MIN_RSA_BITS: Final = 2048


class _Header(msgspec.Struct):
    alg: str
    kid: str = ""
    crit: Any = None


class _Claims(msgspec.Struct):
    iss: str
    sub: str
    aud: str | list[str]
    exp: int | float
    iat: int | float
    nonce: str = ""
    azp: str = ""
    email: str = ""
    email_verified: bool | str = False
    name: str = ""


class PublicJwk(msgspec.Struct):
    """A public key of the provider; those of other kinds than can be used are left alone. # RFC 7517"""

    kty: str
    kid: str = ""
    use: str = ""
    alg: str = ""
    n: str = ""
    e: str = ""
    crv: str = ""
    x: str = ""
    y: str = ""


@dataclass(frozen=True, slots=True)
class VerifiedIdentity:
    """Who somebody is at a provider; made by `verify_id_token` alone.

    Parameters:
        issuer, subject: together they are one person for ever.
        email: as the provider has verified it; empty when it has not.
        name: for people to see; may be empty.
    """

    issuer: str
    subject: str
    email: str
    name: str


def verify_id_token(
    token: str, keys: list[PublicJwk], *, issuer: str, client_id: str, nonce: str, now: float
) -> VerifiedIdentity:
    """Who an ID token is of.

    Plan:
        1. It is a compact JWS, of a size that makes sense, with `RS256` or `ES256` and no critical extension.
        2. Its signature is by the one key of the provider that it names and that is of the algorithm's kind.
        3. The issuer is the one that was asked.
        4. It is meant for this client, and for this client to use.
        5. It is good now.
        6. It answers this very sign-in.

    Parameters:
        keys: of the provider, fetched from it with TLS.
        nonce: of the sign-in.
        now: seconds since the epoch.

    Does not check: whether the person may sign in here.

    Raises:
        VerificationError: `access.id_token`, whatever is wrong with it.
    """
    # RFC 7515 7.1
    parts = token.split(".")
    if len(token) > _MAX_BYTES or len(parts) != 3:
        raise _refused("it is no compact JWS")
    try:
        header = msgspec.json.decode(parse_base64url(parts[0]), type=_Header)
        claims = msgspec.json.decode(parse_base64url(parts[1]), type=_Claims)
        signature = parse_base64url(parts[2])
    except (ValueError, RecursionError) as error:  # (msgspec's errors are ValueErrors)
        raise _refused("it is no JWS with the claims of an ID token") from error
    if header.alg not in ("RS256", "ES256") or header.crit is not None:  # 1
        raise _refused(f"its algorithm is {header.alg[:20]!r}, or it has critical extensions")
    _check_signature(keys, header, f"{parts[0]}.{parts[1]}".encode("ascii", "replace"), signature)  # 2
    # OpenID Connect Core 3.1.3.7
    if claims.iss != issuer:  # 3
        raise _refused("it is of another issuer")
    audience = [claims.aud] if isinstance(claims.aud, str) else claims.aud
    if client_id not in audience or (len(audience) > 1 and not claims.azp) or claims.azp not in ("", client_id):  # 4
        raise _refused("it is meant for another client")
    if not now - _SKEW_SECONDS < claims.exp or claims.iat > now + _SKEW_SECONDS:  # 5
        raise _refused("it is over, or from a time to come")
    if not nonce or not compare_digest(claims.nonce.encode(), nonce.encode()):  # 6
        raise _refused("it answers another sign-in")
    if not claims.sub or len(claims.sub) > 255:
        raise _refused("it names nobody")
    verified = claims.email_verified is True or claims.email_verified == "true"
    return VerifiedIdentity(claims.iss, claims.sub, claims.email.strip().lower() if verified else "", claims.name)


def _check_signature(keys: list[PublicJwk], header: _Header, signed: bytes, signature: bytes) -> None:
    """Nothing, when the signature is by the key that the header names. # RFC 7518 3.3, 3.4"""
    kind = "RSA" if header.alg == "RS256" else "EC"
    usable = [
        key
        for key in keys
        if key.kty == kind and key.use in ("", "sig") and key.alg in ("", header.alg) and header.kid in ("", key.kid)
    ]
    if len(usable) != 1:
        raise _refused("no key of the provider, or more than one, is the one that it names")
    from cryptography.exceptions import InvalidSignature

    try:
        if kind == "RSA":
            _verify_rsa(_rsa_key(usable[0]), signature, signed)
        else:
            _verify_ec(_ec_key(usable[0]), signature, signed)
    except (InvalidSignature, ValueError) as error:
        raise _refused("its signature is not by that key") from error


def _rsa_key(key: PublicJwk) -> RSAPublicKey:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

    exponent, modulus = (int.from_bytes(parse_base64url(text)) for text in (key.e, key.n))
    if not _MIN_RSA_BITS <= modulus.bit_length() <= 8 * _MIN_RSA_BITS or not 3 <= exponent < 2**32:
        raise ValueError("not a key of a size that is used")
    return RSAPublicNumbers(exponent, modulus).public_key()


def _verify_rsa(key: RSAPublicKey, signature: bytes, signed: bytes) -> None:
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    key.verify(signature, signed, PKCS1v15(), SHA256())


def _ec_key(key: PublicJwk) -> EllipticCurvePublicKey:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicNumbers

    if key.crv != "P-256":
        raise ValueError("another curve")
    x, y = (int.from_bytes(parse_base64url(text)) for text in (key.x, key.y))
    return EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()


def _verify_ec(key: EllipticCurvePublicKey, signature: bytes, signed: bytes) -> None:
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA256

    if len(signature) != 64:
        raise ValueError("not two numbers of 32 bytes")
    r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
    key.verify(encode_dss_signature(r, s), signed, ECDSA(SHA256()))


def _refused(why: str) -> VerificationError:
    return VerificationError("access.id_token", f"the sign-in provider's ID token proves nothing: {why}")
