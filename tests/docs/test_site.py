"""The site: nothing in it leads nowhere, it needs nothing from elsewhere, and what is wrong is said."""

from __future__ import annotations

import json
import re
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docs.build_site import build_site
from docs.sequence import UnknownLine, draw_sequence

from .pages import ROOT

GOOD = {
    "docs/index.md": "# Pipeseal\n\n## All\n\n- [One](one.md): a page.\n",
    "docs/one.md": "# One\n\n## A `b` c!\n\n[there](index.md#all) [here](#a-b-c) ![picture](p.svg)\n",
    "docs/p.svg": "<svg xmlns='http://www.w3.org/2000/svg'/>",
}
# What is changed in the good pages, and what is said of it.
WRONG = {
    "a link": ({"docs/one.md": "# One\n\n[x](two.md)\n"}, "docs/one.md: two.md: leads to nothing in the site"),
    "an anchor": ({"docs/one.md": "# One\n\n[x](#two)\n"}, "docs/one.md: #two: no such heading there"),
    "an anchor of another page": (
        {"docs/one.md": "# One\n\n[x](index.md#two)\n"},
        "docs/one.md: index.md#two: no such heading there",
    ),
    "a picture": ({"docs/one.md": "# One\n\n![x](q.svg)\n"}, "docs/one.md: q.svg: leads to nothing in the site"),
    "a picture from elsewhere": (
        {"docs/one.md": "# One\n\n![x](https://example.org/x.png)\n"},
        "docs/one.md: https://example.org/x.png: only https leads out of the site, and pictures are its own",
    ),
    "a link without TLS": (
        {"docs/one.md": "# One\n\n[x](http://example.org)\n"},
        "docs/one.md: http://example.org: only https leads out of the site, and pictures are its own",
    ),
    "a page that nobody finds": ({"docs/two.md": "# Two\n"}, "docs/two.md: docs/index.md does not name it"),
    "no title": ({"docs/one.md": "One\n"}, "docs/one.md: 0 headings of the first level, not one"),
    "two titles": ({"docs/one.md": "# One\n\n# Two\n"}, "docs/one.md: 2 headings of the first level, not one"),
    "a diagram": (
        {"docs/one.md": "# One\n\n```mermaid\npie\n```\n"},
        "docs/one.md: a diagram cannot be drawn: no sequence diagram: pie",
    ),
    "output of no command": (
        {"docs/one.md": "# One\n\n```console\nhello\n```\n"},
        "docs/one.md: output without a command before it: hello",
    ),
    "a file outside": (
        {"docs/one.md": "# One\n\n[x](../../x)\n"},
        "docs/one.md: ../../x: leads to nothing in the site",
    ),
}


def _write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


