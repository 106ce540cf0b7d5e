// Links to the pages before and after, as the server's Link header has them (RFC 8288).
import { h } from "./dom.js";

/** The links of a list, or nothing when it has one page. */
export function pager(page, links) {
  const has = (relation) => links.includes(`rel="${relation}"`);
  if (!has("next") && page <= 1) return null;
  const to = (number) => {
    const query = new URLSearchParams(location.search);
    query.set("page", number);
    return `${location.pathname}?${query}`;
  };
  return h(
    "nav",
    { class: "row", "aria-label": "Pages" },
    page > 1 && h("a", { class: "button", href: to(page - 1), rel: "prev" }, "Newer"),
    h("span", { class: "muted" }, `Page ${page}`),
    has("next") && h("a", { class: "button", href: to(page + 1), rel: "next" }, "Older"),
  );
}
