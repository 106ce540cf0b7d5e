"""Keys: what loads, what spoils a set, what never leaks, and files that others cannot change."""

from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OKPKey, RSAKey

from pipeseal.cli.tool_keygen import ALGORITHMS as OFFERED
from pipeseal.errors import ConfigurationError, MalformedInput, PipesealError, render_error
from pipeseal.signing.jws import sign_jws, verify_jws
from pipeseal.signing.keys.digits import comparison_digits
from pipeseal.signing.keys.files import exposure_of, find_work_tree, read_key_file, write_key_file
from pipeseal.signing.keys.generate import GENERATED, generate_key_pair
from pipeseal.signing.keys.jwk import MAX_KEYS, MAX_SET_BYTES, PRIVATE_MEMBERS, parse_jwks
from pipeseal.signing.keys.open import load_verification_keys, open_signing_key, select_signing_key
from pipeseal.signing.keys.signing_key import FileSigningKey
from pipeseal.signing.keys.verification_keys import VerificationKeys, parse_verification_keys
from tests.signing.material import ALGORITHMS, pair_of, signing_key, verification_keys

# RFC 8037 appendix A: an Ed25519 key and its thumbprint.
RFC_8037 = {
    "kty": "OKP",
    "crv": "Ed25519",
    "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
}


def _private(algorithm: str) -> dict[str, Any]:
    members: dict[str, Any] = json.loads(pair_of(algorithm).private_set)["keys"][0]
    return members


def _parse(*keys: object) -> Any:
    return parse_jwks(json.dumps({"keys": list(keys)}).encode())


def test_the_thumbprint_of_rfc_8037() -> None:
    assert _parse(RFC_8037)[0].thumbprint() == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.parametrize(
    ("thumbprint", "digits"),
    [
        ("pvFRbA8Xvj0sLCs1lYR_q5xaUTthkQvhg-SGq_B-9MI", "16271 27852 84959 72347 02659 58654"),
        ("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", "98089 98420 45018 09564 03465 82763"),
        ("A" * 43, "00000 00000 00000 00000 00000 00000"),
    ],
)
def test_digits_to_compare_by_voice(thumbprint: str, digits: str) -> None:
    """The web page has the same vectors."""
    assert comparison_digits(thumbprint) == digits


def test_digits_differ_as_soon_as_thirty_bytes_do() -> None:
    def digits(data: bytes) -> str:
        return comparison_digits(base64.urlsafe_b64encode(data).decode().rstrip("="))

    plain = bytes(32)
    assert all(digits(plain[:at] + b"\x01" + plain[at + 1 :]) != digits(plain) for at in range(30))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_thumbprints_are_those_of_another_implementation(algorithm: str) -> None:
    private = _private(algorithm)
    kinds: dict[str, Any] = {"OKP": OKPKey, "EC": ECKey, "RSA": RSAKey}
    if private["kty"] in kinds:
        assert _parse(private)[0].thumbprint() == kinds[private["kty"]].import_key(private).thumbprint()
    public = json.loads(pair_of(algorithm).public_set)["keys"][0]
    assert _parse(public)[0].thumbprint() == _parse(private)[0].thumbprint()


@pytest.mark.parametrize("algorithm", GENERATED)
def test_made_keys_work_and_their_public_half_is_public(algorithm: str) -> None:
    pair = pair_of(algorithm)
    jws = sign_jws(b"payload", FileSigningKey(pair.key))
    verify_jws(jws, b"payload", parse_verification_keys(pair.public_set.encode()), algorithm=algorithm)
    public = json.loads(pair.public_set)["keys"][0]
    private = json.loads(pair.private_set)["keys"][0]
    if algorithm.startswith("HS"):
        assert public == private
    else:
        assert not PRIVATE_MEMBERS & public.keys()
        assert {**private, **public} == private
    assert list(private) == sorted(private)
    assert private["use"] == "sig"


def test_the_command_offers_what_can_be_made() -> None:
    assert OFFERED == GENERATED


