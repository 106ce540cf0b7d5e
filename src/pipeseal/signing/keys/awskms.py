"""Keys in AWS KMS: `awskms:///KEY?region=REGION`, where KEY is a key id, an ARN or `alias/NAME`.

Credentials, region and endpoint come from where the AWS tools have them (`AWS_*` variables, `~/.aws`, a machine's
role). What is signed is hashed here, so that its length does not matter; Ed25519 alone signs whole texts, of up to
4096 bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeseal.errors import ConfigurationError, Unavailable, escape_control
from pipeseal.signing.keys.jwk import Jwk
from pipeseal.signing.keys.kept import (
    KeptSigningKey,
    digest_of,
    make_public_jwk,
    parse_key_uri,
    raw_ecdsa,
    read_public_pem,
    refuse_key,
)

HOME = "AWS KMS"
MAX_RAW_BYTES = 4096
_SETTINGS = frozenset({"alg", "region"})
_ALGORITHMS = {
    "ES256": "ECDSA_SHA_256",
    "ES384": "ECDSA_SHA_384",
    "ES512": "ECDSA_SHA_512",
    "PS256": "RSASSA_PSS_SHA_256",
    "PS384": "RSASSA_PSS_SHA_384",
    "PS512": "RSASSA_PSS_SHA_512",
    "EdDSA": "ED25519_SHA_512",
}
_TIMEOUT_SECONDS = 10


def open_awskms(uri: str, key_id: str) -> KeptSigningKey:
    """The signing key that a URI names.

    Parameters:
        uri: see the first line of this module; `alg` after the `?` chooses among the algorithms of an RSA key.
        key_id: the `kid` of its signatures; empty for one made of the thumbprint.

    Raises:
        ConfigurationError: `key.home`, `key.unusable`, or `key.credentials`: none are found.
        Unavailable: `key.service`: AWS did not answer, or refused.
    """
    parts = parse_key_uri(uri, settings=_SETTINGS)
    if not parts.path:
        raise ConfigurationError("key.home", f"{uri} names no key", help="write awskms:///alias/NAME or a key's ARN")
    client = _client(parts.query.get("region") or _region_of(parts.path))
    answer = _ask(lambda: client.get_public_key(KeyId=parts.path))
    if answer.get("KeyUsage") != "SIGN_VERIFY":
        refuse_key(HOME, f"is for {escape_control(str(answer.get('KeyUsage')))}, not for signing")
    public = read_public_pem(bytes(answer["PublicKey"]), home=HOME)
    jwk = make_public_jwk(public, alg=parts.query.get("alg", ""), kid=key_id, home=HOME)
    algorithm = _ALGORITHMS.get(jwk.alg or "")
    if algorithm is None or algorithm not in answer.get("SigningAlgorithms", ()):
        refuse_key(HOME, f"does not sign with {jwk.alg}")
    # The key's own id: an alias may be made to mean another key while this one is in use.
    return KeptSigningKey(HOME, jwk, _signer(client, str(answer["KeyId"]), algorithm, jwk))


def _signer(client: Any, key: str, algorithm: str, jwk: Jwk) -> Callable[[bytes], bytes]:
    alg = jwk.alg or ""

    def sign(signing_input: bytes) -> bytes:
        if jwk.kty == "OKP":
            if len(signing_input) > MAX_RAW_BYTES:
                raise ConfigurationError(
                    "key.unusable",
                    f"{HOME} signs at most {MAX_RAW_BYTES} bytes with an Ed25519 key, and this step has "
                    f"{len(signing_input):,}",
                    help="use a key of ECC_NIST_P256, which signs steps of any size",
                )
            message, kind = signing_input, "RAW"
        else:
            message, kind = digest_of(alg, signing_input), "DIGEST"
        answer = _ask(lambda: client.sign(KeyId=key, Message=message, MessageType=kind, SigningAlgorithm=algorithm))
        signature = bytes(answer["Signature"])
        return raw_ecdsa(signature, jwk, home=HOME) if jwk.kty == "EC" else signature

    return sign


def _region_of(key: str) -> str | None:
    # arn:partition:kms:region:account:key/id
    parts = key.split(":")
    return parts[3] or None if len(parts) >= 6 and parts[0] == "arn" else None


def _client(region: str | None) -> Any:
    try:
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
        from botocore.session import get_session
    except ImportError:
        raise ConfigurationError(
            "key.home", "keys in AWS KMS need botocore, which is not installed", help="pip install 'pipeseal[aws]'"
        ) from None
    try:
        return get_session().create_client(
            "kms",
            region_name=region,
            config=Config(
                connect_timeout=_TIMEOUT_SECONDS,
                read_timeout=_TIMEOUT_SECONDS,
                retries={"mode": "standard", "total_max_attempts": 3},
            ),
        )
    except (BotoCoreError, ValueError) as error:
        raise ConfigurationError(
            "key.home",
            f"AWS KMS cannot be asked: {escape_control(str(error)[:300])}",
            help="name the region: awskms:///alias/NAME?region=eu-central-1, or AWS_REGION",
        ) from None


def _ask(call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

    try:
        return call()
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise ConfigurationError(
            "key.credentials",
            f"there are no credentials for AWS KMS: {escape_control(str(error)[:200])}",
            help="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role",
        ) from None
    except ClientError as error:
        about = error.response.get("Error", {})
        raise Unavailable(
            "key.service",
            f"AWS KMS refused: {escape_control(str(about.get('Code')))}: "
            f"{escape_control(str(about.get('Message'))[:300])}",
            help="check the key's name and region, and that these credentials may kms:GetPublicKey and kms:Sign",
            status=error.response.get("ResponseMetadata", {}).get("HTTPStatusCode"),
        ) from None
    except BotoCoreError as error:
        raise Unavailable(
            "key.service",
            f"AWS KMS did not answer: {escape_control(str(error)[:300])}",
            help="check the network and the endpoint, and try again",
        ) from None
