"""Putting signatures into a pipeline's text without touching the rest: where each step stands, and what to write
there.

Comments, key order, quoting, blank lines: everything that is not a signature stays as its author wrote it, JSON stays
JSON. This works on what libyaml says of the text; the caller parses the result again and compares, so a text with
more twists than this knows is never signed wrongly, only written anew (see `signtext.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from pipeseal.pipeline.render import render_json, secrets_value, signature_value, step_value
from pipeseal.pipeline.steps import CommandStep, GroupStep, Step
from pipeseal.signing.bindings import SEAL

_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class CannotSplice(Exception):
    """The text has twists that this module does not follow; write it anew instead. Never leaves this package."""


class Span(NamedTuple):
    """A member of a mapping: from its key's first character to just behind its value's last one."""

    start: int
    end: int


class Variables(NamedTuple):
    """Where a step's own mapping of variables stands.

    Parameters:
        start: first character of its first key; None when it has none.
        lead: where the text before that key begins: just behind the opening brace, or at the key.
        column: 0-based column of its keys, when it is a block.
        is_flow: whether it stands in braces.
        seal: the member that holds an older seal; None when there is none.
    """

    start: int | None
    lead: int
    column: int
    is_flow: bool
    seal: Span | None


class Site:
    """Where one item of a list of steps stands, in characters from the text's beginning.

    Parameters:
        kind: `scalar`, `alias`, `block` or `flow`.
        start: first character; of a block mapping, its first key.
        end: just behind the last character of its content.
        column: 0-based column of a block mapping's keys.
        block_scalar: how the content ends in one, so that `end` is the beginning of a line already: `kept` when blank
            lines before `end` are part of it, `clipped` when they are not; empty when it ends in something else.
        members: spans of those members that signing may replace.
        variables: the inside of `env`, when that is a mapping of the step's own.
        inside: sites of a group's own steps; None when it has none of its own.
    """

    __slots__ = ("block_scalar", "column", "end", "inside", "kind", "members", "start", "variables")

    def __init__(self, kind: str, start: int, end: int) -> None:
        self.kind = kind
        self.start = start
        self.end = end
        self.column = 0
        self.block_scalar = ""
        self.members: dict[str, Span] = {}
        self.variables: Variables | None = None
        self.inside: list[Site] | None = None


class _Scanner:
    """Walks libyaml's events and keeps the places of steps, nothing else."""

    def __init__(self, text: str) -> None:
        from yaml import events
        from yaml._yaml import CParser

        self._get: Callable[[], Any] = CParser(text).get_event
        # libyaml's events have no usable types of their own.
        kinds: Any = events
        self._scalar, self._alias = kinds.ScalarEvent, kinds.AliasEvent
        self._mapping_start, self._mapping_end = kinds.MappingStartEvent, kinds.MappingEndEvent
        self._sequence_start, self._sequence_end = kinds.SequenceStartEvent, kinds.SequenceEndEvent
        self._document_start = kinds.DocumentStartEvent
        self._starts = (self._mapping_start, self._sequence_start)
        self._ends = (self._mapping_end, self._sequence_end)
        self._get()  # stream start

    def document(self) -> list[Site] | None:
        """Sites of the next document's steps; None at the end of the text.

        Raises:
            CannotSplice: the steps are not where they can be followed.
        """
        if type(self._get()) is not self._document_start:
            return None
        event = self._get()
        if type(event) is self._sequence_start:
            sites: list[Site] | None = self._steps(event)
        elif type(event) is self._mapping_start:
            sites = None
            while type(key := self._get()) is not self._mapping_end:
                if type(key) is not self._scalar:
                    raise CannotSplice
                value = self._get()
                if key.value == "steps" and type(value) is self._sequence_start:
                    sites = self._steps(value)
                elif key.value in ("steps", "<<"):
                    raise CannotSplice
                else:
                    self._skip(value)
        else:
            self._skip(event)
            sites = None
        self._get()  # document end
        return sites or []

    def _steps(self, event: Any) -> list[Site]:
        if event.anchor is not None:
            raise CannotSplice
        sites: list[Site] = []
        while type(item := self._get()) is not self._sequence_end:
            sites.append(self._step(item))
        return sites

    def _step(self, event: Any) -> Site:
        kind = type(event)
        if kind is not self._mapping_start:
            start = event.start_mark.index
            end, _ = self._skip(event)
            return Site("alias" if kind is self._alias else "scalar", start, end)
        get, scalar, mapping_end = self._get, self._scalar, self._mapping_end
        site = Site("flow" if event.flow_style else "block", event.start_mark.index, event.end_mark.index)
        is_first = True
        while type(key := get()) is not mapping_end:
            if type(key) is not scalar:
                raise CannotSplice
            mark = key.start_mark
            if is_first:
                is_first = False
                if not event.flow_style:
                    # Anchors and tags of the mapping come before its first key, perhaps on another line.
                    first = mark if event.anchor is not None or event.tag is not None else event.start_mark
                    site.start, site.column = first.index, first.column
            name = key.value
            value = get()
            if name == "steps" and type(value) is self._sequence_start:
                site.inside = self._steps(value)
                site.end, site.block_scalar = _end_of(site.inside, value)
                continue
            if name == "env" and type(value) is self._mapping_start:
                site.variables, (site.end, site.block_scalar) = self._variables(value)
            else:
                site.end, site.block_scalar = self._skip(value)
            if name in ("signature", "secrets", "env"):
                site.members[name] = Span(mark.index, site.end)
        if event.flow_style:
            site.block_scalar = ""
        return site

    def _variables(self, event: Any) -> tuple[Variables, tuple[int, str]]:
        """Where the variables of a step stand, and where their content ends."""
        is_flow = bool(event.flow_style)
        start, column = None, 0
        seal: Span | None = None
        end: tuple[int, str] = (event.end_mark.index, "")
        while type(key := self._get()) is not self._mapping_end:
            if type(key) is not self._scalar:
                raise CannotSplice
            if start is None:
                start, column = key.start_mark.index, key.start_mark.column
            end = self._skip(self._get())
            if key.value == SEAL:
                seal = Span(key.start_mark.index, end[0])
        if is_flow:
            end = (key.end_mark.index, "")
        return Variables(start, event.end_mark.index, column, is_flow, seal), end

    def _skip(self, event: Any) -> tuple[int, str]:
        """Read the rest of a node; where its content ends, and as which kind of block scalar."""
        kind = type(event)
        if kind not in self._starts:
            return event.end_mark.index, _block_scalar(event) if kind is self._scalar else ""
        get, starts, ends = self._get, self._starts, self._ends
        flows = [event.flow_style]
        last = event
        while flows:
            event = get()
            kind = type(event)
            if kind in starts:
                flows.append(event.flow_style)
            elif kind in ends and not flows.pop():
                # A block collection's end is where the next token begins; its content ended with its last node.
                continue
            last = event
        return last.end_mark.index, _block_scalar(last) if type(last) is self._scalar else ""


