"""Markdown of annotations as HTML: what is drawn, what is never let through, and that it stays in bounds."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import urlsplit

import nh3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.controlplane.domain.annotation_html import (
    CLASSES,
    WIDTHS,
    AnnotationHtml,
    Place,
    place_artifacts,
    render_annotation,
)

MEBIBYTE = 1 << 20
VOID = {"br", "hr", "img"}
_TAG_NAMES = (
    "a abbr b blockquote br code dd del details div dl dt em h1 h2 h3 h4 h5 h6 hr i img ins kbd li ol p pre q s samp "
    "small span strong sub summary sup table tbody td tfoot th thead tr tt u ul var"
)
_ATTRIBUTE_NAMES = "align alt class colspan height href loading open rel rowspan src start target title width"
TAGS, ATTRIBUTES = set(_TAG_NAMES.split()), set(_ATTRIBUTE_NAMES.split())
SCHEMES = {"artifact", "http", "https", "mailto"}


class Reader(HTMLParser):
    """What stands in a piece of HTML, as a browser would find it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.depth = self.deepest = 0
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.depth += 1
            self.deepest = max(self.deepest, self.depth)

    def handle_endtag(self, tag: str) -> None:
        self.depth -= 1

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data!r}")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(f"a declaration: {decl!r}")

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(f"a declaration: {data!r}")

    def handle_pi(self, data: str) -> None:
        raise AssertionError(f"an instruction: {data!r}")


def check_harmless(html: str) -> Reader:
    """Nothing in `html` runs, is loaded, sent, or looks like more than text."""
    found = Reader(html)
    assert found.tags <= TAGS
    assert found.depth == 0
    assert found.deepest <= 60
    for tag, name, value in found.attributes:
        assert name in ATTRIBUTES, (tag, name)
        if name in ("href", "src"):
            assert urlsplit(value).scheme in SCHEMES, value
        if name == "class":
            assert set(value.split()) <= CLASSES
        if tag == "a" and name == "target":
            assert value == "_blank"
        if tag == "a" and name == "rel":
            assert value == "nofollow noopener noreferrer"
    return found


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("**a** *b* ~~c~~ `d`", "<p><strong>a</strong> <em>b</em> <s>c</s> <code>d</code></p>"),
        ("- [x] a\n- [ ] b\n- c", "<ul>\n<li>☑ a</li>\n<li>☐ b</li>\n<li>c</li>\n</ul>"),
        ("[x] a", "<p>[x] a</p>"),
        (
            "<details open><summary>s</summary>\n\nt\n</details>",
            '<details open=""><summary>s</summary>\n<p>t</p>\n</details>',
        ),
        ('<span class="red evil">r</span>', '<p><span class="red">r</span></p>'),
        ("<b>x", "<p><b>x</b></p>"),
        ("<ul><li>a<li>b</ul>", "<ul><li>a</li><li>b</li></ul>"),
        ("a <!-- b --> c", "<p>a  c</p>"),
        ("a <!-- b", "<p>a &lt;!-- b</p>"),
        ("<blink>x</blink>", "<p>&lt;blink&gt;x&lt;/blink&gt;</p>"),
        ("1 < 2 && 3 > 2", "<p>1 &lt; 2 &amp;&amp; 3 &gt; 2</p>"),
    ],
)
def test_what_is_drawn(text: str, html: str) -> None:
    assert render_annotation(text).html.strip() == html


def test_tables_keep_how_their_columns_are_set() -> None:
    html = render_annotation("| a | b |\n|---|--:|\n| 1 | 2 |").html
    assert '<th align="right">b</th>' in html
    assert '<td align="right">2</td>' in html
    assert "style" not in html


def test_bare_addresses_are_links() -> None:
    html = render_annotation("see https://example.org/a?b=1&c=2.").html
    assert 'href="https://example.org/a?b=1&amp;c=2"' in html
    assert html.endswith("</a>.</p>\n")


def test_pictures_from_elsewhere_wait_to_be_asked_for() -> None:
    text = (
        "![a <b>](https://img.example/x.png) [![c](http://b.example:81/y)](https://y.example) ![d](data:image/png,x)"
    )
    drawn = render_annotation(text)
    assert drawn.origins == ("https://img.example", "http://b.example:81")
    assert "<img" not in drawn.html
    assert ">[picture: a &lt;b&gt; (at img.example)]</a>" in drawn.html
    loaded = render_annotation(text, pictures=True)
    assert [
        value for tag, name, value in check_harmless(loaded.html).attributes if (tag, name) == ("img", "src")
    ] == [
        "https://img.example/x.png",
        "http://b.example:81/y",
    ]
    assert "[picture: d]" in render_annotation('<img src="data:image/png,x" alt="d">', pictures=True).html


@pytest.mark.parametrize(
    "source",
    [
        "//elsewhere.example/x",
        "/session",
        "https://a.example; script-src *",
        "https://",
        "https://[::1]/x",
        "https://ä.example/x",
        "javascript:1",
        "https://a.example:99999/",
    ],
)
def test_pictures_only_come_from_hosts_that_a_policy_can_name(source: str) -> None:
    drawn = render_annotation(f'<img src="{source}" alt="p">', pictures=True)
    assert (drawn.origins, "<img" in drawn.html) == ((), False)


