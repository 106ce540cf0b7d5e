"""The lock of plugins: its text, and plugins that are not what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.errors import ConfigurationError, MalformedInput, VerificationError
from pipeseal.pipeline.parse import parse_pipeline
from pipeseal.repository.plugin_lock import (
    PluginLock,
    parse_lock,
    plugin_sources,
    read_lock,
    render_lock,
    verify_lock,
)
from pipeseal.signing.seal.envelope import ResolvedPlugin

ONE = ResolvedPlugin("1" * 40, "a" * 40)
TWO = ResolvedPlugin("2" * 64, "b" * 64)

object_ids = st.sampled_from([40, 64]).flatmap(lambda n: st.text("0123456789abcdef", min_size=n, max_size=n))
texts = st.text(st.characters(codec="utf-8"), min_size=1)


@given(st.dictionaries(texts, st.builds(ResolvedPlugin, object_ids, object_ids), max_size=5))
def test_a_lock_reads_as_it_was_written_whatever_its_plugins_are_called(plugins: dict[str, ResolvedPlugin]) -> None:
    text = render_lock(plugins)
    assert parse_lock(text.encode()).plugins == plugins
    assert render_lock(dict(reversed(plugins.items()))) == text


@given(st.binary(max_size=300) | st.text().map(lambda text: f"version = 1\n{text}".encode()))
def test_any_bytes_are_a_lock_or_malformed(data: bytes) -> None:
    try:
        parse_lock(data)
    except MalformedInput as error:
        assert error.code == "plugin.lock"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "version = 2",
        "version = true",
        "version = 1\nextra = 1",
        "version = 1\nplugins = 3",
        'version = 1\n[plugins."a#1"]\ncommit = "' + "1" * 40 + '"',
        'version = 1\n[plugins."a#1"]\ncommit = "' + "1" * 39 + '"\ntree = "' + "1" * 40 + '"',
        'version = 1\n[plugins."a#1"]\ncommit = "' + "A" * 40 + '"\ntree = "' + "1" * 40 + '"',
        'version = 1\n[plugins."a#1"]\ncommit = "' + "1" * 40 + '"\ntree = "' + "1" * 40 + '"\nwhy = "x"',
        "version = 1\n# " + "x" * (1 << 20),
    ],
)
def test_what_is_no_lock_is_refused(text: str) -> None:
    with pytest.raises(MalformedInput) as caught:
        parse_lock(text.encode())
    assert caught.value.code == "plugin.lock"


def test_a_lock_that_is_not_there_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file") as caught:
        read_lock(tmp_path / "plugins.lock")
    assert caught.value.code == "plugin.no_lock"


def test_plugins_are_held_against_the_lock() -> None:
    lock = PluginLock({"a/b#1": ONE, "c/d#2": TWO})
    assert verify_lock(lock, {"a/b#1": ONE}) == {"a/b#1": ONE}
    with pytest.raises(VerificationError) as caught:
        verify_lock(lock, {"a/b#1": ONE, "a/b#2": ONE})
    assert caught.value.code == "plugin.unlocked"
    for found in (TWO, ONE._replace(tree="c" * 40), ONE._replace(tree=None)):
        with pytest.raises(VerificationError) as caught:
            verify_lock(lock, {"a/b#1": found})
        assert caught.value.code == "plugin.moved"
        assert ONE.commit in caught.value.evidence["locked"]


def test_the_plugins_of_a_pipeline_are_those_that_are_fetched() -> None:
    pipeline = parse_pipeline(
        "steps:\n"
        "- {command: a, plugins: [docker#v5, ./vendored]}\n"
        "- group: g\n  steps:\n  - {command: b, plugins: [{acme/lint#v1: {x: 1}}]}\n"
        "- wait\n"
    )
    assert list(plugin_sources(pipeline.steps)) == [
        "github.com/buildkite-plugins/docker-buildkite-plugin#v5",
        "github.com/acme/lint-buildkite-plugin#v1",
    ]
