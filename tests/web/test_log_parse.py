"""From bytes to lines: what the page makes of a log, whatever the log holds and however it is cut."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playwright.sync_api import Browser, Page

from pipeseal.controlplane.http.pages import load_assets

pytestmark = pytest.mark.peer("chromium")

ORIGIN = "http://page.test"
FEED = """async ([chunks, codes]) => {
  const { LogParser } = await import("/web/log/parse.js");
  const parser = new LogParser({ codes });
  for (const chunk of chunks) parser.feed(Uint8Array.from(atob(chunk), (one) => one.charCodeAt(0)));
  parser.end();
  const rows = Array.from({ length: parser.count }, (_, row) => row);
  return JSON.stringify({
    lines: rows.map((row) => parser.line(row)), groups: parser.groups,
    times: rows.map((row) => (Number.isNaN(parser.time(row)) ? null : parser.time(row))),
  });
}"""


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    """A page with the web page's modules, and no server."""
    context = browser.new_context()
    page = context.new_page()

    def serve(route: Any) -> None:
        name = route.request.url.removeprefix(ORIGIN).removeprefix("/web/")
        found = load_assets().get(name)
        if found is None:
            route.fulfill(status=200, content_type="text/html", body="<!doctype html><title>empty</title>")
        else:
            route.fulfill(status=200, content_type=found.media_type, body=found.content)

    page.route("**/*", serve)
    page.goto(ORIGIN + "/")
    yield page
    context.close()


def parse(page: Page, *chunks: bytes, codes: bool = False) -> dict[str, Any]:
    sent = [base64.b64encode(chunk).decode() for chunk in chunks]
    found: dict[str, Any] = json.loads(page.evaluate(FEED, [sent, codes]))
    return found


def text_of(line: Any) -> str:
    return line if isinstance(line, str) else "" if line is None else str(line["text"])


