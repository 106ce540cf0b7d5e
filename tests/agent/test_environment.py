"""A job's variables: how the sources are put together, and what no program can be handed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.agent.environment import (
    base_environment,
    build_environment,
    is_protected,
    render_environment_file,
)
from pipeseal.errors import VerificationError
from pipeseal.policy.values import MAX_TEXT_BYTES


def _build(approved: dict[str, str], **more: dict[str, str]) -> dict[str, str]:
    return build_environment(
        base={"PATH": "/bin", "HOME": "/home/agent"},
        approved=approved,
        step=more.get("step", {}),
        own=more.get("own", {}),
    ).values


def test_later_sources_win() -> None:
    values = _build(
        {"PATH": "/approved", "A": "approved", "B": "approved", "C": "approved"},
        step={"B": "step", "C": "step"},
        own={"C": "own"},
    )
    assert values == {"PATH": "/approved", "HOME": "/home/agent", "A": "approved", "B": "step", "C": "own"}


@pytest.mark.parametrize("name", ["BUILDKITE_HOOKS_PATH", "BUILDKITE_AGENT_JWKS_FILE", "BUILDKITE_BOOTSTRAP_PHASES"])
def test_nobody_sets_what_is_the_agents_own(name: str) -> None:
    assert name not in _build({name: "x"})
    assert name not in _build({}, step={name: "x"})
    assert _build({name: "x"}, step={name: "y"}, own={name: "mine"})[name] == "mine"
    result = build_environment(base={}, approved={name: "x"}, step={}, own={})
    assert [row.name for row in result.left_out] == [name]


@pytest.mark.parametrize("name", ["BUILDKITE_COMMAND=evil #", "=", "", "A\0B", "A\nB=C"])
def test_name_in_disguise_is_refused(name: str) -> None:
    for more in ({"approved": {name: ""}, "step": {}}, {"approved": {}, "step": {name: ""}}):
        with pytest.raises(VerificationError) as caught:
            build_environment(base={}, own={}, **more)
        assert caught.value.code == "environment.name"


@pytest.mark.parametrize("value", ["a\0b", "x" * 140_000])
def test_value_that_no_program_can_get_is_refused(value: str) -> None:
    for more in ({"approved": {"X": value}, "step": {}}, {"approved": {}, "step": {"X": value}}):
        with pytest.raises(VerificationError) as caught:
            build_environment(base={}, own={}, **more)
        assert caught.value.code == "environment.value"


def test_all_variables_together_have_a_limit() -> None:
    with pytest.raises(VerificationError) as caught:
        _build({f"X{number}": "y" * 100_000 for number in range(20)})
    assert caught.value.code == "environment.value"


def test_endless_commit_message_of_an_unverified_job_is_shortened() -> None:
    message = _build({"BUILDKITE_MESSAGE": "é" * 100_000})["BUILDKITE_MESSAGE"]
    assert len(message.encode()) <= MAX_TEXT_BYTES
    assert "[value truncated 200000 -> " in message


def test_overwritten_names_are_told_and_equal_values_are_not() -> None:
    result = build_environment(
        base={},
        approved={"BUILDKITE_AGENT_NAME": "me", "BUILDKITE_JOB_ID": "other"},
        step={},
        own={"BUILDKITE_AGENT_NAME": "me", "BUILDKITE_JOB_ID": "mine"},
    )
    assert result.overwritten == ["BUILDKITE_JOB_ID"]
    assert result.values["BUILDKITE_JOB_ID"] == "mine"


def test_agent_passes_on_little_of_its_own() -> None:
    given_environment = {
        "PATH": "/bin",
        "LC_ALL": "C",
        "AWS_SECRET_ACCESS_KEY": "no",
        "http_proxy": "p",
        "EXTRA": "e",
    }
    assert base_environment(given_environment) == {"PATH": "/bin", "LC_ALL": "C", "http_proxy": "p"}
    assert base_environment(given_environment, ["EXTRA"])["EXTRA"] == "e"


def test_hooks_may_change_settings_of_the_checkout_and_not_of_the_agent() -> None:
    assert is_protected("BUILDKITE_HOOKS_PATH") and is_protected("BUILDKITE_AGENT_ACCESS_TOKEN")
    assert not is_protected("BUILDKITE_GIT_CLONE_FLAGS") and not is_protected("PATH")


@given(st.dictionaries(st.text(max_size=12), st.text(max_size=12), max_size=5))
def test_whatever_the_server_sends_is_variables_or_a_refusal(server: dict[str, str]) -> None:
    try:
        values = _build(server)
    except VerificationError as error:
        assert error.code in {"environment.name", "environment.value"}
    else:
        assert values["PATH"] == "/bin" and values["HOME"] == "/home/agent"
        assert all(name and "=" not in name and "\0" not in name + value for name, value in values.items())


def test_environment_file_is_one_line_a_variable() -> None:
    assert render_environment_file({"A": 'x "y"\n', "B": "é"}) == 'A="x \\"y\\"\\n"\nB="é"\n'
