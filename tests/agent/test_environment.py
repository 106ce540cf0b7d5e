"""A job's variables: what goes in, what stays out, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.agent.environment import (
    MAX_MESSAGE_BYTES,
    OWN,
    base_environment,
    build_environment,
    is_protected,
    render_environment_file,
)
from pipeseal.errors import VerificationError

UNSIGNED_AND_DANGEROUS = [
    "LD_PRELOAD", "LD_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES", "GCONV_PATH", "BASH_ENV", "ENV", "SHELLOPTS",
    "BASHOPTS", "PS4", "IFS", "PROMPT_COMMAND", "CDPATH", "GIT_SSH_COMMAND", "GIT_CONFIG_COUNT", "GIT_DIR",
    "GIT_EXEC_PATH", "GIT_SSL_NO_VERIFY", "SSH_ASKPASS", "PATH", "HOME", "TMPDIR", "XDG_CONFIG_HOME",
    "PYTHONPATH", "PYTHONSTARTUP", "NODE_OPTIONS", "NODE_EXTRA_CA_CERTS", "PERL5OPT", "RUBYOPT",
    "JAVA_TOOL_OPTIONS", "MAVEN_OPTS", "GOFLAGS", "RUSTC_WRAPPER", "MAKEFLAGS", "npm_config_registry",
    "PIP_INDEX_URL", "CC", "HTTPS_PROXY", "https_proxy", "SSL_CERT_FILE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE",
    "BASH_FUNC_make%%", "BUILDKITE_BOOTSTRAP_PHASES", "BUILDKITE_SECRETS_CONFIG",
    "BUILDKITE_PLUGIN_DOCKER_PRIVILEGED", "BUILDKITE_DOCKER", "BUILDKITE_DOCKER_COMPOSE_FILE",
    "BUILDKITE_HOOKS_PATH", "BUILDKITE_ADDITIONAL_HOOKS_PATHS", "BUILDKITE_SHELL", "BUILDKITE_COMMAND_EVAL",
    "BUILDKITE_GIT_CLONE_FLAGS", "BUILDKITE_GIT_SSH_KEY", "BUILDKITE_GIT_LFS_ENABLED", "BUILDKITE_SKIP_CHECKOUT",
    "BUILDKITE_BUILD_CHECKOUT_PATH", "BUILDKITE_NO_LOCAL_HOOKS", "BUILDKITE_GIT_REMOTE_MIRROR_URL",
    "BUILDKITE_USE_GITHUB_APP_GIT_CREDENTIALS", "BUILDKITE_AGENT_JWKS_FILE",
    "BUILDKITE_PIPELINE_NO_INTERPOLATION", "BUILDKITE_PIPELINE_REPLACE", "BUILDKITE_PIPELINE_UPLOAD_DRY_RUN",
    "BUILDKITE_CHANGED_FILES_PATH", "BUILDKITE_GIT_DIFF_BASE", "BUILDKITE_ARTIFACT_UPLOAD_DESTINATION",
    "BUILDKITE_S3_ENDPOINT", "BUILDKITE_AGENT_DEBUG_HTTP", "BUILDKITE_REQUEST_HEADER_BUILDKITE_X",
]  # fmt: skip


def _build(server: dict[str, str], covered: set[str] | None = frozenset(), **more: dict[str, str]) -> dict[str, str]:  # type: ignore[assignment]
    return build_environment(
        base={"PATH": "/bin", "HOME": "/home/agent"},
        server=server,
        covered=covered,
        step=more.get("step", {}),
        own=more.get("own", {}),
    ).values


@pytest.mark.parametrize("name", UNSIGNED_AND_DANGEROUS)
def test_server_cannot_set_what_changes_programs_or_the_agent(name: str) -> None:
    result = build_environment(
        base={"PATH": "/bin", "HOME": "/home/agent"}, server={name: "attack"}, covered=set(), step={}, own={}
    )
    assert "attack" not in result.values.values()
    assert [row.name for row in result.left_out] == [name]
    assert name not in result.server


@pytest.mark.parametrize(
    "name", [name for name in UNSIGNED_AND_DANGEROUS if name.removeprefix("BUILDKITE_") not in OWN]
)
def test_signed_step_may_set_it(name: str) -> None:
    assert _build({name: "meant"}, covered={name})[name] == "meant"
    assert _build({name: "other"}, step={name: "meant"})[name] == "meant"


@pytest.mark.parametrize("name", ["BUILDKITE_HOOKS_PATH", "BUILDKITE_AGENT_JWKS_FILE", "BUILDKITE_BOOTSTRAP_PHASES"])
def test_nobody_sets_what_is_the_agents_own(name: str) -> None:
    assert name not in _build({name: "x"}, covered={name})
    assert name not in _build({name: "x"}, covered=None)
    assert _build({name: "x"}, covered=None, own={name: "mine"})[name] == "mine"


def test_without_verification_the_server_decides_the_rest() -> None:
    assert _build({"GIT_SSH_COMMAND": "ssh -v", "X": "1"}, covered=None) == {
        "PATH": "/bin",
        "HOME": "/home/agent",
        "GIT_SSH_COMMAND": "ssh -v",
        "X": "1",
    }


@pytest.mark.parametrize("name", ["BUILDKITE_COMMAND=evil #", "=", "", "A\0B", "A\nB=C"])
def test_name_in_disguise_is_refused(name: str) -> None:
    for covered in (None, set(), {name}):
        with pytest.raises(VerificationError) as caught:
            _build({name: ""}, covered=covered)
        assert caught.value.code == "environment.name"


@pytest.mark.parametrize("value", ["a\0b", "x" * 140_000])
def test_value_that_no_program_can_get_is_refused(value: str) -> None:
    for more in ({"server": {"X": value}, "step": {}}, {"server": {}, "step": {"X": value}}):
        with pytest.raises(VerificationError) as caught:
            build_environment(base={}, covered=set(), own={}, **more)
        assert caught.value.code == "environment.value"


def test_all_variables_together_have_a_limit() -> None:
    with pytest.raises(VerificationError) as caught:
        _build({f"X{number}": "y" * 100_000 for number in range(20)})
    assert caught.value.code == "environment.value"


def test_endless_commit_message_is_shortened() -> None:
    message = _build({"BUILDKITE_MESSAGE": "é" * 100_000})["BUILDKITE_MESSAGE"]
    assert len(message.encode()) <= MAX_MESSAGE_BYTES
    assert "[value truncated 200000 -> " in message


def test_overwritten_names_are_told_and_equal_values_are_not() -> None:
    result = build_environment(
        base={},
        server={"BUILDKITE_AGENT_NAME": "me", "BUILDKITE_JOB_ID": "other"},
        covered=set(),
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
