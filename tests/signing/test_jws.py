"""Detached JWS: one spelling, no algorithm of the signature's choice, and two other implementations as witnesses."""

from __future__ import annotations

import json
import warnings
from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws as joserfc_jws
from joserfc.errors import SecurityWarning
from joserfc.jwk import KeySet

from pipeseal.errors import MalformedInput, VerificationError
from pipeseal.signing.base64url import parse_base64url, render_base64url
from pipeseal.signing.jws import parse_jws, render_header, sign_jws, verify_jws
from pipeseal.signing.keys.jwk import Jwk, parse_jwks
from pipeseal.signing.keys.signing_key import FileSigningKey
from pipeseal.signing.keys.verification_keys import VerificationKeys
from tests.signing.material import ALGORITHMS, pair_of, signing_key, verification_keys

PAYLOAD = b'{"alg":"EdDSA","values":{"command":"make"}}'


def _b64(text: str | bytes) -> str:
    return urlsafe_b64encode(text.encode() if isinstance(text, str) else text).rstrip(b"=").decode()


def _signed_with_header(header: str, payload: bytes = PAYLOAD) -> str:
    """A signature that is right for its header, whatever the header says."""
    protected = _b64(header)
    signature = signing_key().sign(f"{protected}.{_b64(payload)}".encode())
    return f"{protected}..{_b64(signature)}"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_sign_and_verify(algorithm: str) -> None:
    jws = sign_jws(PAYLOAD, signing_key(algorithm))
    key = verify_jws(jws, PAYLOAD, verification_keys(algorithm), algorithm=algorithm)
    assert (key.kid, key.alg) == (f"{algorithm.lower()}-one", algorithm)
    with pytest.raises(VerificationError) as caught:
        verify_jws(jws, PAYLOAD + b" ", verification_keys(algorithm), algorithm=algorithm)
    assert caught.value.code == "signature.mismatch"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_joserfc_accepts_ours_and_we_accept_joserfc(algorithm: str) -> None:
    registry = joserfc_jws.JWSRegistry(algorithms=[algorithm])
    public = KeySet.import_key_set(json.loads(pair_of(algorithm).public_set))
    private = KeySet.import_key_set(json.loads(pair_of(algorithm).private_set))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)  # it wants EdDSA to be called Ed25519
        ours = sign_jws(PAYLOAD, signing_key(algorithm))
        assert joserfc_jws.deserialize_compact(ours, public, payload=PAYLOAD, registry=registry).payload == PAYLOAD
        header = {"alg": algorithm, "kid": f"{algorithm.lower()}-one"}
        attached = joserfc_jws.serialize_compact(header, PAYLOAD, private, registry=registry)
    protected, _, signature = attached.split(".")
    verify_jws(f"{protected}..{signature}", PAYLOAD, verification_keys(algorithm), algorithm=algorithm)


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_any_changed_character_is_refused(place: int, code: int) -> None:
    jws = sign_jws(PAYLOAD, signing_key())
    place %= len(jws)
    changed = jws[:place] + chr(code) + jws[place + 1 :]
    if changed != jws:
        with pytest.raises(VerificationError):
            verify_jws(changed, PAYLOAD, verification_keys(), algorithm="EdDSA")


@given(st.text() | st.text('eyJ.{}"algkid-_ =A0\n', max_size=60))
def test_only_our_families_get_out(text: str) -> None:
    with pytest.raises(MalformedInput):
        parse_jws(text)
    with pytest.raises(VerificationError) as caught:
        verify_jws(text, PAYLOAD, verification_keys(), algorithm="EdDSA")
    assert caught.value.code == "signature.malformed"


@pytest.mark.parametrize(
    "header",
    [
        '{"kid":"eddsa-one","alg":"EdDSA"}',
        '{"alg": "EdDSA","kid":"eddsa-one"}',
        ' {"alg":"EdDSA","kid":"eddsa-one"}',
        '{"alg":"EdDSA","kid":"eddsa-one"} ',
        '{"alg":"none","alg":"EdDSA","kid":"eddsa-one"}',
        '{"alg":"EdDSA","kid":"eddsa-two","kid":"eddsa-one"}',
        '{"alg":"EdDSA","kid":"eddsa-one","typ":"JWT"}',
        '{"alg":"EdDSA","kid":"eddsa-one","crit":["b64"],"b64":false}',
        '{"alg":"EdDSA","kid":"eddsa-one","jwk":{}}',
        '{"alg":"EdDSA","kid":"eddsa-one","jku":"https://evil.example/keys"}',
        '{"alg":"EdDSA","kid":"eddsa\\u002done"}',
        '{"alg":"EdDSA","kid":null}',
        '{"alg":"EdDSA","kid":""}',
        '{"alg":"EdDSA"}',
        '{"kid":"eddsa-one"}',
        '{"alg":5,"kid":"eddsa-one"}',
        '["EdDSA","eddsa-one"]',
        "[" * 2000,
        "\ufeff" + '{"alg":"EdDSA","kid":"eddsa-one"}',
    ],
)
def test_other_headers_are_refused_though_correctly_signed(header: str) -> None:
    with pytest.raises(VerificationError) as caught:
        verify_jws(_signed_with_header(header), PAYLOAD, verification_keys(), algorithm="EdDSA")
    assert caught.value.code == "signature.malformed"


