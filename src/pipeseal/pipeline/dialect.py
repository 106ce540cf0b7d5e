"""Where yaml.v3 differs from libyaml: text is respelled, so that libyaml reads what yaml.v3 would have read."""

from __future__ import annotations

import re
from typing import Any, Final

from pipeseal.errors import MalformedInput
from pipeseal.pipeline.yaml import Source, open_events

_IN_QUOTES: Final = re.compile(r'"|\\.|[^"\\]+', re.DOTALL)
_BREAKS: Final = "\r\n\x85\u2028\u2029"
# As far as yaml.v3 looks ahead for the next comment.
_BLANK_BEFORE_COMMENT: Final = re.compile(f"\t[ \t{_BREAKS}]{{0,511}}(?=#)")
_TAG_BODY: Final = re.compile(r"![0-9A-Za-z_\-;/?:@&=+$,.!~*'()\[\]%]*", re.ASCII)
_TAG_FLOW_CHARACTERS: Final = str.maketrans({",": "%2C", "[": "%5B", "]": "%5D"})


# What libyaml says where the dialect may have another opinion.
UNEXPECTED_COLON: Final = "found unexpected ':'"
UNKNOWN_ESCAPE: Final = "found unknown escape character"
UNKNOWN_BEGINNING: Final = "found character that cannot start any token"
ABOUT_TAGS: Final = ("while scanning a tag", "while parsing a tag")


class Respelled(Exception):
    """The text was spelled anew so that libyaml reads it as the dialect does; read it again."""


class Dialect:
    r"""Text handed to libyaml, respelled where it would read it otherwise than yaml.v3 does.

    - In flow style, yaml.v3 lets a scalar hold a `:` in front of `,`, `[`, `]`, `{` and `}`. A stand-in character
      takes its place and is turned back in every scalar.
    - A tag runs over `,`, `[` and `]`. They are percent-encoded, which is the same tag.
    - `\'` is an escape in double quotes. `\x27` is the same character.
    - Comments that follow a line of comment may be indented with tabs. Spaces take their place.
    - A byte order mark is text, except at the very beginning. A stand-in takes its place as well.
    """

    MAX_CHANGES: Final = 200
    # Every change reads the text again, so large texts may have fewer of them.
    MAX_READ_AGAIN: Final = 8 * 1024 * 1024

    def __init__(self, source: Source) -> None:
        self.source = source
        self.text = source.text
        self.stand_ins: dict[str, str] = {}
        self.changes = 0
        if "\ufeff" in self.text:
            self.text = self.text.replace("\ufeff", self._stand_in("\ufeff"))

    def _stand_in(self, character: str) -> str:
        """A private character that the text does not hold."""
        if character not in self.stand_ins:
            used = {*self.text, *self.stand_ins.values()}
            self.stand_ins[character] = next(c for c in map(chr, range(0xE000, 0xF8FF)) if c not in used)
        return self.stand_ins[character]

    def events(self) -> Any:
        if self.changes == 0 and not self.stand_ins:
            return open_events(self.source)
        return open_events(Source(self.source.name, self.text.encode("utf-8", "surrogatepass")))

    def restore(self, text: str) -> str:
        if self.stand_ins:
            for character, stand_in in self.stand_ins.items():
                text = text.replace(stand_in, character)
        return text

    def _change(self, start: int, end: int, replacement: str) -> None:
        self.changes += 1
        if self.changes > self.MAX_CHANGES or self.changes * len(self.text) > self.MAX_READ_AGAIN:
            raise MalformedInput(
                "yaml.syntax",
                f"{self.changes} scalars and tags or more are spelled in ways that readers disagree about",
                help="Quote text that ends in `:`, and put a space between a tag and a `,`, `[` or `]`.",
            )
        self.text = self.text[:start] + replacement + self.text[end:]
        raise Respelled

    def respell_colon(self, index: int) -> None:
        """Put the stand-in where libyaml found an unexpected `:` inside a flow scalar."""
        if self.text[index : index + 1] != ":":
            return
        self._change(index, index + 1, self._stand_in(":"))

    def respell_quotes(self, start: int) -> None:
        """Write the single quotes that are escaped in the double-quoted scalar from `start` on in another way."""
        end, spelled = start + 1, '"'
        for match in _IN_QUOTES.finditer(self.text, start + 1):
            if match[0] == '"':
                break
            spelled += "\\x27" if match[0] == "\\'" else match[0]
            end = match.end()
        if spelled != self.text[start:end]:
            self._change(start, end, spelled)

    def respell_tabs(self, start: int) -> None:
        """Indent with spaces the comment that follows, if a line of comment comes before."""
        blank = _BLANK_BEFORE_COMMENT.match(self.text, start)
        if blank is None:
            return
        before = self.text[:start].rstrip(f" \t{_BREAKS}")
        last_line = before[max(before.rfind(line_break) for line_break in _BREAKS) + 1 :]
        if last_line.lstrip(" \t").startswith("#"):
            self._change(start, blank.end(), blank[0].replace("\t", " "))

    def respell_tag(self, start: int, limit: int) -> None:
        """Percent-encode flow indicators in the tag between `start` and `limit`, if it has any."""
        for match in _TAG_BODY.finditer(self.text, start):
            if match.start() > limit:
                return
            if self.text.startswith("!<", match.start()):
                # A tag in full, which has no such characters but must not touch what follows.
                behind = self.text.find(">", match.start()) + 1
                if self.text[behind : behind + 1].strip(f" \t{_BREAKS}"):
                    raise MalformedInput(
                        "yaml.syntax", "a tag in `!<>` is not followed by a space", help="Put a space behind the `>`."
                    )
                return
            spelled = match[0].translate(_TAG_FLOW_CHARACTERS)
            if spelled != match[0]:
                self._change(match.start(), match.end(), spelled)
            return