def test_a_default_key_id_carries_the_thumbprint() -> None:
    pair = generate_key_pair("EdDSA")
    thumbprint = "".join(filter(str.isalnum, pair.key.thumbprint())).lower()
    assert pair.key.kid == f"eddsa-{thumbprint[:8]}"
    assert (
        generate_key_pair("EdDSA", prefix="uploader").key.kid != generate_key_pair("EdDSA", prefix="uploader").key.kid
    )


@pytest.mark.parametrize("key_id", ["a b", "../x", "-x", "é", "x" * 200, "a/b"])
def test_key_ids_that_are_no_file_names(key_id: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        generate_key_pair("EdDSA", key_id)
    assert caught.value.code == "key.id"


@pytest.mark.parametrize("algorithm", ["RS256", "none", "Ed448", ""])
def test_keys_that_are_not_made_here(algorithm: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        generate_key_pair(algorithm, "x")
    assert caught.value.code == "key.unusable"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"null",
        b"[]",
        b'"text"',
        b"-----BEGIN PUBLIC KEY-----",
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b'{"keys":null}',
        b'{"keys":{}}',
        b'{"keys":[],"keys":[]}',
        b'{"keys":[NaN]}',
        b"[" * 100_000,
        b" " * (MAX_SET_BYTES + 1),
        json.dumps({"keys": [{}] * (MAX_KEYS + 1)}).encode(),
    ],
)
def test_what_is_no_key_set(data: bytes) -> None:
    with pytest.raises(MalformedInput) as caught:
        parse_jwks(data)
    assert caught.value.code == "key.set"


@pytest.mark.parametrize(
    "change",
    [
        {"kty": "okp"},
        {"kty": None},
        {"alg": None},
        {"alg": "XX"},
        {"alg": "eddsa"},
        {"kid": 5},
        {"use": ["sig"]},
        {"key_ops": "sign"},
        {"crv": "P-256K"},
        {"x": 5},
        {"x": ""},
        {"x": "AAAA"},
        {"x": RFC_8037["x"] + "="},
        {"x": RFC_8037["x"].replace("_", "/")},
        {"d": None},
        {"d": "AAAA"},
        {"D": "x"},
        {"kid": "\ud800"},
        {"x5c": "text"},
        {"x5c": ["AAAA"]},
    ],
)
def test_one_unsound_key_spoils_the_set(change: dict[str, Any]) -> None:
    with pytest.raises(MalformedInput) as caught:
        _parse(_private("HS256"), RFC_8037 | change)
    assert caught.value.code == "key.malformed"
    assert "key number 2" in caught.value.message


@pytest.mark.parametrize(
    ("algorithm", "change"),
    [
        ("ES512", {"y": "A" * 88}),
        ("ES512", {"x": "AAAA"}),
        ("ES512", {"crv": "P-256"}),
        ("ES512", {"crv": "Ed25519"}),
        ("PS256", {"e": "AQ"}),
        ("PS256", {"e": "AAAC"}),
        ("PS256", {"e": "AQAB" * 8}),
        ("PS256", {"n": "AQAB"}),
        ("HS256", {"k": ""}),
    ],
)
def test_unsound_keys_of_other_kinds(algorithm: str, change: dict[str, Any]) -> None:
    with pytest.raises(MalformedInput) as caught:
        _parse(_private(algorithm) | change)
    assert caught.value.code == "key.malformed"


@given(st.binary(max_size=60) | st.text('{}[]",:keys "kty"OKPx01', max_size=60).map(str.encode))
def test_only_our_families_get_out_of_parsing(data: bytes) -> None:
    try:
        parse_jwks(data)
    except MalformedInput as error:
        assert error.code in ("key.set", "key.malformed")


@given(st.data())
def test_no_error_shows_key_material(data: st.DataObject) -> None:
    """Whatever is wrong with a key, what is said about it has no part of its private members in it."""
    algorithm = data.draw(st.sampled_from(["EdDSA", "ES256", "PS256", "HS256"]))
    members = _private(algorithm)
    secrets = [members[name] for name in PRIVATE_MEMBERS if name in members]
    name = data.draw(st.sampled_from(sorted(members)))
    members[name] = data.draw(st.sampled_from([None, 5, "AAAA", members[name][:-1], members[name] + "=", "!"]))
    try:
        key = _parse(members)[0]
        seen = repr(key)
        select_signing_key([key], "")
        FileSigningKey(key)
    except PipesealError as error:
        seen = render_error(error) + repr(error)
    for secret in secrets:
        assert secret[:12] not in seen


