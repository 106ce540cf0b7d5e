"""Signing and verifying steps: what is signed verifies, what is changed does not, what never could is refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeseal.errors import ConfigurationError, MalformedInput, PipesealError, VerificationError
from pipeseal.pipeline.parse import parse_command_step, parse_pipeline
from pipeseal.pipeline.render import render_json, step_value
from pipeseal.pipeline.steps import (
    Adjustment,
    Checkout,
    CommandStep,
    GroupStep,
    Matrix,
    Pipeline,
    Plugin,
    Secret,
    Signature,
    UnknownStep,
    WaitStep,
)
from pipeseal.pipeline.values import Value
from pipeseal.signing.bindings import BINDINGS, check_bindings, static_bindings, uploader_bindings
from pipeseal.signing.fields import BY_NAME, FIELDS
from pipeseal.signing.merge import merge_pipeline_checkout, merge_pipeline_secrets, merge_secrets
from pipeseal.signing.sign import sign_pipeline, sign_step, walk_steps
from pipeseal.signing.verify import VerifiedStep, verify_step
from tests.signing.material import (
    ALGORITHMS,
    REPOSITORY,
    environments,
    names,
    signing_key,
    steps,
    texts,
    values,
    verification_keys,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def _sign(step: CommandStep, env: Mapping[str, str] | None = None, **more: Any) -> CommandStep:
    return sign_step(step, key=signing_key(), repository_url=REPOSITORY, pipeline_env=env, **more)


def _verify(
    step: CommandStep, env: Mapping[str, str] | None = None, repository_url: str = REPOSITORY
) -> VerifiedStep:
    return verify_step(step, env=env or {}, repository_url=repository_url, keys=verification_keys())


def _travel(step: CommandStep) -> CommandStep:
    """The step as a job brings it back: written as JSON, read again."""
    return parse_command_step(render_json(step_value(step)))


def _code(step: CommandStep, env: Mapping[str, str] | None = None, repository_url: str = REPOSITORY) -> str:
    with pytest.raises(VerificationError) as caught:
        _verify(step, env, repository_url)
    return caught.value.code


@given(steps, environments)
def test_what_is_signed_verifies_after_its_journey(step: CommandStep, env: dict[str, str]) -> None:
    verified = _verify(_travel(_sign(step, env)), env)
    assert verified.step.command == step.command
    assert verified.step.env == step.env
    assert verified.environment == {name: value for name, value in env.items() if name not in step.env}
    assert verified.key.kid == "eddsa-one"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm(algorithm: str) -> None:
    step = CommandStep(command="make", env={"A": "é"}, plugins=[Plugin("docker#v5", {"image": "a:b", "n": 1.5})])
    signed = sign_step(step, key=signing_key(algorithm), repository_url=REPOSITORY, pipeline_env={"TOP": "1"})
    keys = verification_keys(*ALGORITHMS)
    verified = verify_step(_travel(signed), env={"TOP": "1"}, repository_url=REPOSITORY, keys=keys)
    assert verified.key.alg == algorithm
    assert verified.signed_fields == ("command", "env", "env::TOP", "matrix", "plugins", "repository_url")


@given(steps, environments, st.data())
def test_any_single_change_is_refused(step: CommandStep, env: dict[str, str], data: st.DataObject) -> None:
    signed = _travel(_sign(step, env))
    changed, changed_env, repository_url = copy.deepcopy(signed), dict(env), REPOSITORY
    what = data.draw(
        st.sampled_from(["command", "env", "plugins", "secrets", "matrix", "variable", "repository", "checkout"])
    )
    if what == "command":
        changed.command = data.draw(texts)
    elif what == "env":
        changed.env = data.draw(st.dictionaries(names, texts, max_size=3))
    elif what == "plugins":
        changed.plugins = data.draw(
            st.lists(st.builds(Plugin, st.sampled_from(["./local", "./evil"]), values), max_size=2)
        )
    elif what == "secrets":
        changed.secrets = data.draw(st.lists(st.builds(Secret, names, names), max_size=2))
    elif what == "matrix":
        changed.matrix = data.draw(st.none() | st.builds(Matrix, st.just({"os": ["linux"]})))
    elif what == "checkout":
        changed.checkout = Checkout(skip=True)
    elif what == "variable":
        name = data.draw(names)
        changed_env[name] = data.draw(texts)
        # Variables that the signature does not cover are none of its business.
        assume(signed.signature is not None and f"env::{name}" in (signed.signature.signed_fields or ()))
    else:
        repository_url = data.draw(texts)
    same = (_covered(changed), changed_env, repository_url) == (_covered(signed), env, REPOSITORY)
    if same:
        _verify(changed, changed_env, repository_url)
    else:
        with pytest.raises(VerificationError):
            _verify(changed, changed_env, repository_url)


def _covered(step: CommandStep) -> Value:
    """The step's signed members, as they are signed."""
    return {row.name: row.value(step, "") for row in FIELDS if row.is_mandatory(step)}