CASES: list[tuple[str, bytes, list[Any]]] = [
    ("plain", b"one\r\ntwo\nthree", ["one", "two", "three"]),
    ("empty lines", b"\n\na\n", ["", "", "a"]),
    ("colour", b"a\x1b[31mred\x1b[0mb\n", [{"text": "aredb", "runs": [[1, 4, {"fg": 1}]]}]),
    (
        "bright and bold",
        b"\x1b[1;93mx\x1b[22my\n",
        [{"text": "xy", "runs": [[0, 1, {"bold": True, "fg": 11}], [1, 2, {"fg": 11}]]}],
    ),
    (
        "256 colours",
        b"\x1b[38;5;196mx\x1b[39m\x1b[48;5;232my\n",
        [{"text": "xy", "runs": [[0, 1, {"fg": "#ff0000"}], [1, 2, {"bg": "#080808"}]]}],
    ),
    (
        "true colour",
        b"\x1b[38;2;1;2;3mx\x1b[m\x1b[38:2::4:5:6my\n",
        [{"text": "xy", "runs": [[0, 1, {"fg": "#010203"}], [1, 2, {"fg": "#040506"}]]}],
    ),
    (
        "style goes on in the next line",
        b"\x1b[4mx\ny\n",
        [{"text": one, "runs": [[0, 1, {"underline": True}]]} for one in "xy"],
    ),
    ("progress", b"10%\r20%\rdone\n", ["done"]),
    ("progress that is shorter", b"loading...\rdone\n", ["doneing..."]),
    ("erase to the end", b"loading...\rdone\x1b[K\n", ["done"]),
    ("erase the line", b"loading\x1b[2K\rok\n", ["ok"]),
    ("backspace", b"abc\b\bX\n", ["aXc"]),
    ("up and down", b"one\ntwo\n\x1b[2A\rONE\x1b[2B\rthree\n", ["ONE", "two", "three"]),
    ("to a column", b"abcdef\x1b[3GX\n", ["abXdef"]),
    ("erase below", b"one\ntwo\nthree\n\x1b[3A\x1b[J", ["", "", ""]),
    ("overwriting cuts runs", b"\x1b[31mabcd\x1b[0m\rX\n", [{"text": "Xbcd", "runs": [[1, 4, {"fg": 1}]]}]),
    ("no cursor above the window", b"a\n" * 150 + b"\x1b[999AX\n", [*["a"] * 51, "X", *["a"] * 98]),
    (
        "link",
        b"\x1b]8;;https://example.org/\x07here\x1b]8;;\x07 not\n",
        [{"text": "here not", "runs": [[0, 4, {"address": "https://example.org/"}]]}],
    ),
    (
        "link in the ecosystem's way",
        b"\x1b]1339;url='https://example.org/a;b';content='it\\'s here'\x07\n",
        [{"text": "it's here", "runs": [[0, 9, {"address": "https://example.org/a;b"}]]}],
    ),
    (
        "link without words",
        b"\x1b]1339;url=artifact://a/b.txt\x1b\\\n",
        [{"text": "artifact://a/b.txt", "runs": [[0, 18, {"address": "artifact://a/b.txt"}]]}],
    ),
    (
        "link that would run script",
        b"\x1b]8;;javascript:alert(1)\x07x\x1b]8;;\x07\x1b]1339;url=data:text/html,x;content=y\x07\n",
        ["xy"],
    ),
    (
        "picture",
        b"\x1b]1338;url=artifact://p.png;alt=A cat\x07\n",
        [{"text": "[image: A cat]", "runs": [[0, 14, {"image": "artifact://p.png"}]]}],
    ),
    (
        "picture in the log",
        b"\x1b]1337;File=inline=1:aGk=\x07\n",
        [{"text": "[image]", "runs": [[0, 7, {"data": "aGk="}]]}],
    ),
    (
        "dropped",
        b"a\x1b]0;title\x07b\x1b]52;c;aGk=\x07c\x1bPq#0\x1b\\d\x1b]777;notify;x;y\x07e\x1b[?1049hf\x07g\x00h\n",
        ["abcdefgh"],
    ),
    (
        "turned text",
        "user\u202eadmin\u202c\n".encode(),
        [{"text": "user[U+202E]admin[U+202C]", "runs": [[4, 12, {"token": True}], [17, 25, {"token": True}]]}],
    ),
    ("bytes that are no text", b"\xff\xfeok\n", ["\ufffd\ufffdok"]),
    ("markup", b"<img src=x onerror=alert(1)>&amp;\n", ["<img src=x onerror=alert(1)>&amp;"]),
    ("a sequence that never ends", b"a\x1b]8;;https://x", ["a"]),
]


