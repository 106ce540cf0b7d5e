// What every page has around it: the bar on top, the line at the bottom, the theme and the list of keys.
import { announce, h, replace } from "./dom.js";
import { asStranger, call, may, session } from "./api.js";

/** Draw the bar on top for whoever is signed in. */
export async function drawFrame() {
  const facts = await session();
  const home = facts.account ? `/${facts.organization}` : "/";
  const here = location.pathname;
  const link = (path, text) =>
    h("a", { href: path, "aria-current": here === path || here.startsWith(`${path}/`) ? "page" : null }, text);
  const organization = `/${facts.organization}`;
  replace(
    document.getElementById("top"),
    h(
      "div",
      null,
      h("a", { class: "brand", href: home }, h("img", { src: "/web/icon.svg", alt: "" }), "Pipeseal"),
      h(
        "nav",
        { "aria-label": "Main" },
        h("a", { href: home, "aria-current": here === home || here === "/" ? "page" : null }, "Pipelines"),
        may("read_agents") && link(`${organization}/agents`, "Agents"),
        may("read_pipelines") && link(`${organization}/keys`, "Keys"),
        may("read_organizations") && link(`${organization}/settings`, "Settings"),
      ),
      asStranger && h("span", { class: "stranger" }, "You see what a stranger sees. ", h("a", { href: here, target: "_self" }, "Back to yourself")),
      themeButton(),
      facts.account
        ? [h("a", { href: "/account", class: "quiet-link", "aria-current": here === "/account" ? "page" : null }, facts.account.name), h("button", { onclick: signOut }, "Sign out")]
        : h("a", { class: "button", href: `/sign-in?next=${encodeURIComponent(here)}` }, "Sign in"),
    ),
  );
  replace(
    document.getElementById("foot"),
    h(
      "div",
      null,
      h("span", null, `Pipeseal ${facts.version}`),
      h("span", null, "This page runs code that came from ", h("strong", null, location.host), ". ", h("a", { href: "/web/verify.html", download: "pipeseal-verify.html" }, "Check signatures with a file of your own")),
      h("a", { href: "/openapi.json" }, "API"),
      h("button", { class: "plain", onclick: showKeys, "aria-keyshortcuts": "?" }, "Keyboard"),
    ),
  );
}

async function signOut() {
  await call("DELETE", "/session");
  await session(true);
  location.assign("/");
}

const THEMES = ["system", "light", "dark"];

function themeButton() {
  const button = h("button", { class: "plain" }, "");
  const show = () => {
    const now = document.documentElement.dataset.theme ?? "system";
    replace(button, `Theme: ${now}`);
  };
  button.addEventListener("click", () => {
    const now = document.documentElement.dataset.theme ?? "system";
    const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
    if (next === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try {
      localStorage.setItem("theme", next);
    } catch {
      // Kept for this page alone, then.
    }
    show();
    announce(`Theme: ${next}`);
  });
  show();
  return button;
}

// --- keys -------------------------------------------------------------------------------------------------------

const keys = new Map();

/** Let a key do something on the page that is shown; pages that come later start without. */
export function onKey(key, says, act) {
  keys.set(key, { says, act });
}

/** Forget the keys of the page that was shown. */
export function forgetKeys() {
  keys.clear();
  onKey("?", "show these keys", showKeys);
}

const KEYS_OFF = "keys-off";

function keysAreOff() {
  try {
    return localStorage.getItem(KEYS_OFF) === "yes";
  } catch {
    return false;
  }
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || keysAreOff()) return;
  if (event.target.closest("input, textarea, select, [contenteditable]") || document.querySelector("dialog[open]")) return;
  const bound = keys.get(event.key);
  if (bound) {
    event.preventDefault();
    bound.act();
  }
});

function showKeys() {
  const off = h("input", {
    type: "checkbox",
    checked: keysAreOff(),
    onchange: (event) => {
      try {
        localStorage.setItem(KEYS_OFF, event.target.checked ? "yes" : "no");
      } catch {
        // Kept for this page alone, then.
      }
    },
  });
  const rows = [...keys].map(([key, { says }]) => h("tr", null, h("td", null, h("kbd", null, key)), h("td", null, says)));
  const dialog = h(
    "dialog",
    { "aria-labelledby": "keys-title", onclose: () => dialog.remove() },
    h("h2", { id: "keys-title" }, "Keys on this page"),
    h("table", null, h("tbody", null, rows)),
    h("label", { class: "choice" }, off, "Switch single keys off"),
    h("p", null, h("button", { class: "primary", onclick: () => dialog.close() }, "Close")),
  );
  document.body.append(dialog);
  dialog.showModal();
}