@given(steps, st.data())
def test_unsigned_members_are_free(step: CommandStep, data: st.DataObject) -> None:
    signed = _travel(_sign(step))
    free = replace(
        signed,
        label=data.draw(texts),
        key=data.draw(texts),
        rest=data.draw(st.dictionaries(texts, values, max_size=2)),
    )
    _verify(free)


# Anything JSON may say about a step.
_members = st.sampled_from(["command", "env", "plugins", "matrix", "secrets", "checkout", "signature", "label", "x"])


@given(st.dictionaries(_members, values | st.just({"signed_fields": ["command"], "value": "a..b", "algorithm": "x"})))
def test_only_our_families_get_out(document: dict[str, Any]) -> None:
    try:
        _verify(parse_command_step(json.dumps(document)))
    except (MalformedInput, VerificationError):
        return
    pytest.fail("a random step verified")


def test_codes_of_what_is_wrong_with_a_signature() -> None:
    signed = _sign(CommandStep(command="make", env={"A": "1"}), {"TOP": "1"})
    signature = signed.signature
    assert signature is not None
    fields = signature.signed_fields or []

    def with_fields(*listed: str) -> CommandStep:
        return replace(signed, signature=replace(signature, signed_fields=list(listed)))

    env = {"TOP": "1"}
    assert _code(CommandStep(command="make")) == "signature.missing"
    assert _code(with_fields(), env) == "field.none"
    assert _code(replace(signed, signature=replace(signature, signed_fields=None)), env) == "field.none"
    assert _code(with_fields(*fields, "shell"), env) == "field.unknown"
    assert _code(with_fields(*fields[1:]), env) == "field.not_signed"
    assert _code(with_fields(*fields, "command"), env) == "field.repeated"
    assert _code(with_fields(*fields, "env::OTHER"), env) == "environment.missing"
    assert _code(with_fields(*fields, "env::OTHER"), env | {"OTHER": ""}) == "signature.mismatch"
    assert _code(with_fields(*fields, "secrets"), env) == "signature.mismatch"
    assert _code(signed, {}) == "environment.missing"
    assert _code(signed, {"TOP": "2"}) == "signature.mismatch"
    assert _code(signed, env, REPOSITORY + "/") == "signature.mismatch"
    assert _code(replace(signed, secrets=[Secret("K", "V")]), env) == "field.not_signed"
    assert _code(replace(signed, checkout=Checkout(depth=1)), env) == "field.not_signed"
    assert _code(replace(signed, signature=replace(signature, algorithm="ES256")), env) == "algorithm.mismatch"
    assert _code(replace(signed, signature=replace(signature, value="x")), env) == "signature.malformed"
    assert _code(replace(signed, plugins=[Plugin("x", 2**53)]), env) == "number.unsafe"
    _verify(with_fields(*reversed(fields)), env)
    _verify(replace(signed, checkout=Checkout()), env)


def test_all_fields_of_an_error_are_named() -> None:
    signed = _sign(CommandStep(command="make"), {"A": "1", "B": "2"})
    with pytest.raises(VerificationError) as caught:
        _verify(signed, {})
    assert caught.value.fields == ("env::A", "env::B")
    bare = replace(signed, signature=Signature("EdDSA", ["command"], "x"))
    with pytest.raises(VerificationError) as caught:
        _verify(bare)
    assert caught.value.fields == ("env", "matrix", "plugins", "repository_url")


