"""Hiding secrets in output: which values are secret, and replacing them in a stream, across the borders of blocks."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote_from_bytes

from pipeseal.pipeline.secret_names import is_secret_name

MARK = b"[REDACTED]"
# Shorter values would hide half of every log.
MIN_BYTES = 6
# Shorter ones are not looked for in base64 and the like.
MIN_ENCODED_BYTES = 8
# The library compares so many at once, many bytes in a step, and takes one byte after the other when there are more.
# Several searches are quicker than that, as long as they are not too many.
GROUP_SIZE, MAX_GROUPS = 64, 16
# With more secrets than this in one block, one search for all that overlap is quicker than one around each.
FEW_MATCHES = 64

_GO_ESCAPES = {
    "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t",
    "\v": "\\v", "\\": "\\\\", '"': '\\"',
}  # fmt: skip


def find_secrets(environment: Mapping[str, str], patterns: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """The secret values of an environment.

    Returns:
        Name to value for those that are long enough to be hidden, and the names of those that are not.
    """
    named = {name: value for name, value in environment.items() if value and is_secret_name(name, patterns)}
    hidden = {
        name: value for name, value in named.items() if len(value.encode("utf-8", "surrogateescape")) >= MIN_BYTES
    }
    return hidden, sorted(set(named) - set(hidden))


def spellings(value: str) -> set[bytes]:
    """The ways in which output may spell a secret: as it is, quoted, with its line breaks changed, and encoded.

    Returns:
        Byte strings of at least `MIN_BYTES`; empty when the value is shorter.
    """
    texts = {
        value,
        value.strip(),
        go_quoted(value),
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
    }
    texts.add(value.replace("'", "'\\''"))
    if "\n" in value:
        # A terminal writes CR LF for LF; a shell that splits words writes a space.
        for text in (value, value.strip()):
            plain = text.replace("\r\n", "\n")
            texts |= {plain, plain.replace("\n", "\r\n"), plain.replace("\n", " ")}
    encoded = {text.encode("utf-8", "surrogateescape") for text in texts}
    found = {text for text in encoded if len(text) >= MIN_BYTES}
    raw = value.encode("utf-8", "surrogateescape")
    for data in {raw, raw.strip()}:
        if len(data) >= MIN_ENCODED_BYTES:
            found |= _encodings(data)
    return found


def _encodings(data: bytes) -> set[bytes]:
    """Base64, base64url, hexadecimal and percent encoding of a secret, wherever it stands in what is encoded."""
    found = {data.hex().encode(), data.hex().upper().encode(), quote_from_bytes(data, safe="").encode()}
    for before in range(3):
        # RFC 4648 section 4: three bytes become four characters. Those that only the secret decides are looked for.
        text = b64encode(b"\0" * before + data + b"\0\0")
        inner = text[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]
        found |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    return found


def go_quoted(value: str) -> str:
    """`value` as Go's `%q` writes it, without the quotes."""
    pieces = []
    for character in value:
        if character in _GO_ESCAPES:
            pieces.append(_GO_ESCAPES[character])
        elif character.isprintable():
            pieces.append(character)
        elif ord(character) < 0x80:
            pieces.append(f"\\x{ord(character):02x}")
        elif ord(character) < 0x10000:
            pieces.append(f"\\u{ord(character):04x}")
        else:
            pieces.append(f"\\U{ord(character):08x}")
    return "".join(pieces)


