"""Signing keys in Google Cloud KMS: a stand-in, which the vendor's own client reads as we do."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256

from pipeseal.errors import ConfigurationError, Unavailable, VerificationError
from pipeseal.signing.keys.open import open_signing_key
from tests.signing.kept_keys import Call, assert_signs_steps, new_private_key, serve, sign_digest

RING = "projects/acme-ci/locations/europe-west3/keyRings/ci/cryptoKeys"
KINDS = {
    "p256": ("EC_SIGN_P256_SHA256", "ES256"),
    "p384": ("EC_SIGN_P384_SHA384", "ES384"),
    "ed25519": ("EC_SIGN_ED25519", "EdDSA"),
    "rsa-2048": ("RSA_SIGN_PSS_2048_SHA256", "PS256"),
    "rsa-4096": ("RSA_SIGN_PSS_4096_SHA512", "PS512"),
    "secp256k1": ("EC_SIGN_SECP256K1_SHA256", ""),
}


class FakeGoogle:
    """Cloud KMS's two calls and the token service, as far as keys for signing go; credentials are really checked."""

    def __init__(self, account: Any) -> None:
        self.account = account
        self.url = ""
        self.keys: dict[str, tuple[str, Any]] = {}
        self.tokens = 0
        self.break_answers: dict[str, Any] | bytes | None = None

    def add(self, kind: str) -> str:
        name = f"{RING}/{kind}/cryptoKeyVersions/{len(self.keys) + 1}"
        self.keys[name] = (KINDS[kind][0], new_private_key(kind))
        return name

    def answer(self, call: Call) -> tuple[int, Any]:
        path = call.path.partition("?")[0]
        if path == "/token":
            return self._token(call)
        if call.headers.get("authorization") != f"Bearer token-{self.tokens}":
            return 401, {"error": {"code": 401, "message": "no valid credentials", "status": "UNAUTHENTICATED"}}
        name, colon, verb = path.removeprefix("/v1/").partition(":")
        name = name.removesuffix("/publicKey")
        if name not in self.keys:
            return 404, {"error": {"code": 404, "message": f"{name} not found.", "status": "NOT_FOUND"}}
        if self.break_answers is not None:
            return 200, self.break_answers
        algorithm, private = self.keys[name]
        if not colon:
            pem = private.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            return 200, {"name": name, "algorithm": algorithm, "pem": pem.decode(), "protectionLevel": "HSM"}
        assert (call.method, verb) == ("POST", "asymmetricSign")
        if algorithm == "EC_SIGN_ED25519":
            signature = private.sign(base64.b64decode(call.body["data"]))
        else:
            bits = int(algorithm.rpartition("SHA")[2])
            assert list(call.body["digest"]) == [f"sha{bits}"]
            signature = sign_digest(private, base64.b64decode(call.body["digest"][f"sha{bits}"]), bits)
        return 200, {"name": name, "signature": base64.b64encode(signature).decode()}

    def _token(self, call: Call) -> tuple[int, Any]:
        """RFC 7523: a JWT that the service account signed, for a token."""
        form = parse_qs(call.body.decode())
        head, claims, signature = form["assertion"][0].split(".")
        self.account.public_key().verify(
            base64.urlsafe_b64decode(signature + "=="), f"{head}.{claims}".encode(), padding.PKCS1v15(), SHA256()
        )
        scope = json.loads(base64.urlsafe_b64decode(claims + "=="))["scope"]
        assert scope == "https://www.googleapis.com/auth/cloudkms"
        self.tokens += 1
        return 200, {"access_token": f"token-{self.tokens}", "expires_in": 3600, "token_type": "Bearer"}


@pytest.fixture(scope="module")
def account() -> Any:
    return new_private_key("rsa-2048")


@pytest.fixture
def google(account: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGoogle]:
    fake = FakeGoogle(account)
    with serve(fake) as url:
        fake.url = url
        pem = account.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file = tmp_path / "account.json"
        document = {
            "type": "service_account", "project_id": "acme-ci", "private_key_id": "1", "private_key": pem.decode(),
            "client_email": "ci@acme-ci.iam.gserviceaccount.com", "token_uri": f"{url}/token",
        }  # fmt: skip
        file.write_text(json.dumps(document), "utf-8")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
        yield fake


