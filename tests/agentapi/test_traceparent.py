"""The form of a `traceparent`: what is one, and that nothing else passes for one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.agentapi.traceparent import (
    TraceContext,
    make_span_id,
    make_trace_id,
    parse_traceparent,
    render_traceparent,
)
from pipeseal.errors import MalformedInput
from pipeseal.policy.environment import judge_variables
from pipeseal.policy.facts import LocalFacts
from pipeseal.policy.patterns import NONE

GOOD = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
LOCAL = LocalFacts(job_id="job", agent_id="agent", agent_name="tester", now=0.0, tags=())
BAD = [
    "",
    "01" + GOOD[2:],  # another version
    "ff" + GOOD[2:],
    GOOD.upper(),
    GOOD + "-extra",
    GOOD + "\n",
    " " + GOOD,
    GOOD[:-1],
    "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01",
    GOOD.replace("4bf9", "4bg9"),
    GOOD.replace("-", "_"),
    "$(touch /tmp/owned)",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-\u0660\u0661",  # digits of another script
    GOOD + "\0",
]
IDS = st.binary(min_size=16, max_size=16).filter(any)


@given(IDS, IDS, st.booleans())
def test_what_is_written_is_read_again(trace: bytes, span: bytes, is_sampled: bool) -> None:
    context = TraceContext(trace.hex(), make_span_id(lambda size: span[:size]), is_sampled)
    assert parse_traceparent(render_traceparent(context)) == context


@pytest.mark.parametrize("text", BAD)
def test_other_forms_are_none(text: str) -> None:
    with pytest.raises(MalformedInput) as caught:
        parse_traceparent(text)
    assert caught.value.code == "tracing.parent"


@given(st.text() | st.from_regex(r"00-[0-9a-f]{30,34}-[0-9a-f]{15,17}-[0-9a-g]{1,3}"))
def test_every_text_is_one_or_malformed(text: str) -> None:
    try:
        context = parse_traceparent(text)
    except MalformedInput as error:
        assert error.code == "tracing.parent"
        return
    assert re.fullmatch(r"[0-9a-f]{32}", context.trace_id) and re.fullmatch(r"[0-9a-f]{16}", context.span_id)
    assert len(text) == 55 and context.trace_id.strip("0") and context.span_id.strip("0")


def test_only_the_flag_that_is_known_is_read() -> None:
    assert [parse_traceparent(GOOD[:-2] + flags).is_sampled for flags in ("00", "01", "fe", "ff")] == [
        False,
        True,
        False,
        True,
    ]


def test_ids_of_zeros_alone_are_never_made() -> None:
    assert make_trace_id(bytes).strip("0") == "1" and len(make_trace_id(bytes)) == 32
    assert make_span_id(bytes).strip("0") == "1" and len(make_span_id(bytes)) == 16


def test_a_server_may_set_the_variable_to_nothing_else() -> None:
    judged = judge_variables({"TRACEPARENT": GOOD}, proven={}, local=LOCAL, allowed=NONE)
    assert judged.variables["TRACEPARENT"] == GOOD and judged.findings == ()
    assert "TRACEPARENT" in judged.informational
    for text in BAD[1:]:
        (finding,) = judge_variables({"TRACEPARENT": text}, proven={}, local=LOCAL, allowed=NONE).findings
        assert (finding.code, finding.fields) == ("environment.value", ("TRACEPARENT",)), text