@pytest.mark.parametrize(("data", "lines"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_lines_are_what_a_terminal_shows(page: Page, data: bytes, lines: list[Any]) -> None:
    assert parse(page, data)["lines"] == lines
    # One byte at a time it is the same.
    if len(data) < 400:
        assert parse(page, *(data[at : at + 1] for at in range(len(data))))["lines"] == lines


SHOWN: list[tuple[str, bytes, list[Any]]] = [
    (
        "colour",
        b"a\x1b[31mred\n",
        [{"text": "a<ESC>[31mred", "runs": [[1, 10, {"token": True}], [10, 13, {"fg": 1}]]}],
    ),
    ("carriage return", b"10%\r20%\n", [{"text": "10%<CR>20%", "runs": [[3, 7, {"token": True}]]}]),
    ("up", b"one\n\x1b[Atwo\n", ["one", {"text": "<ESC>[Atwo", "runs": [[0, 7, {"token": True}]]}]),
    (
        "link that would run script",
        b"\x1b]8;;javascript:alert(1)\x07x\n",
        [{"text": "<ESC>]8;;javascript:alert(1)<BEL>x", "runs": [[0, 33, {"token": True}]]}],
    ),
    (
        "what takes no room",
        "a\u200bb\U000e0041\n".encode(),
        [{"text": "a[U+200B]b[U+E0041]", "runs": [[1, 9, {"token": True}], [10, 19, {"token": True}]]}],
    ),
    ("one that never ends", b"a\x1b[31", [{"text": "a<ESC>[31", "runs": [[1, 9, {"token": True}]]}]),
    (
        "a long one",
        b"\x1b]1337;File=:" + b"A" * 1000 + b"\x07\n",
        [{"text": "<ESC>]1337;File=:" + "A" * 187 + "…", "runs": [[0, 205, {"token": True}]]}],
    ),
]


@pytest.mark.parametrize(("data", "lines"), [case[1:] for case in SHOWN], ids=[case[0] for case in SHOWN])
def test_codes_are_shown_when_they_are_asked_for(page: Page, data: bytes, lines: list[Any]) -> None:
    assert parse(page, data, codes=True)["lines"] == lines
    assert parse(page, *(data[at : at + 1] for at in range(len(data))), codes=True)["lines"] == lines


def test_groups_and_times(page: Page) -> None:
    log = b"".join(
        (
            b"\x1b_bk;t=1000\x07~~~ Preparing\n",
            b"\x1b_bk;dt=500\x07work\n",
            b"--- :pytest: Tests\n",
            b"\x1b[32m+++ not\x1b[0m really a colour matters\n",
            b"----\n---\n--- \n",
            b"^^^ +++\n",
            b" --- indented is a line\n",
        )
    )
    found = parse(page, log)
    assert [(group["row"], group["kind"], group["title"], group["opened"]) for group in found["groups"]] == [
        (0, "~~~", "Preparing", False),
        (2, "---", ":pytest: Tests", False),
        (3, "+++", "not really a colour matters", True),
    ]
    assert found["times"][:3] == [1000, 1500, None]
    assert found["lines"][7] is None


def test_long_lines_go_on_in_the_next(page: Page) -> None:
    found = parse(page, b"x" * 40_000 + "é😀\n".encode())
    assert [len(text_of(line)) for line in found["lines"]] == [16_384, 16_384, 40_000 - 2 * 16_384 + 2]


def test_what_is_too_long_for_a_sequence_is_read_over(page: Page) -> None:
    assert parse(page, b"a\x1b]1337;File=:" + b"QUJD" * 800_000 + b"\x07b\n")["lines"] == ["ab"]
    chunk = b"QUJD" * 100_000
    assert parse(page, b"a\x1b]1337;File=:", *[chunk] * 8, b"\x1b", b"\\b\n")["lines"] == ["ab"]


def test_lines_that_were_put_away_are_as_they_were(page: Page) -> None:
    pieces: list[str] = []
    lines: list[Any] = []
    times: list[int | None] = []
    for number in range(3000):
        text = f"line {number} é😀" if number % 7 == 0 else f"line {number}"
        styled = number % 3 == 0
        pieces.append(f"\x1b_bk;t={1000 + number}\x07" if number % 2 == 0 else "")
        pieces.append(f"\x1b[3{number % 8}mred\x1b[0m {text}\n" if styled else f"{text}\n")
        run = {"text": f"red {text}", "runs": [[0, 3, {"fg": number % 8}]]}
        lines.append(run if styled else text)
        times.append(1000 + number if number % 2 == 0 else None)
    for at in (5, 600, 2999):
        pieces[2 * at + 1] = "^^^ +++\n"
        lines[at] = None
    data = "".join(pieces).encode()
    found = parse(page, *(data[start : start + 10_007] for start in range(0, len(data), 10_007)))
    assert found["lines"] == lines
    assert found["times"] == times
    # What the cursor can still reach is not put away.
    far = parse(page, b"x\n" * 5000 + b"\x1b[99A\ry")["lines"]
    assert [at for at, line in enumerate(far) if line != "x"] == [4901]
    assert far[4901] == "y"


PIECES = st.one_of(
    st.binary(max_size=12),
    st.sampled_from(
        [
            b"\n",
            b"\r",
            b"\b",
            b"\x1b",
            b"\x1b[",
            b"\x1b]",
            b"\x1b_bk;t=12\x07",
            b"\x1b[3A",
            b"\x1b[5C",
            b"\x1b[2D",
            b"\x1b[K",
            b"\x1b[1K",
            b"\x1b[J",
            b"\x1b[31;44m",
            b"\x1b[0m",
            b"\x1b[38;5;99m",
            b"\x1b[;;m",
            b"\x1b]8;;http://a.b\x07",
            b"\x1b]8;;\x07",
            b"\x1b]1339;url=x\x07",
            b"\x07",
            b"\x1b\\",
            b"text",
            "😀".encode(),
            "\u202e".encode(),
            "\u200b\ufe0f\ufeff\U000e0041".encode(),
            b"--- g\n",
            b"^^^ +++\n",
            b"\t",
            b"\xc2\x9b",
            b"\x1b[" + b"1;" * 150,
            b"x\n" * 700,
        ]
    ),
)
# Controls, and whatever breaks lines or turns text around. A tab is text.
FORBIDDEN = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


# What takes no room at all, where a reader asked to see it.
UNSEEN = re.compile(
    "[\u00ad\u034f\u115f\u1160\u180b-\u180f\u200b-\u200f\u2060-\u206f\ufe00-\ufe0f\ufeff\U000e0000-\U000e0fff]"
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PIECES, max_size=25), st.lists(st.integers(0, 200), max_size=6), st.booleans())
def test_whatever_comes_is_text_and_the_same_however_it_is_cut(
    page: Page, pieces: list[bytes], cuts: list[int], codes: bool
) -> None:
    data = b"".join(pieces)
    found = parse(page, data, codes=codes)
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    assert parse(page, *(data[start:end] for start, end in pairwise(places)), codes=codes) == found
    assert len(found["lines"]) <= data.count(b"\n") + 1
    if codes:
        shown = "".join(text_of(line) for line in found["lines"])
        # Nothing that takes no room is left in, and nothing is left out, but of what is cut short.
        assert not UNSEEN.search(shown), shown
        assert "…" in shown or shown.count("<ESC>") == data.decode(errors="replace").count("\x1b")
    for line in found["lines"]:
        text = text_of(line)
        assert not FORBIDDEN.search(text), text
        if isinstance(line, dict):
            size = len(text.encode("utf-16-le")) // 2
            at = 0
            for start, end, style in line["runs"]:
                assert at <= start < end <= size
                at = end
                assert re.match(r"(https?|mailto|artifact):", style.get("address", "http:"))


LOOK = """async () => {
  const { contrast, dress } = await import("/web/log/style.js");
  const channels = (text) => text.match(/\\d+/g).slice(0, 3).map(Number);
  const box = document.createElement("div");
  box.className = "log-box";
  document.body.replaceChildren(box);
  const worst = {};
  const seen = (name, style) => {
    const element = document.createElement("span");
    dress(element, style);
    box.append(element);
    for (const theme of ["light", "dark"]) {
      document.documentElement.dataset.theme = theme;
      const own = getComputedStyle(element);
      const isBare = own.backgroundColor === "rgba(0, 0, 0, 0)";
      const ground = (isBare ? getComputedStyle(box) : own).backgroundColor;
      const found = contrast(channels(own.color), channels(ground));
      if (!(found >= 4.5)) worst[`${theme} ${name}`] = found;
    }
    element.remove();
  };
  const exact = ["#000000", "#ffffff", "#ff0000", "#00ff00", "#0000ff", "#808080", "#123456", "#fedcba"];
  const colors = [undefined, ...Array(16).keys(), ...exact];
  for (const fg of colors)
    for (const bg of colors)
      for (const inverse of [false, true]) seen(`${fg} on ${bg} ${inverse}`, { fg, bg, inverse });
  return worst;
}"""


def test_every_colour_can_be_read_on_every_ground(page: Page) -> None:
    for name in ("base.css", "log/log.css"):
        page.add_style_tag(content=load_assets()[name].content.decode())
    assert page.evaluate(LOOK) == {}


CALL = "async ([module, name, ...given]) => (await import(module))[name](...given)"
NAMES = {"rocket": "🚀", "+1": "👍", "100": "💯", "package": "📦"}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(st.sampled_from([*(f":{name}:" for name in NAMES), ":", "rocket", "<b>"]), st.text(max_size=5))
    )
)
def test_known_names_become_characters_and_all_else_stays(page: Page, pieces: list[str]) -> None:
    text = "".join(pieces).encode("utf-8", "ignore").decode()
    wanted = re.sub(r":(rocket|\+1|100|package):", lambda found: NAMES[found[1]], text)
    # Another name of the list that came about by chance would need another colon.
    if set(re.findall(r":([\w+-]+)(?=:)", text)) <= {*NAMES, "b", "rocketrocket"}:
        assert page.evaluate(CALL, ["/web/log/emoji.js", "withEmoji", text]) == wanted


