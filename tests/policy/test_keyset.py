"""Which verification sets an agent may start with."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeseal.errors import ConfigurationError
from pipeseal.policy.keyset import check_key_set
from pipeseal.signing.keys.verification_keys import parse_verification_keys
from tests.signing.material import pair_of


def _public(algorithm: str) -> dict[str, Any]:
    key: dict[str, Any] = json.loads(pair_of(algorithm).public_set)["keys"][0]
    return key


def _private(algorithm: str) -> dict[str, Any]:
    key: dict[str, Any] = json.loads(pair_of(algorithm).private_set)["keys"][0]
    return key


def _refused(*keys: dict[str, Any], text: str = "", shared_secrets: bool = False) -> str:
    data = text or json.dumps({"keys": keys})
    with pytest.raises(ConfigurationError) as caught:
        check_key_set(parse_verification_keys(data.encode()), shared_secrets=shared_secrets)
    assert caught.value.help
    return caught.value.code


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "ES512", "PS256"])
def test_public_keys_will_do(algorithm: str) -> None:
    keys = parse_verification_keys(json.dumps({"keys": [_public(algorithm)]}).encode())
    assert check_key_set(keys) is keys


def test_what_will_not_do() -> None:
    good = _public("EdDSA")
    assert _refused(good, _private("HS256")) == "key.symmetric"
    assert _refused(good, {**_private("ES256")}) == "key.private"
    assert _refused(_private("EdDSA")) == "key.private"
    assert _refused(good, {**_public("ES256"), "kid": good["kid"]}) == "key.duplicate"
    assert _refused({**_public("PS256"), "alg": "RS256"}) == "key.weak"
    assert _refused({**good, "alg": "ES256"}) == "key.weak"
    assert _refused({**good, "use": "enc"}) == "key.weak"
    twice = json.dumps({"keys": [good]}).replace('"alg"', '"alg": "EdDSA", "alg"')
    assert _refused(text=twice) == "key.weak"


def test_shared_secrets_are_a_choice() -> None:
    keys = parse_verification_keys(json.dumps({"keys": [_private("HS256")]}).encode())
    assert check_key_set(keys, shared_secrets=True) is keys
    assert _refused(_private("HS256"), _private("EdDSA"), shared_secrets=True) == "key.private"
