"""Reading a job: what a server may say, what is refused, and what is kept but never trusted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.agentapi.job import (
    DEFAULT_CHUNK_BYTES,
    DEFAULT_LOG_BYTES,
    JOB_LIMITS,
    MAX_CHUNK_BYTES,
    MAX_CHUNK_SECONDS,
    Job,
    parse_job,
)
from pipeseal.errors import MalformedInput
from pipeseal.pipeline.steps import CommandStep

FULL: dict[str, Any] = {
    "id": "j-1",
    "state": "accepted",
    "token": "bkaj_secret",
    "env": {"A": "1", "B": None},
    "step": {"command": ["a", "b"], "label": "L", "unknown": {"x": [1]}},
    "matrix_permutation": {"os": "linux", "": None},
    "chunks_max_size_bytes": 1000,
    "chunks_interval_seconds": 2,
    "log_max_size_bytes": 5000,
    "runnable_at": "2026-01-02T03:04:05Z",
    "priority": -3,
    "traceparent": "x",
    "something_new": {"a": [None]},
}


def _parse(document: object) -> Job:
    return parse_job(json.dumps(document).encode())


def test_everything_the_protocol_has() -> None:
    job = _parse(FULL)
    assert (job.id, job.state, job.token, job.priority) == ("j-1", "accepted", "bkaj_secret", -3)
    assert job.env == {"A": "1", "B": ""}
    assert job.step == CommandStep(command="a\nb", label="L", rest={"unknown": {"x": [1]}})
    assert job.matrix_permutation == {"os": "linux", "": ""}
    assert (job.chunk_bytes, job.chunk_seconds, job.log_bytes) == (1000, 2, 5000)
    assert job.runnable_at == "2026-01-02T03:04:05Z"
    assert job.ambiguity == ""


@pytest.mark.parametrize("document", [{}, None, dict.fromkeys(FULL)])
def test_everything_may_be_missing(document: object) -> None:
    assert _parse(document) == Job()


def test_a_job_is_read_only_and_does_not_show_its_token() -> None:
    job = _parse(FULL)
    assert "bkaj_secret" not in repr(job)
    with pytest.raises(TypeError):
        job.env["A"] = "2"  # type: ignore[index]  # the point of the test
    with pytest.raises(AttributeError):
        job.id = "other"  # type: ignore[misc]  # the point of the test


@pytest.mark.parametrize(
    ("name", "value", "attribute", "expected"),
    [
        ("chunks_max_size_bytes", 0, "chunk_bytes", DEFAULT_CHUNK_BYTES),
        ("chunks_max_size_bytes", -5, "chunk_bytes", DEFAULT_CHUNK_BYTES),
        ("chunks_max_size_bytes", 2**62, "chunk_bytes", MAX_CHUNK_BYTES),
        ("chunks_interval_seconds", 0, "chunk_seconds", 1),
        ("chunks_interval_seconds", 10**9, "chunk_seconds", MAX_CHUNK_SECONDS),
        ("log_max_size_bytes", 0, "log_bytes", DEFAULT_LOG_BYTES),
    ],
)
def test_settings_stay_within_reason(name: str, value: int, attribute: str, expected: int) -> None:
    assert getattr(_parse({name: value}), attribute) == expected


@pytest.mark.parametrize(
    "document",
    [
        [],
        "job",
        5,
        {"id": 5},
        {"token": ["x"]},
        {"env": []},
        {"env": {"A": 1}},
        {"env": {"A": True}},
        {"env": {"A": {"B": "c"}}},
        {"step": "make"},
        {"step": []},
        {"matrix_permutation": ["a"]},
        {"matrix_permutation": {"os": 5}},
        {"chunks_max_size_bytes": "1000"},
        {"chunks_max_size_bytes": 1.5},
        {"priority": True},
        {"exit_status": 0},
        {"started_at": 5},
    ],
)
def test_members_of_the_wrong_kind(document: object) -> None:
    with pytest.raises(MalformedInput) as caught:
        _parse(document)
    assert caught.value.code == "job.malformed"


@pytest.mark.parametrize(
    "step", [{"env": []}, {"command": {"a": 1}}, {"plugins": 5}, {"signature": "x"}, {"matrix": 5}]
)
def test_steps_that_are_none(step: dict[str, Any]) -> None:
    with pytest.raises(MalformedInput) as caught:
        _parse({"step": step})
    assert caught.value.code == "step.malformed"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "json.syntax"),
        (b"hello", "json.syntax"),
        (b"{} {}", "json.syntax"),
        (b"\xef\xbb\xbf{}", "json.syntax"),
        (b'{"id":"\x01"}', "json.syntax"),
        (b'{"a":' * 100_000, "input.too_deep"),
        (b'{"a":1e400}', "number.range"),
        (b'"' + b"x" * JOB_LIMITS.max_bytes + b'"', "input.too_large"),
    ],
)
def test_what_is_no_json(data: bytes, code: str) -> None:
    with pytest.raises(MalformedInput) as caught:
        parse_job(data)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"id":"a","id":"b"}', "twice"),
        ('{"env":{"A":"1"},"env":{"B":"2"}}', "twice"),
        ('{"env":{"A":"1","A":"2"}}', "twice"),
        ('{"step":{"command":"a","command":"b"}}', "twice"),
        ('{"step":{"plugins":[{"x":{"k":1,"k":2}}]}}', "twice"),
        ('{"ID":"a"}', "`ID` differs from `id` by case alone"),
        ('{"Step":{}}', "by case alone"),
        ('{"\u017ftep":{}}', "by case alone"),
        ('{"to\u212aen":"x"}', "by case alone"),
        ('{"env":{"A":"\\ud83d"}}', "half of a surrogate pair"),
        ('{"step":{"plugins":[{"x":9.00000000000000000001}]}}', "digits"),
    ],
)
def test_ambiguous_jobs_say_so(text: str, words: str) -> None:
    assert words in parse_job(text.encode()).ambiguity


def test_bytes_that_are_not_utf_8_are_ambiguous() -> None:
    assert "not UTF-8" in parse_job(b'{"env":{"A":"\xff"}}').ambiguity


def test_unknown_members_that_only_look_a_little_alike_are_nobodys_business() -> None:
    assert _parse({"identity": 1, "environment": [], "steps": "x", "_id": 5}).ambiguity == ""


@given(st.binary(max_size=60) | st.text('{}[]",:0123eE.-\\u idenvstpcommandsigature', max_size=60).map(str.encode))
def test_only_malformed_input_gets_out(data: bytes) -> None:
    try:
        parse_job(data)
    except MalformedInput:
        pass


_anything = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(FULL)), _anything))
def test_any_json_is_a_job_or_malformed(document: dict[str, Any]) -> None:
    try:
        job = _parse(document)
    except MalformedInput:
        return
    assert job.chunk_bytes > 0 and job.chunk_seconds > 0 and job.log_bytes > 0
    assert all(isinstance(value, str) for value in job.env.values())