def _block_scalar(event: Any) -> str:
    if event.style not in ("|", ">"):
        return ""
    return "kept" if event.value.endswith("\n\n") or not event.value.strip("\n") else "clipped"


def _end_of(sites: list[Site], event: Any) -> tuple[int, str]:
    if event.flow_style or not sites:
        raise CannotSplice
    return sites[-1].end, sites[-1].block_scalar


def find_sites(text: str) -> list[list[Site]]:
    """Where the steps of each document of `text` stand.

    Parameters:
        text: YAML or JSON without a byte order mark.

    Raises:
        CannotSplice: the text has twists that cannot be followed.
    """
    from yaml import YAMLError

    try:
        scanner = _Scanner(text)
        documents: list[list[Site]] = []
        while (sites := scanner.document()) is not None:
            documents.append(sites)
    except YAMLError:
        raise CannotSplice from None
    return documents


class Splicer:
    """Collects what to write where, and writes it.

    Parameters:
        text: the text that `find_sites` looked at.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._edits: list[tuple[int, int, str]] = []
        first = _BREAK.search(text)
        self._newline = first[0] if first else "\n"

    def sign(self, before: list[Step], after: list[Step], sites: list[Site]) -> None:
        """Note the signatures of `after` (and merged secrets) for the steps at `sites`.

        Parameters:
            before: steps as the text has them.
            after: the same steps, signed.
            sites: where they stand.

        Raises:
            CannotSplice: steps and places do not belong together.
        """
        if len(before) != len(sites):
            raise CannotSplice
        for old, new, site in zip(before, after, sites, strict=True):
            if isinstance(new, GroupStep) and isinstance(old, GroupStep):
                if site.inside is None and new.steps:
                    raise CannotSplice
                self.sign(old.steps, new.steps, site.inside or [])
            elif isinstance(new, CommandStep) and isinstance(old, CommandStep):
                self._sign_step(old, new, site)

    def render(self) -> str:
        """The text with everything noted put in."""
        pieces: list[str] = []
        done = 0
        for start, end, new in sorted(self._edits):
            if start < done:
                raise CannotSplice
            pieces += (self._text[done:start], new)
            done = end
        pieces.append(self._text[done:])
        return "".join(pieces)

    def _sign_step(self, old: CommandStep, new: CommandStep, site: Site) -> None:
        if site.kind == "alias":
            # The same text cannot carry two signatures: this occurrence becomes a step of its own.
            self._edits.append((site.start, site.end, render_json(step_value(new))))
            return
        members: dict[str, Any] = {}
        if new.env != old.env and not self._add_seal(old, new, site.variables):
            members["env"] = new.env
        if new.secrets != old.secrets:
            members["secrets"] = secrets_value(new.secrets)
        if new.signature is not None:
            members["signature"] = signature_value(new.signature)
        if site.kind == "block":
            self._edit_block(site, members)
        elif site.kind == "flow":
            self._edit_flow(site, members)
        else:
            raise CannotSplice

    def _add_seal(self, old: CommandStep, new: CommandStep, place: Variables | None) -> bool:
        """Put the seal among the step's variables; False when more than that has to change."""
        seal = new.env.get(SEAL)
        if seal is None or place is None or {**old.env, SEAL: seal} != new.env:
            return False
        member = f'"{SEAL}": "{seal}"' if place.is_flow else f"{SEAL}: {seal}"
        if place.seal is not None:
            start, end = place.seal
            tail = self._newline if _BREAK.search(self._text[end - 1 : end]) else ""
            self._edits.append((start, end, member + tail))
        elif place.start is None:
            self._edits.append((place.lead, place.lead, member))
        elif place.is_flow:
            gap = self._text[place.lead : place.start]
            gap = gap if gap and not gap.strip() else " "
            self._edits.append((place.start, place.start, f"{member},{gap}"))
        else:
            self._edits.append((place.start, place.start, f"{member}{self._newline}{' ' * place.column}"))
        return True

    def _edit_block(self, site: Site, members: dict[str, Any]) -> None:
        added: list[str] = []
        indent = " " * site.column
        for name, value in members.items():
            lines = _signature_lines(value) if name == "signature" else [f"{name}: {render_json(value)}"]
            span = site.members.get(name)
            if span is None:
                added += [f"env:{self._newline}{indent}  {SEAL}: {value[SEAL]}"] if list(value) == [SEAL] else lines
                continue
            old = self._text[span.start : span.end]
            lines += [line.strip() for line in _BREAK.split(old) if line.lstrip().startswith("#")]
            new = f"{self._newline}{indent}".join(lines)
            self._edits.append((span.start, span.end, new + (self._newline if _BREAK.search(old[-1:]) else "")))
        if not added:
            return
        block = "".join(f"{indent}{line}{self._newline}" for line in added)
        if site.block_scalar:
            if not _BREAK.match(self._text[site.end - 1 : site.end]):
                # Without a final line break the scalar would gain one; so write before the step's first key.
                lead = block.removeprefix(indent) + indent
                self._edits.append((site.start, site.start, lead))
                return
            if site.block_scalar == "kept":
                self._edits.append((site.end, site.end, block))
                return
        end = site.end
        while site.block_scalar and self._text[end - 1] in " \t\r\n":
            end -= 1
        line_end = _BREAK.search(self._text, end)
        # Comments right below, as far in as the step's members, are about those members.
        comment = re.compile(rf"[ ]{{{site.column},}}#[^\n\r\x85\u2028\u2029]*")
        while line_end is not None and (below := comment.match(self._text, line_end.end())):
            line_end = _BREAK.match(self._text, below.end())
        if line_end is None:
            self._edits.append((len(self._text), len(self._text), self._newline + block))
        else:
            self._edits.append((line_end.end(), line_end.end(), block))

    def _edit_flow(self, site: Site, members: dict[str, Any]) -> None:
        added: list[str] = []
        for name, value in members.items():
            member = f'"{name}": {_spaced_json(value)}'
            span = site.members.get(name)
            if span is None:
                added.append(member)
            else:
                self._edits.append((span.start, span.end, member))
        if not added:
            return
        # Between the last member and the closing brace there may be a comma, a comment, a line break.
        tail = self._text[site.end : self._text.find("}", site.end) + 1]
        opening = self._text[site.start : site.start + 1]
        if opening != "{" or not tail:
            raise CannotSplice
        line_break = _BREAK.match(tail.lstrip(" "))
        if line_break and tail.strip() == "}":
            # One member a line: keep it so.
            first = re.compile(r"[ \t]*").match(self._text, self._text.rfind("\n", 0, site.end) + 1)
            lead = line_break[0] + (first[0] if first else "")
            self._edits.append((site.end, site.end, "".join(f",{lead}{member}" for member in added)))
        elif tail.strip() == "}" and self._text[site.end - 1] != ":":
            self._edits.append((site.end, site.end, "".join(f", {member}" for member in added)))
        else:
            self._edits.append((site.start + 1, site.start + 1, "".join(f"{member}, " for member in added)))


def _signature_lines(signature: dict[str, Any]) -> list[str]:
    fields = ", ".join(name if _PLAIN_NAME.match(name) else render_json(name) for name in signature["signed_fields"])
    return [
        "signature:",
        f"  algorithm: {signature['algorithm']}",
        f"  signed_fields: [{fields}]",
        f"  value: {signature['value']}",
    ]


def _spaced_json(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{render_json(key)}: {_spaced_json(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_spaced_json, value)) + "]"
    return render_json(value)
