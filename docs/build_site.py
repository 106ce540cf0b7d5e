"""Build the documentation as a site of plain HTML files that need no network, no JavaScript and no server.

JavaScript, where it is allowed, adds a search, which needs neither of the others.

`make docs` (`python -m docs.build_site`) writes build/site; it says what is wrong with links, anchors, pictures or
pages, and exits with 1 then.

`docs/index.md` is the navigation too: its headings are the groups, its links the pages. A page that it does not name
is an error, so that nothing is written that nobody finds.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Sequence
from html import escape
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token

from docs.console import OutputFirst, read_console
from docs.search_index import read_sections, render_index
from docs.sequence import UnknownLine, draw_sequence

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
# Pages that lie where people look for them in a repository.
PROJECT = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
_DARK = "(prefers-color-scheme: dark)"
# Parts from which on a page gets a list of them.
_LONG = 8
# The mark of the web pages is the site's too.
ICON = ROOT / "src" / "pipeseal" / "controlplane" / "web" / "icon.svg"
TEMPLATE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="{root}icon.svg">
<link rel="stylesheet" href="{root}site.css">
<script src="{root}search.js" defer></script>
<header>
<a href="{root}index.html">Pipeseal</a> <a class="to-menu" href="#site.pages">Pages</a>
<form id="site.search" role="search" hidden>
<input type="search" aria-label="Search these pages" aria-keyshortcuts="/" placeholder="Search ( / )">
</form>
</header>
<section id="site.found" aria-label="Found" hidden>
<p role="status"></p>
<ol></ol>
<p><label><input type="checkbox" checked> The key / begins a search</label></p>
</section>
<main>
{body}</main>
<nav class="menu" id="site.pages" aria-label="Pages">
{navigation}</nav>
<footer>Made from <code>{source}</code></footer>
</html>
"""


class Page(NamedTuple):
    """One page on its way to the site.

    Parameters:
        source: path below the checkout.
        target: path below the site.
        title: its one heading of the first level.
        tokens: its text, read.
        anchors: what links can name in it.
    """

    source: PurePosixPath
    target: PurePosixPath
    title: str
    tokens: list[Token]
    anchors: frozenset[str]