def test_the_proof_cannot_be_made_by_hand() -> None:
    with pytest.raises(TypeError):
        VerifiedStep(
            object(),
            step=CommandStep(),
            repository_url="",
            environment={},
            key=verification_keys().key("eddsa-one"),
            signed_fields=(),
            digest="",
        )


def test_the_proof_holds_only_what_is_proven() -> None:
    signed = _sign(CommandStep(command="make", label="L", key="k", rest={"agents": {"queue": "evil"}}))
    verified = _verify(signed)
    assert (verified.step.label, verified.step.key, verified.step.rest) == ("", "", {})
    assert "eddsa-one" in repr(verified)


def test_an_old_signature_is_replaced_and_the_step_is_left_alone() -> None:
    step = CommandStep(command="make", signature=Signature("X", ["a"], "old"))
    signed = _sign(step)
    assert step.signature == Signature("X", ["a"], "old")
    assert signed.signature != step.signature
    _verify(signed)


# --- what could never verify ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "step",
    [
        CommandStep(matrix=Matrix(None)),
        CommandStep(matrix=Matrix({"": ["a"]}, [None])),
        CommandStep(matrix=Matrix({"": ["a"]}, [Adjustment(None)])),
        CommandStep(matrix=Matrix({"": ["a"]}, rest={"x": []})),
        CommandStep(matrix=Matrix({"": ["a"]}, rest={"x": [{"y": [[]]}]})),
        CommandStep(matrix=Matrix({"": ["a"]}, [Adjustment({"": "a"}, rest={"x": {"y": []}})])),
        CommandStep(matrix=Matrix({"": ["a"]}, [Adjustment({"": "a"}, skip={"y": []})])),
        CommandStep(checkout=Checkout(rest={"x": []})),
        CommandStep(secrets=[Secret("", "V")]),
        CommandStep(plugins=[Plugin("%2e%2e/x")]),
    ],
)
def test_steps_that_no_verifier_could_accept_are_refused(step: CommandStep) -> None:
    with pytest.raises(MalformedInput) as caught:
        _sign(step)
    assert caught.value.code == "signing.unverifiable"


@pytest.mark.parametrize(
    ("value", "code"), [(2**53, "number.unsafe"), (2**63, "number.unsafe"), (float("inf"), "payload.value")]
)
def test_values_that_cannot_be_signed_are_refused_with_their_place(value: float, code: str) -> None:
    pipeline = Pipeline(steps=[CommandStep(command="a"), CommandStep(label="bad", plugins=[Plugin("x", [value])])])
    with pytest.raises(MalformedInput) as caught:
        sign_pipeline(pipeline, key=signing_key(), repository_url=REPOSITORY)
    assert caught.value.code == code
    assert caught.value.message.startswith("step 2 ('bad'): ")


def test_an_empty_skip_is_not_written_and_can_be_signed() -> None:
    matrix = Matrix({"": ["a"]}, [Adjustment({"": "a"}, skip=[])])
    _verify(_travel(_sign(CommandStep(command="a", matrix=matrix))))


def test_an_unknown_step_anywhere_stops_signing_before_it_begins() -> None:
    pipeline = Pipeline(
        steps=[CommandStep(command="a"), GroupStep(steps=[WaitStep("wait"), UnknownStep({"x": 1}, "it has no kind")])]
    )
    with pytest.raises(MalformedInput) as caught:
        sign_pipeline(pipeline, key=signing_key(), repository_url=REPOSITORY)
    assert caught.value.code == "signing.unknown_step"
    assert caught.value.message.startswith("step 2, step 2 is of no known kind")
    assert pipeline.steps[0] == CommandStep(command="a")


