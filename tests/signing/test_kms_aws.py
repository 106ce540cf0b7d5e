"""Signing keys in AWS KMS: its own client library against a stand-in that verifies like the service."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeseal.errors import ConfigurationError, Unavailable
from pipeseal.signing.keys.awskms import MAX_RAW_BYTES
from pipeseal.signing.keys.open import open_signing_key
from tests.controlplane.s3_server import CREDENTIALS, aws_server
from tests.signing.kept_keys import assert_signs_steps

REGION = "eu-central-1"
KINDS = [
    ("ECC_NIST_P256", "ES256"),
    ("ECC_NIST_P384", "ES384"),
    ("ECC_NIST_P521", "ES512"),
    ("ECC_NIST_EDWARDS25519", "EdDSA"),
    ("RSA_2048", "PS256"),
    ("RSA_4096", "PS512"),
]


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with aws_server(tmp_path_factory.mktemp("aws"), "kms") as url:
        yield url


@pytest.fixture
def aws(endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], Any]:
    """Makes clients of the vendor's own library; the environment is as the AWS tools want it."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", endpoint)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def client() -> Any:
        from botocore.session import get_session

        return get_session().create_client("kms", region_name=REGION)

    return client


def make_key(client: Any, spec: str, usage: str = "SIGN_VERIFY") -> str:
    return str(client.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["KeyId"])


@pytest.mark.parametrize(("spec", "alg"), KINDS)
def test_steps_signed_there_verify_with_the_public_key(aws: Callable[[], Any], spec: str, alg: str) -> None:
    key = open_signing_key(f"awskms:///{make_key(aws(), spec)}?region={REGION}")
    assert key.alg == alg
    assert_signs_steps(key)


def test_keys_are_found_by_alias_and_the_alias_may_move_while_a_key_is_open(aws: Callable[[], Any]) -> None:
    client = aws()
    first, second = make_key(client, "ECC_NIST_P256"), make_key(client, "ECC_NIST_P256")
    client.create_alias(AliasName="alias/pipeseal", TargetKeyId=first)
    key = open_signing_key(f"awskms:///alias/pipeseal?region={REGION}", "release")
    assert key.kid == "release"
    client.update_alias(AliasName="alias/pipeseal", TargetKeyId=second)
    assert_signs_steps(key)
    moved = open_signing_key(f"awskms:///alias/pipeseal?region={REGION}")
    assert moved.thumbprint != key.thumbprint


def test_the_region_of_an_arn_is_used(aws: Callable[[], Any]) -> None:
    client = aws()
    arn = client.describe_key(KeyId=make_key(client, "ECC_NIST_P256"))["KeyMetadata"]["Arn"]
    assert open_signing_key(f"awskms:{arn}").alg == "ES256"


def test_one_of_an_rsa_keys_algorithms_can_be_chosen(aws: Callable[[], Any]) -> None:
    name = make_key(aws(), "RSA_2048")
    key = open_signing_key(f"awskms:///{name}?region={REGION}&alg=PS384")
    assert key.alg == "PS384"
    assert_signs_steps(key)
    with pytest.raises(ConfigurationError) as caught:
        open_signing_key(f"awskms:///{name}?region={REGION}&alg=RS256")
    assert caught.value.code == "key.unusable"


def test_ed25519_there_signs_no_long_texts_and_says_so(aws: Callable[[], Any]) -> None:
    key = open_signing_key(f"awskms:///{make_key(aws(), 'ECC_NIST_EDWARDS25519')}?region={REGION}")
    key.sign(b"x" * MAX_RAW_BYTES)
    with pytest.raises(ConfigurationError, match="4096 bytes") as caught:
        key.sign(b"x" * (MAX_RAW_BYTES + 1))
    assert caught.value.code == "key.unusable"


def test_what_does_not_work_says_what_to_do(
    aws: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    client = aws()
    for uri, code in (
        ("awskms:///", "key.home"),
        (f"awskms:///alias/x?regoin={REGION}", "key.home"),
        (f"awskms:///{make_key(client, 'ECC_SECG_P256K1')}?region={REGION}", "key.unusable"),
        (f"awskms:///{make_key(client, 'RSA_2048', 'ENCRYPT_DECRYPT')}?region={REGION}", "key.unusable"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            open_signing_key(uri)
        assert caught.value.code == code, uri
        assert caught.value.help
    with pytest.raises(Unavailable, match="NotFoundException") as missing:
        open_signing_key(f"awskms:///alias/nothing?region={REGION}")
    assert missing.value.code == "key.service"
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigurationError) as caught:
        open_signing_key(f"awskms:///alias/x?region={REGION}")
    assert caught.value.code == "key.credentials"


def test_a_service_that_is_not_there_is_told(aws: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(Unavailable, match="did not answer") as caught:
        open_signing_key(f"awskms:///alias/x?region={REGION}")
    assert caught.value.code == "key.service"


def test_the_public_key_is_a_jwk_with_an_id(aws: Callable[[], Any]) -> None:
    name = make_key(aws(), "ECC_NIST_P256")
    jwk = open_signing_key(f"awskms:///{name}?region={REGION}").public_jwk()
    assert jwk["kid"].startswith("es256-")
    assert jwk == open_signing_key(f"awskms:{name}?region={REGION}").public_jwk()
    assert set(jwk) == {"kty", "crv", "x", "y", "alg", "kid", "use"}
    assert json.dumps(jwk)
