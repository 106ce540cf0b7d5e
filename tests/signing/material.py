"""What the signing tests share: vectors beside the checkout, one key for each algorithm, steps from hypothesis."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from pipeseal.pipeline.steps import CommandStep, Matrix, Plugin, Secret
from pipeseal.signing.keys.generate import KeyPair, generate_key_pair
from pipeseal.signing.keys.signing_key import FileSigningKey
from pipeseal.signing.keys.verification_keys import VerificationKeys, parse_verification_keys

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "vectors"
REPOSITORY = "git@git.example.test:acme/widgets.git"

ALGORITHMS = ("EdDSA", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "HS256", "HS384", "HS512")


def load_vectors(family: str) -> list[dict[str, Any]]:
    """The cases of a family; skips where they are not beside the checkout, fails where they are demanded."""
    path = VECTORS / f"{family}.json"
    if path.is_file():
        cases: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        return cases
    if os.environ.get("PIPESEAL_REQUIRE_PEERS") == "1":
        pytest.fail(f"{path} is missing (PIPESEAL_REQUIRE_PEERS=1 demands it)", pytrace=False)
    pytest.skip(f"the vectors are not beside the checkout ({path})")


@cache
def pair_of(algorithm: str) -> KeyPair:
    """One key pair for each algorithm, made once for each test process."""
    return generate_key_pair(algorithm, f"{algorithm.lower()}-one")


def signing_key(algorithm: str = "EdDSA") -> FileSigningKey:
    return FileSigningKey(pair_of(algorithm).key)


def verification_keys(*algorithms: str) -> VerificationKeys:
    keys = [json.loads(pair_of(name).public_set)["keys"][0] for name in algorithms or ("EdDSA",)]
    return parse_verification_keys(json.dumps({"keys": keys}).encode())


# --- values and steps -----------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.text("ABCDEFXYZ_0189é", min_size=1, max_size=6)
safe_integers = st.integers(-(2**53) + 1, 2**53 - 1)
doubles = st.floats(allow_nan=False, allow_infinity=False).filter(
    lambda number: not (number.is_integer() and 2**53 <= abs(number) <= 2**64)
)
scalars = st.none() | st.booleans() | safe_integers | doubles | texts
# Without empty lists and mappings, which do not survive in every place.
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, min_size=1, max_size=3) | st.dictionaries(texts, inner, min_size=1, max_size=3),
    max_leaves=8,
)
plain_texts = st.text("abc -é<&\n", max_size=8)

steps = st.builds(
    CommandStep,
    command=texts,
    env=st.dictionaries(names, texts, max_size=3),
    plugins=st.lists(
        st.builds(Plugin, st.sampled_from(["docker#v5.9.0", "./local", "acme/lint#v1", "https://h/p.git#2"]), values),
        max_size=2,
    ),
    secrets=st.lists(st.builds(Secret, names, st.none() | names), max_size=2),
    matrix=st.none()
    | st.builds(
        Matrix, st.dictionaries(names, st.lists(plain_texts, min_size=1, max_size=3), min_size=1, max_size=2)
    ),
)
environments = st.dictionaries(names, texts, max_size=3)
