"""The messages of the stream of pings: read whatever comes, written as the descriptions of the formats say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.agentapi.messages import PingJob, PingResponse
from pipeseal.agentapi.ping_stream import parse_stream_request, render_stream_action
from pipeseal.errors import MalformedInput
from tests.controlplane.stream_client import decode, frame, text_field


def test_actions_are_written_as_the_agent_reads_them() -> None:
    assert render_stream_action(PingResponse()) == bytes.fromhex("00 00000002 1200")
    assert render_stream_action(PingResponse(action="idle")) == bytes.fromhex("00 00000002 1200")
    job = render_stream_action(PingResponse(job=PingJob(id="J1", state="assigned")))
    assert job == bytes.fromhex("00 00000008 2a06 0a04 0a02 4a31")
    assert render_stream_action(PingResponse(action="pause")) == bytes.fromhex("00 00000002 1a00")
    assert render_stream_action(PingResponse(action="disconnect", message="é")) == bytes.fromhex(
        "00 00000006 2204 0a02 c3a9"
    )


@given(st.text(max_size=20_000))
def test_reasons_of_any_length_arrive(reason: str) -> None:
    written = render_stream_action(PingResponse(action="pause", message=reason.encode(errors="replace").decode()))
    assert written[:5] == frame(written[5:])[:5]
    assert decode(written[5:]) == ("pause", reason.encode(errors="replace").decode())


@pytest.mark.parametrize(
    ("message", "agent_id"),
    [
        (b"", ""),
        (text_field(1, "agent-é"), "agent-é"),
        (text_field(1, "first") + text_field(1, "last"), "last"),
        (text_field(2, "unknown") + text_field(1, "a") + b"\x18\x96\x01" + b"\x25abcd" + b"\x29abcdefgh", "a"),
    ],
)
def test_requests_are_read(message: bytes, agent_id: str) -> None:
    assert parse_stream_request(frame(message)) == agent_id


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0\0\0\0",
        frame(b"", flag=1),
        frame(b"", flag=128),
        frame(b"") + b"x",
        frame(b"") + frame(b""),
        frame(text_field(1, "abc"))[:-1],
        frame(b"\x0a"),
        frame(b"\x0a\x05abc"),
        frame(b"\x0a\x02\xff\xfe"),
        frame(b"\x08\x01"),
        frame(b"\x02\x00"),
        frame(b"\x0b\x0c"),
        frame(b"\x10" + b"\xff" * 11),
        frame(b"\x25abc"),
        frame(b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
    ],
)
def test_requests_that_are_none_are_refused(body: bytes) -> None:
    with pytest.raises(MalformedInput) as error:
        parse_stream_request(body)
    assert error.value.code == "request.malformed"


@given(st.binary(max_size=60) | st.binary(max_size=60).map(frame))
def test_whatever_comes_is_read_or_refused(body: bytes) -> None:
    try:
        parse_stream_request(body)
    except MalformedInput:
        pass


@given(st.text(max_size=40).filter(lambda text: len(text.encode(errors="replace")) < 128))
def test_names_arrive(text: str) -> None:
    text = text.encode(errors="replace").decode()
    assert parse_stream_request(frame(text_field(1, text))) == text