def anchor_of(heading: str) -> str:
    """What a link names a heading by, as GitHub does it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def build_site(root: Path, site: Path) -> list[str]:
    """Write the site, and return what is wrong with it, one line for each; nothing is when it is empty.

    Parameters:
        root: the checkout; its `docs` and the pages of PROJECT are read.
        site: the folder to write; what was in it goes.
    """
    problems: list[str] = []
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    markdown.add_render_rule("image", _picture)
    sources = [*sorted((root / "docs").rglob("*.md")), *(root / name for name in PROJECT if (root / name).exists())]
    pages = {}
    for path in sources:
        source = PurePosixPath(path.relative_to(root).as_posix())
        pages[source] = _read_page(markdown, source, path.read_text(encoding="utf-8"), problems)
    shutil.rmtree(site, ignore_errors=True)
    site.mkdir(parents=True)
    for name in ("site.css", "search.js"):
        shutil.copyfile(DOCS / name, site / name)
    shutil.copyfile(ICON, site / "icon.svg")
    groups = _navigation(pages, problems)
    first = [page for page in pages.values() if page.source == PurePosixPath("docs/index.md")]
    ordered = {page.source: page for page in (*first, *(page for _, members in groups for page in members))} | pages
    sections = [
        section
        for page in ordered.values()
        for section in read_sections(page.tokens, target=str(page.target), title=page.title)
    ]
    (site / "search-index.js").write_text(render_index(sections), encoding="utf-8")
    for page in pages.values():
        _lead_links(root, site, page, pages, problems)
        body = _render(markdown, page, problems)
        up = "../" * (len(page.target.parts) - 1)
        path = site / page.target
        path.parent.mkdir(parents=True, exist_ok=True)
        title = page.title if page.title == "Pipeseal" else f"{page.title} - Pipeseal"
        path.write_text(
            TEMPLATE.format(
                title=escape(title),
                root=up,
                navigation=_show_navigation(groups, page, up),
                body=body,
                source=page.source,
            ),
            encoding="utf-8",
        )
    return problems


def _read_page(markdown: MarkdownIt, source: PurePosixPath, text: str, problems: list[str]) -> Page:
    tokens = markdown.parse(text)
    anchors: dict[str, int] = {}
    titles = []
    for token, inside in pairwise(tokens):
        if token.type != "heading_open":
            continue
        words = "".join(child.content for child in inside.children or [] if child.type in {"text", "code_inline"})
        if token.tag == "h1":
            titles.append(words)
        name = anchor_of(words)
        count = anchors.get(name, 0)
        anchors[name] = count + 1
        token.attrSet("id", f"{name}-{count}" if count else name)
    if len(titles) != 1:
        problems.append(f"{source}: {len(titles)} headings of the first level, not one")
    target = (
        source.relative_to("docs") if source.parts[0] == "docs" else PurePosixPath("project", source.name.lower())
    )
    ids = frozenset(str(token.attrGet("id")) for token in tokens if token.type == "heading_open")
    return Page(source, target.with_suffix(".html"), titles[0] if titles else str(source), tokens, ids)


def _navigation(pages: dict[PurePosixPath, Page], problems: list[str]) -> list[tuple[str, list[Page]]]:
    """The groups of the index, each with its pages."""
    index = pages.get(PurePosixPath("docs/index.md"))
    if index is None:
        problems.append("docs/index.md: there is none")
        return []
    groups: list[tuple[str, list[Page]]] = []
    named = {index.source}
    heading = False
    for token in index.tokens:
        heading = (token.type == "heading_open" and token.tag == "h2") or (heading and token.type == "inline")
        if token.type != "inline":
            continue
        if heading:
            groups.append((token.content, []))
            heading = False
            continue
        for child in token.children or []:
            page = pages.get(_join(index.source, str(child.attrGet("href")))) if child.type == "link_open" else None
            if page is not None and groups and page.source not in named:
                named.add(page.source)
                groups[-1][1].append(page)
    problems += [f"{source}: docs/index.md does not name it" for source in pages if source not in named]
    return [(name, members) for name, members in groups if members]


def _show_navigation(groups: Sequence[tuple[str, list[Page]]], current: Page, up: str) -> str:
    lines = []
    for name, members in groups:
        lines.append(f"<h2>{escape(name)}</h2>\n<ul>")
        for page in members:
            here = ' aria-current="page"' if page is current else ""
            lines.append(f'<li><a href="{up}{page.target}"{here}>{escape(page.title)}</a>')
        lines.append("</ul>")
    return "\n".join(lines) + "\n"


def _lead_links(root: Path, site: Path, page: Page, pages: dict[PurePosixPath, Page], problems: list[str]) -> None:
    """Make links and pictures lead to files of the site, copy those that are no pages, and say which lead nowhere."""
    for token in (child for parent in page.tokens for child in parent.children or []):
        name = {"link_open": "href", "image": "src"}.get(token.type)
        if name is None:
            continue
        href = str(token.attrGet(name))
        address = urlsplit(href)
        if address.scheme:
            if address.scheme not in {"https", "mailto"} or name == "src":
                problems.append(f"{page.source}: {href}: only https leads out of the site, and pictures are its own")
            continue
        target = _join(page.source, address.path) if address.path else page.source
        up = "../" * (len(page.target.parts) - 1)
        if target in pages:
            if address.fragment and unquote(address.fragment) not in pages[target].anchors:
                problems.append(f"{page.source}: {href}: no such heading there")
            fragment = f"#{address.fragment}" if address.fragment else ""
            token.attrSet(name, f"{up}{pages[target].target}{fragment}" if address.path else fragment)
        elif (root / target).is_file() and target.parts[0] == "docs":
            copy = target.relative_to("docs")
            (site / copy).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / target, site / copy)
            token.attrSet(name, f"{up}{copy}")
            if name == "src":
                _describe_picture(root, site, target, token, up)
        else:
            problems.append(f"{page.source}: {href}: leads to nothing in the site")


def _describe_picture(root: Path, site: Path, target: PurePosixPath, token: Token, up: str) -> None:
    """Note a picture's size, so that nothing moves when it comes, and its twins for dark pages and for phones."""
    for name, number in _size(root / target).items():
        token.attrSet(name, number)
    sources = []
    for narrow in (True, False):
        for dark in (True, False):
            name = target.name.replace("-light-", "-dark-") if dark else target.name
            name = name.replace("-1280.", "-390.") if narrow else name
            twin = target.with_name(name)
            # A name without one of the words has no twin of that sort.
            if (name != target.name) and (root / twin).is_file() and ("-390." in name or not narrow):
                copy = twin.relative_to("docs")
                shutil.copyfile(root / twin, site / copy)
                media = " and ".join([*(["(max-width: 40rem)"] if narrow else []), *([_DARK] if dark else [])])
                sources.append({"media": media, "srcset": f"{up}{copy}", **_size(root / twin)})
    token.meta["sources"] = sources