@pytest.mark.parametrize(
    ("named", "member", "code"),
    [
        ("none", "EdDSA", "algorithm.mismatch"),
        ("HS256", "EdDSA", "algorithm.mismatch"),
        ("EdDSA", "HS256", "algorithm.mismatch"),
        ("ES256", "ES256", "algorithm.mismatch"),
        ("eddsa", "EdDSA", "algorithm.mismatch"),
    ],
)
def test_the_key_decides_about_the_algorithm(named: str, member: str, code: str) -> None:
    jws = _signed_with_header(f'{{"alg":"{named}","kid":"eddsa-one"}}')
    with pytest.raises(VerificationError) as caught:
        verify_jws(jws, PAYLOAD, verification_keys(), algorithm=member)
    assert caught.value.code == code


def test_a_public_key_is_no_shared_secret() -> None:
    """The classic confusion: HMAC with the public key's bytes, in the hope that they are taken for a secret."""
    public = parse_jwks(pair_of("EdDSA").public_set.encode())[0]
    forger = FileSigningKey(
        Jwk(kty="oct", alg="HS256", kid="eddsa-one", use=None, crv=None, material={"k": public.material["x"]})
    )
    for algorithm in ("HS256", "EdDSA"):
        with pytest.raises(VerificationError) as caught:
            verify_jws(sign_jws(PAYLOAD, forger), PAYLOAD, verification_keys(), algorithm=algorithm)
        assert caught.value.code == "algorithm.mismatch"


def test_other_spellings_of_the_same_bytes_are_refused() -> None:
    header, _, signature = sign_jws(PAYLOAD, signing_key()).split(".")
    body = _b64(PAYLOAD)
    last = signature[-1]
    loose = chr(ord(last) + 1)  # the last character of 86 carries four bits that mean nothing
    assert urlsafe_b64decode(signature[:-1] + loose + "==") == urlsafe_b64decode(signature + "==")
    for spelling in (
        f"{header}.{body}.{signature}",
        f"{header}..{signature}==",
        f"{header}..{signature}.",
        f"{header}..{signature}\n",
        f"{header}.\n.{signature}",
        f"{header}..{signature[:-1]}{loose}",
        json.dumps({"protected": header, "signature": signature}),
        json.dumps({"payload": "", "signatures": [{"protected": header, "signature": signature}]}),
        f"{header}..",
        "A" * 20_000,
    ):
        with pytest.raises(VerificationError) as caught:
            verify_jws(spelling, PAYLOAD, verification_keys(), algorithm="EdDSA")
        assert caught.value.code == "signature.malformed", spelling


def test_unknown_and_unsuitable_keys() -> None:
    jws = sign_jws(PAYLOAD, signing_key())
    with pytest.raises(VerificationError) as caught:
        verify_jws(jws, PAYLOAD, verification_keys("HS256"), algorithm="EdDSA")
    assert caught.value.code == "key.unknown"
    public = json.loads(pair_of("EdDSA").public_set)["keys"][0]
    for change in ({"use": "enc"}, {"alg": "none"}, {"alg": "ES512"}, {"crv": "X25519"}, {"alg": "RSA-OAEP"}):
        keys = VerificationKeys(parse_jwks(json.dumps(public | change).encode()))
        with pytest.raises(VerificationError) as caught:
            verify_jws(jws, PAYLOAD, keys, algorithm="EdDSA")
        assert caught.value.code == "key.unsuitable", change


def test_headers_are_spelled_as_signers_of_this_format_spell_them() -> None:
    assert render_header("EdDSA", 'a<b>&\u2028"\\é') == (
        '{"alg":"EdDSA","kid":"a\\u003cb\\u003e\\u0026\\u2028\\"\\\\é"}'
    )
    assert render_header("ES256", None) == render_header("ES256", "") == '{"alg":"ES256"}'


@given(st.binary(max_size=70))
def test_base64url_has_one_spelling(data: bytes) -> None:
    text = render_base64url(data)
    assert parse_base64url(text) == data
    assert "=" not in text


@given(st.text("ABab09-_=+/ \n", max_size=12))
def test_base64url_accepts_only_what_it_writes(text: str) -> None:
    try:
        data = parse_base64url(text)
    except ValueError:
        return
    assert render_base64url(data) == text