def test_groups_are_signed_inside_and_the_rest_stays() -> None:
    pipeline = parse_pipeline(
        "env: {TOP: 1}\n"
        "steps: [wait, {group: g, steps: [{command: a}, {group: h, steps: [{command: b}]}]}, {block: x}]"
    )
    signed = sign_pipeline(pipeline, key=signing_key(), repository_url=REPOSITORY)
    found = [(place, step) for place, step in walk_steps(signed.steps) if isinstance(step, CommandStep)]
    assert [place for place, _ in found] == ["step 2, step 1", "step 2, step 2, step 1"]
    for _, step in found:
        _verify(step, pipeline.env)
    assert all(step.signature is None for _, step in walk_steps(pipeline.steps) if isinstance(step, CommandStep))
    assert (signed.steps[0], signed.steps[2]) == (pipeline.steps[0], pipeline.steps[2])


# --- bindings -------------------------------------------------------------------------------------------------------

UPLOADER = {
    "BUILDKITE_ORGANIZATION_SLUG": "acme",
    "BUILDKITE_PIPELINE_SLUG": "api",
    "BUILDKITE_BUILD_ID": "b-1",
    "BUILDKITE_COMMIT": COMMIT,
    "BUILDKITE_BRANCH": "main",
    "BUILDKITE_TAG": "",
    "BUILDKITE_PULL_REQUEST": "false",
    "BUILDKITE_STEP_KEY": "the-uploading-step",
    "OTHER": "x",
}


def test_an_uploader_binds_what_it_knows() -> None:
    bound = uploader_bindings(UPLOADER)
    assert bound == {name: value for name, value in UPLOADER.items() if name not in ("BUILDKITE_STEP_KEY", "OTHER")}
    assert uploader_bindings({}) == {}
    # Absent is not empty: the runner's job will lack what the uploader's job lacked.
    assert "BUILDKITE_TAG" not in uploader_bindings({k: v for k, v in UPLOADER.items() if k != "BUILDKITE_TAG"})


@pytest.mark.parametrize("commit", ["HEAD", "main", COMMIT[:7], COMMIT.upper(), COMMIT + "\n", "", COMMIT + "00"])
def test_a_commit_is_bound_only_in_full(commit: str) -> None:
    assert "BUILDKITE_COMMIT" not in uploader_bindings(UPLOADER | {"BUILDKITE_COMMIT": commit})
    with pytest.raises(ConfigurationError) as caught:
        check_bindings({"BUILDKITE_COMMIT": commit})
    assert caught.value.code == "binding.unusable"


