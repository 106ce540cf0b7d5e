"""What to do next as a stream of messages: the frames of gRPC around four small Protocol Buffers messages.

The stock agent opens one such stream beside its pings, at the root of the host, and obeys whichever of the two works.
Only what those messages need of Protocol Buffers is read and written here.
"""

from __future__ import annotations

from typing import Final

from pipeseal.agentapi.messages import PingResponse
from pipeseal.errors import MalformedInput

STREAM_PATH: Final = "/agentedge.v1.AgentEdgeService/StreamPings"
CONTENT_TYPES: Final = ("application/grpc", "application/grpc+proto")  # gRPC over HTTP2, Content-Type

_FRAME_HEAD: Final = 5  # gRPC over HTTP2, Length-Prefixed-Message: a flag and four bytes of length
_VARINT, _BYTES = 0, 2  # Protocol Buffers encoding, wire types
_FIXED_BYTES: Final = {1: 8, 5: 4}
_MAX_VARINT_BYTES: Final = 10
_RESUME, _PAUSE, _DISCONNECT, _JOB_ASSIGNED = 2, 3, 4, 5


def parse_stream_request(body: bytes) -> str:
    """The agent that asks for a stream.

    Parameters:
        body: one frame with a `StreamPingsRequest` in it.

    Returns:
        The id it gives for itself; empty when it gives none.

    Raises:
        MalformedInput: `request.malformed`.
    """
    if len(body) < _FRAME_HEAD:
        raise _malformed("it is shorter than the head of a frame")
    if body[0] != 0:
        raise _malformed("its frame is compressed or of no known kind; only plain ones are read")
    if int.from_bytes(body[1:_FRAME_HEAD], "big") != len(body) - _FRAME_HEAD:
        raise _malformed("its frame is not as long as it says, or not the only one")
    agent_id = ""
    position = _FRAME_HEAD
    while position < len(body):
        tag, position = _read_varint(body, position)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise _malformed("a field has the number 0")
        if kind == _VARINT:
            _, end = _read_varint(body, position)
        elif kind == _BYTES:
            size, position = _read_varint(body, position)
            end = position + size
        elif kind in _FIXED_BYTES:
            end = position + _FIXED_BYTES[kind]
        else:
            raise _malformed(f"a field is of the wire type {kind}")
        if end > len(body):
            raise _malformed("a field is longer than the message")
        if number == 1:
            if kind != _BYTES:
                raise _malformed("agent_id is not text")
            try:
                agent_id = body[position:end].decode()
            except UnicodeDecodeError:
                raise _malformed("agent_id is not UTF-8") from None
        position = end
    return agent_id


def render_stream_action(action: PingResponse) -> bytes:
    """What an agent is to do, as a frame with a `StreamPingsResponse` in it.

    Parameters:
        action: as a ping would answer it; `endpoint` has no place in a stream.
    """
    if action.job is not None:
        field = _field(_JOB_ASSIGNED, _field(1, _field(1, action.job.id.encode())))
    elif action.action == "pause":
        field = _field(_PAUSE, _reason(action.message))
    elif action.action == "disconnect":
        field = _field(_DISCONNECT, _reason(action.message))
    else:
        field = _field(_RESUME, b"")
    return b"\0" + len(field).to_bytes(4, "big") + field


def _reason(message: str) -> bytes:
    return _field(1, message.encode()) if message else b""  # fields at their default are left out


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | _BYTES]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    pieces = bytearray()
    while value > 0x7F:
        pieces.append(value & 0x7F | 0x80)
        value >>= 7
    pieces.append(value)
    return bytes(pieces)


def _read_varint(body: bytes, position: int) -> tuple[int, int]:
    value = 0
    for count in range(_MAX_VARINT_BYTES):
        if position >= len(body):
            break
        byte = body[position]
        position += 1
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value, position
    raise _malformed("a number in it has no end")


def _malformed(why: str) -> MalformedInput:
    return MalformedInput("request.malformed", f"the request for a stream of pings cannot be read: {why}")
