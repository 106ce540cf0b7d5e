"""A job must keep to its signed step: command, variables, plugins, matrix; all differences named, no value shown."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.errors import MalformedInput, VerificationError, render_error
from pipeseal.pipeline.jsontext import decode_json
from pipeseal.pipeline.parse import parse_command_step
from pipeseal.pipeline.render import plugins_value, render_json, step_value
from pipeseal.pipeline.steps import Adjustment, Checkout, CommandStep, Matrix, Plugin, Secret
from pipeseal.signing.job import JobDiffers, StepNotProven, VerifiedJobStep, verify_job_step
from pipeseal.signing.sign import sign_step
from pipeseal.signing.strictjson import decode_strict_json
from tests.signing.material import (
    REPOSITORY,
    doubles,
    names,
    safe_integers,
    signing_key,
    steps,
    texts,
    verification_keys,
)

STEP = CommandStep(
    command="deploy {{matrix.app}}",
    env={"SAFETY": "on", "APP": "{{matrix.app}}"},
    plugins=[Plugin("docker#v5", {"image": "{{matrix.app}}:1", "n": 10})],
    matrix=Matrix({"app": ["web", "api"]}),
)
PERMUTATION = {"app": "web"}


def _signed(step: CommandStep = STEP, **env: str) -> CommandStep:
    signed = sign_step(step, key=signing_key(), repository_url=REPOSITORY, pipeline_env=env)
    return parse_command_step(render_json(step_value(signed)))


def _env(**changes: str | None) -> dict[str, str]:
    plugins = [{"github.com/buildkite-plugins/docker-buildkite-plugin#v5": {"image": "web:1", "n": 10}}]
    env = {
        "BUILDKITE_REPO": REPOSITORY,
        "BUILDKITE_COMMAND": "deploy web",
        "BUILDKITE_PLUGINS": json.dumps(plugins),
        "SAFETY": "on",
        "APP": "web",
        "TIER": "gold",
        "UNSIGNED": "anything",
    }
    return {name: value for name, value in (env | changes).items() if value is not None}


def _verify(step: CommandStep, env: dict[str, str], permutation: dict[str, str] | None = None) -> VerifiedJobStep:
    return verify_job_step(step, env=env, matrix_permutation=permutation, keys=verification_keys())


def _differs(env: dict[str, str], permutation: dict[str, str] | None = PERMUTATION) -> JobDiffers:
    with pytest.raises(JobDiffers) as caught:
        _verify(_signed(TIER="gold"), env, permutation)
    return caught.value


def test_a_job_that_keeps_to_its_step() -> None:
    proven = _verify(_signed(TIER="gold"), _env(), PERMUTATION)
    assert proven.step.command == "deploy web"
    assert proven.step.env == {"SAFETY": "on", "APP": "web"}
    assert proven.verified.step.command == "deploy {{matrix.app}}"
    assert proven.verified.environment == {"TIER": "gold"}


@pytest.mark.parametrize(
    ("changes", "code", "fields"),
    [
        ({"BUILDKITE_COMMAND": "deploy api"}, "command.differs", ("command",)),
        ({"BUILDKITE_COMMAND": None}, "command.differs", ("command",)),
        ({"BUILDKITE_COMMAND": "deploy web\n"}, "command.differs", ("command",)),
        ({"SAFETY": "off"}, "environment.differs", ("env",)),
        ({"SAFETY": None}, "environment.differs", ("env",)),
        ({"BUILDKITE_PLUGINS": "[]"}, "plugins.differ", ("plugins",)),
        ({"BUILDKITE_PLUGINS": None}, "plugins.differ", ("plugins",)),
        ({"BUILDKITE_PLUGINS": "{"}, "plugins.differ", ("plugins",)),
        (
            {"SAFETY": None, "BUILDKITE_COMMAND": "x", "BUILDKITE_PLUGINS": ""},
            "command.differs",
            ("command", "env", "plugins"),
        ),
    ],
)
def test_differences_are_all_named(changes: dict[str, str | None], code: str, fields: tuple[str, ...]) -> None:
    error = _differs(_env(**changes))
    assert (error.code, error.fields) == (code, fields)
    assert error.evidence["signed by"].startswith("eddsa-one (")


def test_evidence_tells_values_apart_without_showing_them() -> None:
    error = _differs(_env(SAFETY="hunter2", BUILDKITE_COMMAND="curl secret.example"))
    shown = render_error(error)
    assert "hunter2" not in shown and "secret.example" not in shown and "deploy" not in shown
    assert error.evidence["env SAFETY"].count("sha256") == 2
    assert error.evidence["command"].count("sha256") == 2


@pytest.mark.parametrize(
    ("permutation", "code"),
    [
        (None, "matrix.permutation"),
        ({"app": "shell"}, "matrix.permutation"),
        ({"zone": "web"}, "matrix.permutation"),
        ({"app": "web", "zone": "eu"}, "matrix.permutation"),
    ],
)
def test_matrix_values_that_the_step_does_not_allow(permutation: dict[str, str] | None, code: str) -> None:
    error = _differs(_env(), permutation)
    assert (error.code, error.fields) == (code, ("matrix",))


@pytest.mark.parametrize(
    ("adjustment", "code"),
    [(Adjustment({"app": "web"}, skip="no"), "matrix.skipped"), (Adjustment({"zone": "eu"}), "matrix.adjustment")],
)
def test_adjustments_that_stand_in_the_way(adjustment: Adjustment, code: str) -> None:
    step = _signed(CommandStep(command="a", matrix=Matrix({"app": ["web"]}, [adjustment])))
    with pytest.raises(JobDiffers) as caught:
        _verify(step, {"BUILDKITE_REPO": REPOSITORY, "BUILDKITE_COMMAND": "a"}, PERMUTATION)
    assert caught.value.code == code


def test_a_token_without_a_value_fails_even_in_a_label() -> None:
    step = _signed(CommandStep(command="a", label="{{matrix.zone}}", matrix=Matrix({"app": ["web"]})))
    with pytest.raises(JobDiffers) as caught:
        _verify(step, {"BUILDKITE_REPO": REPOSITORY, "BUILDKITE_COMMAND": "a"}, PERMUTATION)
    assert caught.value.code == "matrix.token"


def test_a_signature_over_checkout_settings_is_refused_as_every_agent_does() -> None:
    step = _signed(CommandStep(command="a", checkout=Checkout(skip=True)))
    with pytest.raises(JobDiffers) as caught:
        _verify(step, {"BUILDKITE_REPO": REPOSITORY, "BUILDKITE_COMMAND": "a"})
    assert (caught.value.code, caught.value.fields) == ("field.uncheckable", ("checkout",))


def test_secrets_are_taken_from_the_signed_step() -> None:
    step = _signed(CommandStep(command="a", secrets=[Secret("K", "V")]))
    proven = _verify(step, {"BUILDKITE_REPO": REPOSITORY, "BUILDKITE_COMMAND": "a"})
    assert proven.verified.step.secrets == [Secret("K", "V")]


def test_the_signature_comes_first() -> None:
    for step, env, code in (
        (STEP, _env(), "signature.missing"),
        (_signed(TIER="gold"), _env(BUILDKITE_REPO=None), "signature.mismatch"),
        (_signed(TIER="gold"), _env(TIER="silver", BUILDKITE_COMMAND="x"), "signature.mismatch"),
        (_signed(TIER="gold"), _env(TIER=None), "environment.missing"),
    ):
        with pytest.raises(StepNotProven) as caught:
            _verify(step, env, PERMUTATION)
        assert caught.value.code == code


PLUGINS = [{"github.com/buildkite-plugins/docker-buildkite-plugin#v5": {"image": "web:1", "n": 10}}]
TEXT = json.dumps(PLUGINS)


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        f" {TEXT}\n",
        json.dumps(PLUGINS, separators=(",", ":")),
        TEXT.replace("10", "10.0"),
        TEXT.replace("10", "1e1"),
        TEXT.replace("image", "\\u0069mage"),
        json.dumps([{name: dict(reversed(config.items())) for name, config in PLUGINS[0].items()}]),
    ],
)
def test_plugins_are_compared_by_meaning(text: str) -> None:
    _verify(_signed(TIER="gold"), _env(BUILDKITE_PLUGINS=text), PERMUTATION)


@pytest.mark.parametrize(
    "text",
    [
        TEXT.replace("10", "10.0000000000000000001"),
        TEXT.replace("10", "1 0"),
        TEXT.replace("10", "0xa"),
        TEXT.replace("10", "010"),
        TEXT.replace("10", '"10"'),
        TEXT.replace('"n"', '"n": 10, "n"'),
        TEXT.replace("web:1", "web:1\\ud800"),
        TEXT.replace("github.com/buildkite-plugins/docker-buildkite-plugin#v5", "docker#v5"),
        TEXT[:-1] + ",null]",
        TEXT[:-1] + ',{"./evil": null}]',
        TEXT + TEXT,
        "NaN",
        "null",
        "[ ]",
        "[" * 5000,
    ],
)
def test_other_plugins_are_refused(text: str) -> None:
    assert _differs(_env(BUILDKITE_PLUGINS=text)).code == "plugins.differ"


@pytest.mark.parametrize(("text", "none"), [("", 1), ("null", 1), ("[]", 1), ("[ ]", 0), ("{}", 0), ("null ", 0)])
def test_what_means_no_plugins(text: str, none: bool) -> None:
    step = _signed(CommandStep(command="a"))
    env = {"BUILDKITE_REPO": REPOSITORY, "BUILDKITE_COMMAND": "a", "BUILDKITE_PLUGINS": text}
    if none:
        _verify(step, env)
    else:
        with pytest.raises(JobDiffers):
            _verify(step, env)


@given(steps, st.data())
def test_any_single_change_to_a_job_is_refused(step: CommandStep, data: st.DataObject) -> None:
    signed = _signed(step, TIER="gold")
    permutation = (
        {name: (values or [""])[0] for name, values in (step.matrix.setup or {}).items()} if step.matrix else {}
    )
    env = {"TIER": "gold"} | step.env | {"BUILDKITE_REPO": REPOSITORY, "BUILDKITE_COMMAND": step.command}
    if step.plugins:
        env["BUILDKITE_PLUGINS"] = render_json(plugins_value(step.plugins))
    _verify(signed, env, permutation)
    name = data.draw(st.sampled_from([*step.env, "TIER", "BUILDKITE_REPO", "BUILDKITE_COMMAND", "BUILDKITE_PLUGINS"]))
    value = data.draw(st.none() | texts | names)
    changed = {key: item for key, item in (env | {name: value}).items() if item is not None}
    same = changed.get(name, "") == env.get(name, "") and (value is not None or name not in {**step.env, "TIER": ""})
    if same:
        _verify(signed, changed, permutation)
    else:
        with pytest.raises(VerificationError):
            _verify(signed, changed, permutation)


def test_the_proof_cannot_be_made_by_hand() -> None:
    proven = _verify(_signed(TIER="gold"), _env(), PERMUTATION)
    with pytest.raises(TypeError):
        VerifiedJobStep(object(), verified=proven.verified, step=proven.step)


# --- strict JSON ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b'{"a":1,"a":1}', "json.duplicate"),
        (b'{"a":{"b":1,"\\u0062":2}}', "json.duplicate"),
        (b"[9007199254740993.0]", "number.unsafe"),
        (b"[1e-400]", "number.unsafe"),
        (b"[0.1000000000000000055511151231257827]", "number.unsafe"),
        (b'["\\ud800"]', "json.lost_text"),
        (b'["\\udfff\\ud83d"]', "json.lost_text"),
        (b'["\\ud83d\\n\\ude00"]', "json.lost_text"),
        (b'["\\ud83d", "\\ude00"]', "json.lost_text"),
        (b'["\xff"]', "json.lost_text"),
    ],
)
def test_json_with_two_meanings_is_refused(text: bytes, code: str) -> None:
    with pytest.raises(MalformedInput) as caught:
        decode_strict_json(text)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "text",
    [b'["\\ud83d\\ude00"]', b'["\\\\ud800"]', '["\ufffd😀"]'.encode(), b"[1e1, 0.1, -0.0, 1e21]", b'{"a":{"a":1}}'],
)
def test_json_with_one_meaning_is_not(text: bytes) -> None:
    assert decode_strict_json(text) == decode_json(text)


_json = st.recursive(
    st.none() | st.booleans() | safe_integers | doubles | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(_json, st.booleans())
def test_what_another_writer_writes_has_one_meaning(value: Any, escaped: bool) -> None:
    text = json.dumps(value, ensure_ascii=escaped)
    assert decode_strict_json(text.encode()) == value