@pytest.mark.parametrize("bindings", [{"PATH": "x"}, {"BUILDKITE_STEP_KEY": "x"}, {"BUILDKITE_PIPELINE_SLUG": ""}])
def test_bindings_that_say_nothing_are_refused(bindings: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        _sign(CommandStep(), bindings=bindings)
    assert caught.value.code == "binding.unusable"


def test_static_bindings() -> None:
    assert static_bindings() == {}
    assert static_bindings(organization="acme", pipeline="api", tag="", pull_request="false") == {
        name: UPLOADER[name] for name in UPLOADER if name.endswith(("SLUG", "TAG", "PULL_REQUEST"))
    }
    with pytest.raises(ConfigurationError):
        static_bindings(organization="")


def test_bound_steps_run_in_their_build_and_nowhere_else() -> None:
    step = _sign(CommandStep(command="make", key="deploy"), {"TOP": "1"}, bindings=uploader_bindings(UPLOADER))
    assert step.signature is not None
    assert step.signature.signed_fields == sorted(step.signature.signed_fields or ())
    env = {**UPLOADER, "TOP": "1", "BUILDKITE_STEP_KEY": "deploy"}
    assert _verify(step, env).environment["BUILDKITE_BUILD_ID"] == "b-1"
    for row in BINDINGS:
        assert _code(step, env | {row.name: "other"}) == "signature.mismatch"
        assert _code(step, {name: value for name, value in env.items() if name != row.name}) == "environment.missing"


def test_a_step_without_a_key_and_a_static_signature_are_not_bound_to_a_key() -> None:
    for step, bindings in (
        (CommandStep(command="a"), uploader_bindings(UPLOADER)),
        (CommandStep(command="a", key="k"), static_bindings(pipeline="api")),
    ):
        signature = _sign(step, bindings=bindings).signature
        assert signature is not None
        assert "env::BUILDKITE_STEP_KEY" not in (signature.signed_fields or ())


@pytest.mark.parametrize("name", ["BUILDKITE_BRANCH", "BUILDKITE_STEP_KEY"])
def test_a_bound_variable_cannot_be_set_as_well(name: str) -> None:
    bindings = uploader_bindings(UPLOADER)
    with pytest.raises(ConfigurationError) as caught:
        _sign(CommandStep(key="k", env={name: "x"}), bindings=bindings)
    assert caught.value.code == "binding.conflict"
    with pytest.raises(ConfigurationError) as caught:
        _sign(CommandStep(key="k"), {name: "x"}, bindings=bindings)
    assert caught.value.code == "binding.conflict"
    pipeline = Pipeline(steps=[CommandStep(command="a"), CommandStep(command="b", key="k", env={name: "x"})])
    with pytest.raises(ConfigurationError) as caught:
        sign_pipeline(pipeline, key=signing_key(), repository_url=REPOSITORY, bindings=bindings)
    assert caught.value.message.startswith("step 2 ('k')")
    # Without bindings it is nobody's business.
    _sign(CommandStep(key="k", env={name: "x"}))


# --- inherited settings ---------------------------------------------------------------------------------------------


def test_secrets_of_the_pipeline_reach_the_steps_at_the_top() -> None:
    pipeline = parse_pipeline(
        "secrets: [P, Q]\n"
        "steps: [{command: a, secrets: [{key: mine, environment_variable: P}]}, {command: b}, wait,"
        " {group: g, steps: [{command: c}]}]"
    )
    merged = merge_pipeline_secrets(pipeline)
    first, second, _, group = merged.steps
    assert isinstance(first, CommandStep) and isinstance(second, CommandStep) and isinstance(group, GroupStep)
    assert first.secrets == [Secret("mine", "P"), Secret("Q", "Q")]
    assert second.secrets == [Secret("P", "P"), Secret("Q", "Q")]
    assert group == pipeline.steps[3]
    assert merge_secrets([Secret("p")], [Secret("q"), Secret("r", "R")]) == [Secret("r", "R")]
    assert merge_secrets([], [Secret("q")]) == merge_secrets([Secret("q")], []) == [Secret("q")]
    assert merge_pipeline_secrets(replace(pipeline, secrets=[])).steps == pipeline.steps


def test_checkout_settings_of_the_pipeline_fill_gaps() -> None:
    pipeline = Pipeline(
        checkout=Checkout(submodules=False, depth=1, rest={"path": "p", "x": 1}),
        steps=[CommandStep(checkout=Checkout(depth=2, rest={"x": 2})), CommandStep(), WaitStep("wait")],
    )
    first, second, _ = merge_pipeline_checkout(pipeline).steps
    assert isinstance(first, CommandStep) and isinstance(second, CommandStep)
    assert first.checkout == Checkout(submodules=False, depth=2, rest={"x": 2, "path": "p"})
    assert second.checkout == pipeline.checkout
    assert merge_pipeline_checkout(replace(pipeline, checkout=Checkout())).steps == pipeline.steps


def test_the_table_of_fields_is_the_format() -> None:
    assert list(BY_NAME) == ["command", "env", "matrix", "plugins", "repository_url", "secrets", "checkout"]
    assert [row.name for row in FIELDS if row.is_mandatory(CommandStep())] == list(BY_NAME)[:5]
    assert all(row.mandatory and row.compared for row in FIELDS)


def test_keys_elsewhere_that_do_not_answer_are_unavailable() -> None:
    from pipeseal.errors import Unavailable

    class FarKey:
        alg, kid, thumbprint = "EdDSA", "far", ""

        def sign(self, signing_input: bytes) -> bytes:
            raise Unavailable("network.timeout", f"no answer after {len(signing_input)} bytes")

    pipeline = Pipeline(steps=[CommandStep(command="a")])
    with pytest.raises(PipesealError) as caught:
        sign_pipeline(pipeline, key=FarKey(), repository_url=REPOSITORY)
    assert isinstance(caught.value, Unavailable)
    assert pipeline == Pipeline(steps=[CommandStep(command="a")])
