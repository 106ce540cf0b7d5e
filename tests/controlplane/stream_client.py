"""A client of the stream of pings on a raw socket, written against gRPC's and Protocol Buffers' own descriptions."""

from __future__ import annotations

import socket
from types import TracebackType

from tests.controlplane.running import Api, FakeAgent

PATH = "/agentedge.v1.AgentEdgeService/StreamPings"
ACTIONS = {2: "resume", 3: "pause", 4: "disconnect", 5: "job"}


def frame(message: bytes, flag: int = 0) -> bytes:
    """A message in the frame of gRPC."""
    return bytes([flag]) + len(message).to_bytes(4, "big") + message


def text_field(number: int, text: str) -> bytes:
    """A field of text, short enough for one byte of length."""
    content = text.encode()
    assert len(content) < 128
    return bytes([number * 8 + 2, len(content)]) + content


def decode(message: bytes) -> tuple[str, str]:
    """An action and its text: a reason, or the id of a job."""
    number, content = _field(message)
    if not content:
        return ACTIONS[number], ""
    inner, text = _field(content)
    assert inner == 1
    if number == 5:
        inner, text = _field(text)
        assert inner == 1
    return ACTIONS[number], text.decode()


def _field(message: bytes) -> tuple[int, bytes]:
    assert message[0] & 7 == 2
    size, position, shift = 0, 1, 0
    while True:
        byte = message[position]
        size |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            break
    assert position + size == len(message)
    return message[0] >> 3, message[position:]


class Stream:
    """A stream of pings; `status` and `headers` are there at once.

    Parameters:
        api: the server.
        token: of the session.
        body: what to send; a request of nobody in particular unless given.
        headers: changed ones.
    """

    def __init__(
        self,
        api: Api,
        token: str,
        *,
        body: bytes | None = None,
        method: str = "POST",
        path: str = PATH,
        content_type: str = "application/grpc+proto",
        seconds: float = 60,
    ) -> None:
        self.socket = socket.create_connection((api.host, api.port), timeout=seconds)
        body = frame(b"") if body is None else body
        head = f"{method} {path} HTTP/1.1\r\nHost: {api.host}:{api.port}\r\nContent-Type: {content_type}\r\n"
        head += f"Authorization: Token {token}\r\nTe: trailers\r\nTransfer-Encoding: chunked\r\n\r\n"
        # As Go's client sends it: in a chunk of its own, and the end behind it.
        chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
        self.socket.sendall(head.encode() + chunk + b"0\r\n\r\n")
        self._file = self.socket.makefile("rb")
        self.status = int(self._file.readline().split()[1])
        self.headers: dict[str, str] = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(":")
            self.headers[name.lower()] = value.strip()

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self.socket.close()

    def next(self, seconds: float = 60) -> tuple[str, str] | None:
        """The next action; None when the stream has ended."""
        self.socket.settimeout(seconds)
        size = int(self._file.readline() or b"0", 16)
        if size == 0:
            return None
        chunk = self._file.read(size + 2)[:-2]
        assert chunk[:5] == frame(chunk[5:])[:5]
        return decode(chunk[5:])

    def next_job(self, seconds: float = 60) -> str:
        """The next action, which is a job."""
        action = self.next(seconds)
        assert action is not None
        assert action[0] == "job", action
        return action[1]

    def is_silent(self, seconds: float) -> bool:
        """Whether nothing comes for so long; the stream cannot be read any more afterwards."""
        self.socket.settimeout(seconds)
        try:
            return not self.socket.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return True


def open_stream(agent: FakeAgent, api: Api | None = None) -> Stream:
    """A stream of an agent that is free to work, past its first word."""
    stream = Stream(api or agent.api, agent.token, body=frame(text_field(1, agent.id)))
    assert stream.status == 200
    assert stream.headers["content-type"] == "application/grpc+proto"
    assert stream.next() == ("resume", "")
    return stream
