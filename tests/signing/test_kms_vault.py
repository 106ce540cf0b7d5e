"""Signing keys in the transit engine of Vault and OpenBao: a stand-in, which the vendor's client reads as we do."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from pipeseal.errors import ConfigurationError, Unavailable
from pipeseal.signing.base64url import render_base64url
from pipeseal.signing.keys.open import open_signing_key
from pipeseal.signing.keys.rest import KeyService
from tests.signing.kept_keys import Call, assert_signs_steps, new_private_key, serve, sign_digest

KINDS = {
    "p256": ("ecdsa-p256", "ES256"),
    "p384": ("ecdsa-p384", "ES384"),
    "p521": ("ecdsa-p521", "ES512"),
    "ed25519": ("ed25519", "EdDSA"),
    "rsa-2048": ("rsa-2048", "PS256"),
    "rsa-4096": ("rsa-4096", "PS512"),
}
TOKEN = "s.secret-token"


class FakeVault:
    """The transit engine's two calls, at the mount `transit`, with versions of keys."""

    def __init__(self) -> None:
        self.keys: dict[str, tuple[str, list[Any]]] = {}
        self.calls: list[Call] = []
        self.override: tuple[int, Any] | None = None

    def add(self, kind: str) -> str:
        """A new key, or a further version of the one of that kind."""
        self.keys.setdefault(kind, (KINDS[kind][0], []))[1].append(new_private_key(kind))
        return kind

    def answer(self, call: Call) -> tuple[int, Any]:
        self.calls.append(call)
        if call.headers.get("x-vault-token") != TOKEN:
            return 403, {"errors": ["permission denied"]}
        if self.override is not None:
            return self.override
        _, _, mount, verb, name, *rest = call.path.split("/")
        if mount != "transit" or name not in self.keys:
            return 404, {"errors": []}
        kind, versions = self.keys[name]
        if (call.method, verb) == ("GET", "keys"):
            keys = {str(n): {"public_key": self._public(kind, key)} for n, key in enumerate(versions, 1)}
            return 200, {"data": {"name": name, "type": kind, "latest_version": len(versions), "keys": keys}}
        assert (call.method in {"POST", "PUT"}, verb) == (True, "sign")
        return self._sign(call.body | ({"hash_algorithm": rest[0]} if rest else {}), kind, versions)

    def _public(self, kind: str, key: Any) -> str:
        if kind == "ed25519":
            return base64.b64encode(key.public_key().public_bytes_raw()).decode()
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return str(key.public_key().public_bytes(serialization.Encoding.PEM, form).decode())

    def _sign(self, body: dict[str, Any], kind: str, versions: list[Any]) -> tuple[int, Any]:
        version = body.get("key_version") or len(versions)
        private, message = versions[version - 1], base64.b64decode(body["input"])
        if kind == "ed25519":
            signature = private.sign(message)
        else:
            assert body["prehashed"] is True
            bits = int(body["hash_algorithm"].removeprefix("sha2-"))
            assert kind.startswith("ecdsa") or (body["signature_algorithm"], body["salt_length"]) == ("pss", "hash")
            signature = sign_digest(private, message, bits)
        text = base64.b64encode(signature).decode()
        if body.get("marshaling_algorithm") == "jws":
            size = (private.curve.key_size + 7) // 8
            r, s = decode_dss_signature(signature)
            text = render_base64url(r.to_bytes(size, "big") + s.to_bytes(size, "big"))
        return 200, {"data": {"signature": f"vault:v{version}:{text}", "key_version": version}}


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeVault]:
    fake = FakeVault()
    with serve(fake) as url:
        for prefix in ("VAULT", "BAO"):
            monkeypatch.setenv(f"{prefix}_ADDR", url)
            monkeypatch.setenv(f"{prefix}_TOKEN", TOKEN)
            monkeypatch.delenv(f"{prefix}_NAMESPACE", raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        yield fake


@pytest.mark.parametrize(("kind", "alg"), [(kind, alg) for kind, (_, alg) in KINDS.items()])
def test_steps_signed_there_verify_with_the_public_key(vault: FakeVault, kind: str, alg: str) -> None:
    key = open_signing_key(f"vault://transit/{vault.add(kind)}")
    assert key.alg == alg
    assert_signs_steps(key)


def test_openbao_is_asked_in_its_own_variables(
    vault: FakeVault, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("VAULT_ADDR")
    monkeypatch.delenv("BAO_TOKEN")
    (tmp_path / ".bao-token").write_text(f"{TOKEN}\n", "ascii")
    monkeypatch.setenv("BAO_NAMESPACE", "ci/")
    key = open_signing_key(f"openbao://transit/{vault.add('p256')}?version=1", "release")
    assert key.kid == "release"
    assert_signs_steps(key)
    assert {call.headers["x-vault-namespace"] for call in vault.calls} == {"ci/"}


def test_a_key_stays_at_its_version_when_the_key_is_rotated_there(vault: FakeVault) -> None:
    first = open_signing_key(f"vault://transit/{vault.add('p256')}")
    second = open_signing_key(f"vault://transit/{vault.add('p256')}")
    assert first.thumbprint != second.thumbprint
    assert_signs_steps(first)
    assert_signs_steps(second)
    assert open_signing_key("vault://transit/p256?version=1").thumbprint == first.thumbprint


def test_the_vendors_client_reads_the_stand_in_as_we_do(vault: FakeVault) -> None:
    import os

    import hvac
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256

    name = vault.add("p256")
    with_us = open_signing_key(f"vault://transit/{name}")
    client = hvac.Client(url=os.environ["VAULT_ADDR"], token=TOKEN)
    read = client.secrets.transit.read_key(name=name)["data"]
    public = serialization.load_pem_public_key(read["keys"][str(read["latest_version"])]["public_key"].encode())
    digest = __import__("hashlib").sha256(b"x").digest()
    answer = client.secrets.transit.sign_data(
        name=name, hash_input=base64.b64encode(digest).decode(), hash_algorithm="sha2-256", prehashed=True
    )
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(base64.b64decode(answer["data"]["signature"].split(":")[2]), b"x", ec.ECDSA(SHA256()))
    assert with_us.sign(b"x")
    client.adapter.close()


def test_what_does_not_work_says_what_to_do(vault: FakeVault, monkeypatch: pytest.MonkeyPatch) -> None:
    name = vault.add("p256")
    vault.keys["aes"] = ("aes256-gcm96", [])
    for uri, code in (
        ("vault://transit", "key.home"),
        (f"vault://../transit/{name}", "key.home"),
        (f"vault://transit/{name}?address=http://x", "key.home"),
        (f"vault://transit/{name}?version=7", "key.not_found"),
        (f"vault://transit/{name}?version=x", "key.not_found"),
        ("vault://transit/aes", "key.unusable"),
        (f"vault://transit/{name}?alg=ES512", "key.unusable"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            open_signing_key(uri)
        assert caught.value.code == code, uri
        assert caught.value.help
    with pytest.raises(Unavailable) as missing:
        open_signing_key("vault://transit/nothing")
    assert (missing.value.code, missing.value.status) == ("key.service", 404)
    monkeypatch.setenv("VAULT_TOKEN", "s.another-secret")
    with pytest.raises(Unavailable, match="permission denied") as denied:
        open_signing_key(f"vault://transit/{name}")
    assert "another-secret" not in str(denied.value) + denied.value.help
    monkeypatch.setenv("VAULT_TOKEN", "")
    with pytest.raises(ConfigurationError) as caught:
        open_signing_key(f"vault://transit/{name}")
    assert caught.value.code == "key.credentials"
    monkeypatch.delenv("VAULT_ADDR")
    with pytest.raises(ConfigurationError) as caught:
        open_signing_key(f"vault://transit/{name}")
    assert caught.value.code == "key.home"


def test_credentials_go_nowhere_in_the_clear_but_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_ADDR", "http://vault.example.test:8200")
    monkeypatch.setenv("VAULT_TOKEN", TOKEN)
    with pytest.raises(ConfigurationError, match="in the clear") as caught:
        open_signing_key("vault://transit/k")
    assert caught.value.code == "key.home"


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (200, {}),
        (200, {"data": []}),
        (200, {"data": {"type": "ed25519", "latest_version": 1, "keys": []}}),
        (302, {}),
    ],
)
def test_answers_that_are_none_are_told(vault: FakeVault, status: int, answer: Any) -> None:
    vault.override = (status, answer)
    with pytest.raises((Unavailable, ConfigurationError)) as caught:
        open_signing_key("vault://transit/k")
    assert caught.value.code in {"key.service", "key.not_found"}


@pytest.mark.parametrize("signature", ["", "x", "vault:v2:AA", "vault:v1:=", "vault:v1:A=A"])
def test_signatures_of_another_form_or_version_are_not_taken(vault: FakeVault, signature: str) -> None:
    key = open_signing_key(f"vault://transit/{vault.add('p256')}")
    vault.override = (200, {"data": {"signature": signature}})
    with pytest.raises(Unavailable) as caught:
        key.sign(b"x")
    assert caught.value.code == "key.service"


def test_a_service_that_sends_slowly_is_given_up() -> None:
    class Slow:
        def answer(self, call: Call) -> tuple[int, Any]:
            import time

            time.sleep(1)
            return 200, {}

    with serve(Slow()) as url, pytest.raises(Unavailable, match="did not answer"):
        KeyService("Vault", url, {}, timeout_seconds=0.1).call("GET", "/")
