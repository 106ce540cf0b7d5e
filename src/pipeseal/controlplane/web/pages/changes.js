// Who changed what in the organisation, the newest first.
import { h, moment } from "../dom.js";
import { ask } from "../api.js";

const SIZE = 50;

/** The list, as a page of the organisation's settings. */
export async function changes(signal) {
  const page = Math.max(1, Number(new URLSearchParams(location.search).get("page")) || 1);
  const found = await ask(`/changes?per_page=${SIZE}&page=${page}`, { signal });
  if (found.length === 0) return h("p", { class: "empty" }, page > 1 ? "Nothing older." : "Nobody has changed anything yet.");
  const rows = found.map((one) =>
    h(
      "tr",
      null,
      h("td", null, moment(one.at)),
      h("td", null, one.by, one.by_kind === "token" && h("span", { class: "muted" }, " · token")),
      h("td", null, h("code", null, `${one.method} ${one.subject || "/"}`)),
      h("td", null, Object.entries(one.members).map(([name, value]) => h("div", null, name, value !== null && [": ", value]))),
    ),
  );
  const head = ["When", "Who", "What", "With"].map((text) => h("th", { scope: "col" }, text));
  const link = (number, text) => h("a", { href: `${location.pathname}?page=${number}` }, text);
  return [
    h("p", { class: "hint" }, "Values that may be secret are not kept. Lines are kept for 400 days."),
    h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Changes" }, h("table", null, h("thead", null, h("tr", null, head)), h("tbody", null, rows))),
    h("p", { class: "row" }, page > 1 && link(page - 1, "Newer"), found.length === SIZE && link(page + 1, "Older")),
  ];
}