@pytest.mark.parametrize("text", [":constructor:", ":__proto__:", "10:20:30", ":rocket", "::", ":nobody-knows:"])
def test_names_that_are_not_in_the_list_stay(page: Page, text: str) -> None:
    assert page.evaluate(CALL, ["/web/log/emoji.js", "withEmoji", text]) == text


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(["`", "```", "~~~", "\n", "    ", "text", "<script>", "](x)", "[a](b)"]), max_size=30),
    st.text(alphabet="`[]()<>\\*_ab \n:!", max_size=30),
)
def test_lines_in_markdown_cannot_end_their_block(page: Page, pieces: list[str], name: str) -> None:
    text = "".join(pieces)
    made = page.evaluate(CALL, ["/web/log/marked.js", "markdown", text, name, "https://ci.test/a#L1"])
    head, empty, opening, *inside, closing, last = made.split("\n")
    assert "\n".join(inside) == text
    assert (empty, last) == ("", "")
    assert re.fullmatch(r"`{3,}text", opening)
    assert closing == opening.removesuffix("text")
    # https://spec.commonmark.org/0.31.2/#fenced-code-blocks: as long, or longer, ends it.
    assert not [line for line in inside if re.fullmatch(rf" {{0,3}}{closing}`*[ \t]*", line)]
    said = re.fullmatch(r"\[(.*)\]\(<https://ci[.]test/a#L1>\), as the server has it:", head)
    assert said
    assert not re.search(r"[\\`\[\]<>*_]", re.sub(r"\\.", "", said[1]))


