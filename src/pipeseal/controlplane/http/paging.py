"""Pages of lists: `page` and `per_page` of the query, and the `Link` header that leads to the other pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import Response

from pipeseal.controlplane.http.bodies import read_number
from pipeseal.controlplane.http.respond import render
from pipeseal.controlplane.services.plane import ControlPlane

MAX_PAGE = 100
USUAL_PAGE = 30
_MAX_NUMBER = 10**9


class Page(NamedTuple):
    """The page asked for.

    Parameters:
        number: from 1.
        size: entries on it.
    """

    number: int
    size: int

    @property
    def offset(self) -> int:
        """How many entries stand before it."""
        return (self.number - 1) * self.size

    @property
    def limit(self) -> int:
        """How many entries to look for: one more than are shown, which says whether there is a next page."""
        return self.size + 1


def read_page(request: Request) -> Page:
    """The page asked for; like the ecosystem's, page 0 is the first one, and a page has at most 100 entries.

    Raises:
        MalformedInput: `request.malformed`.
    """
    size = min(max(read_number(request, "per_page", USUAL_PAGE), 1), MAX_PAGE)
    return Page(max(read_number(request, "page", 1, most=_MAX_NUMBER), 1), size)


def cut_page(page: Page, rows: Sequence[Any]) -> Sequence[Any]:
    """Of all rows of a list those from the page on, up to `Page.limit`."""
    return rows[page.offset : page.offset + page.limit]


def render_page(
    plane: ControlPlane, request: Request, page: Page, found: Sequence[Any], *, total: int | None = None
) -> Response:
    """A page as an answer, with links to the other pages.

    Parameters:
        found: what was found from the page on, up to `Page.limit` entries; the one too many is not shown.
        total: how many entries the list has; None when nobody counted them.
    """
    links = page_links(plane, request, page, has_next=len(found) > page.size, total=total)
    return render(found[: page.size], headers=link_header(links))


def page_links(
    plane: ControlPlane, request: Request, page: Page, *, has_next: bool, total: int | None = None
) -> dict[str, str]:
    """Addresses of other pages: `first` and `prev` where some come before, `next` and `last` where some follow."""
    numbers = {"first": 1, "prev": page.number - 1} if page.number > 1 else {}
    if has_next:
        numbers["next"] = page.number + 1
        if total is not None:
            numbers["last"] = -(-total // page.size)
    return {name: _address(plane, request, number) for name, number in numbers.items()}


def link_header(links: dict[str, str]) -> dict[str, str] | None:
    """The `Link` header with these links; None when there are none. # RFC 8288 3"""
    return {"Link": ", ".join(f'<{url}>; rel="{name}"' for name, url in links.items())} if links else None


def _address(plane: ControlPlane, request: Request, number: int) -> str:
    pairs = parse_qsl(request.scope["query_string"].decode("ascii", "replace"), keep_blank_values=True)
    # The number comes first: there are clients that cannot read it at the end of an address.
    query = urlencode([("page", str(number)), *((name, value) for name, value in pairs if name != "page")])
    # The server's own URL: behind a proxy the request does not know it.
    return f"{plane.url}{request.scope['raw_path'].decode('ascii', 'replace')}?{query}"