def test_artifacts_stand_where_they_are() -> None:
    drawn = render_annotation(
        '[l](artifact://out/a%20b.txt) ![p>"](artifact://c.png) ![q](artifact://gone.png) [m](artifact://gone)'
    )
    assert drawn.artifacts == ("out/a b.txt", "c.png", "gone.png", "gone")
    known = {"out/a b.txt": Place("/files/1?a&b", "/pictures/1"), "c.png": Place("/files/2", "/pictures/2")}
    html = place_artifacts(drawn.html, known.get)
    check_harmless(html.replace('"/', '"https://x/'))
    assert 'href="/files/1?a&amp;b"' in html
    assert 'src="/pictures/2"' in html
    assert "[picture: q (no such artifact)]" in html
    assert 'title="no such artifact"' in html
    assert "artifact://" not in html


def test_what_only_looks_like_an_artifact_stays_text() -> None:
    text = (
        '`<a href="artifact://c.png">` &lt;img src="artifact://c.png"> '
        '[t](https://x.example "<img src=artifact://c.png>")'
    )
    drawn = render_annotation(text)
    assert drawn.artifacts == ()
    assert place_artifacts(drawn.html, lambda _path: Place("/l", "/p")) == drawn.html


ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<img src='https://a.example/x' onload='alert(1)' style='position:fixed'>",
    "[a](javascript:alert(1)) <javascript:alert(1)> [b](&#106;avascript:alert(1)) [c](data:text/html,x)",
    '<a href="java\tscript:alert(1)" onclick=x() target=_top rel=opener>a</a>',
    "<svg onload=alert(1)><style><img src=x onerror=alert(1)></style></svg>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    "<form action=https://a.example><input name=a><button>b</button></form>",
    "<meta http-equiv=refresh content='0;url=https://a.example'><base href=https://a.example>",
    "<iframe src=https://a.example></iframe><object data=x></object><embed src=x>",
    "<style>@import 'https://a.example'</style><link rel=stylesheet href=https://a.example>",
    '<div style="position:fixed;inset:0" id=trust class=trust-bar>Signature checked</div>',
    "<p title='</p><script>alert(1)</script>'>x</p>",
    "<template><script>alert(1)</script></template><noscript><p title='</noscript><script>x'>",
    "<!--><script>alert(1)</script>--> <!DOCTYPE x> <?php x ?> <![CDATA[ <script> ]]>",
    "<table><tr><td><p><b><table><tr><a href=/x>y",
    "<a href=https://a.example><a href=https://b.example>x</a></a>",
    "<textarea></p><script>alert(1)</script></textarea><title><script>x</script></title><plaintext>",
]


@pytest.mark.parametrize("text", ATTACKS)
@pytest.mark.parametrize("pictures", [False, True])
def test_hostile_text_is_harmless(text: str, pictures: bool) -> None:
    for body in (text, f"# x\n\n- {text}\n\n> {text}", f"<div>{text}"):
        check_harmless(render_annotation(body, pictures=pictures).html)


SCRAPS = ["<", ">", '"', "'", "-->", "<b ", "</b>", "<p>", "\n\n", "`", "\0", "\ud800", "é", "&", "|", "](", "1 < 2"]


@given(st.lists(st.sampled_from([*ATTACKS, *SCRAPS]), max_size=12).map("".join))
def test_whatever_is_written_is_harmless(text: str) -> None:
    drawn = render_annotation(text)
    check_harmless(drawn.html)
    # Parsed and written once more it is the same: a browser finds what the sanitiser found.
    attributes = {"*": ATTRIBUTES - {"rel"}}
    again = nh3.clean(
        drawn.html, tags=TAGS, attributes=attributes, url_schemes=SCHEMES, link_rel="nofollow noopener noreferrer"
    )
    assert sorted(Reader(again).attributes) == sorted(Reader(drawn.html).attributes)
    assert render_annotation(text) == drawn


@pytest.mark.parametrize(
    "piece",
    ["> ", "- ", "<div>", "<details>\n\n", "<p><b>", "<b><i>", "[", "&#", "<!--", "<a ", "*a_", "|a", "a@b.c "],
)
def test_a_mebibyte_of_anything_is_drawn_within_bounds(piece: str) -> None:
    drawn = render_annotation((piece * (MEBIBYTE // len(piece) + 1))[:MEBIBYTE])
    # No tree that is deep, and none with many more elements than the text has tags.
    assert check_harmless(drawn.html).deepest <= 60
    assert len(drawn.html) < 8 * MEBIBYTE


def test_formatting_that_is_left_open_is_not_opened_again_without_end() -> None:
    text = "<p>" + "".join(f"<b><i><u><s><code><em title={number}>" for number in range(20)) + "<p>x</p>\n" * 20_000
    assert len(render_annotation(text).html) < 4 * MEBIBYTE


def test_too_intricate_text_is_shown_as_it_is() -> None:
    drawn = render_annotation("[<b>" * 60_000)
    assert drawn.html.startswith("<p>Too intricate to be drawn; this is its text.</p>\n<pre>[&lt;b&gt;[")


def rows(drawn: AnnotationHtml) -> dict[int, int]:
    return dict(zip(WIDTHS, drawn.rows, strict=True))


def test_rows_are_counted_for_each_width() -> None:
    assert rows(render_annotation("one")) == {40: 1, 80: 1, 160: 1}
    assert rows(render_annotation("x" * 100)) == {40: 3, 80: 2, 160: 1}
    assert rows(render_annotation("```\na\nb\n```\n\n- c\n- d")) == {40: 5, 80: 5, 160: 5}
    assert rows(render_annotation("| a |\n|---|\n| 1 |")) == {40: 4, 80: 4, 160: 4}