class Redactor:
    """Replaces secrets in a stream of bytes with `[REDACTED]`; secrets that overlap become one mark.

    What could be the beginning of a secret is held back until more bytes show whether it is one, and nothing else is:
    output that holds no such beginning comes out at once.
    """

    def __init__(self) -> None:
        self._needles: set[bytes] = set()
        self._first: list[Any] = []  # find secrets that do not overlap, many times faster than the one below
        self._every: Any = None  # finds all
        self._starts: re.Pattern[bytes] | None = None
        self._by_start: dict[int, list[bytes]] = {}
        self._longest = 0
        self._held = b""
        # So many bytes of `_held` belong to a secret whose mark was written already.
        self._hidden = 0

    def add(self, value: str) -> None:
        """Hide `value` from now on. What was held back for other secrets stays held back."""
        self.add_all([value])

    def add_all(self, values: Iterable[str]) -> None:
        """Hide all `values` from now on."""
        fresh = {spelling for value in values for spelling in spellings(value)} - self._needles
        if fresh:
            self._needles |= fresh
            # The next output builds them: most secrets of a job are added one after the other before there is any.
            self._first, self._every = [], None

    def _prepare(self) -> None:
        from ahocorasick_rs import BytesAhoCorasick, Implementation, MatchKind

        needles = sorted(self._needles)
        groups = -(-len(needles) // GROUP_SIZE)
        if groups > MAX_GROUPS:
            groups = 1
        # Every group has secrets of all kinds: with only a few different letters in it, the library falls back too.
        # What skips ahead is the same in all kinds of searches, and this kind is made quickly of long secrets too.
        self._first = [
            BytesAhoCorasick(
                needles[number::groups],
                matchkind=MatchKind.LeftmostLongest,
                implementation=Implementation.ContiguousNFA,
            )
            for number in range(groups)
        ]
        self._longest = max(map(len, needles))
        self._by_start = {}
        for needle in needles:
            self._by_start.setdefault(needle[0], []).append(needle)
        self._starts = re.compile(b"[" + b"".join(re.escape(bytes([first])) for first in self._by_start) + b"]")

    def _find_every(self, data: bytes) -> list[tuple[int, int]]:
        if self._every is None:
            from ahocorasick_rs import BytesAhoCorasick, MatchKind

            self._every = BytesAhoCorasick(sorted(self._needles), matchkind=MatchKind.Standard)
        return [(start, end) for _, start, end in self._every.find_matches_as_indexes(data, overlapping=True)]

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes of the stream; give those that can be shown now."""
        if not self._needles:
            return data
        if not self._first:
            self._prepare()
        block = self._held + data
        keep_from = self._first_beginning(block)
        return self._replace(block, keep_from)

    def flush(self) -> bytes:
        """What was held back; call it where the stream ends."""
        if not self._held:
            return b""
        if not self._first:
            self._prepare()
        return self._replace(self._held, len(self._held))

    def _replace(self, block: bytes, keep_from: int) -> bytes:
        spans = self._find(block)
        output = []
        position = self._hidden
        marked = self._hidden > 0
        for start, end in spans:
            if start >= keep_from:
                break
            if marked and start < position:
                position = max(position, end)  # overlaps the secret before it: one mark for both
                continue
            output += [block[position:start], MARK]
            position, marked = end, True
        if position < keep_from:
            output.append(block[position:keep_from])
            position = keep_from
        self._held = block[keep_from:]
        self._hidden = position - keep_from
        return b"".join(output)

    def _find(self, block: bytes) -> list[tuple[int, int]]:
        """Where secrets start and end in `block`, in order; those that overlap, and some of them twice."""
        found = [match for search in self._first for match in search.find_matches_as_indexes(block)]
        if not found:
            return []
        if len(found) > FEW_MATCHES:
            return sorted(self._find_every(block))
        spans = []
        for _, first, end in found:
            # Each search goes on where a secret ends and takes the next that starts, so whatever it does not tell of
            # starts inside one that it does tell of.
            around = block[first : end - 1 + self._longest]
            spans += [(first + start, first + stop) for start, stop in self._find_every(around)]
        return sorted(spans)

    def _first_beginning(self, block: bytes) -> int:
        """Where the longest end of `block` starts that is the beginning, but not the whole, of a secret."""
        assert self._starts is not None
        length = len(block)
        for match in self._starts.finditer(block, max(0, length - self._longest + 1)):
            at = match.start()
            tail = block[at:]
            if any(len(needle) > len(tail) and needle.startswith(tail) for needle in self._by_start[block[at]]):
                return at
        return length
