// Search over the site: finds sections by all words of a question, without a server and from a disk as well.
"use strict";
(() => {
  const root = new URL(".", document.currentScript.src);
  const box = document.getElementById("site.search");
  const field = box.querySelector("input[type=search]");
  const panel = document.getElementById("site.found");
  const list = panel.querySelector("ol");
  const said = panel.querySelector("[role=status]");
  const key = panel.querySelector("input[type=checkbox]");
  const MOST = 40;
  const AROUND = 70;
  const KEY = "pipeseal-docs-key";
  let sections = null;
  let loading = null;

  function load() {
    loading ??= new Promise((done, failed) => {
      const script = document.createElement("script");
      script.src = new URL("search-index.js", root).href;
      script.onload = () => {
        sections = globalThis.siteSections.map(([address, page, heading, text]) => ({
          address, page, heading, text, low: text.toLowerCase(), name: heading.toLowerCase(), title: page.toLowerCase(),
        }));
        done();
      };
      script.onerror = () => failed(new Error("The index of the site is not beside its pages."));
      document.head.append(script);
    });
    return loading;
  }

  // Whether a word stands at the beginning of one; "sign" is meant in "signed" before it is in "design".
  const begins = (text, word) => new RegExp(`(?:^|[^\\p{L}\\p{N}])${word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}`, "u").test(text);

  /** How well a section answers; 0 when a word is nowhere in it. */
  function weigh(section, words) {
    let sum = 0;
    for (const word of words) {
      let weight = 0;
      if (section.name.includes(word)) weight += begins(section.name, word) ? 12 : 6;
      if (section.title.includes(word)) weight += begins(section.title, word) ? 7 : 3;
      if (section.low.includes(word)) weight += begins(section.low, word) ? 3 : 1;
      if (weight === 0) return 0;
      sum += weight;
    }
    // The whole name is asked for, or the beginning of a page.
    const asked = words.join(" ");
    if (section.name === asked || (!section.heading && section.title === asked)) sum += 30;
    return section.heading ? sum : sum + 2;
  }

  function element(name, attributes, ...children) {
    const made = document.createElement(name);
    for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
    made.append(...children);
    return made;
  }

  /** Text with the words marked. */
  function marked(text, words) {
    const low = text.toLowerCase();
    const parts = [];
    let at = 0;
    while (at < text.length) {
      let next = null;
      for (const word of words) {
        const found = low.indexOf(word, at);
        if (found >= 0 && (next === null || found < next.found || (found === next.found && word.length > next.word.length))) next = { found, word };
      }
      if (next === null) break;
      parts.push(text.slice(at, next.found), element("mark", {}, text.slice(next.found, next.found + next.word.length)));
      at = next.found + next.word.length;
    }
    parts.push(text.slice(at));
    return parts;
  }

  function excerpt(section, words) {
    const places = words.map((word) => section.low.indexOf(word)).filter((place) => place >= 0);
    const first = places.length ? Math.min(...places) : 0;
    const start = first <= AROUND ? 0 : section.text.indexOf(" ", first - AROUND) + 1 || first;
    const most = start + 3 * AROUND;
    const end = section.text.length <= most ? section.text.length : Math.max(section.text.lastIndexOf(" ", most), first + 1);
    return `${start > 0 ? "… " : ""}${section.text.slice(start, end)}${end < section.text.length ? " …" : ""}`;
  }

  async function search() {
    const words = [...new Set(field.value.toLowerCase().split(/\s+/u).filter(Boolean))];
    if (words.length === 0) return close();
    try {
      await load();
    } catch (error) {
      list.replaceChildren();
      said.textContent = error.message;
      panel.hidden = false;
      return;
    }
    if (words.join() !== [...new Set(field.value.toLowerCase().split(/\s+/u).filter(Boolean))].join()) return;
    const found = sections
      .map((section) => ({ section, weight: weigh(section, words) }))
      .filter(({ weight }) => weight > 0)
      .sort((one, other) => other.weight - one.weight);
    const shown = found.slice(0, MOST);
    list.replaceChildren(
      ...shown.map(({ section }) =>
        element(
          "li",
          {},
          element("a", { href: new URL(section.address, root).href }, ...marked(section.heading ? `${section.page}: ${section.heading}` : section.page, words)),
          element("p", {}, ...marked(excerpt(section, words), words)),
        ),
      ),
    );
    if (found.length === 0) said.textContent = "Nothing has all of these words.";
    else said.textContent = found.length > MOST ? `${found.length} sections, the best ${MOST} shown` : `${found.length} section${found.length === 1 ? "" : "s"}`;
    panel.hidden = false;
  }

  function close() {
    panel.hidden = true;
    list.replaceChildren();
    said.textContent = "";
  }

  /** Up and down go through field and results. */
  function move(by) {
    const stops = [field, ...list.querySelectorAll("a")];
    const next = stops[stops.indexOf(document.activeElement) + by];
    if (next) next.focus();
  }

  field.addEventListener("focus", () => load().catch(() => {}));
  field.addEventListener("input", search);
  box.addEventListener("submit", (event) => {
    event.preventDefault();
    const first = list.querySelector("a");
    if (first) first.click();
    else search();
  });
  list.addEventListener("click", (event) => {
    if (event.target.closest("a")) close();
  });
  for (const one of [box, panel])
    one.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        field.value = "";
        close();
        field.focus();
      } else if (event.key === "ArrowDown" && event.target !== key) move(1);
      else if (event.key === "ArrowUp" && event.target !== key) move(-1);
      else return;
      event.preventDefault();
    });
  document.addEventListener("click", (event) => {
    if (!box.contains(event.target) && !panel.contains(event.target)) close();
  });

  // A browser may keep nothing for pages from a disk: then the key works, and goes on working.
  const remembered = () => {
    try {
      return localStorage.getItem(KEY) !== "off";
    } catch {
      return true;
    }
  };
  key.checked = remembered();
  key.addEventListener("change", () => {
    try {
      localStorage.setItem(KEY, key.checked ? "on" : "off");
    } catch {
      // It holds for this page, then.
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || !key.checked) return;
    if (event.target.closest?.("input, textarea, select, [contenteditable]")) return;
    event.preventDefault();
    field.focus();
    field.select();
  });
  box.hidden = false;

  // Where the list of pages scrolls by itself, this page is in sight there.
  const menu = document.getElementById("site.pages");
  const here = menu.querySelector("[aria-current]");
  if (here && menu.scrollHeight > menu.clientHeight) menu.scrollTop = here.offsetTop - menu.clientHeight / 2;
})();
