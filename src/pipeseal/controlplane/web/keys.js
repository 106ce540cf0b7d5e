// Single keys: what each does on the page that is shown, the sheet of them, and which of them the reader changed or switched off.
import { announce, h, replace } from "./dom.js";

const OFF = "keys-off";
const CHANGED = "keys-changed";
const bound = new Map();

/** Let a key do something on the page that is shown; pages that come later start without. */
export function onKey(key, says, act) {
  bound.set(key, { says, act });
}

/** Forget the keys of the page that was shown. */
export function forgetKeys() {
  bound.clear();
  onKey("?", "show these keys", showKeys);
}

function read(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

function keep(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {
    // Kept for this page alone, then.
  }
}

let isOff = read(OFF) === "yes";
let changed = readChanged();

function readChanged() {
  try {
    const kept = JSON.parse(read(CHANGED));
    return new Map(Object.entries(kept ?? {}).filter(([, key]) => typeof key === "string" && key.length <= 1));
  } catch {
    // Unreadable: as it was delivered.
    return new Map();
  }
}

// Keys that type a character: speech turns words into them, so they can be changed and switched off (WCAG 2.1.4).
const isCharacter = (key) => [...key].length === 1;
/** The key that does what `key` does as delivered; empty when it is off. */
const chosen = (key) => changed.get(key) ?? key;

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (isOff && isCharacter(event.key)) return;
  if (event.target.closest("input, textarea, select, [contenteditable]") || document.querySelector("dialog[open]")) return;
  for (const [key, { act }] of bound)
    if (chosen(key) === event.key) {
      event.preventDefault();
      act();
      return;
    }
});

/** The sheet of keys. */
export function showKeys() {
  const off = h("input", {
    type: "checkbox",
    checked: isOff,
    onchange: (event) => {
      isOff = event.target.checked;
      keep(OFF, isOff ? "yes" : "no");
    },
  });
  const body = h("tbody");
  const said = h("p", { class: "problem", role: "alert" });
  const again = h("button", { type: "button", onclick: () => (set(new Map()), draw(), announce("All keys are as they were")) }, "All as they were");
  const set = (keys) => {
    changed = keys;
    keep(CHANGED, JSON.stringify(Object.fromEntries(keys)));
  };
  const draw = () => {
    replace(body, [...bound].map(([key, { says }]) => row(key, says)), others());
    again.hidden = changed.size === 0;
  };
  const row = (key, says) => {
    const cell = h("td", null, chosen(key) === "" ? "off" : h("kbd", null, named(chosen(key))));
    const change = h("button", { type: "button", class: "plain link", "aria-label": `Change the key for: ${says}`, onclick: () => listen(key, cell, change) }, "Change");
    return h("tr", null, cell, h("td", null, says), h("td", null, isCharacter(key) && change));
  };
  const listen = (key, cell, button) => {
    replace(said);
    replace(cell, "Press a key");
    announce("Press the new key; Backspace switches it off, Escape leaves it");
    const done = () => {
      dialog.removeEventListener("keydown", take, true);
      button.removeEventListener("blur", done);
      draw();
      [...body.querySelectorAll("button")].find((one) => one.getAttribute("aria-label") === button.getAttribute("aria-label"))?.focus();
    };
    const take = (event) => {
      if (["Shift", "Control", "Alt", "Meta", "Tab"].includes(event.key)) return;
      event.preventDefault();
      event.stopPropagation();
      if (event.key === "Escape") return done();
      const wanted = event.key === "Backspace" || event.key === "Delete" ? "" : event.key;
      const taken = wanted && [...bound].find(([other]) => other !== key && chosen(other) === wanted);
      if (taken) return replace(said, `${named(wanted)} is there already: ${taken[1].says}. Change that one first, or press another key.`);
      if (wanted && (!isCharacter(wanted) || wanted === " ")) return replace(said, `${named(wanted)} has a use of its own. Press a letter, a digit or a sign.`);
      const keys = new Map(changed);
      if (wanted === key) keys.delete(key);
      else keys.set(key, wanted);
      set(keys);
      replace(said);
      return done();
    };
    dialog.addEventListener("keydown", take, true);
    button.addEventListener("blur", done, { once: true });
  };
  const dialog = h(
    "dialog",
    { class: "keys-sheet", "aria-labelledby": "keys-title", onclose: () => dialog.remove() },
    h("h2", { id: "keys-title" }, "Keys on this page"),
    h("table", null, h("thead", { class: "visually-hidden" }, h("tr", null, ["Key", "Does", "Change"].map((text) => h("th", { scope: "col" }, text)))), body),
    said,
    h("p", { class: "hint" }, "They do nothing while you write. A key that you change does the same on all pages."),
    h("label", { class: "choice" }, off, "Switch single keys off"),
    h("p", { class: "row" }, h("button", { type: "button", class: "primary", onclick: () => dialog.close() }, "Close"), again),
  );
  draw();
  document.body.append(dialog);
  dialog.showModal();
}

// What browsers and lists do by themselves, for the sheet to be whole.
function others() {
  const rows = [["Esc", "close what is open"]];
  if (document.querySelector("[role=tree]")) rows.unshift(["↑ ↓", "in the list of steps: the one before, the next one"], ["← →", "in the list of steps: close or open a group"], ["Home End", "in the list of steps: the first one, the last one"]);
  return rows.filter(([key]) => key !== "Esc" || !bound.has("Escape")).map(([key, says]) => h("tr", null, h("td", null, key.split(" ").map((one) => [h("kbd", null, one), " "])), h("td", null, says), h("td")));
}

function named(key) {
  return { Escape: "Esc", " ": "Space" }[key] ?? key;
}
