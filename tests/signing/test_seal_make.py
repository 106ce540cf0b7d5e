"""Sealing steps: what is sealed, that a job made of a sealed step keeps to it, and what is refused instead."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeseal.errors import ConfigurationError, MalformedInput, PipesealError, VerificationError
from pipeseal.pipeline.commandstep import parse_command_step
from pipeseal.pipeline.parse import parse_all, parse_pipeline
from pipeseal.pipeline.render import pipeline_value, plugins_value, render_json, step_value
from pipeseal.pipeline.steps import Adjustment, Checkout, CommandStep, Matrix, Pipeline, Plugin
from pipeseal.pipeline.yaml import Limits
from pipeseal.signing.keys.generate import generate_key_pair
from pipeseal.signing.keys.signing_key import FileSigningKey
from pipeseal.signing.seal.compare import SealedStep, find_seal, sealed_step, verify_sealed_job
from pipeseal.signing.seal.envelope import VARIABLE, Audience, BuildFacts, Inherited, Parent, ResolvedPlugin, Seal
from pipeseal.signing.seal.make import Sealer, Sealing, make_seal, static_sealing
from pipeseal.signing.seal.members import agent_rules, most_attempts
from pipeseal.signing.seal.parse import parse_seal
from pipeseal.signing.seal.verify import VerifiedSeal, verify_seal
from pipeseal.signing.sign import check_verifiable, sign_pipeline, sign_step
from pipeseal.signing.signtext import sign_text
from pipeseal.signing.verify import verify_step
from tests.signing.material import REPOSITORY, environments, signing_key, steps, verification_keys

COMMIT = "0123456789abcdef0123456789abcdef01234567"
BUILD = BuildFacts(id="b-1", commit=COMMIT, tree=COMMIT[::-1], branch="main", tag="", pull_request="false")


def sealing(**changes: Any) -> Sealing:
    common = {"repository": REPOSITORY, "not_before": 100, "expires": 200, "positions": count(), "build": BUILD}
    return Sealing(**{**common, **changes})


def seal(step: CommandStep, **changes: Any) -> Seal:
    """What a seal of the step says, proven."""
    return verify_seal(seal_text(step, **changes), verification_keys(), now=150).seal


def seal_text(step: CommandStep, **changes: Any) -> str:
    common = {
        "key": signing_key(), "audience": Audience(repository=REPOSITORY), "build": BUILD, "parent": Parent(),
        "not_before": 100, "expires": 200,
    }  # fmt: skip
    return make_seal(step, **{**common, **changes})


def steps_of(text: str, terms: Sealing | None = None) -> list[CommandStep]:
    """The command steps of a pipeline, signed and sealed, as a control plane reads them."""
    signed = sign_pipeline(
        parse_pipeline(text), key=signing_key(), repository_url=REPOSITORY, sealing=terms or sealing()
    )
    again = parse_pipeline(render_json(pipeline_value(signed)))
    return [step for step in again.steps if isinstance(step, CommandStep)]


def prove(step: CommandStep) -> VerifiedSeal:
    return verify_seal(find_seal(step, {}), verification_keys(), now=150)


def job_env(sealed: SealedStep) -> dict[str, str]:
    """The variables that an honest server gives the job of a sealed step."""
    env = {
        **sealed.env,
        "BUILDKITE_COMMAND": sealed.command,
        "BUILDKITE_REPO": REPOSITORY,
        "BUILDKITE_ORGANIZATION_SLUG": sealed.seal.audience.organization or "any",
        "BUILDKITE_PIPELINE_SLUG": sealed.seal.audience.pipeline or "any",
        "BUILDKITE_STEP_KEY": sealed.step.key,
        "BUILDKITE_BUILD_ID": "b-1",
        "BUILDKITE_COMMIT": COMMIT,
        "BUILDKITE_BRANCH": "main",
        "BUILDKITE_TAG": "",
        "BUILDKITE_PULL_REQUEST": "false",
        "BUILDKITE_ARTIFACT_PATHS": ";".join(sealed.artifact_paths),
        "BUILDKITE_TIMEOUT": str(sealed.timeout_minutes or "false"),
        VARIABLE: sealed.seal.text,
    }
    if sealed.plugins:
        env["BUILDKITE_PLUGINS"] = render_json(plugins_value(list(sealed.plugins)))
    if sealed.parallelism is not None:
        env |= {"BUILDKITE_PARALLEL_JOB": "0", "BUILDKITE_PARALLEL_JOB_COUNT": str(sealed.parallelism)}
    return env


def run(
    step: CommandStep, permutation: Mapping[str, str] | None = None, changes: Mapping[str, str] | None = None
) -> SealedStep:
    proven = prove(step)
    env = {**job_env(sealed_step(proven, permutation)), **(changes or {})}
    return verify_sealed_job(proven, step=step, env=env, matrix_permutation=permutation)


# --- what is sealed -------------------------------------------------------------------------------------------------

FULL = """
env: {SHARED: "1", MODE: pipeline}
agents: {queue: linux}
checkout: {depth: 50, submodules: false}
steps:
  - key: test
    label: "Test {{matrix}}"
    commands: ["make {{matrix}}", make report]
    env: {MODE: step, OS: "{{matrix}}"}
    plugins: [{docker#v5.13.0: {image: "img:{{matrix}}", cpus: 0.5}}, ./local]
    matrix: [linux, mac]
    secrets: [TOKEN]
    artifact_paths: "out/{{matrix}}/*; log.txt"
    timeout_in_minutes: "20"
    retry: {automatic: [{exit_status: 1, limit: 3}], manual: false}
    checkout: {depth: 1}
    cache: vendor
    concurrency: 1
    concurrency_group: one
    if: build.branch == "main"
    soft_fail: [{exit_status: 3}]
    depends_on: [a, b]
"""


def test_a_sealed_step_is_all_that_an_agent_needs() -> None:
    (step,) = steps_of(FULL, sealing(organization="acme", pipeline="widgets", parent="ab" * 32, upload="u-1"))
    said = prove(step).seal
    assert said.audience == Audience(
        repository=REPOSITORY, organization="acme", pipeline="widgets", agents=("queue=linux",)
    )
    assert said.build == BUILD
    assert said.parent == Parent(seal="ab" * 32, upload="u-1", position=0)
    assert (said.attempts, said.exclusive, said.not_before, said.expires) == (4, True, 100, 200)
    sealed = run(step, {"": "mac"})
    assert sealed.command == "make mac\nmake report"
    assert sealed.env == {"SHARED": "1", "MODE": "step", "OS": "mac"}
    assert [plugin.config for plugin in sealed.plugins] == [{"cpus": 0.5, "image": "img:mac"}, None]
    assert sealed.resolved == (None, None)
    assert [secret.key for secret in sealed.secrets] == ["TOKEN"]
    assert sealed.artifact_paths == ("out/mac/*", "log.txt")
    assert sealed.timeout_minutes == 20
    assert sealed.checkout == Checkout(depth=1, submodules=False)
    assert sealed.step.label == "Test mac"
    assert sealed.execution == "shell"
    assert {"concurrency_group", "if", "soft_fail", "depends_on", "retry"} < sealed.step.rest.keys()


def test_each_step_has_a_place_also_across_documents_and_groups() -> None:
    terms = sealing()
    text = "steps: [{command: a}, wait, {group: g, steps: [{command: a}]}, {command: a}]\n"
    positions = []
    for pipeline in parse_all(f"{text}---\n{text}"):
        assert isinstance(pipeline, Pipeline)
        signed = sign_pipeline(pipeline, key=signing_key(), repository_url=REPOSITORY, sealing=terms)
        positions += _positions(json.loads(render_json(pipeline_value(signed)))["steps"])
    assert positions == list(range(6))


def _positions(steps: list[Any]) -> list[int]:
    found = []
    for step in steps:
        if isinstance(step, dict) and "command" in step:
            found.append(parse_seal(step["env"][VARIABLE]).parent.position)
        elif isinstance(step, dict):
            found += _positions(step["steps"])
    return found


def test_the_signature_covers_the_seal_and_an_older_one_goes() -> None:
    (step,) = steps_of("steps: [{command: a, env: {A: b}}]")
    assert step.signature is not None
    verify_step(step, env={}, repository_url=REPOSITORY, keys=verification_keys())
    changed = replace(step, env={**step.env, VARIABLE: step.env[VARIABLE] + "A"})
    with pytest.raises(VerificationError) as caught:
        verify_step(changed, env={}, repository_url=REPOSITORY, keys=verification_keys())
    assert caught.value.code == "signature.mismatch"
    unsealed = sign_step(step, key=signing_key(), repository_url=REPOSITORY)
    assert unsealed.env == {"A": "b"}
    signed = sign_pipeline(
        Pipeline(steps=[step]), key=signing_key(), repository_url=REPOSITORY, sealing=sealing(expires=300)
    )
    (again,) = signed.steps
    assert isinstance(again, CommandStep)
    assert parse_seal(again.env[VARIABLE]).expires == 300
    assert VARIABLE not in parse_seal(again.env[VARIABLE]).step.env


def test_a_static_seal_is_the_same_each_time() -> None:
    def text() -> str:
        terms = static_sealing(repository_url=REPOSITORY, bindings={"BUILDKITE_TAG": ""})
        return Sealer(signing_key(), terms).seal(CommandStep(command="a"))

    assert text() == text()
    said = verify_seal(text(), verification_keys(), now=0).seal
    assert said.is_static and said.build == BuildFacts(tag="")
    assert (said.not_before, said.expires, said.parent) == (0, None, Parent())


@pytest.mark.parametrize(
    ("command", "execution"),
    [
        ("run.sh", "script"),
        ("/run.sh\n", "script"),
        ("run.sh x", "shell"),
        ("run.sh\nrun.sh", "shell"),
        ("", "shell"),
    ],
)
def test_whether_a_command_is_a_script_is_decided_where_it_is_sealed(command: str, execution: str) -> None:
    terms = sealing(is_script=lambda text: text.strip("/\n") == "run.sh")
    (step,) = steps_of(json.dumps({"steps": [{"command": command, "plugins": ["./p"]}]}), terms)
    assert prove(step).seal.execution == execution


def test_plugins_say_what_they_resolved_to() -> None:
    known = {"github.com/buildkite-plugins/docker-buildkite-plugin#v5": ResolvedPlugin(COMMIT, COMMIT[::-1])}
    plugins = [Plugin("docker#v5"), Plugin(f"acme/lint#{COMMIT}"), Plugin("acme/lint#v1")]
    said = seal(CommandStep(plugins=plugins), resolved=known)
    assert said.plugins == (ResolvedPlugin(COMMIT, COMMIT[::-1]), ResolvedPlugin(COMMIT), None)


@pytest.mark.parametrize(
    ("agents", "rules"),
    [
        (None, ()),
        ({"queue": "a", "gpu": True, "cores": 8, "none": None}, ("cores=8", "gpu=true", "queue=a")),
        (["queue=a", " os = linux ", "gpu", "queue=a"], ("gpu=true", "os=linux", "queue=a")),
        ("queue=a", ("queue=a",)),
    ],
)
def test_agents_become_rules(agents: Any, rules: tuple[str, ...]) -> None:
    assert agent_rules(agents) == rules


@pytest.mark.parametrize(
    ("retry", "attempts"),
    [
        (None, 11),
        ({"automatic": True}, 13),
        ({"automatic": True, "manual": False}, 3),
        ({"automatic": {"limit": 5}, "manual": {"allowed": False}}, 6),
        ({"automatic": [{"limit": 2}, {"limit": "3"}], "manual": {"allowed": True}}, 16),
        ({"automatic": [{"limit": 99}, {"limit": "x"}, "true", 4], "manual": "false"}, 13),
    ],
)
def test_attempts_follow_the_retry_rules(retry: Any, attempts: int) -> None:
    assert most_attempts(retry) == attempts


# --- what is not sealed ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "code"),
    [
        ({"command": "a", "parallelism": [1]}, "seal.unsealable"),
        ({"command": "a", "parallelism": -1}, "seal.unsealable"),
        ({"command": "a", "timeout_in_minutes": "soon"}, "seal.unsealable"),
        ({"command": "a", "timeout_in_minutes": True}, "seal.unsealable"),
        ({"command": "a", "artifact_paths": {"a": 1}}, "seal.unsealable"),
        ({"command": "a", "artifact_paths": ["a", 1]}, "seal.unsealable"),
        ({"command": "a", "agents": [["x"]]}, "seal.unsealable"),
        ({"command": "a", "soft": 0.5}, "seal.unsealable"),
        ({"command": "a", "priority": 2**53}, "seal.unsealable"),
        ({"command": "a", "plugins": [{"p#1": {"n": 2**53}}]}, "number.unsafe"),
        ({"command": "a", "env": {"X": "x" * 90_000}}, "seal.too_large"),
    ],
)
def test_what_cannot_be_sealed_is_refused_and_named(step: dict[str, Any], code: str) -> None:
    text = json.dumps({"steps": [{"command": "fine"}, step]})
    with pytest.raises(MalformedInput) as caught:
        steps_of(text)
    assert caught.value.code == code
    assert "step 2 ('a')" in caught.value.message
    sign_pipeline(parse_pipeline(text.replace(str(2**53), "1")), key=signing_key(), repository_url=REPOSITORY)


def test_a_step_that_reads_back_as_another_is_not_sealed() -> None:
    with pytest.raises(MalformedInput) as caught:
        seal(CommandStep(command="a", rest={"id": "other"}))
    assert caught.value.code == "seal.unsealable"
    assert seal(CommandStep(command="a", key="k", rest={"id": "other"})).step.key == "k"


def test_a_pipeline_cannot_set_the_seal() -> None:
    with pytest.raises(MalformedInput) as caught:
        steps_of(f"env: {{{VARIABLE}: x}}\nsteps: [{{command: a}}]")
    assert caught.value.code == "seal.unsealable"


@pytest.mark.parametrize("kid", ["", "k" * 257])
def test_a_key_without_an_id_does_not_seal(kid: str) -> None:
    key = FileSigningKey(generate_key_pair("EdDSA", "k").key)
    key.kid = kid
    with pytest.raises(ConfigurationError) as caught:
        sign_pipeline(Pipeline(), key=key, repository_url=REPOSITORY, sealing=sealing())
    assert caught.value.code == "seal.key"


@pytest.mark.parametrize("algorithm", ["ES256", "PS256", "HS256"])
def test_every_algorithm_of_signatures_seals(algorithm: str) -> None:
    text = seal_text(CommandStep(command="a"), key=signing_key(algorithm))
    assert verify_seal(text, verification_keys(algorithm), now=150).seal.alg == algorithm


# --- jobs and their seals -------------------------------------------------------------------------------------------


def test_a_job_without_a_seal_or_with_two() -> None:
    for step, env, code in (
        (CommandStep(), {}, "seal.missing"),
        (CommandStep(env={VARIABLE: ""}), {}, "seal.missing"),
        (CommandStep(), {VARIABLE: "x"}, "seal.missing"),
        (CommandStep(env={VARIABLE: "x"}), {VARIABLE: "y"}, "seal.differs"),
    ):
        with pytest.raises(VerificationError) as caught:
            find_seal(step, env)
        assert caught.value.code == code


@pytest.mark.parametrize("permutation", [None, {}, {"": "windows"}, {"os": "linux"}, {"": "linux", "x": "y"}])
def test_only_combinations_of_the_sealed_matrix_run(permutation: dict[str, str] | None) -> None:
    (step,) = steps_of("steps: [{command: 'a {{matrix}}', matrix: [linux, mac]}]")
    with pytest.raises(VerificationError) as caught:
        run(step, permutation)
    assert caught.value.code == "matrix.permutation"


def test_a_skipped_combination_does_not_run() -> None:
    matrix = Matrix({"os": ["a", "b"]}, [Adjustment({"os": "b"}, skip=True)])
    (step,) = steps_of(render_json({"steps": [step_value(CommandStep(command="{{matrix.os}}", matrix=matrix))]}))
    assert run(step, {"os": "a"}).command == "a"
    with pytest.raises(VerificationError) as caught:
        run(step, {"os": "b"})
    assert caught.value.code == "matrix.skipped"


@pytest.mark.parametrize(
    ("index", "total", "runs"),
    [("0", "3", True), ("2", "3", True), ("3", "3", False), ("-1", "3", False), ("00", "3", False), ("0", "4", False),
     ("", "", False), ("0", "", False), ("９", "3", False), ("0x1", "3", False)],
)  # fmt: skip
def test_only_the_sealed_parallel_jobs_run(index: str, total: str, runs: bool) -> None:
    (step,) = steps_of("steps: [{command: a, parallelism: 3}]")
    changes = {"BUILDKITE_PARALLEL_JOB": index, "BUILDKITE_PARALLEL_JOB_COUNT": total}
    if runs:
        assert run(step, None, changes).parallelism == 3
        return
    with pytest.raises(VerificationError) as caught:
        run(step, None, changes)
    assert caught.value.code == "seal.index"


@pytest.mark.parametrize("skip", [True, "not today", "true"])
def test_what_was_sealed_as_skipped_does_not_run(skip: Any) -> None:
    (step,) = steps_of(json.dumps({"steps": [{"command": "a", "skip": skip}]}))
    with pytest.raises(VerificationError) as caught:
        run(step)
    assert caught.value.code == "seal.skipped"


@pytest.mark.parametrize("skip", [False, "", "false", None])
def test_what_was_not_skipped_runs(skip: Any) -> None:
    (step,) = steps_of(json.dumps({"steps": [{"command": "a", "skip": skip}]}))
    assert run(step).command == "a"


def test_a_difference_names_the_variable_and_shows_no_value() -> None:
    (step,) = steps_of("steps: [{command: a, env: {PASSWORD: hunter2, OTHER: x}}]")
    with pytest.raises(VerificationError) as caught:
        verify_sealed_job(
            prove(step),
            step=replace(step, env={**step.env, "PASSWORD": "hunter3"}),
            env=job_env(sealed_step(prove(step))),
            matrix_permutation=None,
        )
    error = caught.value
    assert error.code == "seal.differs" and error.fields == ("step.env",)
    assert "PASSWORD" in error.message and "OTHER" not in error.message
    assert "hunter" not in f"{error.message}{error.evidence}{error.help}"
    assert error.evidence["signed by"].startswith("eddsa-one (")


def test_true_is_not_one() -> None:
    (step,) = steps_of("steps: [{command: a, soft_fail: true}]")
    with pytest.raises(VerificationError) as caught:
        verify_sealed_job(
            prove(step),
            step=replace(step, rest={"soft_fail": 1}),
            env=job_env(sealed_step(prove(step))),
            matrix_permutation=None,
        )
    assert caught.value.fields == ("step.rest",)


def test_a_job_whose_step_has_no_normal_form_differs() -> None:
    (step,) = steps_of("steps: [{command: a}]")
    with pytest.raises(VerificationError) as caught:
        verify_sealed_job(
            prove(step),
            step=replace(step, rest={"parallelism": []}),
            env=job_env(sealed_step(prove(step))),
            matrix_permutation=None,
        )
    assert caught.value.code == "seal.differs" and caught.value.fields == ("step",)


rests = st.dictionaries(
    st.sampled_from(["agents", "if", "new", "notify", "skip", "soft_fail", "id", "name", "artifact_paths"]),
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
        max_leaves=4,
    ),
    max_size=3,
)


@given(steps, rests, environments)
def test_what_is_sealed_is_what_every_reader_of_the_step_compares(
    step: CommandStep, rest: dict[str, Any], env: dict[str, str]
) -> None:
    """Round trip: sealed, written as JSON, read by an agent, the step keeps to its seal in every member."""
    step = replace(step, rest=rest)
    try:
        check_verifiable(step)
        text = seal_text(step, inherited=Inherited(env=env))
    except PipesealError as error:
        assert error.code in ("seal.unsealable", "number.unsafe", "payload.value", "signing.unverifiable")
        return
    proven = verify_seal(text, verification_keys(), now=150)
    sent = parse_command_step(render_json(step_value(replace(step, env={**step.env, VARIABLE: text}))))
    permutation = (
        {name: values[0] for name, values in (step.matrix.setup or {}).items() if values} if step.matrix else {}
    )
    try:
        sealed = sealed_step(proven, permutation)
    except VerificationError as error:
        assume(error.code not in ("matrix.token", "matrix.permutation"))
        raise
    if sealed.step.rest.get("skip") in (None, False, "", "false"):
        env = job_env(sealed)
        assert verify_sealed_job(proven, step=sent, env=env, matrix_permutation=permutation) == sealed


@given(steps, st.data())
def test_a_job_that_says_anything_else_is_refused(step: CommandStep, data: st.DataObject) -> None:
    """Any member of the step that a server changes, adds or leaves out is a refusal, or changes nothing at all."""
    step = replace(step, matrix=None, rest={"agents": {"queue": "q"}, "priority": 3})
    try:
        check_verifiable(step)
        text = seal_text(step)
    except PipesealError:
        return
    proven = verify_seal(text, verification_keys(), now=150)
    sealed = sealed_step(proven)
    value = json.loads(render_json(step_value(replace(step, env={**step.env, VARIABLE: text}))))
    honest = json.dumps(value)
    name = data.draw(st.sampled_from([*value, "label", "retry", "if", "extra", "artifact_paths", "secrets", "cache"]))
    value[name] = data.draw(st.sampled_from([None, "", "x", [], {}, ["x"], {"x": "y"}, 7, True]))
    try:
        sent = parse_command_step(json.dumps(value))
    except PipesealError:
        return
    env = job_env(sealed)
    try:
        assert verify_sealed_job(proven, step=sent, env=env, matrix_permutation=None) == sealed
    except VerificationError as error:
        assert error.code == "seal.differs"
    else:
        # Accepted: then it says the same to every reader, in other words (null for what is not there).
        again = parse_command_step(honest)
        assert (sent.command, sent.env, sent.key, sent.label) == (again.command, again.env, again.key, again.label)
        assert seal_text(sent) == text


@given(environments, st.data())
def test_a_variable_that_repeats_the_seal_is_compared(env: dict[str, str], data: st.DataObject) -> None:
    proven = verify_seal(
        seal_text(CommandStep(command="a", env=env), audience=Audience(repository=REPOSITORY, organization="acme")),
        verification_keys(),
        now=150,
    )
    sealed = sealed_step(proven)
    honest = job_env(sealed)
    step = replace(proven.seal.step, env={**proven.seal.step.env, VARIABLE: proven.seal.text})
    assert verify_sealed_job(proven, step=step, env=honest, matrix_permutation=None) == sealed
    name = data.draw(st.sampled_from(sorted(honest.keys() - {"BUILDKITE_TIMEOUT", "BUILDKITE_PIPELINE_SLUG"})))
    value = data.draw(st.text(max_size=5))
    assume(value != honest[name] and not (name == "BUILDKITE_ARTIFACT_PATHS" and not value.strip("; \t\n")))
    try:
        verify_sealed_job(proven, step=step, env=honest | {name: value}, matrix_permutation=None)
    except VerificationError as error:
        assert error.code in ("seal.differs", "seal.index")
    else:
        # White space and separators alone are no pattern.
        assert name == "BUILDKITE_ARTIFACT_PATHS"


# --- files ----------------------------------------------------------------------------------------------------------

TEXTS = {
    "without variables": "steps:\n- command: a # why\n  label: x\n",
    "block": "steps:\n  - env:\n      # about A\n      A: b # c\n      B: |\n        x\n\n    command: a\n",
    "env last, block scalar": "steps:\n  - command: a\n    env:\n      A: |+\n        x\n\n\n# end\n",
    "flow": "steps:\n  - {command: a, env: {A: b, 'B': c}, label: x}\n",
    "flow, empty": "steps:\n  - command: a\n    env: {}\n",
    "flow of several lines": "steps:\n  - command: a\n    env: {\n      A: b,\n      B: c\n    }\n",
    "null": "steps:\n  - command: a\n    env:\n    label: x\n",
    "alias": "x: &e {A: b}\nsteps:\n  - command: a\n    env: *e\n  - command: b\n    env: *e\n",
    "anchor": "steps:\n  - command: a\n    env: &e\n      A: b\n  - command: b\n    env: *e\n",
    "merge key": "x: &e {A: b}\nsteps:\n  - command: a\n    env:\n      <<: *e\n      B: c\n",
    "json": '{"steps": [{"command": "a", "env": {"A": "b"}}, {"command": "c"}]}\n',
    "json of several lines": json.dumps({"steps": [{"env": {"A": "b"}, "command": "a"}]}, indent=2) + "\n",
    "windows": "steps:\r\n  - command: a\r\n    env:\r\n      A: b\r\n",
    "group": "steps:\n  - group: g\n    steps:\n      - command: a\n        env: {A: b}\n",
    "list": "- command: a\n  env:\n    A: b\n",
}


@pytest.mark.parametrize("name", TEXTS)
def test_seals_are_put_into_a_file_and_the_rest_stays(name: str) -> None:
    text = TEXTS[name]
    terms = static_sealing(repository_url=REPOSITORY, bindings={})
    signed = sign_text(text, source="p.yml", key=signing_key(), repository_url=REPOSITORY, sealing=terms)
    assert signed.kept
    (pipeline,) = signed.pipelines
    assert list(parse_all(signed.text)) == [pipeline]
    for line in text.splitlines():
        if "#" in line:
            assert line in signed.text.splitlines()
    if name.startswith("json"):
        json.loads(signed.text)
    found = _positions(json.loads(render_json(pipeline_value(pipeline)))["steps"])
    assert found == list(range(signed.signed_steps))
    # Signing again replaces seals and signatures where they stand.
    again = sign_text(
        signed.text, source="p.yml", key=signing_key(), repository_url=REPOSITORY,
        sealing=static_sealing(repository_url=REPOSITORY, bindings={}),
    )  # fmt: skip
    assert again.text == signed.text
    # And they are taken off again.
    plain = sign_text(signed.text, source="p.yml", key=signing_key(), repository_url=REPOSITORY)
    assert VARIABLE not in plain.text
    assert plain.pipelines == sign_text(text, source="p.yml", key=signing_key(), repository_url=REPOSITORY).pipelines


def test_seals_stand_where_a_reader_expects_them() -> None:
    terms = static_sealing(repository_url=REPOSITORY, bindings={})
    signed = sign_text(TEXTS["block"], source="p.yml", key=signing_key(), repository_url=REPOSITORY, sealing=terms)
    lines = signed.text.splitlines()
    assert lines[:3] == ["steps:", "  - env:", "      # about A"]
    assert lines[3].startswith(f"      {VARIABLE}: eyJ")
    assert lines[4:6] == ["      A: b # c", "      B: |"]


def test_a_file_may_become_longer_than_what_is_read_at_once() -> None:
    text = TEXTS["block"]
    signed = sign_text(
        text, source="p.yml", key=signing_key(), repository_url=REPOSITORY, limits=Limits(max_bytes=len(text)),
        sealing=static_sealing(repository_url=REPOSITORY, bindings={}),
    )  # fmt: skip
    assert signed.kept and len(signed.text) > 10 * len(text)