class _Reader(HTMLParser):
    """What a page needs, and whether its elements are closed as they were opened."""

    EMPTY = frozenset({"meta", "link", "img", "input", "source", "br", "hr", "!doctype"})
    # Elements that HTML lets be open: the next one, or the end of what they are in, closes them.
    LOOSE = frozenset({"li", "p", "html"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.needs: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert tag not in {"iframe", "object", "style"}
        # The search, which is a file of the site; a page works without it.
        assert tag != "script" or ("defer" in given and (given["src"] or "").endswith("search.js"))
        assert not [name for name in given if name.startswith("on")]
        self.needs += [given[name] or "" for name in ("src", "srcset") if name in given]
        self.needs += [given["href"] or ""] if tag == "link" else []
        self.ids += [given["id"] or ""] if "id" in given else []
        if tag not in self.EMPTY and tag not in self.LOOSE:
            self.open.append(tag)

    def handle_data(self, data: str) -> None:
        assert "script" not in self.open, "a script inside a page"

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.LOOSE and tag not in self.EMPTY:
            assert self.open.pop() == tag


def test_the_documentation_is_a_site_without_faults(tmp_path: Path) -> None:
    site = tmp_path / "site"
    assert build_site(ROOT, site) == []
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        reader = _Reader()
        reader.feed(page.read_text(encoding="utf-8"))
        assert reader.open == [], page
        # The drawings of one page share the names of their arrow heads, which are the same.
        ids = [name for name in reader.ids if not name.startswith("arrow.")]
        assert len(ids) == len(set(ids)), page
        for need in reader.needs:
            assert (page.parent / need).is_file(), f"{page}: {need}"


def test_good_pages_become_a_site(tmp_path: Path) -> None:
    _write(tmp_path, GOOD)
    assert build_site(tmp_path, tmp_path / "site") == []
    text = (tmp_path / "site" / "one.html").read_text(encoding="utf-8")
    assert '<h2 id="a-b-c">' in text
    assert 'href="index.html#all"' in text and 'href="#a-b-c"' in text and 'src="p.svg"' in text
    assert '<a href="one.html" aria-current="page">One</a>' in text
    assert (tmp_path / "site" / "p.svg").exists()


@pytest.mark.parametrize(("parts", "listed"), [(7, False), (8, True)])
def test_a_long_page_lists_its_parts(tmp_path: Path, parts: int, listed: bool) -> None:
    text = "".join(f"## Part `{number}` <b>\n\nText.\n\n" for number in range(parts))
    _write(tmp_path, {**GOOD, "docs/one.md": f"# One\n\n{text}"})
    assert build_site(tmp_path, tmp_path / "site") == []
    html = (tmp_path / "site" / "one.html").read_text(encoding="utf-8")
    assert ('<li><a href="#part-0-b">Part 0 &lt;b&gt;</a>' in html) == listed


def test_a_picture_says_its_size_and_has_twins_for_dark_pages_and_phones(tmp_path: Path) -> None:
    _write(tmp_path, {**GOOD, "docs/one.md": "# One\n\n![a *page*](x/build-light-1280.png)\n"})
    (tmp_path / "docs" / "x").mkdir()
    for theme in ("light", "dark"):
        for width, height in ((1280, 800), (390, 844)):
            head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big")
            (tmp_path / "docs" / "x" / f"build-{theme}-{width}.png").write_bytes(head + theme.encode())
    assert build_site(tmp_path, tmp_path / "site") == []
    text = (tmp_path / "site" / "one.html").read_text(encoding="utf-8")
    dark = "(prefers-color-scheme: dark)"
    assert re.findall(
        r'<source media="([^"]+)" srcset="x/build-([^"]+).png" width="(\d+)" height="(\d+)">', text
    ) == [
        (f"(max-width: 40rem) and {dark}", "dark-390", "390", "844"),
        ("(max-width: 40rem)", "light-390", "390", "844"),
        (dark, "dark-1280", "1280", "800"),
    ]
    assert 'src="x/build-light-1280.png" alt="a page" width="1280" height="800"' in text
    assert len(list((tmp_path / "site" / "x").iterdir())) == 4


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said(tmp_path: Path, name: str) -> None:
    files, said = WRONG[name]
    _write(tmp_path, {**GOOD, **files})
    assert build_site(tmp_path, tmp_path / "site") == [said]


def _index(site: Path) -> list[list[str]]:
    text = (site / "search-index.js").read_text(encoding="utf-8")
    rows: list[list[str]] = json.loads(text.removeprefix("globalThis.siteSections = ").removesuffix(";\n"))
    return rows


def test_the_search_looks_through_every_section(tmp_path: Path) -> None:
    table = "| x | y |\n| - | - |\n| `z` | w |\n"
    page = f"# One\n\nBegin *here*\nnow.\n\n## A `b` c!\n\n{table}\n```sh\nmake </script>\n```\n"
    _write(tmp_path, {**GOOD, "docs/one.md": page})
    assert build_site(tmp_path, tmp_path / "site") == []
    assert _index(tmp_path / "site") == [
        ["index.html#all", "Pipeseal", "All", "One: a page."],
        ["one.html", "One", "", "Begin here now."],
        ["one.html#a-b-c", "One", "A b c!", "x y z w make </script>"],
    ]


def test_what_the_search_finds_is_there(tmp_path: Path) -> None:
    site = tmp_path / "site"
    build_site(ROOT, site)
    rows = _index(site)
    assert len(rows) > 700
    pages = {name: (site / name).read_text(encoding="utf-8") for name in {row[0].partition("#")[0] for row in rows}}
    assert len(pages) > 35
    for address, *_ in rows:
        name, _, anchor = address.partition("#")
        assert not anchor or f' id="{escape(anchor)}"' in pages[name], address


def test_text_of_a_page_is_never_markup(tmp_path: Path) -> None:
    _write(tmp_path, {**GOOD, "docs/one.md": "# One <b>x</b>\n\n<script>1</script>\n\n```console\n$ <i>\n<u>\n```\n"})
    assert build_site(tmp_path, tmp_path / "site") == []
    text = (tmp_path / "site" / "one.html").read_text(encoding="utf-8")
    assert not [tag for tag in ("<script>", "<i>", "<u>", "<b>x") if tag in text]


words = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1).filter(str.strip)


@given(label=words, says=st.lists(st.tuples(st.sampled_from("AB"), st.sampled_from("AB"), words), min_size=1))
def test_a_drawing_is_well_formed_whatever_it_says(label: str, says: list[tuple[str, str, str]]) -> None:
    lines = ["sequenceDiagram", f"participant A as {label}", "participant B"]
    lines += [f"{begin}->>{end}: {text}" for begin, end, text in says]
    try:
        drawing = draw_sequence("\n".join(lines), label)
    except UnknownLine:
        return  # a character that ends a line for Python ended one here
    svg = ElementTree.fromstring(drawing)
    assert len(svg.findall("path")) == len(says) + 2
    box = svg.attrib["viewBox"].split()
    assert float(box[2]) > 0 and float(box[3]) > 0


@pytest.mark.parametrize(
    "line", ["A->>C: hello", "Note over C: x", "loop x", "end", "else x", "alt x", "A: hello", "graph TD"]
)
def test_a_line_that_is_not_known_is_refused(line: str) -> None:
    with pytest.raises(UnknownLine):
        draw_sequence(f"sequenceDiagram\nparticipant A\n{line}\n", "x")
