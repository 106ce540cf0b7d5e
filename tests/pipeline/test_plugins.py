"""Plugin sources in full."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.pipeline.plugins import config_value, full_source, unordered


@pytest.mark.parametrize(
    ("source", "full"),
    [
        ("", ""),
        ("docker", "github.com/buildkite-plugins/docker-buildkite-plugin"),
        ("docker#v5", "github.com/buildkite-plugins/docker-buildkite-plugin#v5"),
        ("docker#", "github.com/buildkite-plugins/docker-buildkite-plugin"),
        ("acme/tool#v1", "github.com/acme/tool-buildkite-plugin#v1"),
        ("acme/tool/more#v1", "acme/tool/more#v1"),
        ("docker?x=1#v1", "github.com/buildkite-plugins/docker-buildkite-plugin#v1"),
        ("acme%2Ftool", "github.com/acme/tool-buildkite-plugin"),
        ("docker#../../x", "github.com/buildkite-plugins/x"),
        ("%2e%2e/x", "x-buildkite-plugin"),
        ("%2Fa", "github.com/buildkite-plugins/a-buildkite-plugin"),
        ("x-buildkite-plugin", "github.com/buildkite-plugins/x-buildkite-plugin-buildkite-plugin"),
        ("*", "github.com/buildkite-plugins/*-buildkite-plugin"),
        ("a%zz", "a%zz"),
        ("a#%zz", "a#%zz"),
        ("a?%zz", "github.com/buildkite-plugins/a-buildkite-plugin"),
        ("a\x01", "a\x01"),
        ("a\x7f", "a\x7f"),
        ("a#\x01", "github.com/buildkite-plugins/a-buildkite-plugin#\x01"),
        ("%ff", "github.com/buildkite-plugins/\ufffd-buildkite-plugin"),
        ("%00", "github.com/buildkite-plugins/\x00-buildkite-plugin"),
        ("/abs#v1", "/abs#v1"),
        ("./rel", "./rel"),
        ("\\win", "\\win"),
        ("https://git.example/x.git#v1", "https://git.example/x.git#v1"),
        ("C:\\x", "C:\\x"),
        (":x", ":x"),
        ("git@host:a/b", "git@host:a/b"),
        ("1a:b", "1a:b"),
        ("a/b:c", "github.com/a/b:c-buildkite-plugin"),
        ("#v1", "github.com/buildkite-plugins/-buildkite-plugin#v1"),
        ("a//b", "a//b"),
        ("é", "github.com/buildkite-plugins/é-buildkite-plugin"),
    ],
)
def test_full_sources(source: str, full: str) -> None:
    assert full_source(source) == full


@given(st.text(st.sampled_from("aB1/.:#%?@\\~ -+*é\x01\ud8002fF"), max_size=12))
def test_a_full_source_is_the_source_or_a_clean_path(source: str) -> None:
    full = full_source(source)
    if full == source:
        return
    full.encode()
    # Clean: no empty, `.` or inner `..` segments, and always on the one host unless the path climbed out of it.
    segments = full.split("/")
    assert "" not in segments and "." not in segments
    climbing = 0
    while segments[climbing : climbing + 1] == [".."]:
        climbing += 1
    assert ".." not in segments[climbing:]


def test_configuration_has_no_order_and_may_be_empty() -> None:
    value = {"b": [{"d": 1, "c": 2}], "a": {}}
    assert str(unordered(value)) == "{'a': {}, 'b': [{'c': 2, 'd': 1}]}"
    empty: list[Any] = [{}, []]
    assert [config_value(config) for config in empty] == [None, None]
    kept: list[Any] = [None, 0, False, "", [[]], {"a": {}}]
    assert [config_value(config) for config in kept] == kept
