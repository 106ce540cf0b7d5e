"""Reading the file out of a form while it arrives: never whole in memory."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

from pipeseal.errors import MalformedInput

_MAX_HEADERS = 16 * 1024
_MAX_FIELD = 64 * 1024
_MAX_FIELDS = 100
_BOUNDARY = re.compile(r'multipart/form-data\s*;.*?\bboundary=(?:"([^"\r\n]{1,70})"|([^\s;"]{1,70}))', re.I | re.S)
_NAME = re.compile(rb'^content-disposition:\s*form-data\s*;(?:.*;)?\s*name="((?:[^"\\]|\\.)*)"', re.I | re.M)


def parse_boundary(content_type: str) -> bytes:
    """What stands between the fields of a form. # RFC 2046 5.1.1

    Raises:
        MalformedInput: `request.malformed`.
    """
    found = _BOUNDARY.match(content_type.strip())
    if found is None:
        raise MalformedInput("request.malformed", "the body is not a form: send multipart/form-data with a boundary")
    return (found[1] or found[2]).encode("utf-8", "replace")


async def read_file_field(stream: AsyncIterator[bytes], boundary: bytes, name: str) -> AsyncIterator[bytes]:
    """The bytes of the file in field `name`, as they arrive. Other fields are read over. # RFC 7578

    Parameters:
        stream: the body.
        boundary: from `parse_boundary`.

    Raises:
        MalformedInput: `request.malformed`: not such a form, no such field, or it breaks off; what `stream` raises.
    """
    form = _Form(stream, boundary)
    await form.skip_to_delimiter()
    for _ in range(_MAX_FIELDS):
        if await form.take(2) != b"\r\n":
            break  # the end, or nothing that belongs here
        found = _NAME.search(await form.headers())
        if found is None or found[1] != name.encode():
            await form.skip_to_delimiter()
            continue
        async for block in form.content():
            yield block
        # Without the closing delimiter the body may have been cut where a file happened to end.
        if await form.take(2) not in (b"--", b"\r\n"):
            raise _bad("something stands where a field ends")
        return
    raise _bad(f"it has no field {name!r}")


class _Form:
    """The body, and how far it was read."""

    def __init__(self, stream: AsyncIterator[bytes], boundary: bytes) -> None:
        self._stream = stream
        self._delimiter = b"\r\n--" + boundary
        self._buffer = bytearray(b"\r\n")  # the first delimiter stands at the very start of the body

    async def _more(self) -> None:
        while True:
            block = await anext(self._stream, None)
            if block is None:
                raise _bad("it breaks off")
            if block:
                self._buffer += block
                return

    async def take(self, count: int) -> bytes:
        """The next bytes."""
        while len(self._buffer) < count:
            await self._more()
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    async def headers(self) -> bytes:
        """The headers of a field, up to the empty line."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > _MAX_HEADERS:
                raise _bad("the headers of a field are too long")
            await self._more()
        return (await self.take(end + 4))[:end]

    async def skip_to_delimiter(self) -> None:
        """Read over a field's content and the delimiter behind it."""
        size = 0
        async for block in self.content():
            size += len(block)
            if size > _MAX_FIELD:
                raise _bad("a field before the file is too long")

    async def content(self) -> AsyncIterator[bytes]:
        """A field's content; the delimiter behind it is read over."""
        keep = len(self._delimiter) - 1
        while (end := self._buffer.find(self._delimiter)) < 0:
            if len(self._buffer) > keep:
                ready = bytes(self._buffer[:-keep])
                del self._buffer[:-keep]
                yield ready
            await self._more()
        if end:
            yield bytes(self._buffer[:end])
        del self._buffer[: end + len(self._delimiter)]


def _bad(problem: str) -> MalformedInput:
    return MalformedInput("request.malformed", f"the form cannot be used: {problem}")