@pytest.mark.parametrize(("kind", "alg"), [(kind, alg) for kind, (_, alg) in KINDS.items() if alg])
def test_steps_signed_there_verify_with_the_public_key(google: FakeGoogle, kind: str, alg: str) -> None:
    key = open_signing_key(f"gcpkms://{google.add(kind)}?endpoint={google.url}")
    assert key.alg == alg
    assert (key.kid or "").startswith(f"{alg.lower()}-")
    assert_signs_steps(key)
    assert google.tokens == 1


def test_the_vendors_client_reads_the_stand_in_as_we_do(google: FakeGoogle) -> None:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import kms
    from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceRestTransport

    name = google.add("p256")
    key = open_signing_key(f"gcpkms://{name}?endpoint={google.url}")

    class Token(AnonymousCredentials):
        def before_request(self, request: Any, method: Any, url: Any, headers: Any) -> None:
            headers["authorization"] = f"Bearer token-{google.tokens}"

    token: Any = Token
    transport: Any = KeyManagementServiceRestTransport(
        host=google.url.removeprefix("http://"), url_scheme="http", credentials=token()
    )
    client = kms.KeyManagementServiceClient(transport=transport)
    public = client.get_public_key(request={"name": name})
    assert public.algorithm.name == "EC_SIGN_P256_SHA256"
    ours = google.keys[name][1].public_key()
    assert serialization.load_pem_public_key(public.pem.encode()) == ours
    import hashlib

    from cryptography.hazmat.primitives.asymmetric import ec

    answer = client.asymmetric_sign(request={"name": name, "digest": {"sha256": hashlib.sha256(b"x").digest()}})
    ours.verify(answer.signature, b"x", ec.ECDSA(SHA256()))
    assert key.sign(b"x")
    transport.close()


def test_the_token_is_fetched_again_when_it_has_ended(google: FakeGoogle) -> None:
    key = open_signing_key(f"gcpkms://{google.add('p256')}?endpoint={google.url}", "release")
    assert key.kid == "release"
    from datetime import datetime

    service: Any = key._sign.__closure__  # type: ignore[attr-defined]  # the one way to make its token old
    credentials = next(
        cell.cell_contents._credentials for cell in service if hasattr(cell.cell_contents, "_credentials")
    )
    credentials.expiry = datetime(2020, 1, 1)  # noqa: DTZ001  # as google-auth has it
    key.sign(b"x")
    assert google.tokens == 2


def test_what_does_not_work_says_what_to_do(
    google: FakeGoogle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    good = google.add("p256")
    for uri, code in (
        (f"gcpkms://{RING}/k?endpoint={google.url}", "key.home"),
        (f"gcpkms://{good}/../x?endpoint={google.url}", "key.home"),
        (f"gcpkms://{good}?endpoint=http://kms.example.test", "key.home"),
        (f"gcpkms://{good}?endpoint=ftp://127.0.0.1", "key.home"),
        (f"gcpkms://{google.add('secp256k1')}?endpoint={google.url}", "key.unusable"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            open_signing_key(uri)
        assert caught.value.code == code, uri
        assert caught.value.help
    with pytest.raises(Unavailable, match="not found") as missing:
        open_signing_key(f"gcpkms://{RING}/none/cryptoKeyVersions/1?endpoint={google.url}")
    assert (missing.value.code, missing.value.status) == ("key.service", 404)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none"))
    with pytest.raises(ConfigurationError) as caught:
        open_signing_key(f"gcpkms://{good}?endpoint={google.url}")
    assert caught.value.code == "key.credentials"


@pytest.mark.parametrize(
    "answer",
    [b"", b"[]", b"\xff", b"[" * 100_000, b" " * (2 << 20), {}, {"signature": 3}, {"signature": "%"}],
)
def test_answers_that_are_none_are_told(google: FakeGoogle, answer: Any) -> None:
    key = open_signing_key(f"gcpkms://{google.add('p256')}?endpoint={google.url}")
    google.break_answers = answer
    with pytest.raises(Unavailable) as caught:
        key.sign(b"x")
    assert caught.value.code == "key.service"


@pytest.mark.parametrize("signature", [b"", b"0" * 64, b"\x30\x06\x02\x01\x01\x02\x01\x01"])
def test_a_signature_that_is_not_the_keys_goes_no_further(google: FakeGoogle, signature: bytes) -> None:
    key = open_signing_key(f"gcpkms://{google.add('p256')}?endpoint={google.url}")
    google.break_answers = {"signature": base64.b64encode(signature).decode() or "AA=="}
    with pytest.raises(VerificationError) as caught:
        key.sign(b"x")
    assert caught.value.code == "key.wrong_signature"
