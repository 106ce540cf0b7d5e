"""From YAML text to generic values: yaml.v3's dialect over libyaml's event stream, with limits and positions.

Two constructors give the same values. The one in this module builds them straight from events and knows only plain
documents; an anchor, a tag, a merge key or anything else out of the ordinary makes it give up, and `nodes.py` reads
the document again as a tree, which also knows the position of everything.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from pipeseal.errors import MalformedInput, Position
from pipeseal.pipeline.scalars import MEANINGFUL, NULL, key_text, resolve
from pipeseal.pipeline.values import Value


@dataclass(frozen=True, slots=True)
class Limits:
    """How much input is read before it is refused.

    Parameters:
        max_bytes: size of the text.
        max_depth: nesting of mappings and lists; deeper values could not be written or walked safely.
        max_values: mappings, lists and scalars in all, after aliases are expanded.
    """

    max_bytes: int = 16 * 1024 * 1024
    max_depth: int = 200
    max_values: int = 1_000_000


DEFAULT_LIMITS: Final = Limits()


class Unusual(Exception):
    """The document holds something that only the tree constructor knows; never leaves this package."""


class Source:
    """Some YAML text with its name: makes positions.

    Parameters:
        name: file name or another name, such as `<stdin>`.
        data: the bytes.
    """

    __slots__ = ("_lines", "_text", "data", "name")

    def __init__(self, name: str, data: bytes) -> None:
        self.name = name
        self.data = data
        self._text: str | None = None
        self._lines: list[str] | None = None

    @property
    def text(self) -> str:
        """The characters, without a byte order mark, as libyaml counts them."""
        if self._text is None:
            # Surrogates stand for what is no text, so that it is refused again when this text is read.
            if self.data[:2] in (b"\xff\xfe", b"\xfe\xff"):
                self._text = self.data.decode("utf-16", "replace")
                if "\ufffd" in self._text:
                    self._text += "\udcff"
            else:
                self._text = self.data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
        return self._text

    def line_text(self, line: int) -> str:
        """The text of a line (1-based), empty when there is no such line."""
        if self._lines is None:
            import re

            self._lines = re.split("\r\n|[\r\n\x85\u2028\u2029]", self.text)  # YAML 1.1 5.4
        return self._lines[line - 1] if 0 < line <= len(self._lines) else ""

    def position(self, line: int, column: int) -> Position:
        """The position of a place.

        Parameters:
            line: 1-based line.
            column: 1-based column in characters.
        """
        return Position(self.name, line, column, self.line_text(line))


def check_size(data: bytes, limits: Limits, name: str) -> None:
    """Refuse text that is larger than the limit.

    Raises:
        MalformedInput: `input.too_large`.
    """
    if len(data) > limits.max_bytes:
        raise MalformedInput(
            "input.too_large",
            f"{name} has {len(data):,} bytes, and at most {limits.max_bytes:,} are read",
        )


def too_deep(limits: Limits, position: Position | None = None) -> MalformedInput:
    """The error for nesting beyond the limit."""
    return MalformedInput(
        "input.too_deep", f"values are nested more than {limits.max_depth} deep here", position=position
    )


def too_many(limits: Limits, position: Position | None = None) -> MalformedInput:
    """The error for more values than the limit."""
    return MalformedInput(
        "input.too_many_values",
        f"there are more than {limits.max_values:,} values once aliases are expanded",
        position=position,
    )


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause cyclic garbage collection: a big document makes many containers and no garbage, so it only costs."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def open_events(source: Source) -> Any:
    """A libyaml parser over the text of `source`; `get_event` gives one event after the other."""
    from yaml._yaml import CParser

    return CParser(source.data)


def refuse_event_error(error: Exception, source: Source, limits: Limits) -> NoReturn:
    """Turn what libyaml says into `MalformedInput` with a position.

    Parameters:
        error: a `yaml.YAMLError`, or what PyYAML lets through while decoding names.
        source: the text that was read.
        limits: the limits it was read with; libyaml has one of its own on nesting.

    Raises:
        MalformedInput: `input.too_deep`; `yaml.encoding` for bytes that are no YAML characters, else `yaml.syntax`.
    """
    from yaml.error import MarkedYAMLError
    from yaml.reader import ReaderError

    if isinstance(error, ReaderError):
        before = source.data[: error.position]
        if source.data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            before = before.decode("utf-16", "ignore").encode()
        start = before.decode("utf-8", "ignore").removeprefix("\ufeff")
        line = start.count("\n") + 1
        column = len(start) - (start.rfind("\n") + 1) + 1
        raise MalformedInput(
            "yaml.encoding",
            f"there is a character that YAML does not allow: {error.reason}",
            help="Save the file as UTF-8 without control characters; in double quotes, `\\x01` writes one.",
            position=source.position(line, column),
        ) from None
    if isinstance(error, MarkedYAMLError):
        mark, begin = error.problem_mark or error.context_mark, error.context_mark
        message = error.problem or "this is not YAML"
        if error.context:
            message += f" ({error.context}{f' that begins on line {begin.line + 1}' if begin is not None else ''})"
        if mark is not None and begin is not None and not source.text[mark.index :].strip():
            # Nothing to see at the end of the text: show what was never closed.
            mark = begin
        position = source.position(mark.line + 1, mark.column + 1) if mark is not None else None
        if message.startswith("exceeded maximum nesting depth"):
            raise too_deep(limits, position) from None
        raise MalformedInput("yaml.syntax", message, position=position) from None
    raise MalformedInput("yaml.syntax", f"this is not YAML: {error}") from None


def look_ahead(parser: Any, end: Any, text: str) -> None:
    """Scan two tokens behind the one that ended a document, as yaml.v3 has done by then, for errors in them.

    Parameters:
        parser: a libyaml parser that gave `end` last; of no use for events afterwards.
        end: the document's end event.
        text: the text it reads.

    Raises:
        yaml.YAMLError: what libyaml's scanner says.
    """
    from yaml.scanner import ScannerError

    token = None
    for _ in range(1 if end.explicit else 2):
        token = parser.get_token()
        if token is None:
            return
    try:
        parser.get_token()
    except ScannerError as error:
        # libyaml scans one further where that could be a key. An error there is beyond what yaml.v3 has seen.
        mark = error.context_mark or error.problem_mark
        between = text[token.end_mark.index : mark.index] if token is not None and mark is not None else ""
        if not between.strip():
            raise


class PlainReader:
    """Builds values straight from events, for documents without anchors, tags, merge keys and other specialities.

    Parameters:
        source: the text.
        limits: what is refused.
    """

    def __init__(self, source: Source, limits: Limits) -> None:
        from yaml import events

        self._limits = limits
        self._parser = open_events(source)
        self._get = self._parser.get_event
        self._started = False
        self._scalar = events.ScalarEvent
        self._mapping_start, self._mapping_end = events.MappingStartEvent, events.MappingEndEvent
        self._sequence_start, self._sequence_end = events.SequenceStartEvent, events.SequenceEndEvent
        self._document_start = events.DocumentStartEvent
        # `?` ends scalars in flow style, unlike libyaml thinks; `\/` is no escape (see nodes.py).
        self._wary = b"?" in source.data
        self._source = source
        if b"\\/" in source.data or source.data.find("\ufeff".encode(), 1) >= 0:
            raise Unusual
        self._left = limits.max_values
        # Text of unquoted scalars and keys already seen, to their value: most occur many times.
        self._values: dict[str, Value] = {}
        self._keys: dict[str, str] = {}

    def read(self) -> tuple[bool, Value]:
        """The next document: True and its value, or False at the end of the text.

        Raises:
            Unusual: read the text with `TreeReader` instead.
            MalformedInput: limits.
            yaml.YAMLError: libyaml's own errors.
        """
        if not self._started:
            self._get()
            self._started = True
        self._left = self._limits.max_values
        event = self._get()
        if type(event) is not self._document_start:
            return False, None
        if event.version is not None or event.tags:
            raise Unusual
        value = self._value(self._get(), 0)
        self._end = self._get()
        return True, value

    def look_ahead(self) -> None:
        """See `look_ahead`; for callers that read no further."""
        look_ahead(self._parser, self._end, self._source.text)

    def _value(self, event: Any, depth: int) -> Value:
        kind = type(event)
        if kind is self._scalar:
            if event.anchor is not None or event.tag is not None:
                raise Unusual
            return event.value if event.style else self._plain(event.value)
        if kind is self._mapping_start:
            return self._mapping(event, depth + 1)
        if kind is self._sequence_start:
            return self._sequence(event, depth + 1)
        raise Unusual

    def _plain(self, text: str) -> Value:
        if text and text[0] not in MEANINGFUL:
            return text
        try:
            return self._values[text]
        except KeyError:
            value = self._values[text] = resolve(text)[1]
            return value

    def _key(self, text: str) -> str:
        try:
            return self._keys[text]
        except KeyError:
            kind, value = resolve(text)
            if kind == NULL or text == "<<":
                raise Unusual from None
            key = self._keys[text] = key_text(kind, value, text)
            return key

    def _enter(self, event: Any, depth: int) -> None:
        if event.anchor is not None or event.tag is not None or depth > self._limits.max_depth:
            raise Unusual

    def _leave(self, start: Any, end: Any, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise Unusual
        if not (self._wary and start.flow_style):
            return
        if "?" in self._source.text[start.start_mark.index : end.end_mark.index]:
            raise Unusual

    def _mapping(self, event: Any, depth: int) -> dict[str, Value]:
        self._enter(event, depth)
        start = event
        get, scalar, end = self._get, self._scalar, self._mapping_end
        values = self._values
        result: dict[str, Value] = {}
        while True:
            event = get()
            if type(event) is not scalar:
                if type(event) is end:
                    break
                raise Unusual
            if event.anchor is not None or event.tag is not None:
                raise Unusual
            key = event.value if event.style else self._key(event.value)
            event = get()
            if type(event) is scalar:
                if event.anchor is not None or event.tag is not None:
                    raise Unusual
                text = event.value
                if event.style or (text and text[0] not in MEANINGFUL):
                    result[key] = text
                elif text in values:
                    result[key] = values[text]
                else:
                    result[key] = self._plain(text)
            else:
                result[key] = self._value(event, depth)
            if len(result) > self._left:
                raise Unusual
        self._leave(start, event, len(result) * 2 + 1)
        return result

    def _sequence(self, event: Any, depth: int) -> list[Value]:
        self._enter(event, depth)
        start = event
        get, end = self._get, self._sequence_end
        result: list[Value] = []
        while type(event := get()) is not end:
            result.append(self._value(event, depth))
            if len(result) > self._left:
                raise Unusual
        self._leave(start, event, len(result) + 1)
        return result


def read_documents(
    data: bytes | str, *, source: str = "<input>", limits: Limits = DEFAULT_LIMITS, only_first: bool = False
) -> Iterator[Value | MalformedInput]:
    """The documents of a YAML text, one by one, so that a broken later one does not disturb an earlier one.

    Parameters:
        data: the text; bytes are UTF-8, or UTF-16 with a byte order mark.
        source: its name, for positions.
        limits: what is refused.
        only_first: stop behind the first document; whether it is accepted then depends, as in the reference, on the
            next tokens only.

    Yields:
        Each document's value, or the error that makes it unreadable. After a syntax error nothing follows, since
        where the next document begins is then unknown.
    """
    from yaml import YAMLError

    from pipeseal.pipeline.nodes import TreeReader

    text = Source(source, data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)
    done = 0
    try:
        check_size(text.data, limits, source)
        try:
            reader = PlainReader(text, limits)
            while True:
                with collector_paused():
                    more, value = reader.read()
                if not more:
                    return
                if only_first:
                    reader.look_ahead()
                yield value
                if only_first:
                    return
                done += 1
        except (Unusual, YAMLError):
            # Also on errors: the tree reader knows where the dialect accepts what libyaml refuses.
            pass
        tree = TreeReader(text, limits)
        for _ in range(done):
            tree.read_node()
    except MalformedInput as error:
        yield error
        return
    while True:
        try:
            with collector_paused():
                node = tree.read_node()
                if only_first and node is not None:
                    tree.look_ahead()
        except MalformedInput as error:
            yield error
            return
        if node is None:
            return
        try:
            with collector_paused():
                value = tree.construct(node)
        except MalformedInput as error:
            yield error
        else:
            yield value
        if only_first:
            return


def read_document(data: bytes | str, *, source: str = "<input>", limits: Limits = DEFAULT_LIMITS) -> Value:
    """The first document of a YAML text; what follows it is not looked at.

    Parameters:
        data: the text; bytes are UTF-8, or UTF-16 with a byte order mark.
        source: its name, for positions.
        limits: what is refused.

    Raises:
        MalformedInput: `yaml.empty` when there is no document, the other `yaml.*` and `input.*` codes.
    """
    for document in read_documents(data, source=source, limits=limits, only_first=True):
        if isinstance(document, MalformedInput):
            raise document
        return document
    raise MalformedInput("yaml.empty", f"{source} has no YAML document in it")
