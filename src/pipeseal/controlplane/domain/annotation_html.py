"""What jobs write in Markdown, as HTML that can do nothing: CommonMark and GFM, kept in bounds, then sanitised.

Anybody who can run a job writes these texts, so three things stand behind each other. Tags are let through only if
they are of a few known names and plainly written, closed in order and not deep (`_Settled`): what the sanitiser
parses can then be neither ambiguous nor costly. The sanitiser (nh3) keeps a closed list of tags, attributes, classes
and kinds of addresses. And whoever shows the result does so in a frame that runs and reaches nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from html import escape, unescape
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    import nh3
    from markdown_it import MarkdownIt

ARTIFACT: Final = "artifact://"
# Addresses of artifacts that are looked up for one text; there are not more pictures in anything that is read.
MOST_ARTIFACTS: Final = 200
# Widths that rows are counted for, in characters.
WIDTHS: Final = (40, 80, 160)
# What costs more than other text of its length, and how often it may be there; beyond, a text is shown as it is.
# Within these, a mebibyte takes about two seconds of one core.
_COSTLY: Final = {
    "[": 50_000, "!": 50_000, "*": 100_000, "_": 100_000, "~": 50_000, "`": 100_000, "<": 100_000, "&": 100_000,
    "://": 20_000, "@": 20_000, "\n": 60_000,
}  # fmt: skip
_MOST_TAGS: Final = 200_000
_MOST_REFERENCES: Final = 150_000
_MOST_HOSTS: Final = 20
_MOST_DEPTH: Final = 40
# An HTML parser opens formatting elements again in each paragraph they reach into, so few may be open at once.
_MOST_FORMATTING: Final = 6
_FORMATTING: Final = frozenset({"a", "b", "code", "em", "i", "s", "small", "strong", "tt", "u"})
_VOID: Final = frozenset({"br", "hr", "img", "input"})
# One of these ends the one before it. # HTML, 13.1.2.4 "Optional tags"
_IMPLIED: Final = frozenset({"dd", "dt", "li", "p", "td", "th", "tr"})
_TAGS: Final = frozenset(
    {
        "a", "abbr", "b", "blockquote", "br", "code", "dd", "del", "details", "div", "dl", "dt", "em", "h1",
        "h2", "h3", "h4", "h5", "h6", "hr", "i", "img", "input", "ins", "kbd", "li", "ol", "p", "pre", "q", "s",
        "samp", "small", "span", "strong", "sub", "summary", "sup", "table", "tbody", "td", "tfoot", "th",
        "thead", "tr", "tt", "u", "ul", "var",
    }
)  # fmt: skip
CLASSES: Final = frozenset(
    {
        "blue", "bold", "caps", "center", "gray", "green", "italic", "left-align", "nowrap", "orange", "purple",
        "red", "right-align", "small", "underline", "yellow",
    }
)  # fmt: skip
_CLASSY: Final = (
    "blockquote",
    "code",
    "div",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "li",
    "p",
    "pre",
    "span",
    "td",
    "th",
)
_CELL: Final = frozenset({"align", "colspan", "rowspan"})
_ATTRIBUTES: Final[dict[str, set[str]]] = {
    "a": {"href", "title"},
    "abbr": {"title"},
    "details": {"open"},
    "img": {"alt", "height", "src", "width"},
    "ol": {"start"},
    "td": set(_CELL),
    "th": set(_CELL),
}
_SCHEMES: Final = frozenset({"artifact", "http", "https", "mailto"})
# A tag as plainly as it can be written: no `<` or `>` in values. Possessive, so that it is looked at once.
_TAG: Final = re.compile(
    r"<(/?)([A-Za-z][A-Za-z0-9]*+)"
    r"((?:\s++[A-Za-z][\w:.-]*+(?:\s*+=\s*+(?:\"[^\"<>]*+\"|'[^'<>]*+'|[^\s\"'=<>`]++))?+)*+)\s*+/?>",
    re.ASCII,
)
_ATTRIBUTE: Final = re.compile(
    r"([A-Za-z][\w:.-]*+)(?:\s*+=\s*+(?:\"([^\"]*+)\"|'([^']*+)'|([^\s\"']++)))?+", re.ASCII
)
_ALIGN: Final = re.compile(r"text-align:\s*(left|center|right)")
_BOX: Final = re.compile(r"\s*\[([ xX])\]\s")
# A link or picture as the sanitiser writes it; inside of an attribute's value no quotation mark can stand.
_PLACED: Final = re.compile(r'<(a|img)((?: [a-z]+="[^"]*")*)>')
_ADDRESS: Final = re.compile(r' (?:href|src)="artifact://([^"]*)"')
_ALT: Final = re.compile(r' alt="([^"]*)"')
_ROW: Final = re.compile(r"</(?:blockquote|dd|dt|h[1-6]|li|p|pre|summary|tr)>|<br>|<hr>")
_ANY_TAG: Final = re.compile(r'<[^<>"]*(?:"[^"]*"[^<>"]*)*>')


class AnnotationHtml(NamedTuple):
    """A text that can be shown.

    Parameters:
        html: sanitised. Addresses of artifacts stand in it as `artifact://PATH`.
        artifacts: the paths of those, percent-decoded.
        origins: where pictures of the text come from elsewhere, as `https://HOST`; loaded or not.
        rows: about how many rows of text it has, for each of `WIDTHS`; closed parts count as if they were open.
    """

    html: str
    artifacts: tuple[str, ...]
    origins: tuple[str, ...]
    rows: tuple[int, ...]


class Place(NamedTuple):
    """Where an artifact is: for links, and for pictures."""

    link: str
    picture: str


def render_annotation(text: str, *, pictures: bool = False) -> AnnotationHtml:
    """A text in CommonMark with the tables, task lists, strikethrough and bare addresses of GFM, as sanitised HTML.

    What is too intricate to be drawn in reasonable time is shown as the text it is. Takes seconds at worst.

    Parameters:
        text: what a job wrote, of any content; a mebibyte at most.
        pictures: load pictures from elsewhere; otherwise a link stands in the place of each.
    """
    text = text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
    if any(text.count(piece) > most for piece, most in _COSTLY.items()):
        return _plain(text)
    markup = _markdown().render(text)
    if markup.count("<") > _MOST_TAGS or markup.count("&") > _MOST_REFERENCES:
        return _plain(text)
    settled = _Settled(pictures=pictures)
    settled.read(markup)
    html = _cleaner().clean("".join(settled.out))
    named = [unquote(unescape(found[1])) for tag in _PLACED.finditer(html) if (found := _ADDRESS.search(tag[2]))]
    return _measured(html, tuple(dict.fromkeys(named))[:MOST_ARTIFACTS], tuple(settled.origins))


def place_artifacts(html: str, find: Callable[[str], Place | None]) -> str:
    """`AnnotationHtml.html` with addresses in place of `artifact://PATH`.

    Parameters:
        find: where the artifact of a path is, which came percent-decoded; None when there is none.
    """

    def put(tag: re.Match[str]) -> str:
        found = _ADDRESS.search(tag[2])
        if found is None:
            return tag[0]
        place = find(unquote(unescape(found[1])))
        if tag[1] == "img":
            alt = _ALT.search(tag[2])
            if place is None:
                return f"<span>[picture: {alt[1] if alt else ''} (no such artifact)]</span>"
            return tag[0].replace(found[0], f' src="{escape(place.picture)}"')
        if place is None:
            return tag[0].replace(found[0], ' title="no such artifact"')
        return tag[0].replace(found[0], f' href="{escape(place.link)}"')

    return _PLACED.sub(put, html)


def _plain(text: str) -> AnnotationHtml:
    return _measured(f"<p>Too intricate to be drawn; this is its text.</p>\n<pre>{escape(text)}</pre>", (), ())


def _measured(html: str, artifacts: tuple[str, ...], origins: tuple[str, ...]) -> AnnotationHtml:
    # A picture is about as high as eight rows, the line that asks about pictures as one; frames need room as well.
    framed = html.count("</table>") + html.count("</pre>") + -(-html.count("</tr>") // 4)
    rows = [8 * html.count("<img ") + (1 if origins else 0) + framed] * len(WIDTHS)
    for block in _ROW.split(html):
        text = _ANY_TAG.sub("", block).strip("\n")
        for line in text.split("\n") if "<pre" in block else [text] if text.strip() else []:
            rows = [count + max(1, -(-len(line) // width)) for count, width in zip(rows, WIDTHS, strict=True)]
    return AnnotationHtml(html, artifacts, origins, tuple(rows))


@cache
def _markdown() -> MarkdownIt:
    from markdown_it import MarkdownIt

    # CommonMark 0.31 and GFM 0.29; tags are let through here and judged afterwards.
    return MarkdownIt("gfm-like", {"html": True, "maxNesting": 20})


@cache
def _cleaner() -> nh3.Cleaner:
    import nh3

    return nh3.Cleaner(
        tags=_TAGS - {"input"},
        attributes=_ATTRIBUTES,
        allowed_classes={name: set(CLASSES) for name in _CLASSY},
        set_tag_attribute_values={"a": {"target": "_blank"}, "img": {"loading": "lazy"}},
        link_rel="nofollow noopener noreferrer",
        url_schemes=set(_SCHEMES),
        # What is relative would be read against this server.
        url_relative="deny",
    )


class _Settled:
    """HTML put so that it can be parsed in one way only, in time that grows with its length.

    Parameters:
        pictures: keep pictures from elsewhere.
    """

    def __init__(self, *, pictures: bool) -> None:
        self.out: list[str] = []
        self.origins: dict[str, None] = {}
        self._pictures = pictures
        self._stack: list[str] = []
        self._is_item = False  # nothing of the list's item was said yet

    def read(self, html: str) -> None:
        """Take all of it: what is no plain tag of a known name is text."""
        here, last_comment_end = 0, html.rfind("-->")
        while (at := html.find("<", here)) >= 0:
            self._say(html[here:at])
            if html.startswith("<!--", at) and at + 4 <= last_comment_end:
                here = html.index("-->", at + 4) + 3
                continue
            tag = _TAG.match(html, at)
            name = tag[2].lower() if tag else ""
            if tag is None or name not in _TAGS:
                self._say("&lt;")
                here = at + 1
                continue
            here = tag.end()
            if tag[1]:
                self._close(name)
            else:
                self._open(tag, name)
        self._say(html[here:])
        while self._stack:
            self.out.append(f"</{self._stack.pop()}>")

    def _say(self, text: str) -> None:
        if self._is_item and text.strip():
            self._is_item = False
            if box := _BOX.match(text):  # GFM 5.3
                text = ("☐ " if box[1] == " " else "☑ ") + text[box.end() :]
        self.out.append(text)

    def _open(self, tag: re.Match[str], name: str) -> None:
        stack = self._stack
        if name in _VOID:
            if name == "img":
                self._picture(_attributes(tag[3]))
            elif name != "input":
                self.out.append(f"<{name}>")
            return
        if name in _IMPLIED and stack and stack[-1] == name:
            self._close(name)
        is_formatting = name in _FORMATTING
        if len(stack) >= _MOST_DEPTH or (name == "a" and "a" in stack):
            return
        if is_formatting and sum(one in _FORMATTING for one in stack) >= _MOST_FORMATTING:
            return
        stack.append(name)
        self._is_item = name == "li" or (name == "p" and self._is_item)
        if name in ("td", "th") and (align := _ALIGN.search(tag[3])):
            # As an attribute: the frame's policy lets no style of the text's own in.
            self.out.append(f'<{name} align="{align[1]}">')
        else:
            self.out.append(f"<{name}{tag[3]}>")

    def _close(self, name: str) -> None:
        if name in self._stack:
            while (last := self._stack.pop()) != name:
                self.out.append(f"</{last}>")
            self.out.append(f"</{name}>")

    def _picture(self, attributes: dict[str, str]) -> None:
        source, alt = attributes.get("src", "").strip(), attributes.get("alt", "")
        origin = "" if source.startswith(ARTIFACT) else _origin(source)
        if origin and len(self.origins) < _MOST_HOSTS:
            self.origins[origin] = None
        if source.startswith(ARTIFACT) or (self._pictures and origin in self.origins):
            size = "".join(
                f' {side}="{attributes[side]}"'
                for side in ("width", "height")
                if re.fullmatch(r"[0-9]{1,4}", attributes.get(side, ""))
            )
            self.out.append(f'<img src="{escape(source)}" alt="{escape(alt)}"{size}>')
        elif origin and "a" not in self._stack:
            words = f"[picture: {alt} (at {origin.partition('://')[2]})]"
            self.out.append(f'<a href="{escape(source)}">{escape(words)}</a>')
        else:
            self.out.append(escape(f"[picture: {alt}]"))


def _attributes(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, double, single, bare in _ATTRIBUTE.findall(text):
        found.setdefault(name.lower(), unescape(double or single or bare))
    return found


def _origin(address: str) -> str:
    """Scheme and host of an address that pictures may come from; empty when it is none.

    It is written into a policy, where a space or semicolon would end it, so there are only letters of host names.
    """
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return ""
    host = (parts.hostname or "").lower()
    if parts.scheme not in ("http", "https") or not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?", host):
        return ""
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")
