"""Keys in Google Cloud KMS: `gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/V`.

Credentials are the application default ones (`GOOGLE_APPLICATION_CREDENTIALS`, the machine's service account). The
service is asked over its REST API (Cloud KMS v1). Its checksums (CRC32C) are not looked at: each signature is checked
with the public key, which a bit that fell over does not survive.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any

from pipeseal.errors import ConfigurationError, Unavailable, escape_control
from pipeseal.signing.keys.jwk import Jwk
from pipeseal.signing.keys.kept import (
    KeptSigningKey,
    digest_of,
    hash_name,
    make_public_jwk,
    parse_key_uri,
    raw_ecdsa,
    read_public_pem,
    refuse_key,
)
from pipeseal.signing.keys.rest import KeyService, member

HOME = "Google Cloud KMS"
ADDRESS = "https://cloudkms.googleapis.com"
_SETTINGS = frozenset({"endpoint"})
_SCOPE = "https://www.googleapis.com/auth/cloudkms"
_NAME = re.compile(
    r"projects/[a-z0-9:.-]+/locations/[a-z0-9-]+/keyRings/[A-Za-z0-9_-]+/cryptoKeys/[A-Za-z0-9_-]+"
    r"/cryptoKeyVersions/[0-9]+"
)
# CryptoKeyVersionAlgorithm, as far as steps are signed with it.
_ALGORITHMS = {
    "EC_SIGN_P256_SHA256": "ES256",
    "EC_SIGN_P384_SHA384": "ES384",
    "EC_SIGN_ED25519": "EdDSA",
    "RSA_SIGN_PSS_2048_SHA256": "PS256",
    "RSA_SIGN_PSS_3072_SHA256": "PS256",
    "RSA_SIGN_PSS_4096_SHA256": "PS256",
    "RSA_SIGN_PSS_4096_SHA512": "PS512",
}


def open_gcpkms(uri: str, key_id: str) -> KeptSigningKey:
    """The signing key that a URI names.

    Parameters:
        uri: see the first line of this module; `endpoint` after the `?` is another address of the service.
        key_id: the `kid` of its signatures; empty for one made of the thumbprint.

    Raises:
        ConfigurationError: `key.home`, `key.unusable`, or `key.credentials`: none are found.
        Unavailable: `key.service`: Google did not answer, or refused.
    """
    parts = parse_key_uri(uri, settings=_SETTINGS)
    name = parts.path
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            "key.home",
            f"{uri} does not name a version of a key",
            help="write gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/1; a version is "
            "needed, because its public key is what verifiers have",
        )
    address = parts.query.get("endpoint") or ADDRESS
    service = _Service(address)
    answer = service.call("GET", f"/v1/{name}/publicKey")
    google = member(answer, "algorithm", HOME)
    alg = _ALGORITHMS.get(google)
    if alg is None:
        refuse_key(HOME, f"is for {escape_control(google)}, which steps are not signed with")
    public = read_public_pem(member(answer, "pem", HOME), home=HOME)
    jwk = make_public_jwk(public, alg=alg, kid=key_id, home=HOME)
    return KeptSigningKey(HOME, jwk, _signer(service, name, jwk))


def _signer(service: _Service, name: str, jwk: Jwk) -> Callable[[bytes], bytes]:
    alg = jwk.alg or ""

    def sign(signing_input: bytes) -> bytes:
        body: dict[str, Any]
        if jwk.kty == "OKP":
            body = {"data": base64.b64encode(signing_input).decode()}
        else:
            digest = base64.b64encode(digest_of(alg, signing_input)).decode()
            body = {"digest": {hash_name(alg).lower(): digest}}
        answer = service.call("POST", f"/v1/{name}:asymmetricSign", body)
        try:
            signature = base64.b64decode(member(answer, "signature", HOME), validate=True)
        except ValueError:
            raise Unavailable("key.service", f"{HOME} answered with a signature that is not base64") from None
        return raw_ecdsa(signature, jwk, home=HOME) if jwk.kty == "EC" else signature

    return sign


class _Service:
    """The REST API, with a token that is fetched again before it ends."""

    def __init__(self, address: str) -> None:
        try:
            import google.auth
            from google.auth.exceptions import GoogleAuthError
            from google.auth.transport.requests import Request
        except ImportError:
            raise ConfigurationError(
                "key.home",
                "keys in Google Cloud KMS need google-auth, which is not installed",
                help="pip install 'pipeseal[gcp]'",
            ) from None
        KeyService(HOME, address, {})  # before anything is asked for with credentials
        self._address = address
        self._errors: type[Exception] = GoogleAuthError
        self._request = Request()
        try:
            self._credentials, _ = google.auth.default(scopes=[_SCOPE])
        except GoogleAuthError as error:
            raise ConfigurationError(
                "key.credentials",
                f"there are no credentials for {HOME}: {escape_control(str(error).splitlines()[0][:200])}",
                help="set GOOGLE_APPLICATION_CREDENTIALS, or give the machine a service account",
            ) from None

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        if not self._credentials.valid:
            refresh: Callable[[Any], None] = self._credentials.refresh
            try:
                refresh(self._request)
            except self._errors as error:
                raise Unavailable(
                    "key.service",
                    f"no access token for {HOME} could be had: {escape_control(str(error)[:200])}",
                    help="check the credentials and the network, and try again",
                ) from None
        headers = {"Authorization": f"Bearer {self._credentials.token}"}
        return KeyService(HOME, self._address, headers).call(method, path, body)