def test_keys_do_not_show_themselves() -> None:
    pair = pair_of("EdDSA")
    secret = _private("EdDSA")["d"]
    for thing in (pair, pair.key, signing_key(), verification_keys()):
        assert secret not in repr(thing)


def test_the_first_key_of_an_id_counts() -> None:
    first, second = _private("EdDSA"), _private("ES256") | {"kid": "eddsa-one"}
    jws = sign_jws(b"p", FileSigningKey(_parse(second)[0]))
    assert verify_jws(jws, b"p", VerificationKeys(_parse(second, first)), algorithm="ES256").alg == "ES256"
    with pytest.raises(PipesealError) as caught:
        verify_jws(jws, b"p", VerificationKeys(_parse(first, second)), algorithm="ES256")
    assert caught.value.code == "algorithm.mismatch"
    sentences = VerificationKeys(_parse(first, second)).weaknesses()
    assert "'eddsa-one' is there twice" in sentences[1]


def test_a_key_with_a_member_twice_is_kept_and_never_used() -> None:
    text = json.dumps({"keys": [_private("EdDSA")]}).replace('"use"', '"use": "sig", "use"')
    keys = parse_verification_keys(text.encode())
    with pytest.raises(PipesealError) as caught:
        verify_jws(sign_jws(b"p", signing_key()), b"p", keys, algorithm="EdDSA")
    assert caught.value.code == "key.unsuitable"
    with pytest.raises(ConfigurationError) as refused:
        FileSigningKey(parse_jwks(text.encode())[0])
    assert refused.value.code == "key.unusable"


def test_weak_keys_are_named_at_start() -> None:
    keys = [
        _private("EdDSA"),
        json.loads(pair_of("ES256").public_set)["keys"][0],
        {"kty": "oct", "k": "c2hvcnQ", "alg": "HS256", "kid": "short"},
        {**_private("ES384"), "kid": ""},
        {**_private("ES384"), "kid": "x", "use": "enc"},
    ]
    sentences = parse_verification_keys(json.dumps({"keys": keys}).encode()).weaknesses()
    words = ["is private", "shorter than 256 bits", "has no key id", "cannot verify anything"]
    assert len(sentences) == len(words)
    for sentence, word in zip(sentences, words, strict=True):
        assert word in sentence