def _size(path: Path) -> dict[str, str]:
    """Width and height of a PNG; nothing of other pictures."""
    data = path.read_bytes()[:24]
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return {}
    # https://www.w3.org/TR/png-3/#11IHDR
    return {"width": str(int.from_bytes(data[16:20], "big")), "height": str(int.from_bytes(data[20:24], "big"))}


def _picture(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """A picture as HTML; the first source whose condition holds is shown."""
    token = tokens[index]
    plain = f'<img{renderer.renderAttrs(_with_alternative(renderer, token, options, env))} loading="lazy">'
    sources = "".join(
        "<source " + " ".join(f'{name}="{escape(value)}"' for name, value in source.items()) + ">"
        for source in token.meta.get("sources", ())
    )
    return f"<picture>{sources}{plain}</picture>" if sources else plain


def _with_alternative(renderer: Any, token: Token, options: Any, env: Any) -> Token:
    token.attrSet("alt", renderer.renderInlineAsText(token.children or [], options, env))
    return token


def _join(source: PurePosixPath, href: str) -> PurePosixPath:
    parts: list[str] = []
    for part in (source.parent / unquote(urlsplit(href).path)).parts:
        if part == ".." and parts:
            parts.pop()
        else:
            parts.append(part)
    return PurePosixPath(*parts)


def _render(markdown: MarkdownIt, page: Page, problems: list[str]) -> str:
    rendered: list[str] = []
    plain: list[Token] = []

    def flush() -> None:
        rendered.append(markdown.renderer.render(plain, markdown.options, {}))
        plain.clear()

    for token in page.tokens:
        if token.type != "fence" or token.info.strip() not in {"mermaid", "console"}:
            plain.append(token)
            continue
        flush()
        if token.info.strip() == "console":
            try:
                rendered.append(_console(token.content))
            except OutputFirst as error:
                problems.append(f"{page.source}: {error}")
            continue
        try:
            drawing = draw_sequence(token.content, page.title)
        except UnknownLine as error:
            problems.append(f"{page.source}: a diagram cannot be drawn: {error}")
            continue
        rendered.append(
            f"<figure>{drawing}<details><summary>The same as text</summary>"
            f'<pre tabindex="0">{escape(token.content)}</pre></details></figure>\n'
        )
    flush()
    html = "".join(rendered).replace("</h1>\n", f"</h1>\n{_contents(page)}", 1)
    # What scrolls sideways has to be reached by keyboard.
    html = html.replace("<pre><code", '<pre tabindex="0"><code')
    return html.replace("<table>", '<div class="wide" tabindex="0"><table>').replace("</table>", "</table></div>")


def _contents(page: Page) -> str:
    """A list of a long page's parts, folded; nothing for a page that is looked over without one."""
    parts = [
        (str(token.attrGet("id")), inside.content)
        for token, inside in pairwise(page.tokens)
        if token.type == "heading_open" and token.tag == "h2"
    ]
    if len(parts) < _LONG:
        return ""
    items = "".join(f'<li><a href="#{escape(name)}">{escape(words.replace("`", ""))}</a>' for name, words in parts)
    return f'<details class="contents"><summary>On this page</summary>\n<ul>{items}</ul>\n</details>\n'


def _console(text: str) -> str:
    """What is typed stands out from what is printed, and its `$ ` is not copied with it."""
    lines = []
    for command in read_console(text):
        lines.append(f'<span class="prompt" aria-hidden="true">$ </span><b>{escape(command.text)}</b>')
        lines += [escape(line) for line in command.prints]
    whole = "\n".join(lines)
    return f'<pre class="console" tabindex="0"><code>{whole}</code></pre>\n'


def main(arguments: list[str]) -> int:
    """Build the site into the folder that is named, or into build/site."""
    site = Path(arguments[0]) if arguments else ROOT / "build" / "site"
    problems = build_site(ROOT, site)
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    if problems:
        return 1
    sys.stdout.write(f"wrote {sum(1 for _ in site.rglob('*.html'))} pages: {site}/index.html\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
