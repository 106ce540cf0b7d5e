// What stands above a log: where it can be had, how it is shown, and the search.
import { announce, h } from "../dom.js";
import { onKey } from "../keys.js";
import { TIMES } from "./times.js";

/**
 * Draw it for a `LogView`, and let its keys do what its parts do. The parts that change are members of the view then.
 */
export function drawBar(view) {
  const { job } = view;
  const raw = new URL(job.raw_log_url).pathname;
  const name = `${(job.label ?? "job").replace(/[^\w.-]+/g, "-").slice(0, 60)}-${job.id.slice(-8)}.log`;
  view.words = h("input", {
    type: "search",
    placeholder: "Search this log",
    "aria-label": "Search this log",
    "aria-keyshortcuts": "s /",
    oninput: () => view.searchSoon(),
    onkeydown: (event) => {
      if (event.key === "Enter") view.step(event.shiftKey ? -1 : 1);
      else if (event.key === "Escape") view.closeSearch();
      else return;
      event.preventDefault();
    },
  });
  view.exact = switchButton("aA", "Match upper and lower case", () => view.searchNow());
  view.isPattern = switchButton(".*", "Search for a regular expression", () => view.searchNow());
  view.found = h("span", { class: "log-found muted", role: "status" });
  view.wrap = h("input", { type: "checkbox", "aria-keyshortcuts": "w", onchange: () => view.setWrap(view.wrap.checked) });
  view.codes = h("input", { type: "checkbox", "aria-keyshortcuts": "x", onchange: () => view.setCodes(view.codes.checked) });
  view.times = h(
    "select",
    { "aria-label": "Times", "aria-keyshortcuts": "t", onchange: () => view.setTimes(view.times.value) },
    TIMES.map(([value, text]) => h("option", { value }, text)),
  );
  const button = (text, keys, act, label = null) => h("button", { type: "button", "aria-keyshortcuts": keys, "aria-label": label, title: label, onclick: act }, text);
  return h(
    "div",
    { class: "log-bar" },
    h("a", { class: "button", href: raw }, "Raw"),
    h("a", { class: "button", href: raw, download: name }, "Download"),
    h("label", { class: "choice" }, view.wrap, "Wrap"),
    h("label", { class: "choice", title: "Show control codes and characters that are not seen" }, view.codes, "Codes"),
    view.times,
    button("Groups", "g", () => view.toggleGroups()),
    button("Next error", "f", () => view.goToFailure(1)),
    button("↑", "Shift+F", () => view.goToFailure(-1), "Error before"),
    button("End", "Shift+G", () => view.goToEnd()),
    button("Full screen", "z", () => view.toggleFull()),
    h(
      "div",
      { class: "log-search", role: "search", "aria-label": "Log" },
      view.words,
      view.exact,
      view.isPattern,
      button("↑", "Shift+N", () => view.step(-1), "Hit before"),
      button("↓", "n", () => view.step(1), "Next hit"),
      view.found,
    ),
  );
}

function switchButton(text, title, act) {
  const button = h("button", { type: "button", "aria-pressed": "false", title }, text);
  button.addEventListener("click", () => {
    press(button, !isPressed(button));
    act();
  });
  return button;
}

/** Whether a button that stays down is down. */
export function isPressed(button) {
  return button.getAttribute("aria-pressed") === "true";
}

/** Put it down, or up. */
export function press(button, wanted) {
  button.setAttribute("aria-pressed", String(wanted));
}

/** The keys of the log's page. */
export function bindKeys(view) {
  const focus = () => {
    view.words.focus();
    view.words.select();
  };
  onKey("s", "search this log", focus);
  onKey("/", "search this log", focus);
  onKey("n", "next hit", () => view.step(1));
  onKey("N", "hit before", () => view.step(-1));
  onKey("f", "next line that tells of an error", () => view.goToFailure(1));
  onKey("F", "line before that tells of an error", () => view.goToFailure(-1));
  onKey("g", "open or close all groups", () => view.toggleGroups());
  onKey("t", "other times", () => {
    const at = TIMES.findIndex(([value]) => value === view.times.value);
    view.setTimes(TIMES[(at + 1) % TIMES.length][0]);
    announce(view.times.selectedOptions[0].textContent);
  });
  onKey("w", "wrap long lines", () => view.setWrap(!view.wrap.checked));
  onKey("x", "show control codes", () => view.setCodes(!view.codes.checked));
  onKey("z", "full screen", () => view.toggleFull());
  onKey("l", "mark the first line in view; then up and down, with Shift for more", () => view.markFirst());
  onKey("y", "copy a link to the lines that are marked", () => view.marked.copyLink());
  onKey("Home", "start of the log", () => {
    view.isFollowing = false;
    view.box.scrollTop = 0;
  });
  onKey("End", "end of the log, and follow it", () => view.goToEnd());
  onKey("G", "end of the log, and follow it", () => view.goToEnd());
  onKey("Escape", "no lines marked, no full screen", () => {
    delete document.body.dataset.full;
    view.marked.select(-1, -1);
  });
  // The browser's own search finds what is on the page; of a large log that is not all of it.
  document.addEventListener(
    "keydown",
    (event) => {
      if (!(event.ctrlKey || event.metaKey) || event.key !== "f" || !view.lines.isLarge) return;
      if (document.activeElement === view.words) return;
      event.preventDefault();
      focus();
      view.found.textContent = "This searches all lines. Once more for the browser's own search, which sees some.";
    },
    { signal: view.signal },
  );
}