@pytest.mark.parametrize(
    ("keys", "key_id", "code"),
    [
        ([], "", "key.id_needed"),
        (["EdDSA", "ES512"], "", "key.id_needed"),
        (["EdDSA"], "other", "key.not_found"),
        (["ES256"], "", "key.unusable"),
        (["HS512"], "", "key.unusable"),
        (["PS256"], "", "key.unusable"),
    ],
)
def test_selecting_a_key_to_upload_with(keys: list[str], key_id: str, code: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        select_signing_key(_parse(*map(_private, keys)), key_id)
    assert caught.value.code == code


def test_selecting_among_several() -> None:
    keys = _parse(_private("EdDSA"), _private("ES512"), _private("PS512"))
    for kid in ("eddsa-one", "es512-one", "ps512-one"):
        assert select_signing_key(keys, kid).kid == kid
    without_algorithm = _private("EdDSA")
    del without_algorithm["alg"]
    with pytest.raises(ConfigurationError) as caught:
        select_signing_key(_parse(without_algorithm))
    assert caught.value.code == "key.no_algorithm"


def test_halves_that_do_not_belong_together_do_not_sign() -> None:
    for algorithm, name in (("EdDSA", "x"), ("PS256", "p")):
        other = json.loads(generate_key_pair(algorithm, "other").private_set)["keys"][0]
        with pytest.raises(ConfigurationError) as caught:
            FileSigningKey(_parse(_private(algorithm) | {name: other[name]})[0])
        assert caught.value.code == "key.unusable"
    point = json.loads(generate_key_pair("ES256", "other").private_set)["keys"][0]
    with pytest.raises(ConfigurationError):
        FileSigningKey(_parse(_private("ES256") | {"x": point["x"], "y": point["y"]})[0])
    with pytest.raises(ConfigurationError):
        FileSigningKey(_parse(_private("ES256") | {"d": "A" * 43})[0])


def test_public_keys_do_not_sign(tmp_path: Path) -> None:
    path = tmp_path / "public.json"
    path.write_text(pair_of("EdDSA").public_set)
    with pytest.raises(ConfigurationError) as caught:
        open_signing_key(str(path))
    assert caught.value.code == "key.not_private"


def test_an_rsa_key_without_its_shortcuts_signs() -> None:
    key = {name: value for name, value in _private("PS512").items() if name not in ("dp", "dq", "qi")}
    jws = sign_jws(b"p", FileSigningKey(_parse(key)[0]))
    verify_jws(jws, b"p", verification_keys("PS512"), algorithm="PS512")
    for name in ("p", "q"):
        with pytest.raises(ConfigurationError) as caught:
            FileSigningKey(_parse({k: v for k, v in key.items() if k != name})[0])
        assert caught.value.code == "key.unusable"


@pytest.mark.parametrize(
    ("text", "code"),
    [('{"keys":[]}', "key.set_empty"), (json.dumps({"keys": [RFC_8037]}), "key.no_algorithm")],
)
def test_an_agent_does_not_start_with_these_keys(text: str, code: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_verification_keys(text.encode())
    assert caught.value.code == code


# --- files ----------------------------------------------------------------------------------------------------------


def test_key_files_are_made_for_their_owner_alone_and_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    write_key_file(path, "text")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == "text"
    with pytest.raises(ConfigurationError) as caught:
        write_key_file(path, "other")
    assert caught.value.code == "key.exists"
    assert path.read_text() == "text"
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(ConfigurationError) as caught:
        write_key_file(link, "text")
    assert caught.value.code == "key.exists"
    with pytest.raises(ConfigurationError) as caught:
        write_key_file(tmp_path / "missing" / "key.json", "text")
    assert caught.value.code == "key.unwritable"


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_key_files_that_others_can_change_are_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key.json"
    path.write_text(pair_of("EdDSA").private_set)
    path.chmod(mode)
    for load in (open_signing_key, load_verification_keys):
        with pytest.raises(ConfigurationError) as caught:
            load(str(path))
        assert caught.value.code == "key.permissions"


def test_key_files_that_belong_to_others_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key.json"
    path.write_text("x")
    if path.stat().st_uid == 0:
        if os.geteuid() != 0:
            pytest.skip("needs a file of another user")
        os.chown(path, 12345, -1)
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(ConfigurationError) as caught:
        read_key_file(path)
    assert caught.value.code == "key.permissions"


def test_private_files_that_others_can_read_are_said_to_be(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    path.write_text("x")
    path.chmod(0o600)
    assert exposure_of(path) == ""
    path.chmod(0o644)
    assert "chmod 0600" in exposure_of(path)
    assert exposure_of(tmp_path / "missing") == ""


def test_opening_keys(tmp_path: Path) -> None:
    path = tmp_path / "key with space.json"
    write_key_file(path, pair_of("EdDSA").private_set)
    for uri in (str(path), path.as_uri()):
        assert open_signing_key(uri).kid == "eddsa-one"
        assert len(load_verification_keys(uri)) == 1
    for uri, code in (
        (str(tmp_path / "missing"), "key.unreadable"),
        (str(tmp_path), "key.unreadable"),
        ("azurekms://vault/x", "key.home"),
        ("awskms:///alias/x?colour=red", "key.home"),
        ("file://other-host/x", "key.home"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            open_signing_key(uri)
        assert caught.value.code == code, uri
    with pytest.raises(ConfigurationError, match="public keys in a file"):
        load_verification_keys("awskms:///alias/x")
    path.chmod(0o600)
    path.write_text("{")
    for load in (open_signing_key, load_verification_keys):
        with pytest.raises(MalformedInput) as malformed:
            load(str(path))
        assert malformed.value.code == "key.set"
        assert str(path) in malformed.value.message


def test_finding_the_work_tree(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert find_work_tree(inner / "key.json") is None
    (tmp_path / "a" / ".git").mkdir()
    assert find_work_tree(inner / "key.json") == tmp_path / "a"
