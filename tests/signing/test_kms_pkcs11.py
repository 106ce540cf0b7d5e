"""Signing keys in a PKCS #11 token: SoftHSM2, which is one in software."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.peers import find_peer
from pipeseal.errors import ConfigurationError
from pipeseal.signing.keys.open import open_signing_key
from pipeseal.signing.keys.pkcs11 import PIN_VARIABLE, parse_token_uri
from tests.signing.kept_keys import assert_signs_steps

pytestmark = pytest.mark.peer("softhsm2")

PIN = "1234-secret"
KINDS = {
    "p256": ("EC", "secp256r1", "ES256"),
    "p384": ("EC", "secp384r1", "ES384"),
    "p521": ("EC", "secp521r1", "ES512"),
    "ed25519": ("EC_EDWARDS", "edwards25519", "EdDSA"),
    "rsa2048": ("RSA", "2048", "PS256"),
}


class Token:
    """A token with one key of each kind, and `twins`: two keys of one label."""

    def __init__(self, folder: Path) -> None:
        self.module = find_peer("softhsm2").path
        (folder / "tokens").mkdir()
        config = folder / "softhsm2.conf"
        config.write_text(f"directories.tokendir = {folder}/tokens\nlog.level = ERROR\n", "utf-8")
        # The library reads it once in a process, when it is first used.
        os.environ["SOFTHSM2_CONF"] = str(config)
        self._init("pipeseal")
        self._init("empty")
        self.pin_file = folder / "pin"
        self.pin_file.write_text(f"{PIN}\n", "utf-8")
        self.pin_file.chmod(0o600)
        import pkcs11

        with pkcs11.lib(str(self.module)).get_token(token_label="pipeseal").open(rw=True, user_pin=PIN) as session:
            for number, (label, (kind, detail, _)) in enumerate(KINDS.items(), 1):
                make_pair(session, label, bytes([number]), kind, detail)
            make_pair(session, "twins", b"\x71", "EC", "secp256r1")
            make_pair(session, "twins", b"\x72", "EC", "secp256r1")
            make_pair(session, "odd", b"\x73", "EC", "secp256k1")

    def _init(self, label: str) -> None:
        words = ["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", PIN]
        subprocess.run(words, check=True, capture_output=True)

    def uri(self, rest: str, *, pin: bool = True) -> str:
        source = f"&pin-source=file:{self.pin_file}" if pin else ""
        return f"pkcs11:token=pipeseal;{rest}?module-path={self.module}{source}"


def make_pair(session: Any, label: str, number: bytes, kind: str, detail: str) -> None:
    from pkcs11 import Attribute, KeyType
    from pkcs11.util.ec import encode_named_curve_parameters

    if kind == "RSA":
        session.generate_keypair(KeyType.RSA, int(detail), label=label, id=number, store=True)
        return
    # PKCS #11 3.1 section 6.3.5: an Edwards curve by name, as a PrintableString.
    encoded = b"\x13\x0cedwards25519" if kind == "EC_EDWARDS" else encode_named_curve_parameters(detail)
    parameters = session.create_domain_parameters(KeyType[kind], {Attribute.EC_PARAMS: encoded}, local=True)
    parameters.generate_keypair(label=label, id=number, store=True)


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Token]:
    before = os.environ.get("SOFTHSM2_CONF")
    yield Token(tmp_path_factory.mktemp("softhsm"))
    if before is None:
        os.environ.pop("SOFTHSM2_CONF", None)
    else:
        os.environ["SOFTHSM2_CONF"] = before


@pytest.mark.parametrize(("label", "alg"), [(label, alg) for label, (_, _, alg) in KINDS.items()])
def test_steps_signed_there_verify_with_the_public_key(token: Token, label: str, alg: str) -> None:
    key = open_signing_key(token.uri(f"object={label}"))
    assert key.alg == alg
    assert_signs_steps(key)


def test_two_keys_of_one_label_are_told_apart_by_id(token: Token, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PIN_VARIABLE, PIN)
    first = open_signing_key(token.uri("object=twins;id=%71", pin=False))
    second = open_signing_key(token.uri("id=r;type=private", pin=False), "release")
    assert first.thumbprint != second.thumbprint
    assert second.kid == "release"
    assert_signs_steps(second)
    with pytest.raises(ConfigurationError, match="2 private keys") as caught:
        open_signing_key(token.uri("object=twins"))
    assert caught.value.code == "key.not_found"


def test_what_does_not_work_says_what_to_do(token: Token, tmp_path: Path) -> None:
    wrong = tmp_path / "pin"
    wrong.write_text("wrong-pin", "utf-8")
    wrong.chmod(0o600)
    open_to_all = tmp_path / "open"
    open_to_all.write_text(PIN, "utf-8")
    open_to_all.chmod(0o666)
    module = token.module
    for uri, code in (
        (f"pkcs11:token=pipeseal;object=p256?module-path={module}", "key.credentials"),
        (f"pkcs11:token=empty;object=p256?module-path={module}&pin-source=file:{wrong}", "key.credentials"),
        (f"pkcs11:object=p256?module-path={module}&pin-source=file:{wrong}", "key.not_found"),
        (f"pkcs11:token=pipeseal;object=p256?module-path={module}&pin-source={open_to_all}", "key.permissions"),
        (f"pkcs11:token=pipeseal;object=p256?module-path={module}&pin-value={PIN}", "key.home"),
        (token.uri("object=nothing"), "key.not_found"),
        (token.uri("object=odd"), "key.unusable"),
        (token.uri("object=p256").replace("token=pipeseal", "token=other"), "key.not_found"),
        (token.uri("object=p256").replace(str(module), "/nowhere.so"), "key.home"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            open_signing_key(uri)
        assert caught.value.code == code, uri
        assert caught.value.help
        assert PIN not in str(caught.value) + caught.value.help


def test_uris_are_read_as_the_standard_has_them() -> None:
    uri = parse_token_uri(
        "pkcs11:token=The%20Software%20Token;serial=DECC;slot-id=3;object=my%3bkey;id=%01%ff?module-path=/a/b.so&alg=PS512"
    )
    assert (uri.token, uri.serial, uri.slot, uri.label, uri.id) == (
        "The Software Token", "DECC", 3, "my;key", b"\x01\xff",
    )  # fmt: skip
    for bad in (
        "pkcs11:",
        "pkcs11:object=k",
        "pkcs11:object=k?module-path=relative.so",
        "pkcs11:token=t?module-path=/a.so",
        "pkcs11:object=k;object=l?module-path=/a.so",
        "pkcs11:object=k;colour=red?module-path=/a.so",
        "pkcs11:object=k;type=public?module-path=/a.so",
        "pkcs11:object=k;slot-id=x?module-path=/a.so",
    ):
        with pytest.raises(ConfigurationError) as caught:
            parse_token_uri(bad)
        assert caught.value.code == "key.home", bad
