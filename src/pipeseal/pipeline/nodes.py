"""YAML as a tree of nodes with positions: the complete constructor, and the way from a value back to its place.

Follows yaml.v3 where it differs from libyaml: merge keys, aliases to collections still open, keys as text, escapes
and characters that one accepts and the other does not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from pipeseal.errors import MalformedInput, Position
from pipeseal.pipeline.dialect import (
    ABOUT_TAGS,
    UNEXPECTED_COLON,
    UNKNOWN_BEGINNING,
    UNKNOWN_ESCAPE,
    Dialect,
    Respelled,
)
from pipeseal.pipeline.scalars import MERGE, NULL, TEXT, TagMismatch, key_text, resolve, resolve_tagged, short_tag
from pipeseal.pipeline.values import Value
from pipeseal.pipeline.yaml import (
    DEFAULT_LIMITS,
    Limits,
    Source,
    check_size,
    look_ahead,
    refuse_event_error,
    too_deep,
    too_many,
)

SCALAR: Final = "scalar"
MAPPING: Final = "mapping"
SEQUENCE: Final = "sequence"
ALIAS: Final = "alias"


_ESCAPES: Final = re.compile(r"\\(.)", re.DOTALL)


class Node:
    """One node of a YAML document, as written.

    Parameters:
        kind: `scalar`, `mapping`, `sequence` or `alias`.
        line, column: where it begins, 1-based; anchors and tags come before it and count.
        end_line, end_column: just behind its last character; for block collections, where the next token begins.
        text: a scalar's value, or an alias's name.
        style: how a scalar is quoted (`'`, `"`, `|`, `>`; empty when it is not), `flow` for flow collections.
        tag: the tag as written with its handle resolved, empty for none.
        anchor: its anchor's name, empty for none.
        children: items of a list; keys and values of a mapping in turn; the aliased node of an alias.
    """

    __slots__ = (
        "anchor",
        "children",
        "column",
        "end_column",
        "end_line",
        "kind",
        "line",
        "style",
        "tag",
        "text",
    )

    def __init__(self, kind: str, event: Any) -> None:
        start, end = event.start_mark, event.end_mark
        self.kind = kind
        self.line: int = start.line + 1
        self.column: int = start.column + 1
        self.end_line: int = end.line + 1
        self.end_column: int = end.column + 1
        self.text = self.style = self.tag = self.anchor = ""
        self.children: Sequence[Node] = ()

    @property
    def is_merge(self) -> bool:
        """An unquoted `<<`, or anything tagged as a merge key."""
        if self.kind != SCALAR:
            return False
        if self.tag:
            return short_tag(self.tag) == MERGE
        return not self.style and self.text == "<<"

    def target(self) -> Node:
        """The node itself, or what it is an alias of."""
        return self.children[0] if self.kind == ALIAS else self


class TreeReader:
    """Reads documents as trees of nodes, and builds values from them.

    Parameters:
        source: the text.
        limits: what is refused.
    """

    def __init__(self, source: Source, limits: Limits) -> None:
        self.source = source
        self.limits = limits
        self._dialect = Dialect(source)
        self._may_escape_slash = "\\/" in source.text
        self._documents = 0
        # Members of mappings that `find` went through: many questions are about one document.
        self._members: dict[Node, dict[str, Node]] = {}
        self._open()

    def _open(self) -> None:
        from yaml import YAMLError, events
        from yaml.scanner import ScannerError

        self._events = events
        self._scanner_error, self._yaml_error = ScannerError, YAMLError
        self._parser = self._dialect.events()
        self._get = self._parser.get_event
        self._started = False

    # --- composing ----------------------------------------------------------------------------------------------

    def read_node(self) -> Node | None:
        """The root node of the next document, or None at the end of the text.

        Raises:
            MalformedInput: `yaml.syntax`, `yaml.encoding`, `yaml.alias`, `input.too_deep`, `input.too_many_values`.
        """
        while True:
            try:
                node = self._read_node()
            except Respelled:
                self._open()
                for _ in range(self._documents):
                    self._read_node()
            else:
                self._documents += 1
                return node

    def _event(self) -> Any:
        try:
            return self._get()
        except self._scanner_error as error:
            if error.problem == UNEXPECTED_COLON and error.problem_mark is not None:
                self._dialect.respell_colon(error.problem_mark.index)
            elif error.problem == UNKNOWN_ESCAPE and error.context_mark is not None:
                self._dialect.respell_quotes(error.context_mark.index)
            elif error.problem == UNKNOWN_BEGINNING and error.problem_mark is not None:
                self._dialect.respell_tabs(error.problem_mark.index)
            elif error.context in ABOUT_TAGS and error.context_mark is not None:
                self._dialect.respell_tag(error.context_mark.index, error.context_mark.index)
            refuse_event_error(error, self.source, self.limits)
        except (self._yaml_error, UnicodeError, ValueError) as error:
            refuse_event_error(error, self.source, self.limits)

    def _read_node(self) -> Node | None:
        if not self._started:
            self._event()
            self._started = True
        event = self._event()
        if not isinstance(event, self._events.DocumentStartEvent):
            return None
        if event.version not in (None, (1, 1)):
            # YAML 1.1 is all that yaml.v3 accepts in the directive.
            raise self._refuse(
                "yaml.syntax", "only `%YAML 1.1` is accepted here", event, help="Remove the directive."
            )
        self._anchors: dict[str, Node] = {}
        self._left = self.limits.max_values
        node = self._compose(self._event(), 0, in_flow=False)
        self._end = self._event()
        return node

    def look_ahead(self) -> None:
        """Scan what yaml.v3 has scanned when a document ends; for callers that read no further.

        Raises:
            MalformedInput: `yaml.syntax` or `yaml.encoding`.
        """
        try:
            look_ahead(self._parser, self._end, self._dialect.text)
        except self._scanner_error as error:
            # Where the dialect differs from libyaml, what comes later is not worth spelling anew.
            if error.problem != UNEXPECTED_COLON and error.context not in ABOUT_TAGS:
                refuse_event_error(error, self.source, self.limits)
        except (self._yaml_error, UnicodeError, ValueError) as error:
            refuse_event_error(error, self.source, self.limits)

    def _refuse(self, code: str, message: str, where: Any, *, help: str = "") -> MalformedInput:
        if isinstance(where, Node):
            position = self.source.position(where.line, where.column)
        else:
            position = self._position(where)
        return MalformedInput(code, message, help=help, position=position)

    def _compose(self, event: Any, depth: int, *, in_flow: bool) -> Node:
        kind, events = type(event), self._events
        self._left -= 1
        if self._left < 0:
            raise too_many(self.limits, self._position(event))
        if kind is events.ScalarEvent:
            node = Node(SCALAR, event)
            node.style = event.style or ""
            node.text = self._dialect.restore(event.value)
            if not node.style:
                if in_flow and "?" in node.text:
                    # In flow style yaml.v3 takes any `?` for the sign of a key.
                    raise self._refuse(
                        "yaml.syntax",
                        "a `?` in unquoted text inside [] or {} is not accepted",
                        event,
                        help="Quote it.",
                    )
            elif node.style == '"':
                self._check_escapes(event)
            if event.tag is not None or event.anchor is not None:
                self._mark(node, event)
            return node
        if kind is events.AliasEvent:
            node = Node(ALIAS, event)
            node.text = event.anchor
            target = self._anchors.get(event.anchor)
            if target is None:
                raise self._refuse("yaml.alias", f"no anchor `&{event.anchor}` stands before this alias", event)
            node.children = [target]
            return node
        if depth >= self.limits.max_depth:
            raise too_deep(self.limits, self._position(event))
        flow = bool(event.flow_style)
        if kind is events.MappingStartEvent:
            node, end = Node(MAPPING, event), events.MappingEndEvent
        else:
            node, end = Node(SEQUENCE, event), events.SequenceEndEvent
        self._mark(node, event)
        node.style = "flow" if flow else ""
        children = node.children = []
        while type(event := self._event()) is not end:
            children.append(self._compose(event, depth + 1, in_flow=flow))
        node.end_line, node.end_column = event.end_mark.line + 1, event.end_mark.column + 1
        return node

    def _position(self, event: Any) -> Position:
        return self.source.position(event.start_mark.line + 1, event.start_mark.column + 1)

    def _mark(self, node: Node, event: Any) -> None:
        """Note a node's tag and anchor."""
        if event.tag is not None:
            self._dialect.respell_tag(event.start_mark.index, event.end_mark.index)
            node.tag = "" if event.tag == "!" else self._dialect.restore(event.tag)
        if event.anchor is not None:
            node.anchor = event.anchor
            self._anchors[event.anchor] = node

    def _check_escapes(self, event: Any) -> None:
        """`\\/` is an escape for libyaml only."""
        if not self._may_escape_slash:
            return
        start = event.start_mark
        written = self._dialect.text[start.index : event.end_mark.index]
        for match in _ESCAPES.finditer(written):
            if match[1] == "/":
                line = start.line + written.count("\n", 0, match.start())
                before = written.rfind("\n", 0, match.start())
                column = match.start() - before - 1 if before >= 0 else start.column + match.start()
                raise MalformedInput(
                    "yaml.syntax",
                    "`\\/` is not an escape here",
                    help="Write `/` alone.",
                    position=self.source.position(line + 1, column + 1),
                )

    # --- constructing -------------------------------------------------------------------------------------------

    def construct(self, node: Node) -> Value:
        """The generic value of a document's root node, aliases expanded into independent copies.

        Raises:
            MalformedInput: `yaml.tag`, `yaml.key`, `yaml.merge`, `yaml.alias` (a value that holds itself),
                `input.too_deep` and `input.too_many_values` (through aliases).
        """
        self._left = self.limits.max_values
        self._open_nodes: set[Node] = set()
        return self._construct(node, 0)

    def _count(self, node: Node) -> None:
        self._left -= 1
        if self._left < 0:
            raise too_many(self.limits, self.source.position(node.line, node.column))

    def _scalar(self, node: Node) -> tuple[str, Value]:
        if node.tag:
            try:
                return resolve_tagged(node.tag, node.text)
            except TagMismatch as error:
                raise self._refuse("yaml.tag", str(error), node) from None
        if node.style:
            return TEXT, node.text
        return resolve(node.text)

    def _construct(self, node: Node, depth: int) -> Value:
        self._count(node)
        node = node.target()
        if node.kind == SCALAR:
            return self._scalar(node)[1]
        if node in self._open_nodes:
            raise self._refuse("yaml.alias", "this value holds itself through an alias", node)
        if depth >= self.limits.max_depth:
            raise too_deep(self.limits, self.source.position(node.line, node.column))
        self._open_nodes.add(node)
        value: Value
        if node.kind == SEQUENCE:
            value = [self._construct(child, depth + 1) for child in node.children]
        else:
            value = {}

            def put(key: str, child: Node) -> None:
                value[key] = self._construct(child, depth + 1)

            self._each_pair(set(), node, put, 0)
        self._open_nodes.discard(node)
        return value

    def _key(self, node: Node) -> str:
        self._count(node)
        node = node.target()
        if node.kind != SCALAR:
            raise self._refuse("yaml.key", f"a {node.kind} cannot be the key of a mapping", node)
        kind, value = self._scalar(node)
        if kind == NULL:
            raise self._refuse("yaml.key", "null cannot be the key of a mapping", node, help='Quote it: `"null"`.')
        return key_text(kind, value, node.text)

    def _each_pair(self, merged: set[Node], node: Node, put: Callable[[str, Node], None], depth: int) -> None:
        """Give every pair of a mapping to `put`, merge keys followed (https://yaml.org/type/merge.html).

        A mapping that was merged already is not merged again, so merging a mapping into itself is harmless.
        """
        node = node.target()
        self._count(node)
        if depth > self.limits.max_depth:
            raise too_deep(self.limits, self.source.position(node.line, node.column))
        if node in merged:
            return
        merged.add(node)
        if node.kind == SEQUENCE:
            for child in node.children:
                self._each_pair(merged, child, put, depth + 1)
            return
        if node.kind != MAPPING:
            raise self._refuse("yaml.merge", "`<<` merges mappings only, and this is not one", node)
        pairs = list(zip(node.children[::2], node.children[1::2], strict=True))
        # Keys written here win wherever they stand; after them, the first merge that has the key.
        taken = {self._key(key) for key, _ in pairs if not key.is_merge}

        def put_merged(key: str, child: Node) -> None:
            if key not in taken:
                taken.add(key)
                put(key, child)

        for key, child in pairs:
            if key.is_merge:
                self._each_pair(merged, child, put_merged, depth + 1)
            else:
                put(self._key(key), child)

    # --- finding ------------------------------------------------------------------------------------------------

    def find(self, root: Node, path: Sequence[str | int]) -> Node:
        """The node at a path of keys and indices; the deepest one there is when the path does not exist to its end.

        Parameters:
            root: a document's root node.
            path: keys of mappings and indices of lists, outermost first.
        """
        self._left = self.limits.max_values
        node = root.target()
        for part in path:
            inner = self._child(node, part)
            if inner is None:
                break
            node = inner.target()
        return node

    def _child(self, node: Node, part: str | int) -> Node | None:
        if node.kind == SEQUENCE and isinstance(part, int):
            return node.children[part] if part < len(node.children) else None
        if node.kind != MAPPING:
            return None
        found = self._members.get(node)
        if found is None:
            found = self._members[node] = {}
            self._each_pair(set(), node, found.__setitem__, 0)
        return found.get(str(part))


def read_nodes(data: bytes | str, *, source: str = "<input>", limits: Limits = DEFAULT_LIMITS) -> Node | None:
    """The root node of the first document, for editing a text in place: it says where everything stands.

    Parameters:
        data: the text; bytes are UTF-8, or UTF-16 with a byte order mark.
        source: its name, for positions.
        limits: what is refused.

    Returns:
        The root, or None when there is no document.

    Raises:
        MalformedInput: the text is not YAML or exceeds a limit.
    """
    text = Source(source, data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)
    check_size(text.data, limits, source)
    return TreeReader(text, limits).read_node()
