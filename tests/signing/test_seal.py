"""Seals as they are read and proved: the specification's vectors, and that no change to one goes unnoticed."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jcs import canonicalize
from joserfc import jws
from joserfc.jwk import OKPKey

from pipeseal.errors import MalformedInput, VerificationError
from pipeseal.pipeline.commandstep import parse_command_step
from pipeseal.signing.job import JobDiffers
from pipeseal.signing.keys.jwk import parse_jwks
from pipeseal.signing.keys.signing_key import FileSigningKey
from pipeseal.signing.keys.verification_keys import VerificationKeys, parse_verification_keys
from pipeseal.signing.seal.compare import SealedStep, verify_sealed_job
from pipeseal.signing.seal.envelope import MAX_SEAL_CHARACTERS, VARIABLE, Audience, BuildFacts, Inherited, Parent
from pipeseal.signing.seal.jws import TYP
from pipeseal.signing.seal.make import make_seal
from pipeseal.signing.seal.parse import (
    AUDIENCE,
    BUILD,
    ENVELOPE,
    INHERITED,
    PARENT,
    PLUGIN,
    SECRET,
    STEP,
    parse_seal,
)
from pipeseal.signing.seal.verify import VerifiedSeal, verify_seal
from tests.signing import seal_vectors
from tests.signing.seal_material import ASKED, KEYS, NOW, PAYLOAD, PRIVATE, canonical, changed, sealed

VECTORS: dict[str, Any] = json.loads(seal_vectors.PATH.read_text(encoding="ascii"))
QUESTIONS = ("now", "agent_tags", "organization", "pipeline", "repository")


@cache
def trusted() -> VerificationKeys:
    return parse_verification_keys(json.dumps(VECTORS["keys"]).encode())


@cache
def signer() -> FileSigningKey:
    return FileSigningKey(parse_jwks(json.dumps(PRIVATE).encode())[0])


def prove(case: dict[str, Any]) -> VerifiedSeal:
    return verify_seal(case["seal"], trusted(), **{name: case[name] for name in QUESTIONS if name in case})


def code_of(seal: str, **asked: Any) -> str:
    """`ok`, or the code of the refusal; any other exception fails the test."""
    try:
        verify_seal(seal, trusted(), **(asked or ASKED))
    except VerificationError as error:
        return error.code
    return "ok"


def named(family: str) -> list[Any]:
    return [pytest.param(case, id=case["name"]) for case in VECTORS[family]]


def test_vectors_are_what_their_list_of_faults_makes() -> None:
    assert seal_vectors.PATH.read_text(encoding="ascii") == seal_vectors.render()
    names = [case["name"] for case in VECTORS["verify"]]
    assert len(set(names)) == len(names) > 200


@pytest.mark.parametrize("case", named("verify"))
def test_vector(case: dict[str, Any]) -> None:
    if case["expected"] == "ok":
        proven = prove(case)
        assert proven.seal == parse_seal(case["seal"])
        if "digest" in case:
            assert proven.digest == case["digest"]
    else:
        with pytest.raises(VerificationError) as caught:
            prove(case)
        assert caught.value.code == case["expected"]
        assert caught.value.message


@pytest.mark.parametrize("case", named("jobs"))
def test_vector_of_a_job(case: dict[str, Any]) -> None:
    proven = prove(next(other for other in VECTORS["verify"] if other["name"] == case["seal"]))
    text = proven.seal.text
    step = parse_command_step({**case["step"], "env": {**case["step"]["env"], VARIABLE: text}})
    env = {**case["env"], VARIABLE: text}

    def run() -> SealedStep:
        return verify_sealed_job(proven, step=step, env=env, matrix_permutation=case["matrix_permutation"])

    if case["expected"] == "ok":
        assert run().command == "make test"
    else:
        with pytest.raises(JobDiffers) as caught:
            run()
        assert (caught.value.code, list(caught.value.fields)) == (case["expected"], case["fields"])


def test_each_code_of_the_specification_has_a_vector() -> None:
    seen = {case["expected"] for family in ("verify", "jobs") for case in VECTORS[family]}
    assert seen == {
        "ok", "seal.malformed", "seal.type", "seal.header", "key.unknown", "algorithm.mismatch", "seal.signature",
        "seal.json", "seal.canonical", "seal.version", "seal.member", "seal.early", "seal.expired", "seal.audience",
        "seal.differs", "seal.index", "seal.attempts", "matrix.permutation",
    }  # fmt: skip


def test_the_page_has_every_member_with_its_kind() -> None:
    page = (seal_vectors.PATH.parents[1] / "seal.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| [^|]+ \|$", page, re.MULTILINE)
    schemas = (ENVELOPE, AUDIENCE, BUILD, PARENT, INHERITED, STEP, PLUGIN, SECRET)
    assert rows == [(name, kind.words) for schema in schemas for name, kind in schema.items()]
    assert f"{MAX_SEAL_CHARACTERS:,} characters" in page and f"`{TYP}`" in page
    for case in VECTORS["verify"] + VECTORS["jobs"]:
        assert case["expected"].startswith("matrix.") or case["expected"] == "ok" or f"`{case['expected']}`" in page


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
def test_other_libraries_read_the_valid_vectors() -> None:
    key = OKPKey.import_key({name: value for name, value in KEYS["keys"][0].items() if name != "kid"})
    for case in VECTORS["verify"]:
        if "payload" in case:
            read = jws.deserialize_compact(case["seal"], key, algorithms=["EdDSA"])
            assert read.payload == case["payload"].encode() == canonicalize(json.loads(case["payload"]))


def test_too_large_is_said_before_anything_is_read() -> None:
    seal = sealed(changed("step/command", "x" * 80_000))
    assert len(seal) > MAX_SEAL_CHARACTERS
    for text in (seal, "." * (MAX_SEAL_CHARACTERS + 1)):
        assert code_of(text) == "seal.too_large"
        with pytest.raises(MalformedInput) as caught:
            parse_seal(text)
        assert caught.value.code == "seal.too_large"


def test_a_key_for_encryption_proves_nothing() -> None:
    keys = parse_verification_keys(json.dumps({"keys": [{**KEYS["keys"][0], "use": "enc"}]}).encode())
    with pytest.raises(VerificationError) as caught:
        verify_seal(sealed(PAYLOAD), keys, now=NOW)
    assert caught.value.code == "key.unsuitable"


def test_only_verifying_makes_a_proof() -> None:
    seal = parse_seal(sealed(PAYLOAD))
    with pytest.raises(TypeError):
        VerifiedSeal(object(), seal=seal, key=trusted().key("everybody-knows"))
    with pytest.raises(TypeError):
        SealedStep(**dict.fromkeys(SealedStep.__dataclass_fields__))  # type: ignore[arg-type]  # on purpose


def test_a_clock_without_a_time_proves_nothing() -> None:
    assert code_of(sealed(PAYLOAD), now=float("nan")) == "seal.early"
    assert code_of(sealed(PAYLOAD), now=float("inf")) == "seal.expired"
    assert code_of(sealed(PAYLOAD), now=float("-inf")) == "seal.early"


def test_what_the_seal_says_and_nothing_else_is_read() -> None:
    seal = parse_seal(sealed(PAYLOAD))
    assert seal.audience == Audience(
        repository="https://git.example.org/acme/widgets.git",
        organization="acme",
        pipeline="widgets",
        agents=("queue=linux",),
    )
    assert seal.build == BuildFacts(**PAYLOAD["build"])
    assert seal.parent == Parent(**PAYLOAD["parent"])
    assert (seal.attempts, seal.exclusive, seal.not_before, seal.expires) == (13, False, NOW, NOW + 604_800)
    assert seal.env == {"SHARED": "1", "REPORTS": "reports"}
    assert seal.step.plugins[0].config == {"cpus": 0.5, "image": "golang:1.25"}
    assert not seal.is_static
    assert "make test" not in repr(seal)


def test_the_code_that_makes_seals_makes_the_same_bytes() -> None:
    text = sealed(PAYLOAD)
    seal = parse_seal(text)
    again = make_seal(
        seal.step,
        key=signer(),
        audience=seal.audience,
        build=seal.build,
        parent=seal.parent,
        not_before=seal.not_before,
        expires=seal.expires,
        inherited=seal.inherited,
        execution=seal.execution,
        attempts=seal.attempts,
        exclusive=seal.exclusive,
    )
    assert again == text


@pytest.mark.parametrize("name", [case["name"] for case in VECTORS["verify"] if "payload" in case])
def test_every_valid_seal_is_made_again_from_what_was_read(name: str) -> None:
    seal = prove(next(case for case in VECTORS["verify"] if case["name"] == name)).seal
    resolved = {
        plugin.source: known
        for plugin, known in zip(seal.step.plugins, seal.plugins, strict=True)
        if known is not None
    }
    again = make_seal(
        seal.step, key=signer(), audience=seal.audience, build=seal.build, parent=seal.parent,
        not_before=seal.not_before, expires=seal.expires, inherited=seal.inherited, execution=seal.execution,
        resolved=resolved, attempts=seal.attempts, exclusive=seal.exclusive,
    )  # fmt: skip
    assert again == seal.text


def test_digests_tell_which_member_differs() -> None:
    ours = parse_seal(sealed(PAYLOAD)).digests()
    other = parse_seal(sealed(changed("step/env/REPORTS", "elsewhere"))).digests()
    assert {name for name in ours if ours[name] != other[name]} == {"step.env"}
    assert set(ours) == {*PAYLOAD, *(f"step.{name}" for name in PAYLOAD["step"])} - {"step"}


# --- any change is noticed, and nothing but our families gets out ---------------------------------------------------


@given(st.data())
def test_any_changed_character_is_refused(data: st.DataObject) -> None:
    text = sealed(PAYLOAD)
    place = data.draw(st.integers(0, len(text)))
    kind = data.draw(st.sampled_from(["replace", "insert", "delete"]))
    character = data.draw(st.characters(codec="utf-8"))
    other = text[:place] + ("" if kind == "delete" else character) + text[place + (kind != "insert") :]
    if other != text:
        assert code_of(other) not in ("ok", "seal.differs")


@given(st.data())
def test_any_changed_byte_of_a_segment_is_refused(data: st.DataObject) -> None:
    from pipeseal.signing.base64url import parse_base64url, render_base64url

    segments = [bytearray(parse_base64url(segment)) for segment in sealed(PAYLOAD).split(".")]
    segment = data.draw(st.sampled_from(segments))
    place = data.draw(st.integers(0, len(segment) - 1))
    segment[place] ^= data.draw(st.integers(1, 255))
    assert code_of(".".join(render_base64url(bytes(part)) for part in segments)) != "ok"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


def _paths(value: Any, path: str = "") -> list[str]:
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        found += _paths(item, f"{path}/{name}" if path else str(name))
    return found


@given(st.sampled_from(_paths(PAYLOAD)), json_values)
@example("gates", [[]])
def test_any_member_of_any_kind_is_a_seal_or_a_refusal(path: str, value: Any) -> None:
    """Signed nonsense: what is accepted says exactly what was signed, and everything else is refused by a code."""
    try:
        payload = canonical(changed(path, value))
    except UnicodeEncodeError:
        return
    seal = sealed(payload)
    assert (code_of(seal, now=NOW) == "ok") == _is_read_as(seal, payload)


def _is_read_as(seal: str, payload: bytes) -> bool:
    try:
        read = parse_seal(seal)
    except MalformedInput:
        return False
    assert canonicalize(dict(read.members)) == payload
    return read.not_before - 120 <= NOW and (read.expires is None or read.expires + 120 >= NOW)


@given(st.text(max_size=300) | st.binary(max_size=300).map(lambda data: data.decode("latin-1")))
def test_no_text_gets_another_exception_out(text: str) -> None:
    assert code_of(text).startswith("seal.")


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_no_signed_bytes_get_another_exception_out(header: bytes, payload: bytes) -> None:
    assert code_of(sealed(payload)).startswith("seal.")
    assert code_of(sealed(payload, header=header)).startswith("seal.")


@given(json_values)
def test_no_signed_json_gets_another_exception_out(value: Any) -> None:
    try:
        payload = json.dumps(value).encode()
    except UnicodeEncodeError:
        return
    assert code_of(sealed(payload)).startswith("seal.")


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=8), max_size=3))
def test_inherited_variables_are_covered(env: dict[str, str]) -> None:
    text = make_seal(
        parse_command_step({"command": "a"}), key=signer(), audience=Audience(repository="r"), build=None,
        parent=Parent(), not_before=0, expires=None, inherited=Inherited(env=env),
    )  # fmt: skip
    assert dict(verify_seal(text, trusted(), now=0).seal.inherited.env) == env
