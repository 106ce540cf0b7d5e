"""Settings: where their values come from, which wins, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.agent.options import BY_NAME, NOT_SUPPORTED, OPTIONS, WITHOUT_EFFECT
from pipeseal.agent.settings import AgentSettings, find_config_file, load_settings, parse_config_file
from pipeseal.errors import ConfigurationError


def load(tmp_path: Path, text: str = "", environment: dict[str, str] | None = None, **flags: Any) -> AgentSettings:
    (tmp_path / "agent.cfg").write_text(text, "utf-8")
    given = {name.replace("_", "-"): value for name, value in flags.items()}
    return load_settings(
        {"config": str(tmp_path / "agent.cfg"), "token": "file://" + str(_token(tmp_path)), **given},
        {"HOME": "/home/me", **(environment or {})},
    )


def _token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("TOKEN\n")
    return path


def test_flag_wins_over_environment_over_file_over_default(tmp_path: Path) -> None:
    assert load(tmp_path).spawn == 1
    assert load(tmp_path, "spawn=2").spawn == 2
    assert load(tmp_path, "spawn=2", {"BUILDKITE_AGENT_SPAWN": ""}).spawn == 2
    assert load(tmp_path, "spawn=2", {"BUILDKITE_AGENT_SPAWN": "3"}).spawn == 3
    both = {"BUILDKITE_AGENT_SPAWN": "3", "PIPESEAL_AGENT_SPAWN": "4"}
    assert load(tmp_path, "spawn=2", both).spawn == 4
    assert load(tmp_path, "spawn=2", both, spawn="5").spawn == 5
    assert load(tmp_path, "no-pty=true", no_pty=False).no_pty is False


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("name=plain", "plain"),
        ("name = spaced out ", "spaced out"),
        ("export name=x", "x"),
        ("name: yaml-like", "yaml-like"),
        ('name="in quotes # here"', "in quotes # here"),
        ("name='single $HOME'", "single $HOME"),
        ("name=value # comment", "value"),
        ("name=with#hash", "with#hash"),
        ('name="a\\"b\\nc"', 'a"b\nc'),
        ("# name=no\nname=yes", "yes"),
        ("name=", ""),
    ],
)
def test_lines_of_the_file(line: str, value: str) -> None:
    assert parse_config_file(line, "f")[0] == {"name": value}


def test_kinds_of_values(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        'tags="os=linux, size=big"\nbuild-path=~/b\nhooks-path=$BASE/hooks\ncancel-grace-period=2.5\n'
        "no-plugins=1\nno-local-hooks=f\nredacted-vars=\nadditional-hooks-paths=/a,~/b\n",
        {"BASE": "/base"},
    )
    assert settings.tags == ("os=linux", "size=big")
    assert settings.build_path == Path("/home/me/b") and settings.hooks_path == Path("/base/hooks")
    assert settings.cancel_grace_period == 2.5
    assert settings.no_plugins and not settings.no_local_hooks
    assert settings.redacted_vars == () and settings.additional_hooks_paths == (Path("/a"), Path("/home/me/b"))
    assert settings.token == "TOKEN" and settings.config_file == tmp_path / "agent.cfg"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("nonsense", "config.line"),
        ("verification-jwks-fil=x", "config.key"),
        ("spawn=many", "config.value"),
        ("spawn=0", "config.value"),
        ("no-pty=perhaps", "config.value"),
        ("cancel-grace-period=-1", "config.value"),
        ("cancel-grace-period=nan", "config.value"),
        ("verification-failure-behavior=ignore", "config.value"),
        ("log-format=xml", "config.value"),
        ("allowed-plugins=(", "config.value"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path: Path, text: str, code: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, text)
    assert caught.value.code == code


def test_unknown_key_names_the_nearest_and_the_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, "\n\nverification-jwk-file=x")
    assert "agent.cfg:3" in caught.value.message and "verification-jwks-file" in caught.value.help


def test_keys_of_the_stock_agent_are_known(tmp_path: Path) -> None:
    settings = load(tmp_path, "no-ssh-keyscan=true\nkubernetes-exec=true\nexperiment=agent-api")
    assert [note.split(": ")[1].split()[0] for note in settings.notes] == ["kubernetes-exec", "experiment"]
    assert not NOT_SUPPORTED & set(BY_NAME) and not WITHOUT_EFFECT & set(BY_NAME)


@pytest.mark.parametrize(
    "text",
    [
        "cancel-signal=SIGSTOP",
        "git-commit-verification=maybe",
        "git-sparse-checkout-mode=odd",
        "git-mirror-checkout-mode=copy",
        "git-submodule-clone-config=--upload-pack=evil",
        "acquire-job=j\nspawn=2",
        "signer-socket=/run/s\nsigning-jwks-file=/k.json",
        "signer-socket=/run/s\nsigning-aws-kms-key=alias/ci",
        "signer-socket=/run/s\nsigning-gcp-kms-key=projects/p",
        "spawn-per-cpu=0",
        "disconnect-after-uptime=-1",
    ],
)
def test_values_that_make_no_sense_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, text)
    assert caught.value.code == "config.value"


def test_workers_for_each_processor(tmp_path: Path) -> None:
    assert load(tmp_path, "spawn-per-cpu=3").spawn == 3 * len(os.sched_getaffinity(0))


def test_without_a_token_there_is_no_agent(tmp_path: Path) -> None:
    for token, code in (("", "token.missing"), ("file:///nowhere", "token.unreadable"), ("a b", "token.unreadable")):
        with pytest.raises(ConfigurationError) as caught:
            load(tmp_path, token=token)
        assert caught.value.code == code
    assert "everybody on this machine can see the token" in load(tmp_path, token="visible").notes[0]


def test_who_may_not_run_commands_may_not_run_plugins(tmp_path: Path) -> None:
    assert load(tmp_path, "no-command-eval=true").no_plugins
    assert load(tmp_path, "no-local-hooks=true").no_plugins
    assert not load(tmp_path, "no-command-eval=true\nno-plugins=false").no_plugins


def test_search_for_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        find_config_file({}, str(tmp_path / "missing"))
    assert caught.value.code == "config.missing"
    path = tmp_path / "pipeseal" / "agent.cfg"
    path.parent.mkdir()
    path.write_text("")
    assert find_config_file({"XDG_CONFIG_HOME": str(tmp_path)}, None) == path
    assert find_config_file({"BUILDKITE_AGENT_CONFIG": str(path)}, None) == path


def test_every_option_has_a_member_a_help_and_a_default_of_its_kind(tmp_path: Path) -> None:
    settings = load(tmp_path)
    for option in OPTIONS:
        assert hasattr(settings, option.attribute) and option.help.endswith(".")
        assert option.variables[0] == "PIPESEAL_AGENT_" + option.name.upper().replace("-", "_")


@given(st.text(max_size=60))
def test_any_file_is_settings_or_a_configuration_error(text: str) -> None:
    try:
        values, notes = parse_config_file(text, "f")
    except ConfigurationError as error:
        assert error.code in {"config.line", "config.key"}
    else:
        assert set(values) <= set(BY_NAME) and isinstance(notes, list)