SLICES = """async ([bytes, piece]) => {
  const { loadLog } = await import("/web/log/load.js");
  globalThis.fetch = async (_, { headers: { Range: range } }) => {
    const [, start, end] = /bytes=(\\d+)-(\\d+)/.exec(range).map(Number);
    const stop = Math.min(bytes, end + 1);
    return new Response(new Uint8Array(stop - start).fill(10), {
      status: 206, headers: { "Content-Range": `bytes ${start}-${stop - 1}/${bytes}` },
    });
  };
  let turns = 0;
  let taken = 0;
  let largest = 0;
  const real = scheduler.yield.bind(scheduler);
  scheduler.yield = () => (turns++, real());
  const job = { finished_at: "x", log_bytes: bytes, raw_log_url: "http://page.test/raw" };
  const read = await loadLog(job, {
    signal: new AbortController().signal, onproblem: () => {},
    take: (bytes) => {
      taken += bytes.length;
      largest = Math.max(largest, bytes.length);
      for (const begun = performance.now(); performance.now() - begun < piece; );
      return true;
    },
  });
  return { turns, taken, largest, read };
}"""


def test_page_gets_its_turn_while_a_log_is_read(page: Page) -> None:
    pieces = 200
    told = page.evaluate(SLICES, [pieces * (32 << 10), 5])
    assert told["taken"] == told["read"]["bytes"] == pieces * (32 << 10)
    assert told["read"]["ended"] is True
    assert told["largest"] <= 32 << 10
    # Each piece takes 5 ms and more; after 12 ms at most the page has its turn.
    assert told["turns"] >= pieces // 4
    page.goto(ORIGIN + "/")
